#!/usr/bin/env bats
# A long run in fast motion: a thousand epochs of four images and a small net, each of them saved.
# CAIRN_SOAK says how many epochs.

load older_bats

setup() {
    ! "$CAIRN" info | grep -q -- -fsanitize || skip "the sanitizers' heap grows by itself"
    epochs=${CAIRN_SOAK:-1000}
    folder=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo "$BATS_TEST_TMPDIR")/cairn-soak-XXXXXX")
    cd "$folder" || return
    cat >params.yaml <<'YAML'
data: {name: synthetic, dir: none, train_limit: 4, test_limit: 4}
model: {widths: 2, hidden: 4}
train: {epochs: 1, batch_size: 4, lr: 0.001, threads: 1}
checkpoint: {every_steps: 1}
run: {name: soak}
YAML
}

teardown() {
    [ -z "$folder" ] || rm -rf "$folder"
}

# Trains in runs/NAME. Files and threads are as many at every look; memory grows by an epoch's row,
# which takes 48 bytes, and by its text, which is kept and has 127 at most.
watch() { # NAME EPOCHS [ARGUMENT]...
    local name=$1 count=$2
    shift 2
    python3 "$BATS_TEST_DIRNAME/soak.py" "runs/$name" "$count" "$CAIRN" train -S "train.epochs=$count" \
        -S "run.name=$name" "$@" 2>err | tee looks >&3
    [ "$(jq length "runs/$name/metrics.json")" -eq "$count" ]
    [ "$(cut -d' ' -f3,4 looks | sort -u | wc -l)" -eq 1 ]
    awk 'NR == 1 { epoch = $1; memory = $2 }
         END { exit ($2 - memory) * 1024 > ($1 - epoch) * 175 + 32768 }' looks
}

@test "memory and open files stay as they are over a thousand epochs" {
    watch soak "$epochs"
}

@test "so do threads, and two compute what one does to the last epoch" {
    watch one $((epochs / 2)) --device reference
    watch two $((epochs / 2)) --device reference -S train.threads=2
    cmp runs/one/metrics.json runs/two/metrics.json
    cmp runs/one/model.safetensors runs/two/model.safetensors
}
