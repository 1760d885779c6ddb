#!/usr/bin/env bats
# A long run in fast motion: hundreds of epochs of four images. Memory grows by the metrics' rows and
# no more, and no file stays open. CAIRN_SOAK says how many epochs (200).

setup() {
    folder=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo "$BATS_TEST_TMPDIR")/cairn-soak-XXXXXX")
    cd "$folder" || return
    cat >params.yaml <<'YAML'
data: {name: synthetic, dir: none, train_limit: 4, test_limit: 4}
train: {epochs: 1, batch_size: 4, lr: 0.001, threads: 1}
run: {name: soak}
YAML
}

teardown() {
    rm -rf "$folder"
}

resident() { # KiB of memory that is the process's own
    awk '/^RssAnon/ { print $2 }' "/proc/$1/status"
}

# Halts the run once it has printed that many lines.
halt_after() {
    while kill -0 "$pid" && [ "$(wc -l <out)" -lt "$1" ]; do
        sleep 0.02
    done
    kill -STOP "$pid"
}

@test "memory and open files stay as they are over hundreds of epochs" {
    ! ldd "$CAIRN" | grep -q libasan || skip "the address sanitizer's heap grows by itself"
    epochs=${CAIRN_SOAK:-200}
    : >out # halt_after may look before the program writes
    OMP_WAIT_POLICY=passive "$CAIRN" train -S "train.epochs=$epochs" >out 2>err &
    pid=$!
    halt_after 50
    early=$(resident "$pid")
    files=$(ls "/proc/$pid/fd" | wc -l)
    kill -CONT "$pid"
    halt_after $((epochs - 20))
    late=$(resident "$pid")
    # A file may be being written at that moment: itself, or its folder.
    [ "$(ls "/proc/$pid/fd" | wc -l)" -le $((files + 1)) ]
    kill -CONT "$pid"
    wait "$pid"
    echo "# $early KiB at epoch 50, $late KiB at epoch $((epochs - 20))" >&3
    # A row takes 48 bytes in memory and some 130 as text, which the checkpoint holds too; and the
    # heap is not packed tight.
    [ $((late - early)) -le $((epochs / 2 + 256)) ]
    [ "$(jq length runs/soak/metrics.json)" -eq "$epochs" ]
}
