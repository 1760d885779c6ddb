#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test. What was skipped is listed at the end, each
# with the reason and the command that would run it.
#
#   scripts/test.sh [CTEST OPTION]...     such as -R unit, -L e2e or --rerun-failed
#
# tests/README.md says how the tests are laid out. CAIRN_PRESET builds and tests another preset.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/help.sh"
. "$(dirname "${BASH_SOURCE[0]}")/children.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

preset=${CAIRN_PRESET:-release}
folder=build
[ "$preset" = release ] || folder=build-$preset

scripts/install-deps.sh build test
scripts/build.sh "$preset" -DCAIRN_TESTS=ON
# Tests share the cores: threads that wait must not spin.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY-passive}

echo "Running the tests in $folder/" >&2
status=0
ctest --test-dir "$folder" --no-tests=error --output-on-failure -j "$(nproc)" "$@" || status=$?
tests/skipped.py "$folder"
exit "$status"
