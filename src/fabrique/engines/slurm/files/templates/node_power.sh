# Slurm runs this with the first three file descriptors closed: what is started from here must not find a socket there.
exec </dev/null >>@LOG@ 2>&1
PATH=/usr/sbin:/usr/bin:/sbin:/bin
SLURM_CONF=@CONF@
export PATH SLURM_CONF
[ "$#" -ge 1 ] || exit 2
nodes=$(@BIN@/scontrol show hostnames "$1") || exit 1
# shellcheck disable=SC2086 # one word a node
echo "$(date -u +%FT%TZ) @VERB@" $nodes
# shellcheck disable=SC2086
exec @COMMAND@ $nodes
