#!/usr/bin/env bats
# The command line as a whole, `cairn params` and `cairn info`: exit codes, and what goes to stdout
# and what to stderr.

load older_bats

setup() {
    cd "$BATS_TEST_TMPDIR"
    cp "$BATS_TEST_DIRNAME/../unit/reference_params.yaml" params.yaml
}

# Runs cairn with stdout and stderr apart, in the files out and err; the exit code in $code.
cairn() {
    code=0
    "$CAIRN" "$@" >out 2>err || code=$?
}

# The command fails as wrong usage or input: code 2, this one line on stderr, nothing on stdout.
refused() {
    [ "$code" -eq 2 ]
    [ "$(cat err)" = "cairn: $1" ]
    [ ! -s out ]
}

@test "help of cairn and of every command goes to stdout with code 0" {
    cairn --help
    [ "$code" -eq 0 ] && [ ! -s err ]
    grep -q '^usage: cairn COMMAND' out
    cp out help
    commands=$(sed -n '/^commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' out)
    [ "$(echo "$commands" | wc -l)" -ge 12 ]
    for command in $commands; do
        for flag in --help -h; do
            cairn "$command" "$flag"
            [ "$code" -eq 0 ] && [ ! -s err ]
            grep -q "^usage: cairn $command" out
        done
        cp out help_of_command
        cairn help "$command"
        [ "$code" -eq 0 ] && cmp out help_of_command
    done
    cairn help
    [ "$code" -eq 0 ] && cmp out help
    cairn help tarin
    refused "unknown command 'tarin': did you mean 'train'? \`cairn help\` lists the commands"
    cairn help train eval
    refused "unexpected 'eval'; see \`cairn help --help\`"
}

@test "no command: the help on stderr and code 2" {
    cairn
    [ "$code" -eq 2 ] && [ ! -s out ]
    grep -q '^usage: cairn' err
}

@test "unknown commands and options are refused" {
    cairn tarin
    refused "unknown command 'tarin': did you mean 'train'? \`cairn help\` lists the commands"
    cairn frobnicate
    refused "unknown command 'frobnicate'; \`cairn help\` lists the commands"
    for command in train eval predict gradcheck bench data params info; do
        cairn "$command" --no-such-option
        [ "$code" -eq 2 ] && [ ! -s out ]
        grep -q -- '--no-such-option' err
    done
}

@test "what was meant by an argument is said" {
    cairn train --epochs 3
    refused "unknown option '--epochs'; keys of the configuration go with -S: -S train.epochs=3"
    cairn train --batch-size=64
    refused "unknown option '--batch-size'; keys of the configuration go with -S: -S train.batch_size=64"
    cairn eval --optimizer.weight_decay --quiet
    refused "unknown option '--optimizer.weight_decay'; keys of the configuration go with -S: -S optimizer.weight_decay=VALUE"
    cairn bench --model resnet20
    refused "unknown option '--model'; keys of the configuration go with -S: -S model.name=resnet20"
    cairn train --name x # of which section?
    refused "unknown option '--name'; see \`cairn train --help\`"
    cairn info --epochs 3 # it reads no configuration
    refused "unknown option '--epochs'; see \`cairn info --help\`"
    cairn train -S model.widths=16 32 64
    refused "-S model.widths=16: the shell took the blank for an argument's end; quote it: -S 'model.widths=16 32 64'"
    cairn train --quiet -S schedule.milestones=[3, 4] --resume
    refused "-S schedule.milestones=[3,: the shell took the blank for an argument's end; quote it: -S 'schedule.milestones=[3, 4]'"
    cairn data show 0 --out x.y.JPG # before it looks for data
    refused "--out: 'x.y.JPG': only PNG is written; write x.y.png"
}

@test "a run folder is one to eval and export, with --run-dir or without" {
    cairn train --quiet -S data.name=synthetic -S data.train_limit=8 -S data.test_limit=2 -S train.batch_size=8 \
        -S train.epochs=1 -S 'model.widths=[1]' -S run.name=small -S device=reference
    [ "$code" -eq 0 ]
    rm params.yaml
    cairn eval --run-dir runs/small
    [ "$code" -eq 0 ]
    cp out with
    cairn eval runs/small
    [ "$code" -eq 0 ] && cmp with out
    cairn export runs/small --out with.safetensors
    cairn export --run-dir runs/small --out out.safetensors
    [ "$code" -eq 0 ] && cmp with.safetensors out.safetensors
    cairn eval runs/small --run-dir runs/small
    [ "$code" -eq 2 ]
    cairn export runs/small --run-dir runs/small --out out.safetensors
    [ "$code" -eq 2 ]
}

@test "version and --version print one line" {
    for argument in version --version; do
        cairn "$argument"
        [ "$code" -eq 0 ] && [ ! -s err ]
        [ "$(wc -l <out)" -eq 1 ]
        grep -Eqx 'cairn [0-9]+\.[0-9]+\.[0-9]+' out
    done
    cairn version 1
    refused "unexpected '1'; see \`cairn version --help\`"
}

@test "params lists every key with its default" {
    cairn params
    [ "$code" -eq 0 ] && [ ! -s err ]
    grep -Eq '^seed +42 +a whole number from 0 to 18446744073709551615$' out
    grep -Eq '^train\.lr +\(required\) +a number above 0, at most 1000$' out
    cairn params --markdown
    [ "$code" -eq 0 ]
    [ "$(grep -c '^| `' out)" -eq "$("$CAIRN" params | grep -c '^[a-z]')" ]
    cairn params --choices
    [ "$code" -eq 0 ]
    [ "$(cut -d' ' -f1 out)" = "$("$CAIRN" params | sed -n 's/^\([a-z][^ ]*\).*/\1/p')" ]
    grep -qx 'train.lr' out
    grep -qx 'data.resize stretch crop' out
}

@test "params --print gives a file that prints itself" {
    cairn params --print
    [ "$code" -eq 0 ] && [ ! -s err ]
    grep -qx '  lr: 0.0005' out
    grep -qx 'device: auto' out
    cp out resolved.yaml
    cairn params --print resolved.yaml
    cmp out resolved.yaml
    cairn params --print --params resolved.yaml
    cmp out resolved.yaml
}

@test "params --print applies -S in order, and --device" {
    cairn params --print -S train.epochs=3 params.yaml -S train.epochs=4 --device cuda:1
    [ "$code" -eq 0 ]
    grep -qx '  epochs: 4' out
    grep -qx 'device: "cuda:1"' out
}

@test "wrong configurations are refused with file, line, column and key" {
    sed -i 's/lr: 0.0005/lr: fast/' params.yaml
    cairn params --print
    refused 'params.yaml:10:7: train.lr: found fast; it must be a number above 0, at most 1000'
    cairn params --print -S train.lr=1
    refused 'params.yaml:10:7: train.lr: found fast; it must be a number above 0, at most 1000'
    sed -i 's/lr: fast/lrr: 0.1/' params.yaml
    cairn params --print
    refused 'params.yaml:10:3: train.lrr: unknown key; did you mean train.lr?'
    sed -i '/lrr/d' params.yaml
    cairn params --print
    refused 'params.yaml: missing train.lr; add to the file or give -S key=value'
    cairn params --print -S train.lr=1e-3
    [ "$code" -eq 0 ]
}

@test "params --plot-lr draws the rate's way; plateau's is not known before" {
    cp "$BATS_TEST_DIRNAME/../unit/reference_params.yaml" params.yaml
    run "$CAIRN" params --plot-lr -S schedule.name=linear -S train.epochs=2
    [ "$status" -eq 0 ]
    [ "${#lines[@]}" -eq 15 ]
    [[ ${lines[0]} == "    0.0005 |**"* ]]
    [[ ${lines[12]} =~ ^" "+"0 |"" "{60,}"*"+$ ]]
    [[ ${lines[14]} == *"2 epochs of 391 steps" ]]
    run "$CAIRN" params --plot-lr -S schedule.name=linear -S train.accumulate=4
    [[ ${lines[14]} == *"10 epochs of 98 steps" ]]
    run "$CAIRN" params --plot-lr -S schedule.name=plateau
    [ "$status" -eq 2 ]
    [[ $output == *"depend on the test losses to come"* ]]
}

@test "wrong arguments of params are refused" {
    cairn params --print -S train.lr=abc
    refused '-S train.lr=abc: found abc; it must be a number above 0, at most 1000'
    cairn params --print --device gpu
    refused '-S device=gpu: found gpu; write cuda'
    cairn params --print none.yaml
    refused 'none.yaml: no such file; name a configuration with --params FILE, or write one (`cairn params` lists the keys)'
    cairn params --print a.yaml b.yaml
    refused 'params: more than one file; see `cairn params --help`'
    cairn params params.yaml
    refused 'params: a file, -S and --device go with --print or --plot-lr; see `cairn params --help`'
    cairn params --print --markdown
    refused 'params: --print, --plot-lr, --markdown and --choices exclude each other; see `cairn params --help`'
    cairn params --print -S
    [ "$code" -eq 2 ]
}

@test "info names version, backends and libraries" {
    cairn info
    [ "$code" -eq 0 ] && [ ! -s err ]
    [ "$(head -1 out)" = "$("$CAIRN" --version)" ]
    grep -Eq '^  reference .*float32, float64$' out
    grep -q 'libyaml [0-9]' out
    cairn info extra
    refused "unexpected 'extra'; see \`cairn info --help\`"
}

@test "info --json is one object that says the same" {
    command -v jq >/dev/null || skip "needs jq"
    cairn info --json
    [ "$code" -eq 0 ]
    jq -e '.backends[] | select(.name == "reference")
           | .available and .precisions == ["float32", "float64"]' out
    jq -e '.libraries | has("libyaml") and has("cJSON") and has("OpenSSL")' out
    jq -e '.threads >= 1' out
}

@test "one of anything is one, in every message" {
    one=(-S data.name=synthetic -S data.train_limit=1 -S data.test_limit=1 -S train.batch_size=1
        -S train.epochs=1 -S train.threads=1 -S 'model.widths=[1]' -S run.name=one -S device=reference)
    cairn params --plot-lr "${one[@]}"
    cat out >said
    cairn train "${one[@]}"
    cat err >>said
    cairn train "${one[@]}" --resume
    cat err >>said
    cairn eval "${one[@]}"
    cat out >>said
    cairn predict --run-dir runs/one params.yaml
    cat err >>said
    cairn data check "${one[@]}"
    cat out >>said
    cairn bench "${one[@]}" --seconds 1
    cat out >>said
    for words in '1 epoch of 1 step$' ', 1 thread; synthetic, 1 image$' '^1 epoch is done already$' \
        '(1 image)$' '1 of 1 image could' ', 1 thread$'; do
        grep -q "$words" said || { echo "no '$words' in:"; cat said; return 1; }
    done
    ! grep -E '(^|[^0-9.])1 [a-z]+s( |,|;|:|\)|$)' said
}

# The file is laid out as Python's json does, and whole numbers are whole.
as_by_python() {
    python3 - "$1" <<'EOF'
import json, sys
text = open(sys.argv[1], encoding="utf-8").read()
assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n", text
EOF
}

@test "JSON for readers is laid out as by Python" {
    cairn train --quiet --dvclive -S data.name=synthetic -S data.train_limit=8 -S data.test_limit=2 \
        -S train.batch_size=8 -S train.epochs=10 -S 'model.widths=[1]' -S run.name=small -S device=reference
    [ "$code" -eq 0 ]
    grep -qx '  "final_epoch": 10,' runs/small/summary.json
    cairn info --json
    [ "$code" -eq 0 ]
    cp out info.json
    cairn data show 0 --out a.png --params runs/small/params.yaml
    cairn predict --run-dir runs/small --json a.png
    [ "$code" -eq 0 ]
    for file in info.json out runs/small/summary.json runs/small/dvclive/metrics.json; do
        as_by_python "$file"
    done
}

@test "model lists the networks, shows one as configured, and refuses what is none" {
    cairn model
    [ "$code" -eq 0 ] && [ ! -s err ]
    grep -qx "simple_cnn  *blocks of convolutions.*" out && [ "$(wc -l <out)" -ge 4 ]
    for model in $(cut -d" " -f1 out); do
        cairn model "$model"
        [ "$code" -eq 0 ] && [ ! -s err ]
        grep -q "^$model, for images of 3x32x32 and 10 classes" out
    done
    cairn model resnet20
    grep -q '^layer2.0.add  *add  *32x16x16 .*layer2.0.downsample.1 + layer2.0.bn2$' out
    grep -q "; values, gradients, Adam's two moments 4.2 MiB; outputs in float32" out
    grep -q '^272474 parameters are trained, 1568 more values are kept' out
    cairn model simple_cnn -S 'model.widths=8 16' -S model.depth=2 -S model.hidden=32
    grep -q '^features.8  *maxpool  *2x2/2  *16x8x8 ' out && false
    grep -q '^features.9  *maxpool  *2x2/2  *16x8x8 ' out
    grep -q '^classifier.1  *linear  *32  *32800 ' out
    cairn model simple_cnn -S optimizer.name=sgd
    grep -q '; values, gradients 4.7 MiB; ' out
    cairn model simple_cnn -S optimizer.name=sgd -S optimizer.momentum=0.9 -S train.accumulate=2 \
        -S ema.decay=0.9
    grep -q "; values, gradients, SGD's momentum, their sum over a step, the values' average 11.8 MiB; " out
    cairn model resnet21
    [ "$code" -eq 2 ] && grep -q 'it must be simple_cnn, resnet20, resnet56, resnet18, wideresnet-16-4 or speed_cnn' err
    cairn model resnet20 resnet18
    refused "unexpected 'resnet18'; see \`cairn model --help\`"
    cairn model simple_cnn -S model.widths=0
    [ "$code" -eq 2 ] && grep -q 'model.widths=0: found 0; it must be default, or a list of one to eight numbers' err
}
