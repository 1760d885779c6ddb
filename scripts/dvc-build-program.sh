#!/usr/bin/env bash
# The stage `build` of dvc.yaml: builds, and lays what DVC keeps of it into build/dvc/program: the
# program and, where there is one, the plugin of the cuda backend. Without the executable bit: links
# to DVC's cache lose it, and DVC 3 stumbles over a file that should have it and is missing.
# build/cairn itself is left to those who develop.
#
#   scripts/dvc-build-program.sh [CMAKE OPTION]...
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/help.sh"
scripts/build.sh release -DCAIRN_TESTS=OFF "$@"
mkdir -p build/dvc/program
install -m 644 build/cairn build/dvc/program/cairn.bin
if grep -q '^CAIRN_CUDA:BOOL=ON' build/CMakeCache.txt && [ -e build/libcairn_cuda.so ]; then
    install -m 644 build/libcairn_cuda.so build/dvc/program/
fi
