#!/usr/bin/env bats
# The real program with the cuda backend as a plugin that computes on the emulator: opened, on
# record, kept by DVC's stage `build`, and compared by scripts/reproduce.py.

load ../e2e/older_bats

setup() {
    cd "$BATS_TEST_TMPDIR"
    mkdir driver
    cp "$CAIRN_NO_DRIVER" driver/libcuda.so.1
    export LD_LIBRARY_PATH=$PWD/driver OMP_WAIT_POLICY=passive
    cat >params.yaml <<'YAML'
data: {name: synthetic, dir: none, train_limit: 8, test_limit: 4}
train: {epochs: 1, batch_size: 4, lr: 0.001, threads: 1}
run: {name: r, out_dir: runs}
YAML
}

digest_of() {
    sha256sum <"$1" | cut -d' ' -f1
}

@test "a plugin that computes is on record with the program" {
    cp "$CAIRN" cairn
    run ./cairn train --device cuda
    [ "$status" -eq 1 ] # there is none beside it
    [[ $output == *libcairn_cuda.so* ]]
    cp "$CAIRN_PLUGIN" libcairn_cuda.so
    ./cairn info | grep -q Emulated
    ./cairn train --quiet --device cuda --overwrite
    jq -e --arg binary "$(digest_of cairn)" --arg plugin "$(digest_of libcairn_cuda.so)" \
        '.device == "cuda" and .binary_digest == $binary and .plugin_digest == $plugin' runs/r/summary.json
    ./cairn train --quiet --device cpu --overwrite
    jq -e '.device == "cpu" and .plugin_digest == null' runs/r/summary.json
}

@test "DVC's stages and reproduce take the plugin with the program" {
    cp -r "$BATS_TEST_DIRNAME/../../scripts" .
    printf '#!/bin/sh\n' >scripts/build.sh # it is built:
    mkdir build
    cp "$CAIRN" build/cairn
    cp "$CAIRN_PLUGIN" build/libcairn_cuda.so
    echo CAIRN_CUDA:BOOL=ON >build/CMakeCache.txt
    scripts/dvc-build-program.sh
    rm build/cairn build/libcairn_cuda.so
    plugin=build/dvc/program/libcairn_cuda.so
    scripts/dvc-run-program.sh train --quiet --device cuda
    [ "$(jq -r .plugin_digest runs/r/summary.json)" = "$(digest_of "$plugin")" ]
    scripts/reproduce.py runs/r | grep -q 'the same bytes'
    # The same program with another plugin is another program.
    echo >>"$plugin"
    run env GIT_CEILING_DIRECTORIES="$BATS_TEST_TMPDIR" scripts/reproduce.py runs/r
    [ "$status" -eq 2 ]
    [[ $output == *"not with that plugin"* ]]
    run scripts/reproduce.py --any-program runs/r
    [ "$status" -eq 0 ] # by losses, no bytes
    [[ $output == *"(plugin_digest differ)"* ]]
}
