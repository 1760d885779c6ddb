#!/usr/bin/env bats
# cairn train, eval and predict as people use them: what is printed where, the run folder, Ctrl-C
# and --resume, on the built-in data set and on the configured device.

load older_bats

setup() {
    cd "$BATS_TEST_TMPDIR"
    cp "$BATS_TEST_DIRNAME/../unit/reference_params.yaml" params.yaml
    small=(-S data.name=synthetic -S data.train_limit=60 -S data.test_limit=20
        -S train.epochs=2 -S train.batch_size=16 -S run.name=small)
    export OMP_WAIT_POLICY=passive
}

# Runs cairn with stdout and stderr apart, in the files out and err; the exit code in $code.
cairn() {
    code=0
    "$CAIRN" "$@" >out 2>err || code=$?
}

# The two folders hold the same run: equal files, and a checkpoint of equal tensors.
same_run() {
    for file in metrics.json model.safetensors predictions.csv confusion.csv; do
        cmp "$1/$file" "$2/$file"
    done
    cmp <(tensors "$1/checkpoint.safetensors") <(tensors "$2/checkpoint.safetensors")
}

# The bytes behind the header; its length stands in the first eight.
tensors() {
    tail -c +$((9 + $(od -A n -t u8 -N 8 "$1"))) "$1"
}

@test "the reference's params.yaml, with overrides, leaves a whole run folder" {
    cairn train "${small[@]}"
    [ "$code" -eq 0 ]
    [ "$(wc -l <out)" -eq 2 ]
    grep -Eqx 'Epoch 01 \| train loss [0-9]+\.[0-9]{4} acc [01]\.[0-9]{3} \| test loss [0-9]+\.[0-9]{4} acc [01]\.[0-9]{3}' out
    grep -q '^Epoch 02 ' out
    grep -q 'SYNTHETIC' err
    # The commands that are offered in the end are right as they stand.
    grep -A 9 -E '^total time [0-9.]+s; next:$' err | sed '1d; s/IMAGE.*/--help/; s/.*/"$CAIRN"&/; s/"  [^ ]*/" /' >next
    [ "$(wc -l <next)" -eq 3 ]
    sh -ex next
    [ -s model.onnx ]
    ! grep -q "$(printf '\033')" out err || false
    cd runs/small
    [ "$(ls | tr '\n' ' ')" = "checkpoint.previous.safetensors checkpoint.safetensors confusion.csv \
metrics.json model.safetensors params.yaml predictions.csv summary.json " ]
    jq -e 'map(keys_unsorted) | unique == [["epoch","train_loss","train_acc","test_loss","test_acc"]]' metrics.json
    jq -e 'map(.epoch) == [1, 2]' metrics.json
    jq -e '.run == "small" and .status == "finished" and .synthetic and .data == "synthetic"' summary.json
    jq -e '.seed == 42 and .parameters == 620362 and .train_images == 60 and .test_images == 20' summary.json
    jq -e --slurpfile m metrics.json '.final_test_acc == $m[0][-1].test_acc
        and .best_test_acc == ($m[0] | map(.test_acc) | max)' summary.json
    [ "$(wc -l <predictions.csv)" -eq 21 ]
    [ "$(head -1 predictions.csv)" = actual,predicted,confidence ]
    [ "$(wc -l <confusion.csv)" -eq 11 ]
    # The accuracy is that of the predictions: right ones of the best model over 20.
    right=$(awk -F, 'NR > 1 && $1 == $2' predictions.csv | wc -l)
    jq -e --argjson right "$right" '(.best_test_acc * 20 - $right) | fabs < 1e-9' summary.json
}

@test "the same seed gives the same bytes; another does not" {
    cairn train "${small[@]}" --run-dir one --quiet
    [ "$code" -eq 0 ] && [ ! -s out ] && [ ! -s err ]
    cairn train "${small[@]}" --run-dir two --quiet
    same_run one two
    cairn train "${small[@]}" -S seed=43 --run-dir three --quiet
    ! cmp -s one/metrics.json three/metrics.json || false
}

# Starts `cairn train "$@"` and sends it the signal $1 once it has begun; its code in $code.
interrupt() {
    signal=$1
    shift
    "$CAIRN" train "$@" >out 2>err &
    pid=$!
    for _ in $(seq 200); do
        grep -q '^Epoch 01' out && break
        sleep 0.05
    done
    kill -s "$signal" "$pid"
    code=0
    wait "$pid" || code=$?
}

@test "Ctrl-C and SIGTERM save the checkpoint; --resume ends with the unbroken run's bytes" {
    long=(-S data.name=synthetic -S data.train_limit=600 -S data.test_limit=20
        -S train.epochs=3 -S train.batch_size=16)
    cairn train "${long[@]}" --run-dir whole
    [ "$code" -eq 0 ]
    for signal in INT TERM; do
        interrupt "$signal" "${long[@]}" --run-dir "cut-$signal"
        [ "$code" -eq 130 ]
        grep -q -- '--resume' err
        jq -e '.status == "interrupted"' "cut-$signal/summary.json"
        [ ! -e "cut-$signal/predictions.csv" ]
        cairn train "${long[@]}" --run-dir "cut-$signal"
        [ "$code" -eq 2 ]
        grep -q '[01] of 3 epochs done.*--resume.*--overwrite' err
        cairn train "${long[@]}" --run-dir "cut-$signal" --resume
        [ "$code" -eq 0 ]
        same_run whole "cut-$signal"
        jq -e '.status == "finished"' "cut-$signal/summary.json"
    done
}

@test "a killed run resumes from its last epoch" {
    long=(-S data.name=synthetic -S data.train_limit=600 -S data.test_limit=20
        -S train.epochs=2 -S train.batch_size=16)
    cairn train "${long[@]}" --run-dir whole
    interrupt KILL "${long[@]}" --run-dir killed
    [ "$code" -eq 137 ]
    cairn train "${long[@]}" --run-dir killed --resume
    [ "$code" -eq 0 ]
    same_run whole killed
}

@test "--resume: without a run it starts, with a finished one it is done" {
    cairn train "${small[@]}" --resume
    [ "$code" -eq 0 ]
    grep -q 'no checkpoint' err
    cairn train "${small[@]}" --resume
    [ "$code" -eq 0 ] && [ ! -s out ]
    grep -q 'done already' err
    cairn train "${small[@]}" --resume --overwrite
    [ "$code" -eq 2 ]
}

@test "--resume with a run's folder reads the params.yaml that is there" {
    cairn train "${small[@]}" -S train.epochs=4 --run-dir whole --quiet
    for how in "--resume begun" "begun --resume" "--resume --run-dir begun"; do
        rm -rf begun
        cairn train "${small[@]}" --run-dir begun --quiet
        cairn train $how -S train.epochs=4 # params.yaml here names data that are missing
        [ "$code" -eq 0 ]
        grep -q 'resuming after 2 epochs' err
        same_run whole begun
        cairn train $how
        [ "$code" -eq 0 ] && [ ! -s out ]
        grep -q 'all 4 epochs are done' err
    done
    # Another one that is given counts.
    cairn train params.yaml --run-dir begun --resume
    [ "$code" -eq 2 ]
    grep -q 'now it is' err
    cairn train --resume begun --params params.yaml
    [ "$code" -eq 2 ]
    grep -q 'now it is' err
    cairn train --resume begun --run-dir whole
    [ "$code" -eq 2 ]
    grep -q 'one of the two' err
    # A folder that --run-dir names may not be there yet; one that is given alone has to be a run's.
    cairn train "${small[@]}" --resume --run-dir fresh
    [ "$code" -eq 0 ]
    grep -q 'no checkpoint in fresh' err
    mkdir empty
    for folder in empty nowhere; do
        cairn train "${small[@]}" --resume $folder
        [ "$code" -eq 2 ]
        grep -q "^cairn: $folder.*: " err
    done
    # Without --resume a folder is no params.yaml.
    cairn train begun
    [ "$code" -eq 2 ]
}

@test "a second run under one name is numbered, and the earlier one is kept" {
    cairn train "${small[@]}"
    ! grep -q 'is kept' err || false
    grep -q 'results in runs/small$' err
    kept=$(md5sum runs/small/*)
    for number in 2 3; do
        cairn train "${small[@]}" -S train.lr=0.01
        [ "$code" -eq 0 ]
        [ "$(grep -c "^runs/small holds another run, which is kept: this one goes into runs/small-$number$" err)" -eq 1 ]
        grep -q "results in runs/small-$number$" err
        jq -e --arg run "small-$number" '.run == $run' "runs/small-$number/summary.json"
        grep -q 'name: small$' "runs/small-$number/params.yaml"
    done
    cairn train "${small[@]}" -S train.epochs=3
    grep -q '^runs/small holds a run with 2 of 3 epochs done (--resume goes on with it)' err
    # The first free number, and what is no run's counts as taken.
    rm -r runs/small-2
    mkdir runs/small-2
    echo 'seed: 1' >runs/small-2/params.yaml
    rm -r runs/small-3
    cairn train "${small[@]}" --quiet
    [ "$code" -eq 0 ] && [ ! -s err ]
    [ "$(ls runs | tr '\n' ' ')" = 'small small-2 small-3 small-4 ' ]
    same_run runs/small runs/small-3
    [ "$(cat runs/small-2/params.yaml)" = 'seed: 1' ]
    [ "$(md5sum runs/small/*)" = "$kept" ]
    # What the name alone means elsewhere is the folder as named.
    cairn eval "${small[@]}" --json
    jq -e --slurpfile s runs/small/summary.json '.test_acc == $s[0].best_test_acc' out
    # A folder that was made for nothing is gone.
    cairn train "${small[@]}" --profile nowhere/trace.json
    [ "$code" -eq 2 ] && [ ! -e runs/small-5 ]
}

@test "runs that begin at once under one name get a folder each" {
    for run in 1 2 3 4; do # the first two alike to the byte
        "$CAIRN" train "${small[@]}" -S "train.lr=0.00$((run > 1 ? run : 2))" >/dev/null \
            2>"err$run" 3>&- &
        pids[run]=$!
    done
    for run in 1 2 3 4; do wait "${pids[run]}"; done
    [ "$(ls runs | tr '\n' ' ')" = 'small small-2 small-3 small-4 ' ]
    for run in 1 2 3 4; do folder[run]=$(sed -n 's/.*results in //p' "err$run"); done
    [ "$(printf '%s\n' "${folder[@]}" | sort -u | wc -l)" -eq 4 ]
    [ "$(jq -s 'map([.lr, .status])' "${folder[@]/%//summary.json}" | jq -c .)" = \
        '[[0.002,"finished"],[0.002,"finished"],[0.003,"finished"],[0.004,"finished"]]' ]
    same_run "${folder[1]}" "${folder[2]}"
}

@test "an interrupted run in a numbered folder says how to go on with it" {
    cairn train "${small[@]}" --quiet
    interrupt INT "${small[@]}" -S train.epochs=9999
    [ "$code" -eq 130 ]
    again=$(sed -n 's/.*is saved: cairn \(.*\) goes on$/\1/p' err)
    [ "$again" = 'train --resume runs/small-2' ]
    epochs=$(($(jq .final_epoch runs/small-2/summary.json) + 1))
    # shellcheck disable=SC2086 # words
    cairn $again/ -S "train.epochs=$epochs"
    [ "$code" -eq 0 ]
    jq -e '.run == "small-2" and .status == "finished"' runs/small-2/summary.json
    [ "$(ls runs | tr '\n' ' ')" = 'small small-2 ' ]
}

@test "a folder that is given is refused when it holds a run, and replaced by --overwrite" {
    cairn train "${small[@]}" --quiet --run-dir mine
    kept=$(md5sum mine/*)
    cairn train "${small[@]}" -S train.lr=0.01 --run-dir mine
    [ "$code" -eq 2 ] && [ ! -s out ]
    grep -q 'train.lr: 0.0005, now it is 0.01' err
    cairn train "${small[@]}" --run-dir mine
    [ "$code" -eq 2 ]
    grep -q 'mine: holds this run already.*--overwrite' err
    cairn train "${small[@]}" -S train.epochs=3 --run-dir mine
    [ "$code" -eq 2 ]
    grep -q 'mine: holds a run with 2 of 3 epochs done.*--resume.*--overwrite' err
    [ "$(md5sum mine/*)" = "$kept" ]
    cairn train "${small[@]}" -S train.lr=0.01 --quiet --dvclive --overwrite --run-dir mine
    [ "$code" -eq 0 ] && [ -s mine/dvclive/metrics.json ]
    # What DVC followed goes with the run that it is of.
    cairn train "${small[@]}" -S train.lr=0.01 --quiet --overwrite --run-dir mine
    [ "$code" -eq 0 ] && [ ! -e mine/dvclive ]
    # The reference's own run folders hold metrics.json alone.
    mkdir reference
    echo '[]' >reference/metrics.json
    cairn train "${small[@]}" --run-dir reference
    [ "$code" -eq 2 ]
    [ "$(cat reference/metrics.json)" = '[]' ]
}

@test "--run-dir . leaves a params.yaml of one's own as it is, even one that cairn printed" {
    cairn params "${small[@]}" --print
    mv out params.yaml
    cp params.yaml own
    for how in '' --resume; do
        # shellcheck disable=SC2086 # none or one
        cairn train --run-dir . -S train.lr=0.01 $how
        [ "$code" -eq 2 ]
        grep -q 'params.yaml: is there without a checkpoint.*--overwrite' err
        cmp params.yaml own
    done
    cairn train --run-dir . -S train.epochs=1 -S run.name=other
    [ "$code" -eq 2 ]
    cmp params.yaml own
    cairn train --quiet --run-dir . # which writes the same file
    [ "$code" -eq 0 ]
    cmp params.yaml own
}

@test "missing data end with 2, say how to get them, and leave no folder" {
    cairn train
    [ "$code" -eq 2 ] && [ ! -s out ]
    [ "$(wc -l <err)" -eq 1 ]
    grep -q 'cairn data get' err
    [ ! -e runs ]
}

@test "a loss far beyond guessing, and a warm-up longer than the run, get a line each" {
    cairn train "${small[@]}" -S train.lr=0.002
    ! grep -E 'guess|schedule.warmup' err || false
    cairn train "${small[@]}" -S optimizer.name=adam -S train.lr=1 --overwrite
    [ "$(grep -c 'loss is .*e+.* in epoch 1, after step .* a guess among the classes has 2.3; .*train.lr' err)" -eq 1 ]
    # What is no number has no sign.
    cairn train "${small[@]}" -S optimizer.name=sgd -S train.lr=20 --overwrite
    [ "$code" -eq 1 ] && grep -q 'loss is nan;' err
    cairn train "${small[@]}" -S optimizer.name=sgd -S train.lr=20 -S train.on_nan=continue --overwrite
    [ "$code" -eq 0 ] && grep -q 'loss is nan in epoch 1' err && grep -q 'train loss nan ' out
    for warmup in 8:0 9:1; do # 4 steps an epoch
        cairn train "${small[@]}" -S schedule.name=cosine -S schedule.warmup="${warmup%:*}" --overwrite
        [ "$(grep -c 'schedule.warmup: 9 steps are more than the whole run.s 8' err)" -eq "${warmup#*:}" ]
    done
    cairn train "${small[@]}" -S schedule.per=epoch -S schedule.warmup=3 --overwrite
    grep -q 'schedule.warmup: 3 epochs are more than the whole run.s 2' err
}

@test "a terminal gets a bar and a pipe none; NO_COLOR takes the colour" {
    command -v script || skip "no script(1)"
    escape=$(printf '\033')
    line="'$CAIRN' train ${small[*]} -S data.train_limit=600 --overwrite"
    TERM=xterm script -qec "$line" /dev/null >tty
    grep -q "$escape\[32m#" tty
    grep -q 'images/s' tty
    grep -q "loss [0-9.]* acc [01][.0-9]*  evaluating" tty
    grep -q "$escape\[KEpoch 02/02 | train loss" tty
    env -u TERM script -qec "$line" /dev/null >tty
    ! grep -q "$escape" tty || false
    NO_COLOR=1 TERM=xterm script -qec "$line" /dev/null >tty
    ! grep -q "$escape\[32m" tty || false
    grep -q '\[#' tty
    TERM=xterm script -qec "$line --quiet" /dev/null >tty
    [ ! -s tty ]
}

@test "a loss that is no number prints without a sign, everywhere" {
    cairn train "${small[@]}" --quiet --dvclive -S optimizer.name=sgd -S train.lr=1000 -S train.on_nan=continue
    [ "$code" -eq 0 ]
    cat out err >runs/small/said
    cairn eval --run-dir runs/small
    [ "$code" -eq 0 ]
    cat out >>runs/small/said
    grep -q 'loss nan' runs/small/said
    grep -q ',nan$' runs/small/predictions.csv
    ! grep -rail -- -nan runs/small
}

@test "eval gives the recorded numbers, of the best model" {
    cairn train "${small[@]}" --quiet
    cairn eval "${small[@]}" --json
    [ "$code" -eq 0 ]
    jq -e --slurpfile s runs/small/summary.json \
        '.test_acc == $s[0].best_test_acc and .test_loss == $s[0].best_test_loss' out
    cairn eval --run-dir runs/small
    grep -q 'test loss .* acc .*(20 images)' out
    cairn eval "${small[@]}" --model nowhere.safetensors
    [ "$code" -eq 2 ]
    grep -q 'nowhere.safetensors' err
    head -c 1000 runs/small/model.safetensors >cut.safetensors
    cairn eval "${small[@]}" --model cut.safetensors
    [ "$code" -eq 2 ]
    grep -q 'cut.safetensors' err
}

# A 40x24 BMP of one colour, blue green red.
bitmap() {
    printf 'BM\x76\x0b\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x28\0\0\0\x18\0\0\0\x01\0\x18\0\0\0\0\0\x40\x0b\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
    for _ in $(seq 960); do printf "$1"; done
}

@test "predict names the classes; bad images are named and the others done" {
    cairn train "${small[@]}" --quiet
    bitmap '\x10\x80\xf0' >a.bmp
    cp a.bmp b.bmp
    cairn predict --run-dir runs/small a.bmp
    [ "$code" -eq 0 ] && [ ! -s err ]
    grep -Eqx 'a\.bmp: texture [0-9] [01]\.[0-9]{4}' out
    echo 'not an image' >c.png
    head -c 100 a.bmp >d.bmp
    cairn predict --run-dir runs/small --top 3 a.bmp c.png d.bmp nowhere.jpg b.bmp
    [ "$code" -eq 2 ]
    [ "$(grep -c '^a.bmp: ' out)" -eq 3 ]
    [ "$(grep -c '^b.bmp: ' out)" -eq 3 ]
    for bad in c.png d.bmp nowhere.jpg; do grep -q "^cairn: $bad: " err; done
    grep -qx 'cairn: 3 of 5 images could not be read' err
    cairn predict --run-dir runs/small --json --top 99 a.bmp
    jq -e 'length == 1 and .[0].file == "a.bmp" and (.[0].predictions | length == 10)' out
    jq -e '.[0].predictions | map(.confidence) | (. == (sort | reverse)) and (add - 1 | fabs < 1e-9)' out
    cairn predict --run-dir runs/small
    [ "$code" -eq 2 ]
    cairn predict --run-dir runs/small --top 0 a.bmp
    [ "$code" -eq 2 ]
}

@test "without a usable GPU, auto says why and computes elsewhere; cuda never falls back" {
    "$CAIRN" info >info
    grep -q '^  cuda *not available: cuda:' info || skip "a GPU is here, or no cuda backend"
    cairn train "${small[@]}" --device cuda
    [ "$code" -eq 1 ] && [ ! -e runs ]
    [ "$(wc -l <err)" -eq 1 ] && grep -q '^cairn: cuda: ' err
    cairn train "${small[@]}" --device auto -S train.precision=tf32
    [ "$code" -eq 2 ]
    grep -q '^cairn: train.precision: no backend computes in tf32 here (cuda: .*); `cairn info`' err
    cairn train "${small[@]}" --device auto
    [ "$code" -eq 0 ]
    grep -Eq '^device auto: [a-z]+ computes \(cuda: ' err
}

@test "bench refuses more images a step than it takes, and says which keys make them" {
    cairn bench "${small[@]}" -S train.batch_size=8 -S train.accumulate=1000 --seconds 1
    [ "$code" -eq 2 ]
    grep -q 'train.batch_size, train.accumulate: found 8 \* 1000 images a step.*4096' err
}

@test "bench --profile writes the trace of the steps that it times by part" {
    cairn bench "${small[@]}" -S train.batch_size=2 --seconds 1 --profile nowhere/trace.json
    [ "$code" -eq 2 ]
    cairn bench "${small[@]}" -S train.batch_size=2 --seconds 1 --json --profile trace.json
    [ "$code" -eq 0 ]
    jq -e 'map(select(.name == "step")) | length == 15' trace.json
    jq -e --slurpfile bench out '[.[] | select(.name == "loss")] as $loss | ($loss | length == 15) and
        ([$bench[0].parts[] | select(.name == "loss") | 1e3 * .milliseconds][0]
            | . - ($loss | map(.dur) | sort[7]) | fabs < 0.01)' trace.json
}

@test "--profile writes a trace; a place where it cannot is refused before anything is lost" {
    cairn train "${small[@]}" --quiet
    before=$(ls -l runs/small)
    cairn train "${small[@]}" --overwrite --profile nowhere/trace.json
    [ "$code" -eq 2 ]
    grep -q '^cairn: nowhere/trace.json: ' err
    [ "$(ls -l runs/small)" = "$before" ]
    cairn train "${small[@]}" --quiet --profile trace.json --profile-steps 1
    [ "$code" -eq 0 ]
    jq -e 'map(select(.name == "step")) | length == 2' trace.json
    cairn train "${small[@]}" --profile trace.json --profile-steps 0
    [ "$code" -eq 2 ]
    cairn train "${small[@]}" --profile-steps 3
    [ "$code" -eq 2 ]
}
