# shellcheck disable=SC2034,SC2317 # one text serves three scripts
# --- power levels: what every script of ours knows -------------------------------------------------------------------
# A device whose limit a job changed has a folder in SAVED: `was` holds the limit from before, `job-ID` each job that
# uses it, with the boot it began in. The folder stays until the limit is back.

PATH=@TOOLS@/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin:/opt/rocm/bin
LC_ALL=C
export PATH LC_ALL
umask 077
SAVED=@SAVED@
LEVELS=@LEVELS@
OWNERS=@OWNERS@
VENDORS=@VENDORS@
PATIENCE=20 # seconds that a vendor's tool, or another script of ours, may take
GRACE=2     # minutes in which a job without a process is still starting

say() {
    logger -t fabrique-power -- "$*" 2>/dev/null
    echo "fabrique-power: $*" 2>/dev/null
    return 0
}

is_number() {
    case ${1:-} in '' | *[!0-9]*) return 1 ;; esac
    [ "${#1}" -le 7 ]
}

# A vendor's tool, bounded; it holds no lock of ours, so that one that outlives its script stops no other.
ask() { timeout "$PATIENCE" "$@" 2>/dev/null </dev/null 9>&-; }

# The vendor whose tool is on this node: its first word of VENDORS.
vendor() {
    for one in $VENDORS; do
        case $one in
        nvidia) command -v nvidia-smi >/dev/null 2>&1 && echo nvidia && return ;;
        amd) command -v rocm-smi >/dev/null 2>&1 && echo amd && return ;;
        intel)
            command -v hl-smi >/dev/null 2>&1 && echo gaudi && return
            command -v xpu-smi >/dev/null 2>&1 && echo intel && return
            ;;
        esac
    done
    return 1
}

whole() { # the first number of the input, rounded up: 559.5 -> 560
    sed -n 's/^[^0-9]*\([0-9][0-9]*\)\(\.[0-9]*\)\{0,1\}.*$/\1 \2/p' | {
        read -r number part || return 1
        case ${part:-} in '' | . | .*[!0]*) ;; *) part= ;; esac
        [ -z "${part#.}" ] && echo "$number" || echo $((number + 1))
    }
}

# The PCI address of the Gaudi of this index: hl-smi takes no other name.
gaudi_at() {
    ask hl-smi --query-aip=index,bus_id --format=csv,noheader,nounits |
        sed -n "s/^ *$1 *, *\([0-9a-fA-F:.]*\) *\$/\1/p"
}

# limit VENDOR INDEX: the limit in force, in whole watts. Written from the vendors' documents,
# not tried on hardware.
limit() {
    case $1 in
    nvidia) ask nvidia-smi -i "$2" --query-gpu=power.limit --format=csv,noheader,nounits | whole ;;
    amd) ask rocm-smi -d "$2" --showmaxpower --csv | sed -n 's/^card[0-9]*,//p' | whole ;;
    intel) ask xpu-smi config -d "$2" | sed -n 's/.*Power Limit (w)[^0-9]*//p' | whole ;;
    gaudi) ask hl-smi --query-aip=index,power.max --format=csv,noheader,nounits | sed -n "s/^ *$2 *, *//p" | whole ;;
    *) return 1 ;;
    esac
}

# put VENDOR INDEX WATTS
put() {
    case $1 in
    nvidia) ask nvidia-smi -i "$2" -pl "$3" >/dev/null ;;
    amd) ask rocm-smi -d "$2" --setpoweroverdrive "$3" --autorespond y >/dev/null ;;
    intel) ask xpu-smi config -d "$2" --powerlimit "$3" >/dev/null ;;
    gaudi) at=$(gaudi_at "$2") && [ -n "$at" ] && ask hl-smi -i "$at" -p "$3" >/dev/null ;;
    *) return 1 ;;
    esac
}

# clock VENDOR INDEX MHZ, or `free` for MHZ: the highest clock, locked or as the vendor ships it.
clock() {
    case $1/$3 in
    nvidia/free) ask nvidia-smi -i "$2" -rgc >/dev/null ;;
    nvidia/*) ask nvidia-smi -i "$2" -lgc "0,$3" >/dev/null ;;
    amd/free) ask rocm-smi -d "$2" --resetperfdeterminism >/dev/null ;;
    amd/*) ask rocm-smi -d "$2" --setperfdeterminism "$3" >/dev/null ;;
    intel/free) ask xpu-smi config -d "$2" --resetfrequencyrange >/dev/null ;;
    intel/*) ask xpu-smi config -d "$2" --frequencyrange "0,$3" >/dev/null ;;
    *) return 1 ;;
    esac
}

boot() { cat /proc/sys/kernel/random/boot_id 2>/dev/null; }

# One of our scripts at a time on this node.
alone() {
    mkdir -p "$SAVED" || { say "$SAVED can't be made"; return 1; }
    exec 9>"$SAVED/.lock" && flock -w "$PATIENCE" 9
}

# keep FILE TEXT: whole and on the disk, or not there.
keep() {
    printf '%s\n' "$2" | dd of="$1.new" conv=fsync 2>/dev/null && mv -f "$1.new" "$1" && sync "${1%/*}"
}

# Whether the job of this marker still runs here: it has a slurmstepd, or began a moment ago; never past a boot.
alive() {
    [ "$(cat "$1" 2>/dev/null)" = "$(boot)" ] || return 1
    [ -n "$(find "$1" -mmin "-$GRACE" 2>/dev/null)" ] && return 0
    job=${1##*/job-}
    grep -aqs "^slurmstepd: \[$job\." /proc/[0-9]*/cmdline
}

# back FOLDER: the limit from before, and the folder goes; it stays where that fails, for the next try.
back() {
    name=${1##*/}
    maker=${name%-*} index=${name##*-}
    read -r what watts <"$1/was" 2>/dev/null || { rm -f "$1"/*.new; rmdir "$1" 2>/dev/null; return 0; }
    case $what in
    limit_w) is_number "$watts" && put "$maker" "$index" "$watts" ;;
    clock_mhz) clock "$maker" "$index" free ;;
    *) false ;;
    esac || { say "$name: the limit from before ($what ${watts:-}) can't be set"; return 1; }
    rm -rf "$1"
    say "$name: as before ($what ${watts:-})"
}

# free FOLDER: back, where no job is left that uses the device.
free() {
    for marker in "$1"/job-*; do
        [ -e "$marker" ] && return 0
    done
    back "$1"
}
