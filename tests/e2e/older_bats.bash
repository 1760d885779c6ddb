# shellcheck shell=bash
# For bats before 1.4, which Ubuntu 22.04 has: the folders that newer ones make for a file and a
# test.
if [ -z "${BATS_TEST_TMPDIR-}" ] && [ -z "${BATS_FILE_TMPDIR-}" ]; then
    BATS_FILE_TMPDIR=$BATS_RUN_TMPDIR/$(basename "$BATS_TEST_FILENAME").folder
    mkdir -p "$BATS_FILE_TMPDIR"
    BATS_TEST_TMPDIR=$(mktemp -d "$BATS_FILE_TMPDIR/test-XXXXXX")
fi
