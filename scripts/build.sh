#!/usr/bin/env bash
# Installs what the build needs, configures and builds; quiet unless something fails.
#
#   scripts/build.sh [PRESET] [CMAKE OPTION]...     PRESET: release unless given; see
#                                                   `cmake --list-presets`
#
# CAIRN_TARGETS names what is built, if not all.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/help.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

preset=release
if [[ ${1-} == [!-]* ]]; then
    preset=$1
    shift
fi
folder=build
[ "$preset" = release ] || folder=build-$preset

scripts/install-deps.sh build
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "Building Cairn ($preset) in $folder/" >&2
read -ra targets <<<"${CAIRN_TARGETS:-all}"
{ cmake --preset "$preset" "$@" && cmake --build "$folder" --target "${targets[@]}"; } >"$log" 2>&1 || {
    cat "$log" >&2
    echo "build.sh: the build failed; the lines above say why" >&2
    exit 1
}
