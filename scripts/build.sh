#!/usr/bin/env bash
# Installs what the build needs, configures and builds. One line says what it is built with, others
# how far it is; the whole log is printed only when something fails.
#
#   scripts/build.sh [PRESET] [CMAKE OPTION]...     PRESET: release unless given; see
#                                                   `cmake --list-presets`
#
# CAIRN_TARGETS names what is built, if not all.
set -eu -o pipefail
. "$(dirname "${BASH_SOURCE[0]}")/help.sh"
. "$(dirname "${BASH_SOURCE[0]}")/children.sh"
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
read -ra targets <<<"${CAIRN_TARGETS:-all}"

# Ninja's lines, `[STEP/STEPS] WHAT`, on stdin: on a terminal one line that is rewritten; elsewhere
# a line every tenth of the way, if the last one is a while ago.
progress() {
    local line step steps drawn='' tenth=0 said=$SECONDS pattern='^\[([0-9]+)/([0-9]+)\] '
    while IFS= read -r line; do
        printf '%s\n' "$line" >>"$log"
        [[ $line =~ $pattern ]] || continue
        step=${BASH_REMATCH[1]} steps=${BASH_REMATCH[2]}
        if [ -t 2 ]; then
            drawn=yes
            printf '\r%d of %d steps' "$step" "$steps" >&2
        elif ((10 * step / steps > tenth && SECONDS - said >= 20)); then
            tenth=$((10 * step / steps)) said=$SECONDS
            echo "$((100 * step / steps))% of $steps steps" >&2
        fi
    done
    [ -z "$drawn" ] || printf '\r\033[K' >&2
}

failed() {
    cat "$log" >&2
    echo "build.sh: the build failed; the lines above say why" >&2
    exit 1
}

echo "Building Cairn ($preset) in $folder/" >&2
cmake --preset "$preset" "$@" >"$log" 2>&1 || failed
sed -n 's/^-- cairn: /    /p' "$log" >&2
NINJA_STATUS='[%f/%t] ' cmake --build "$folder" --target "${targets[@]}" 2>&1 | progress || failed
