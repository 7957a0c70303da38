# --- before a job: its power level, if the hub wrote one ---------------------------------------------------------------
# Nothing of what the user wrote is read here. What can't be set is logged and stops no job: a drained node would cost
# more than a few watts, which the hub's meters show.

JOB=${SLURM_JOB_ID:-}
is_number_of_job() { case $1 in '' | *[!0-9]*) return 1 ;; esac; [ "${#1}" -le 12 ]; }
is_number_of_job "$JOB" || exit 0

# Ours alone to write: neither a link, nor another's file, nor one that others may change.
trusted() {
    if [ ! -e "$1" ] || [ -L "$1" ]; then return 1; fi
    owner=$(stat -c %u "$1") mode=$(stat -c %a "$1")
    case " $OWNERS " in *" $owner "*) ;; *) return 1 ;; esac
    case $mode in *[2367] | *[2367]?) return 1 ;; esac
}

# `0,2-3` as words; a list that is none gives nothing
devices() {
    for part in $(printf '%s' "${1:-}" | tr ',' ' '); do
        first=${part%-*} last=${part#*-}
        if ! is_number "$first" || ! is_number "$last" || [ "$last" -ge 1024 ]; then continue; fi
        while [ "$first" -le "$last" ]; do
            echo "$first"
            first=$((first + 1))
        done
    done
}

# level INDEX: the device's limit of now is kept, then the job's is set
level() {
    folder=$SAVED/$MAKER-$1
    if [ -d "$folder" ]; then # left by a job that died, or shared with one that runs
        for marker in "$folder"/job-*; do
            [ -e "$marker" ] && ! alive "$marker" && rm -f "$marker"
        done
        free "$folder" || return 1
    fi
    [ -n "$WHAT" ] || return 0
    if [ ! -e "$folder/was" ]; then
        before=0
        if [ "$WHAT" = limit_w ]; then
            before=$(limit "$MAKER" "$1")
            if ! is_number "$before" || [ "$before" -eq 0 ]; then
                say "$MAKER-$1: its limit can't be read, so it stays"
                return 1
            fi
        fi
        if ! mkdir -p "$folder" || ! keep "$folder/was" "$WHAT $before"; then
            say "$MAKER-$1: its limit can't be kept, so it stays"
            return 1
        fi
    fi
    read -r kept _ <"$folder/was"
    [ "$kept" = "$WHAT" ] || { say "$MAKER-$1: another job on it set $kept, so $WHAT is left"; return 1; }
    keep "$folder/job-$JOB" "$(boot)" || return 1
    case $WHAT in
    limit_w) put "$MAKER" "$1" "$VALUE" ;;
    clock_mhz) clock "$MAKER" "$1" "$VALUE" ;;
    esac || { say "job $JOB: $MAKER-$1: $WHAT $VALUE can't be set"; return 1; }
    say "job $JOB: $MAKER-$1: $WHAT $VALUE"
}

MAKER=$(vendor) || exit 0
WHAT='' VALUE=''
if trusted "$LEVELS" && trusted "$LEVELS/$JOB"; then
    read -r WHAT VALUE _ <"$LEVELS/$JOB"
    case $WHAT in limit_w | clock_mhz) ;; *) WHAT='' ;; esac
    is_number "$VALUE" && [ "$VALUE" -gt 0 ] || WHAT=''
    [ -n "$WHAT" ] || say "job $JOB: its level can't be read"
elif [ -e "$LEVELS/$JOB" ]; then
    say "job $JOB: its level is not ours alone to write, so it is not taken"
fi
[ -n "$WHAT" ] || [ -d "$SAVED" ] || exit 0
alone || exit 0
for index in $(devices "${SLURM_JOB_GPUS:-}"); do
    level "$index"
done
exit 0
