#!/usr/bin/env bats
# A long run in fast motion: hundreds of epochs of four images, each of them saved. Memory grows by the
# metrics' rows and no more, and no file stays open. CAIRN_SOAK says how many epochs (320).

setup() {
    folder=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo "$BATS_TEST_TMPDIR")/cairn-soak-XXXXXX")
    cd "$folder" || return
    cat >params.yaml <<'YAML'
data: {name: synthetic, dir: none, train_limit: 4, test_limit: 4}
train: {epochs: 1, batch_size: 4, lr: 0.001, threads: 1}
checkpoint: {every_steps: 1}
run: {name: soak}
YAML
}

teardown() {
    rm -rf "$folder"
}

# The least memory of its own, in KiB, and the fewest open files of the process until it has printed
# that many lines: an epoch has its passing buffers and files.
least_until() {
    memory=999999999
    files=999999999
    while kill -0 "$pid" && [ "$(wc -l <out)" -lt "$1" ]; do
        now=$(awk '/^RssAnon/ { print $2 }' "/proc/$pid/status")
        open=$(ls "/proc/$pid/fd" | wc -l)
        [ "$now" -ge "$memory" ] || memory=$now
        [ "$open" -ge "$files" ] || files=$open
        sleep 0.01
    done
}

@test "memory and open files stay as they are over hundreds of epochs" {
    ! ldd "$CAIRN" | grep -q libasan || skip "the address sanitizer's heap grows by itself"
    epochs=${CAIRN_SOAK:-320}
    : >out
    OMP_WAIT_POLICY=passive "$CAIRN" train -S "train.epochs=$epochs" >out 2>err &
    pid=$!
    least_until 180 # the heap has settled by then
    least_until 220
    early=$memory
    files_early=$files
    least_until $((epochs - 45))
    least_until $((epochs - 5))
    [ "$files" -eq "$files_early" ]
    wait "$pid"
    echo "# $early KiB in epochs 180 to 220, $memory KiB 40 epochs before the end" >&3
    # A row takes 48 bytes in memory and some 130 as text, which the checkpoint holds too; and the
    # heap is not packed tight.
    [ $((memory - early)) -le $((epochs / 2 + 256)) ]
    [ "$(jq length runs/soak/metrics.json)" -eq "$epochs" ]
}
