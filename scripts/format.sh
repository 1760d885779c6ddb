#!/usr/bin/env bash
# Lays out every C, C++ and CUDA source by .clang-format; with --check it only names the files that
# differ, and what is longer or wider than scripts/limits.py allows.
#
#   scripts/format.sh [--check]
#
# Version 14 of clang-format decides, since the versions disagree.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/help.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mode=(-i)
case ${1-} in
'') ;;
--check) mode=(--dry-run -Werror) ;;
*)
    echo "usage: scripts/format.sh [--check]" >&2
    exit 2
    ;;
esac
command -v clang-format-14 >/dev/null || {
    echo "format.sh: clang-format-14 is missing; \`scripts/install-deps.sh check\` installs it" >&2
    exit 2
}
git ls-files -z --cached --others --exclude-standard '*.c' '*.h' '*.cc' '*.cu' '*.cuh' |
    xargs -0 clang-format-14 "${mode[@]}"
[ "${1-}" != --check ] || exec scripts/limits.py
