#!/usr/bin/env bats
# The recipes of experiments/: their files, the table of scripts/compare-pytorch.sh, and whether
# PyTorch's side of it computes what Cairn does; the last where there is PyTorch, in .venv/ or by
# CAIRN_PYTHON.

load older_bats

setup() {
    cd "$BATS_TEST_TMPDIR"
    root=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
    python=${CAIRN_PYTHON:-$root/.venv/bin/python}
    out=$BATS_TEST_TMPDIR/runs
    export OMP_WAIT_POLICY=passive
    small=(-S data.name=synthetic -S data.train_limit=32 -S data.test_limit=20 -S train.epochs=1
        -S model.widths=4 -S model.hidden=8)
}

need_torch() {
    "$python" -c 'import numpy, safetensors, torch' 2>/dev/null ||
        skip "no PyTorch: $python cannot import numpy, safetensors and torch"
}

recipes() { # ARGUMENT...: stderr apart, in the file err
    "$root/scripts/compare-pytorch.sh" "$@" --out "$out" 2>err
}

@test "every recipe is a configuration, named like its file" {
    for file in "$root"/experiments/*.yaml; do
        "$CAIRN" params --print "$file" | grep -qx "  name: $(basename "$file" .yaml)"
    done
}

@test "PyTorch's side has an answer to every key" {
    "$CAIRN" params --print "$root/experiments/simple_cnn.yaml" | awk '/^[^ ].*:$/ { section = $1; sub(":", ".", section) }
        /^ / || /: / { key = $1; sub(":", "", key); print (/^ / ? section : "") key }' >keys
    [ "$(wc -l <keys)" -gt 60 ]
    while read -r key; do
        grep -qwF -e "$key" -e "\"${key#augment.}\"" "$root/scripts/pytorch_train.py" || echo "$key" >>unknown
    done <keys
    [ ! -e unknown ] || { cat unknown; false; }
}

@test "the table is of the finished runs of a recipe's own configuration" {
    recipes simple_cnn --only cairn --seeds '1 2' "${small[@]}"
    recipes simple_cnn --only cairn --seeds 3 "${small[@]}" -S train.lr=1
    mv "$out/simple_cnn-2" "$out/moved"
    # PyTorch's are made up: three accuracies, one of another rate, one of an unfinished run.
    for accuracy in 0.7 0.8 0.9; do
        "$CAIRN" params --print "$root/experiments/simple_cnn.yaml" "${small[@]}" -S seed=9 -S train.threads=1 |
            jq -Rs --argjson accuracy "$accuracy" '{run: "simple_cnn", status: "finished", params: .,
                final_test_acc: $accuracy, seconds: ($accuracy * 100)}' >"$out/$accuracy.pytorch.json"
    done
    jq '.params |= sub("batch_size: [0-9]+"; "batch_size: 1")' "$out/0.7.pytorch.json" >"$out/other.pytorch.json"
    jq '.status = "running"' "$out/0.7.pytorch.json" >"$out/half.pytorch.json"
    cat >"$out/simple_cnn.speed" <<'END'
{"setting": "", "cairn": 300, "peer": 100}
{"setting": "--compile", "cairn": 500, "peer": 170}
{"setting": "", "cairn": 420, "peer": 140}
{"setting": "--compile", "cairn": 100, "peer": null}
END
    table=$(recipes simple_cnn --only table "${small[@]}")
    mean=$(jq -s 'map(.final_test_acc) | add / 2 * 10000 | round / 10000' "$out"/{simple_cnn-1,moved}/summary.json)
    [[ $(tail -1 <<<"$table") == "| \`simple_cnn\` | $mean ± "*" (2) | 0.8 ± 0.1 (3) | "*" s | 360 | 170 | 2.12 | "* ]]
    [ "$(grep -c 'another configuration' err)" -eq 2 ]
    grep -q 'simple_cnn-3' err
    grep -q 'other.pytorch.json' err
}

@test "recipes without a run are in the table, and wrong arguments are refused" {
    recipes --only table >table
    [ "$(wc -l <table)" -eq $((2 + $(ls "$root"/experiments/*.yaml | wc -l))) ]
    grep -q '^| `resnet20` | not yet measured | not yet measured |' table
    for arguments in 'no_such_recipe' '--only all' '--seeds 1,2' '--rounds 0' '--seconds' '--what 1'; do
        code=0
        # shellcheck disable=SC2086 # words
        "$root/scripts/compare-pytorch.sh" $arguments 2>err || code=$?
        [ "$code" -eq 2 ] && [ "$(wc -l <err)" -eq 1 ]
    done
}

@test "PyTorch's rates are those of its schedules" {
    need_torch
    "$python" "$root/tests/parity/check_pytorch_train.py" schedules
}

# At lower rates than they have: over some steps of a net with normalisation a last digit becomes a
# first one.
@test "PyTorch trains and evaluates each recipe as Cairn does" {
    need_torch
    while read -r recipe settings; do
        # shellcheck disable=SC2086 # words
        "$python" "$root/tests/parity/check_pytorch_train.py" "$root/experiments/$recipe.yaml" $settings
    done <<'END'
simple_cnn
simple_cnn --bound 3e-6 -S optimizer.name=sgd -S optimizer.momentum=0.9 -S train.lr=0.2 -S optimizer.weight_decay=0.5 -S train.clip_norm=0.5 -S train.accumulate=2 -S train.batch_size=20 -S ema.decay=0.9 -S augment.tta=crops -S augment.padding=zero -S augment.flip=alternating -S augment.cutout=12
resnet20 -S train.lr=0.002
speed_cnn -S train.lr=0.02 -S model.whiten_bias_epochs=2
END
}

@test "what PyTorch's side cannot honour is refused in one line" {
    need_torch
    for key in augment.mixup=0.5 augment.rotation=5 data.name=synthetic schedule.name=plateau \
        train.precision=float64 device=reference train.epoch=1; do
        run "$python" "$root/scripts/pytorch_train.py" "$root/experiments/simple_cnn.yaml" -S "$key"
        [ "$status" -eq 2 ]
        [ "${#lines[@]}" -eq 1 ]
        [[ $output == *"${key%=*}"* ]] || [[ $key == device=* ]]
    done
}
