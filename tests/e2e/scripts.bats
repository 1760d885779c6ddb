#!/usr/bin/env bats
# scripts/train.sh with the built program in a folder of its own, and scripts/install-deps.sh on
# systems that are told to it.

load older_bats

setup() {
    cd "$BATS_TEST_TMPDIR"
    root=$BATS_TEST_TMPDIR/repository
    mkdir -p "$root/build" bin
    cp -r "$BATS_TEST_DIRNAME/../../scripts" "$root"
    ln -s "$CAIRN" "$root/build/cairn"
    printf '#!/bin/sh\n' >"$root/scripts/build.sh" # it is built
    cat >"$root/params.yaml" <<'YAML'
data: {dir: data/raw, train_limit: 64, test_limit: 32}
train: {epochs: 1, batch_size: 32, lr: 0.001, threads: 1}
run: {name: first, out_dir: runs}
YAML
    unset CAIRN_DATA_FROM CAIRN_DATA_MD5 CAIRN_DATA_SHA256
    # No network: nothing listens there.
    export http_proxy=http://127.0.0.1:1 https_proxy=http://127.0.0.1:1 no_proxy=
}

@test "train.sh without data and network trains on synthetic images under another run name" {
    run "$root/scripts/train.sh"
    [ "$status" -eq 0 ]
    [[ $output == *"training on the built-in data set"* ]]
    [ -d "$root/runs/first_synthetic" ] && [ ! -e "$root/runs/first" ]
    [ "$(jq -r .run "$root/runs/first_synthetic/summary.json")" = first_synthetic ]
}

@test "train.sh keeps a run name that needs quotes" {
    run "$root/scripts/train.sh" -S "run.name='12'"
    [ "$status" -eq 0 ]
    [ -d "$root/runs/12_synthetic" ]
}

@test "train.sh downloads nothing where the configuration says synthetic" {
    run "$root/scripts/train.sh" -S data.name=synthetic --quiet
    [ "$status" -eq 0 ]
    [[ $output != *download* ]]
    [ -d "$root/runs/first" ]
}

@test "train.sh stops at a wrong checksum" {
    echo "not the archive" >archive.tar.gz
    CAIRN_DATA_FROM=archive.tar.gz CAIRN_DATA_MD5=00000000000000000000000000000000 \
        run "$root/scripts/train.sh"
    [ "$status" -eq 2 ]
    [[ $output == *"wrong checksum"* ]]
    [ ! -e "$root/runs" ]
}

@test "train.sh stops when a source that was named cannot be reached" {
    CAIRN_DATA_FROM=http://127.0.0.1:1/archive.tar.gz \
        CAIRN_DATA_MD5=00000000000000000000000000000000 run "$root/scripts/train.sh"
    [ "$status" -eq 1 ]
    [ ! -e "$root/runs" ]
}

@test "train.sh sees files and folders from where it was called" {
    sed 's/name: first/name: own/' "$root/params.yaml" >own.yaml
    run "$root/scripts/train.sh" own.yaml -S data.name=synthetic --run-dir here
    [ "$status" -eq 0 ]
    [ "$(jq -r .run here/summary.json)" = own ]
    run "$root/scripts/train.sh" --params=own.yaml -S data.name=synthetic --run-dir=there
    [ "$status" -eq 0 ]
    [ -e there/summary.json ]
}

@test "train.sh passes on the exit code and the message of a wrong configuration" {
    run "$root/scripts/train.sh" -S train.epoch=1
    [ "$status" -eq 2 ]
    [[ $output == *"did you mean train.epochs"* ]]
}

# A PATH with these commands alone, and a dpkg-query that knows no package.
only_commands() {
    for command in bash env cut grep cat id mktemp rm "$@"; do
        ln -sf "$(command -v "$command")" bin/
    done
    printf '#!/bin/sh\nexit 1\n' >bin/dpkg-query
    chmod +x bin/dpkg-query
}

@test "install-deps.sh names what is missing on a system that it does not know" {
    only_commands jq
    printf 'ID=fedora\nPRETTY_NAME="Fedora Linux"\n' >os-release
    CAIRN_OS_RELEASE=os-release PATH=$PWD/bin run "$root/scripts/install-deps.sh" test
    [ "$status" -eq 2 ]
    [[ $output == *"command bats"* ]]
    [[ $output != *"command jq"* ]]
}

@test "install-deps.sh without root and sudo names the line to run" {
    only_commands jq
    printf 'ID=debian\n' >os-release
    printf '#!/bin/sh\n' >bin/apt-get
    rm bin/id
    printf '#!/bin/sh\necho 1000\n' >bin/id
    chmod +x bin/id bin/apt-get
    CAIRN_OS_RELEASE=os-release PATH=$PWD/bin run "$root/scripts/install-deps.sh" test
    [ "$status" -eq 2 ]
    [[ $output == *"apt-get install --no-install-recommends libcmocka-dev g++ bats python3 bsdutils"* ]]
}

@test "install-deps.sh says nothing when nothing is missing" {
    run "$root/scripts/install-deps.sh" test
    [ "$status" -eq 0 ]
    [ -z "$output" ]
}
