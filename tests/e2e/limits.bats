#!/usr/bin/env bats
# The edges: sizes, paths, full and read-only disks, closed outputs. Every run either does
# its work or ends with one line and the documented exit code.

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    cat >params.yaml <<'YAML'
data: {name: synthetic, dir: none, train_limit: 40, test_limit: 10}
train: {epochs: 2, batch_size: 16, lr: 0.001, threads: 1}
run: {name: small}
YAML
}

teardown() {
    ! mountpoint -q "$BATS_TEST_TMPDIR/disk" || umount "$BATS_TEST_TMPDIR/disk"
}

# Runs cairn with stdout and stderr apart, in the files out and err; the exit code in $code.
cairn() {
    code=0
    "$CAIRN" "$@" >out 2>err || code=$?
}

fails_with() { # CODE PATTERN: that exit code, and one line of stderr that matches
    [ "$code" -eq "$1" ] && [ "$(grep -c '^cairn: ' err)" -eq 1 ] && grep -q -- "$2" err || {
        echo "code $code" && cat err && false
    }
}

disk() { # MIB [OPTION]: a file system of that size in disk/, or skips the test
    mkdir -p disk
    mount -t tmpfs -o "size=$1m${2+,$2}" tmpfs disk 2>/dev/null || skip "may not mount a file system"
}

@test "batches of one image, of more images than there are, and of one image in all" {
    cairn train --quiet -S train.batch_size=1 -S run.name=one
    [ "$code" -eq 0 ]
    cairn train --quiet -S train.batch_size=65536 -S run.name=all
    [ "$code" -eq 0 ]
    cairn train --quiet -S train.batch_size=40 -S run.name=exact
    cmp runs/all/metrics.json runs/exact/metrics.json
    cairn train --quiet -S data.train_limit=1 -S data.test_limit=1 -S run.name=single
    [ "$code" -eq 0 ]
    jq -e '.[1].test_acc == 0 or .[1].test_acc == 1' runs/single/metrics.json
}

@test "more threads than cores compute the same" {
    cairn train --quiet --device reference -S run.name=one
    cairn train --quiet --device reference -S train.threads=64 -S run.name=many
    [ "$code" -eq 0 ]
    cmp runs/one/model.safetensors runs/many/model.safetensors
}

@test "folders with blanks and letters of all kinds; one that is too long is refused" {
    cairn train --quiet --run-dir 'a run, für 東京/"quoted"'
    [ "$code" -eq 0 ]
    jq -e .best_test_acc 'a run, für 東京/"quoted"/summary.json'
    long=$(printf '%0200d/' $(seq 25))
    cairn train --quiet --run-dir "$long"
    fails_with 2 'path too long'
    [ "$(wc -c <err)" -lt 400 ]
    cairn train --quiet --run-dir "$(printf '%0300d' 0)"
    fails_with 1 'File name too long'
}

@test "a full disk ends the run in order; with more room it goes on to the same end" {
    disk 24
    cairn train --quiet --run-dir whole
    head -c 10M /dev/zero >disk/ballast # a checkpoint and the model take 10 MB as well
    cairn train --run-dir disk/run
    fails_with 1 'No space left on device'
    [ -z "$(find disk/run -name '*.tmp-*')" ]
    ! grep -q . disk/run/metrics.json 2>/dev/null || jq -e 'type == "array"' disk/run/metrics.json
    mount -o remount,size=64m disk
    cairn train --quiet --run-dir disk/run --resume
    [ "$code" -eq 0 ]
    for file in metrics.json model.safetensors predictions.csv; do cmp whole/$file disk/run/$file; done
}

@test "a read-only disk is refused before anything is trained" {
    disk 8
    mkdir disk/runs
    mount -o remount,ro disk
    cairn train --run-dir disk/runs/new
    fails_with 1 'Read-only file system'
    [ ! -s out ]
    cairn train --run-dir disk/runs
    fails_with 1 'Read-only file system'
}

@test "a reader that goes away, or a closed output, does not end a training" {
    "$CAIRN" train --run-dir piped | head -n 1
    jq -e '.status == "finished"' piped/summary.json
    "$CAIRN" train --run-dir closed >&- 2>&-
    jq -e '.status == "finished"' closed/summary.json
    cmp piped/metrics.json closed/metrics.json
    "$CAIRN" train --run-dir full >/dev/full 2>err
    jq -e '.status == "finished"' full/summary.json
}
