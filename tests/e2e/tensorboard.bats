#!/usr/bin/env bats
# Event files as the real TensorBoard reads them, and its page in headless Chromium.

load older_bats

setup() {
    source=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
    python=$source/.venv/bin/python
    cd "$BATS_TEST_TMPDIR" || return
    export OMP_WAIT_POLICY=passive
    cat >params.yaml <<'YAML'
data: {name: synthetic, dir: none, train_limit: 60, test_limit: 20}
train: {epochs: 2, batch_size: 16, lr: 0.001, threads: 1}
tensorboard: {enabled: true, every_steps: 1}
run: {name: first}
YAML
}

board() {
    "$python" "$BATS_TEST_DIRNAME/board.py" "$@"
}

need_tensorboard() {
    "$python" -c 'import tensorboard' 2>/dev/null ||
        skip "no tensorboard: scripts/setup-dvc.sh --test installs it"
}

@test "TensorBoard reads a run's scalars, histograms, pictures and parameters" {
    need_tensorboard
    "$CAIRN" train --quiet
    board check runs/first
}

@test "a killed and resumed run has the unbroken one's values, each once" {
    need_tensorboard
    long=(-S data.train_limit=400 -S checkpoint.every_steps=5 -S tensorboard.every_steps=2)
    "$CAIRN" train --quiet "${long[@]}"
    "$CAIRN" train "${long[@]}" -S run.name=killed >out 2>err &
    pid=$!
    for _ in $(seq 200); do
        ! grep -q '^Epoch 01' out || break
        sleep 0.05
    done
    sleep 0.1
    kill -KILL "$pid"
    wait "$pid" || [ $? -eq 137 ]
    # What a killed process left can be read, even where its last record is cut short.
    mkdir cut
    cp runs/killed/events.* cut
    truncate -s -3 cut/events.*
    [ "$(board values cut | wc -l)" -gt 20 ]
    "$CAIRN" train --quiet "${long[@]}" -S run.name=killed --resume
    [ "$(ls runs/killed | grep -c tfevents)" -eq 2 ]
    board values runs/first >first
    board values runs/killed >killed
    diff first killed
    [ "$(wc -l <first)" -eq 31 ] # 9 scalars, 20 histograms, 2 pictures
}

@test "its page draws curves and pictures, and lists the runs with their parameters" {
    need_tensorboard
    command -v chromium >/dev/null || skip "no chromium: scripts/setup-dvc.sh --test installs it"
    "$CAIRN" train --quiet
    "$CAIRN" train --quiet -S run.name=second -S train.lr=0.01
    cat >visit <<'SH'
set -eu
"$python" "$board" hparams "$BOARD" >hparams.json
for tab in scalars images 'scalars&regexInput=nothing'; do
    "$python" "$board" look "$BOARD#$tab" page.png
done >marks
SH
    python=$python board=$BATS_TEST_DIRNAME/board.py board serve runs bash visit
    jq -e 'map(.run) | sort == ["first", "second"]' hparams.json
    for run in first second; do
        jq -e --arg run "$run" --slurpfile m "runs/$run/metrics.json" '.[] | select(.run == $run)
            | (.metrics["accuracy/test"] - $m[0][-1].test_acc | fabs < 1e-6)
            and .parameters["train.lr"] == (if $run == "first" then 0.001 else 0.01 end)' hparams.json
    done
    read -r -d '' -a marks <marks || true
    echo "curves, pictures, none: ${marks[*]}"
    [ "${marks[0]}" -gt 300 ]
    [ "${marks[1]}" -gt 10000 ]
    [ "${marks[2]}" -eq 0 ] # the look tells a drawn page from an empty one
}

@test "what the keys cannot take is refused" {
    for bad in enabled=perhaps every_steps=-1 every_steps=2147483648 every_epochs=0.5; do
        run "$CAIRN" train -S "tensorboard.$bad"
        [ "$status" -eq 2 ]
        [[ "$output" == *"tensorboard.${bad%=*}"* ]]
    done
    [ ! -e runs ]
}
