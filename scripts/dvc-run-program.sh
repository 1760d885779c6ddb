#!/usr/bin/env bash
# The program that the stage `build` made, as the other stages of dvc.yaml run it: DVC may have put
# it here as a link to its cache, which is not executable, so an executable copy runs.
#
#   scripts/dvc-run-program.sh ARGUMENT OF cairn...
#
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/help.sh" "${1-}"
program=build/dvc/program
cairn=build/dvc/cairn
if ! cmp -s "$program/cairn.bin" "$cairn"; then
    install -m 755 "$program/cairn.bin" "$cairn.$$"
    mv -f "$cairn.$$" "$cairn"
fi
export LD_LIBRARY_PATH=$PWD/$program${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} # the plugin
exec "$cairn" "$@"
