#!/usr/bin/env bash
# build/cairn as the stages of dvc.yaml run it.
#
#   scripts/dvc-cairn.sh ARGUMENT OF cairn...
#
# Where DVC has put the program as a link to its cache, the link is not executable; a copy of
# half a megabyte takes its place. Nor may the mode of the cache's own file be changed: another
# worker may be just about to run it. Two workers share the cores, so threads that wait must not
# spin; on a machine that is free this costs about 15%: OMP_WAIT_POLICY=active dvc repro.
set -eu
cairn=build/cairn
if [ ! -x "$cairn" ]; then
    cp "$cairn" "$cairn.$$"
    chmod +x "$cairn.$$"
    mv -f "$cairn.$$" "$cairn"
fi
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY-passive}
exec "$cairn" "$@"
