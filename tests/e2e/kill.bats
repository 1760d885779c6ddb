#!/usr/bin/env bats
# kill -9 at random moments of a training run: of one that saves a checkpoint after every step, and
# in turn of one that saves when it is time, and has epochs that are not on disk. At no moment is
# there a file that cannot be read, and --resume ends with the unbroken run's bytes. CAIRN_KILLS
# says how often (20).

load older_bats

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    cat >params.yaml <<'YAML'
data: {name: synthetic, dir: none, train_limit: 20, test_limit: 20}
model: {widths: 16 16 16, hidden: 64}
train: {epochs: 5, batch_size: 16, lr: 0.001, threads: 1}
run: {name: killed}
YAML
}

milliseconds() {
    date +%s%3N
}

# The bytes behind the header; its length stands in the first eight.
tensors() {
    tail -c +$((9 + $(od -A n -t u8 -N 8 "$1"))) "$1"
}

readable() { # FOLDER: whatever is there is whole
    [ ! -e "$1/metrics.json" ] || jq -e 'type == "array"' "$1/metrics.json" >/dev/null || return
    for model in "$1"/checkpoint*.safetensors "$1/model.safetensors"; do
        [ ! -e "$model" ] || "$CAIRN" eval --model "$model" >/dev/null || return
    done
}

same_run() {
    local file
    for file in params.yaml metrics.json model.safetensors predictions.csv confusion.csv; do
        cmp "$1/$file" "$2/$file" || return
    done
    cmp <(tensors "$1/checkpoint.safetensors") <(tensors "$2/checkpoint.safetensors")
}

@test "kill -9 at any moment, then --resume: the unbroken run's bytes" {
    begin=$(milliseconds)
    "$CAIRN" train --run-dir whole --quiet
    span=$(($(milliseconds) - begin))
    hit=0
    for ((kill = 0; kill < ${CAIRN_KILLS:-20}; kill++)); do
        rm -rf killed
        "$CAIRN" train --run-dir killed --quiet -S "checkpoint.every_steps=$((kill % 2))" &
        pid=$!
        moment=$((RANDOM * span / 32768))
        sleep "$((moment / 1000)).$(printf %03d $((moment % 1000)))"
        if builtin kill -KILL "$pid" 2>/dev/null; then
            code=0
            wait "$pid" || code=$?
            [ "$code" -eq 137 ] && hit=$((hit + 1))
        fi
        readable killed || { echo "unreadable after $moment of $span ms" && ls -la killed && false; }
        "$CAIRN" train params.yaml --run-dir killed --quiet --resume
        same_run whole killed || { echo "another run after $moment of $span ms" && false; }
        [ -z "$(find killed -name '*.tmp-*' -o -name .lock)" ]
    done
    echo "# $hit of $kill runs were still going when they were killed" >&3
    [ "$hit" -gt 0 ]
}
