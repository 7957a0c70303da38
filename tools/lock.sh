#!/bin/sh
# Renew requirements/*.txt: every version pinned, every file's hash, for every platform, and no address.
set -eu
cd "$(dirname "$0")/.."
command -v uv > /dev/null || { echo "lock: uv is needed to resolve for every platform (pip install uv)" >&2; exit 1; }
compile() {
    output=$1
    shift
    echo "lock: $output"
    uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -q -o "$output" "$@"
}
compile requirements/run.txt pyproject.toml
compile requirements/dev.txt --extra postgres --extra dev pyproject.toml
echo "setuptools>=77" | compile requirements/build.txt -
