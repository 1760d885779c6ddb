#!/usr/bin/env bash
# Looks for data races: builds with ThreadSanitizer, runs the tests of what uses threads, and short
# trainings on three of them. Any report fails it.
#
#   scripts/races.sh [CTEST OPTION]...
#
# By clang, whose OpenMP tells ThreadSanitizer where threads meet, through Archer (libarcher.so, of
# libomp-dev). Only what is compiled here is looked into: what oneDNN and the other libraries do
# among themselves would all be reported, since they do not say how they synchronise.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/help.sh"
. "$(dirname "${BASH_SOURCE[0]}")/children.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

scripts/install-deps.sh build test check || exit
# A test's child, forked beside OpenMP's threads, starts its own.
export TSAN_OPTIONS=ignore_noninstrumented_modules=1:die_after_fork=0 OMP_WAIT_POLICY=passive
export ARCHER_OPTIONS=verbose=1
status=0
CAIRN_PRESET=tsan scripts/test.sh -L '^(unit|gradient|parity)$' "$@" || status=1

temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cairn=$PWD/build-tsan/cairn
cat >"$temporary/params.yaml" <<'YAML'
data: {name: synthetic, dir: none, train_limit: 96, test_limit: 40}
train: {epochs: 1, batch_size: 32, lr: 0.001, threads: 3, label_smoothing: 0.1, clip_norm: 1}
optimizer: {weight_decay: 0.01}
ema: {decay: 0.9}
augment: {flip: random, cutout: 8, brightness: 0.2, mixup: 0.2}
run: {name: x}
YAML
runs() { # TITLE COMMAND...: clean, and seen by Archer
    local title=$1 code=0
    shift
    "$@" >"$temporary/out" 2>"$temporary/err" || code=$?
    if [ "$code" -eq 0 ] && grep -q '^Archer detected' "$temporary/out" "$temporary/err"; then
        echo "clean: $title"
        return
    fi
    echo "FAILED with $code: $title"
    head -60 "$temporary/err"
    status=1
}
cd "$temporary" || exit
for device in reference cpu; do
    for model in simple_cnn resnet20; do
        runs "train $model on $device" "$cairn" train --device "$device" -S "model.name=$model" \
            -S "run.name=$device-$model" -S tensorboard.enabled=true
    done
    runs "eval on $device" "$cairn" eval --device "$device" --run-dir "runs/$device-simple_cnn"
done
runs "train simple_cnn on cpu in bf16" "$cairn" train --device cpu -S train.precision=bf16 \
    -S run.name=bf16
exit "$status"
