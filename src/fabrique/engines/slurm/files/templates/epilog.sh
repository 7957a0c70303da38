# --- after a job: what it changed is put back --------------------------------------------------------------------------

JOB=${SLURM_JOB_ID:-}
case $JOB in '' | *[!0-9]*) exit 0 ;; esac
[ -d "$SAVED" ] || exit 0
alone || exit 0
for folder in "$SAVED"/*-*; do
    [ -e "$folder/job-$JOB" ] || continue
    rm -f "$folder/job-$JOB"
    free "$folder"
done
exit 0
