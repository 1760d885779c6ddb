#!/usr/bin/env bats
# A short training on CIFAR-10 itself, from the archive to the run folder.

load older_bats

@test "an epoch on 5,000 images of CIFAR-10 learns" {
    here=$BATS_TEST_DIRNAME/../../data/raw # as scripts/train.sh leaves it
    cd "$BATS_TEST_TMPDIR"
    cat >params.yaml <<'YAML'
data: {dir: raw, train_limit: 5000, test_limit: 2000}
train: {epochs: 1, batch_size: 64, lr: 0.001}
run: {name: short}
YAML
    if [ -z "${CAIRN_DATA_FROM-}" ]; then
        "$CAIRN" data check --dir "$here" ||
            skip "CAIRN_DATA_FROM names no cifar-10-binary.tar.gz, and data/raw has no CIFAR-10"
        ln -s "$here" raw
        trains
        return
    fi
    checks=()
    [ -z "${CAIRN_DATA_MD5-}" ] || checks+=(--md5 "$CAIRN_DATA_MD5")
    [ -z "${CAIRN_DATA_SHA256-}" ] || checks+=(--sha256 "$CAIRN_DATA_SHA256")
    "$CAIRN" data get --quiet --from "$CAIRN_DATA_FROM" "${checks[@]}"
    trains
}

trains() {
    "$CAIRN" train
    [ "$(jq -r .data runs/short/summary.json)" = cifar10 ]
    # Chance is 0.1.
    jq -e '.[0].test_acc > 0.2' runs/short/metrics.json
}
