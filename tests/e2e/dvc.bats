#!/usr/bin/env bats
# Data, pipeline, experiments and plots with the real dvc, in a temporary git repository that holds
# these sources. The archive comes from a web server on this machine; trainings are on a few
# synthetic images. No test leaves the machine.

load older_bats
load dvc_repository

setup_file() {
    [ -x "$BATS_TEST_DIRNAME/../../.venv/bin/dvc" ] || return 0
    dvc_environment
    python3 "$BATS_TEST_DIRNAME/make_archives.py" "$shared"
    python3 "$BATS_TEST_DIRNAME/range_server.py" "$shared" "$shared/port" "$shared/log" 3>&- \
        2>"$shared/server.log" &
    echo $! >"$shared/server"
    wait_for 10 test -s "$shared/port"
    url=http://127.0.0.1:$(cat "$shared/port")/plain
    export url no_proxy=127.0.0.1
    # Not the cuda backend, which takes minutes to compile; and fast to compile rather than to run.
    make_sources "$shared/good.tar.gz" \
        'exec scripts/dvc-build-program.sh -DCAIRN_CUDA=OFF -DCMAKE_C_FLAGS_RELEASE=-O1'
    sed -i "s|https://.*#|$url/good.tar.gz#|" .dvc/config
    git commit -qam address
    dvc pull -q --allow-missing
    dvc repro -q >"$shared/repro.log" 2>&1 || cat "$shared/repro.log" >&3
    git add -A
    git commit -qm run
}

teardown_file() {
    [ -n "${shared-}" ] || return 0
    kill "$(cat "$shared/server")"
    rm -rf "$shared"
}

setup() {
    [ -n "${shared-}" ] || skip "no dvc: scripts/setup-dvc.sh --test installs it"
    cd "$shared/repository" || return
    git checkout -q -f main
}

teardown() { # whatever a failed test left running, or in the repository
    [ -n "${shared-}" ] || return 0
    ! training || kill -KILL "$pid"
    [ -n "$BATS_TEST_COMPLETED" ] || [ -n "$BATS_TEST_SKIPPED" ] || {
        cd "$shared/repository" && git checkout -q -f main && git clean -qfd && dvc checkout -q --force
    }
}

fails_with() { # PART...: the last command failed and said so
    [ "$status" -ne 0 ] || { echo "status 0: $output" && return 1; }
    for part; do
        [[ "$output" == *"$part"* ]] || { echo "'$part' is not in: $output" && return 1; }
    done
}

experiment_names() {
    dvc exp list --name-only | sort | tr '\n' ' '
}

experiments() { # how many: by git's references, which cost less to look at than dvc does
    git for-each-ref --format='%(refname)' refs/exps | grep -c '^refs/exps/[0-9a-f][0-9a-f]/' || true
}

experiments_are() { # NUMBER
    [ "$(experiments)" -eq "$1" ]
}

succeeded() { # NUMBER: of tasks in the queue
    [ "$(dvc queue status | grep -c Success)" -eq "$1" ]
}

not() {
    ! "$@"
}

training() { # a cairn trains somewhere below the repository
    pid=$(pgrep -f '^build/dvc/cairn train --run-dir runs/dvc' | while read -r p; do
        [[ $(readlink "/proc/$p/cwd") != "$shared"* ]] || echo "$p"
    done | head -n 1)
    [ -n "$pid" ]
}

@test "dvc pull on a fresh clone restores the archive from its address, by its checksum" {
    clone fresh
    rm -f dvc.lock
    : >"$shared/log"
    dvc pull data/cifar-10-binary.tar.gz.dvc
    [ "$(md5sum <data/cifar-10-binary.tar.gz)" = "$(cat "$shared/good.md5")  -" ]
    grep -q '^/plain/good.tar.gz -$' "$shared/log"
    dvc status -q data/cifar-10-binary.tar.gz.dvc
    [ -z "$(git status --porcelain -- data)" ]
    # A second one fetches nothing, and a whole pull tolerates what is not built yet.
    first=$(stat -c %i data/cifar-10-binary.tar.gz)
    run dvc pull --allow-missing
    [ "$status" -eq 0 ]
    [[ "$output" == *"Everything is up to date."* ]]
    [ "$(stat -c %i data/cifar-10-binary.tar.gz)" = "$first" ]
}

@test "an archive of another checksum is refused and not kept" {
    clone wrong
    rm -f dvc.lock
    sed -i "s|good.tar.gz#|damaged.tar.gz#|" .dvc/config
    run dvc pull data/cifar-10-binary.tar.gz.dvc
    fails_with "failed to pull" "data/cifar-10-binary.tar.gz"
    [ ! -e data/cifar-10-binary.tar.gz ]
    [ -z "$(find .dvc/cache/files -type f 2>/dev/null)" ]
}

@test "an address that does not answer is a clear failure" {
    clone away
    rm -f dvc.lock
    sed -i "s|$url|http://127.0.0.1:9|" .dvc/config
    run dvc pull data/cifar-10-binary.tar.gz.dvc
    fails_with "data/cifar-10-binary.tar.gz"
}

@test "dvc repro ran every stage, does nothing the second time, and leaves git clean" {
    grep -q 'Building Cairn' "$shared/repro.log"
    [ "$(jq -r .status runs/dvc/summary.json)" = finished ]
    run dvc repro
    [ "$status" -eq 0 ]
    [ "$(grep -c "didn't change, skipping" <<<"$output")" -eq 4 ]
    [ -z "$(git status --porcelain)" ]
    [ "$(git ls-files runs data | tr '\n' ' ')" = \
        "data/.gitignore data/cifar-10-binary.tar.gz.dvc runs/.gitignore " ]
}

@test "dvc exp run -S in the workspace and back; plain cairn train keeps to runs/<name>" {
    dvc exp run -q -n fast -S train.lr=0.003
    [ "$(jq .lr runs/dvc/summary.json)" = 0.003 ]
    [ "$(jq -r .experiment runs/dvc/summary.json)" = fast ]
    build/cairn train --quiet -S train.epochs=1 -S run.name=plain
    [ "$(jq .epochs runs/plain/summary.json)" = 1 ]
    rm -r runs/plain
    git checkout -q -f main
    dvc checkout -q
    [ "$(jq .lr runs/dvc/summary.json)" = 0.001 ]
    dvc exp apply -q fast
    [ "$(jq .lr runs/dvc/summary.json)" = 0.003 ]
    git checkout -q -f main
    dvc checkout -q
}

@test "two queue workers, in workspaces that neither build nor copy" {
    before=$(experiments)
    dvc exp run -q --queue -S 'train.lr=0.002,0.004' -S 'train.batch_size=64,128'
    dvc queue start -q -j 2
    wait_for 60 training
    workspace=$(readlink "/proc/$pid/cwd")
    [ "$workspace" != "$PWD" ]
    # Links to the cache, not copies.
    for file in "$workspace"/data/raw/cifar-10-batches-bin/*; do
        [ -L "$file" ] || [ "$(stat -c %h "$file")" -gt 1 ]
    done
    [ "$(ls "$workspace/build" "$workspace/build/dvc" | tr '\n' ' ')" = \
        "$workspace/build: dvc  $workspace/build/dvc: cairn program " ]
    wait_for 90 experiments_are $((before + 4))
    wait_for 10 succeeded 4
    [ -z "$(grep -r 'Building Cairn' .dvc/tmp/exps/run)" ]
    dvc exp show --json | jq -e '[.[] | .experiments // [] | .[].revs[].data.metrics
        | ."runs/dvc/summary.json".data | [.lr, .batch_size]] | contains([[0.002, 64], [0.002, 128],
        [0.004, 64], [0.004, 128]])'
    # Each trained what it says: the same by hand.
    name=$(dvc exp list --name-only | head -n 1)
    scripts/reproduce.py "$name" | grep -q 'the same bytes'
}

# EXECUTOR NAME: what DVC's extension for VS Code looks at while an experiment trains: the signal
# file in the repository that changes after every epoch, and then `dvc exp show --json`, by whose
# executor it knows a running experiment, with its values so far. And the files they come from.
followed() {
    signal=$PWD/.dvc/tmp/exps/run/DVCLIVE_STEP_COMPLETED
    wait_for 60 training
    workspace=$(readlink "/proc/$pid/cwd")
    wait_for 30 jq -e --arg pid "$pid" '.step >= 1 and (.pid | tostring) == $pid' "$signal"
    jq -e '.step >= 1 and .train.loss > 0 and .test.acc >= 0' "$workspace/runs/dvc/dvclive/metrics.json"
    [ "$(head -n 1 "$workspace/runs/dvc/dvclive/plots/metrics/test/acc.tsv")" = $'step\tacc' ]
    dvc exp show --json >"$BATS_TEST_TMPDIR/shown.json"
    jq -e --arg executor "$1" --arg name "$2" '[.[].experiments // [] | .[]
        | select(.revs[0].name == $name and .executor.state == "running"
            and .executor.name == $executor) | .revs[0].data.metrics
        | select(."runs/dvc/dvclive/metrics.json".data.step >= 1
            and ."runs/dvc/summary.json".data.status == "running")] | length == 1' \
        "$BATS_TEST_TMPDIR/shown.json"
    # Only DVCLive without DVC leaves this one; the extension would take it for one more run.
    [ ! -e "$PWD/.dvc/tmp/exps/run/DVCLIVE_ONLY" ]
}

@test "a temporary run is followed while it trains; killed, it leaves nothing" {
    dvc exp run -q --temp -n live -S train.epochs=9999 3>&- &
    job=$!
    followed tempdir live
    kill -KILL "$pid"
    code=0
    wait "$job" || code=$?
    [ "$code" -ne 0 ]
    [[ " $(experiment_names)" != *" live "* ]]
    [ ! -e "$workspace" ]
    dvc exp run -q --temp -n ended -S train.lr=0.01
    [ ! -e "$signal" ] # that of a run that ends by itself goes
}

@test "a queued run is followed while it trains" {
    dvc exp run -q --queue -n waiting -S train.epochs=9999
    dvc queue start -q
    followed dvc-task waiting
    [ "$workspace" != "$PWD" ]
    dvc queue kill -q waiting
    wait_for 30 not training
    dvc queue remove -q --failed
}

@test "a run in the workspace is followed while it trains, with its curves" {
    dvc exp run -q -n here -S train.epochs=9999 3>&- &
    job=$!
    followed workspace here
    [ "$workspace" = "$PWD" ]
    # As the extension asks for plots.
    dvc plots diff --json --split -o "$BATS_TEST_TMPDIR/plots" workspace 2>/dev/null \
        >"$BATS_TEST_TMPDIR/plots.json"
    jq -e '.errors == null and ([.data | .loss[0], .accuracy[0], ."learning rate"[0]
        | .anchor_definitions."<DVC_METRIC_DATA>" | length >= 1] | all)' "$BATS_TEST_TMPDIR/plots.json"
    kill -INT "$pid"
    code=0
    wait "$job" || code=$?
    [ "$code" -ne 0 ]
    [[ " $(experiment_names)" != *" here "* ]]
    git checkout -q -f main
    dvc checkout -q --force
}

@test "Ctrl-C ends dvc and is not taken for a result" {
    cp dvc.lock "$BATS_TEST_TMPDIR/lock"
    # A run long enough to be hit.
    sed -i 's/epochs: 2/epochs: 9999/' params.yaml
    # By /bin/sh, which does not replace itself by its last command as bash does.
    env --default-signal=INT SHELL=/bin/sh setsid dvc repro >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
    job=$!
    wait_for 60 training
    wait_for 30 test -e runs/dvc/model.safetensors
    kill -INT -- "-$job" # the whole group, as a terminal does
    code=0
    wait "$job" || code=$?
    [ "$code" -ne 0 ]
    grep -q 'exited with 130' "$BATS_TEST_TMPDIR/out"
    [ "$(jq -r .status runs/dvc/summary.json)" = interrupted ]
    cmp dvc.lock "$BATS_TEST_TMPDIR/lock"
    run dvc status train
    [[ "$output" == *params.yaml* ]]
    git checkout -q -f main
    dvc checkout -q --force
    [ "$(jq -r .status runs/dvc/summary.json)" = finished ]
}

@test "plots show and diff are drawn, in a browser" {
    command -v chromium >/dev/null && "$source/.venv/bin/python" -c 'import vl_convert' ||
        skip "no chromium or no Vega: scripts/setup-dvc.sh --test installs them"
    look=("$source/.venv/bin/python" "$BATS_TEST_DIRNAME/page.py")
    dvc plots show -q -o "$BATS_TEST_TMPDIR/show"
    read -r -a marks < <("${look[@]}" "$BATS_TEST_TMPDIR/show/index.html" "$BATS_TEST_TMPDIR/a.png" 4)
    echo "loss, accuracy, rate, confusion: ${marks[*]}"
    for plot in 0 1 2; do
        [ "${marks[plot]}" -gt 150 ]
    done
    [ "${marks[3]}" -gt 5000 ]
    # The page without its scripts shows that the look tells a drawn plot from none.
    read -r -a marks < <("${look[@]}" "$BATS_TEST_TMPDIR/show/index.html" "$BATS_TEST_TMPDIR/b.png" 4 \
        --without-scripts)
    [ "${marks[*]}" = "0 0 0 0" ]
    git for-each-ref refs/exps | grep -q '/ended$' ||
        dvc exp run -q --temp -n ended -S train.lr=0.01
    dvc plots diff -q -o "$BATS_TEST_TMPDIR/diff" HEAD ended
    grep -q '"rev": "ended"' "$BATS_TEST_TMPDIR/diff/index.html"
    read -r -a marks < <("${look[@]}" "$BATS_TEST_TMPDIR/diff/index.html" "$BATS_TEST_TMPDIR/c.png" 3)
    for plot in 0 1 2; do
        [ "${marks[plot]}" -gt 150 ]
    done
}

@test "summary.json says where its numbers come from, and reproduce makes them again" {
    jq -e --arg binary "$(sha256sum <build/cairn | cut -d' ' -f1)" --arg head "$(git rev-parse HEAD~)" \
        '.binary_digest == $binary and .git_revision == $head and .git_dirty == false
        and (.data_digest | length == 64) and .experiment == null and (.processor | length > 0)
        and (.device_description | length > 0)' runs/dvc/summary.json
    run scripts/reproduce.py runs/dvc
    [ "$status" -eq 0 ]
    [[ "$output" == *"the same bytes: metrics.json, model.safetensors"* ]]
    # A changed number is seen; so is another program.
    cp -rL runs/dvc "$BATS_TEST_TMPDIR/run"
    chmod -R u+w "$BATS_TEST_TMPDIR/run"
    sed -i '0,/"test_acc":[0-9.]*/s//"test_acc":0.99/' "$BATS_TEST_TMPDIR/run/metrics.json"
    run scripts/reproduce.py "$BATS_TEST_TMPDIR/run"
    [ "$status" -eq 1 ]
    [[ "$output" == *"NOT the same bytes: metrics.json"* ]]
    summary=$BATS_TEST_TMPDIR/run/summary.json
    jq '.binary_digest = "0" | .git_dirty = true' "$summary" >"$summary.new"
    mv "$summary.new" "$summary"
    run scripts/reproduce.py "$BATS_TEST_TMPDIR/run"
    [ "$status" -eq 2 ]
    fails_with "changes that were not committed" "--any-program"
    run scripts/reproduce.py --any-program "$BATS_TEST_TMPDIR/run"
    [ "$status" -eq 1 ]
    [[ "$output" == *"binary_digest differ"*NO* ]]
    run scripts/reproduce.py nothing-of-that-name
    [ "$status" -eq 2 ]
    fails_with "neither a folder nor an experiment"
}

@test "a dirty tree is said so, without regard to the parameters" {
    echo >>tests/README.md
    run build/cairn train -S train.epochs=1 --dvclive --run-dir "$BATS_TEST_TMPDIR/dirty"
    [[ "$output" == *"files differ from git revision $(git rev-parse HEAD | cut -c1-12)"* ]]
    jq -e '.git_dirty == true' "$BATS_TEST_TMPDIR/dirty/summary.json"
    git checkout -q -f main
    sed -i 's/seed: 42/seed: 43/' params.yaml
    build/cairn train --quiet -S train.epochs=1 --run-dir "$BATS_TEST_TMPDIR/clean"
    jq -e '.git_dirty == false' "$BATS_TEST_TMPDIR/clean/summary.json"
    cp params.yaml "$BATS_TEST_TMPDIR"
    cd "$BATS_TEST_TMPDIR"
    "$shared/repository/build/cairn" train --quiet -S train.epochs=1 --run-dir nowhere
    jq -e '.git_revision == null and .git_dirty == null' nowhere/summary.json
}

@test "one's own remote keeps data and runs; a fresh clone pulls them" {
    clone sender
    git commit -q --allow-empty -m clone
    scripts/setup-dvc.sh --remote "$BATS_TEST_TMPDIR/own"
    dvc cache dir --local "$shared/repository/.dvc/cache"
    dvc push -q
    clone receiver
    scripts/setup-dvc.sh --remote "$BATS_TEST_TMPDIR/own"
    : >"$shared/log"
    dvc pull -q --allow-missing
    [ ! -s "$shared/log" ] # the archive too came from there
    cmp runs/dvc/metrics.json "$shared/repository/runs/dvc/metrics.json"
    [ "$(ls data/raw/cifar-10-batches-bin | wc -l)" -eq 6 ]
    [ ! -e build/dvc/program ] # of that machine's processor
    # The hand that changes data is seen, and the data comes back.
    chmod u+w data/raw/cifar-10-batches-bin/test_batch.bin
    cp data/raw/cifar-10-batches-bin/test_batch.bin new
    printf x >>new
    mv -f new data/raw/cifar-10-batches-bin/test_batch.bin
    run dvc status data
    [[ "$output" == *"modified:"*data/raw* ]]
    dvc checkout -q --force data/raw
    cmp data/raw/cifar-10-batches-bin/test_batch.bin \
        "$shared/repository/data/raw/cifar-10-batches-bin/test_batch.bin"
}

@test "no remote, no dvc, no repository, unknown parameters: each a clear line" {
    clone bare
    run dvc push
    fails_with "no remote"
    run dvc exp run --temp -S train.lrr=1
    fails_with "train.lrr"
    cd "$shared/repository"
    run dvc exp run --temp -S +train.lrr=1
    fails_with "train.lrr" "lr"
    run env CAIRN_DVC=/nowhere/dvc scripts/dvc-experiments.sh
    [ "$status" -eq 2 ]
    fails_with "scripts/setup-dvc.sh installs it"
    mkdir -p "$BATS_TEST_TMPDIR/loose/scripts"
    cp scripts/{help.sh,setup-dvc.sh,search.py,install-deps.sh} "$BATS_TEST_TMPDIR/loose/scripts"
    cd "$BATS_TEST_TMPDIR/loose"
    run env GIT_CEILING_DIRECTORIES="$BATS_TEST_TMPDIR" scripts/setup-dvc.sh
    [ "$status" -eq 2 ]
    fails_with "is not a git repository"
    run scripts/search.py
    [ "$status" -eq 2 ]
    fails_with "scripts/setup-dvc.sh installs them"
    run scripts/setup-dvc.sh --nonsense
    [ "$status" -eq 2 ]
}

@test "the three recorded experiments in one table" {
    run scripts/dvc-experiments.sh -S data.train_limit=64
    [ "$status" -eq 0 ]
    for row in 'exp1_baseline\].*| 5 .*| 128 .*| 0.001' 'exp2_low_lr_more_epochs\].*| 10 .*| 128 .*| 0.0005' \
        'exp3_big_batch\].*| 10 .*| 256 .*| 0.001'; do
        grep -q "$row" <<<"$output"
    done
    [ -z "$(git status --porcelain)" ]
}

@test "a search finds, prunes, resumes, and applies the best" {
    cat >search.yaml <<'YAML'
study: hunt
set: {train.epochs: 12, data.train_limit: 640, data.validation: 200, data.crop_padding: 0}
space:
  train.lr: {log_uniform: [0.0000001, 0.01]}
  train.batch_size: {choice: [16]}
  model.dropout: {uniform: [0, 0.1]}
first: {train.lr: 0.001, train.batch_size: 16, model.dropout: 0}
prune: {after_trials: 1, after_epochs: 4}
YAML
    git add search.yaml
    git commit -qm space
    # Interrupted in its first trial, it goes on with another.
    env --default-signal=INT setsid scripts/search.py --trials 1 --no-apply \
        >"$BATS_TEST_TMPDIR/log" 2>&1 3>&- &
    job=$!
    wait_for 60 training
    kill -INT -- "-$job"
    code=0
    wait "$job" || code=$?
    [ "$code" -eq 130 ]
    grep -q 'the same command goes on' "$BATS_TEST_TMPDIR/log"
    run scripts/search.py --trials 1 --no-apply
    [ "$status" -eq 0 ]
    [[ "$output" == *"  1 complete"*"lr=0.001"* ]]
    # A trial that learns nothing: soon below the median of those before.
    sed -i 's/log_uniform: .*/log_uniform: [0.0000001, 0.0000002]}/' search.yaml
    run scripts/search.py --trials 2
    [ "$status" -eq 0 ]
    [[ "$output" == *"  2 pruned"* ]]
    [[ "$output" == *"best of 2: hunt-001"* ]]
    [[ " $(experiment_names)" == *" hunt-001 "* && " $(experiment_names)" != *" hunt-002 "* ]]
    [ "$(jq .epochs runs/dvc/summary.json)" = 12 ]
    jq -e '.best_val_acc > 0.4 and .val_images == 100 and .best_test_acc == null' runs/dvc/summary.json
    # The trials are done: what is set now is for the comparison on the test split alone.
    run scripts/search.py --trials 2 --compare 1 --no-apply -S train.epochs=1
    [ "$status" -eq 0 ]
    [[ "$output" == *"first    42"*"best     42"*"best   mean"* ]]
    dvc exp show --json | jq -e '[.[] | .experiments // [] | .[].revs[0]
        | select(.name == "hunt-best-42" or .name == "hunt-first-42")
        | .data | (.params."params.yaml".data.data.validation == 0)
            and (.metrics."runs/dvc/summary.json".data.final_test_acc > 0)] == [true, true]'
    for wrong in '{wide: [0, 1]}' '{uniform: [2, 1]}' '{log_uniform: [0, 1]}' '{int: [0.5, 2]}'; do
        printf 'space: {train.lr: %s}\n' "$wrong" >wrong.yaml
        run scripts/search.py --space wrong.yaml
        [ "$status" -eq 2 ]
        fails_with "wrong.yaml: train.lr"
    done
    git checkout -q -f main
    git clean -qfd
    dvc checkout -q --force
}
