# --- at slurmd's start and as HealthCheckProgram: what dead jobs left is put back --------------------------------------

[ -d "$SAVED" ] || exit 0
alone || exit 0
for folder in "$SAVED"/*-*; do
    [ -d "$folder" ] || continue
    for marker in "$folder"/job-*; do
        [ -e "$marker" ] && ! alive "$marker" && rm -f "$marker"
    done
    free "$folder"
done
exit 0
