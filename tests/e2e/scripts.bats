#!/usr/bin/env bats
# Every script's --help and old name; scripts/train.sh with the built program in a folder of its
# own, scripts/install-deps.sh on systems that are told to it, and scripts/bench-pytorch.sh and
# gpu-check.sh with stand-ins for all that they call.

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

# Every script that a person runs, the real build.sh too.
scripts() {
    cp "$BATS_TEST_DIRNAME/../../scripts/build.sh" "$root/scripts"
    find "$root/scripts" -type f -executable -printf '%f\n' | sort
}

# " NAME NAME ... ", of the scripts that only lead to others.
old_names() {
    echo " $(cd "$root/scripts" && grep -l 'The old name of scripts/' -- * | tr '\n' ' ')"
}

@test "--help says how every script is called, and changes nothing" {
    list=$(scripts)
    before=$(find . -type f -exec sha256sum {} +)
    for script in $list; do
        for option in --help -h; do
            run env CAIRN_OS_RELEASE=/dev/null "$root/scripts/$script" $option
            [ "$status" -eq 0 ]
            [[ $output == *"scripts/${script}"* ]] || { echo "$script $option: $output" && false; }
            [[ $output != *Traceback* ]]
        done
    done
    [ "$(find . -type f -exec sha256sum {} +)" = "$before" ]
}

@test "a script's name ends as its language's do, and old names lead to the new" {
    for script in $(scripts); do
        case $script in
        *.sh) head -n 1 "$root/scripts/$script" | grep -q bash ;;
        *.py) head -n 1 "$root/scripts/$script" | grep -q python3 ;;
        *) [[ $(old_names) == *" $script "* ]] ;;
        esac
    done
    set -- $(old_names)
    [ $# -eq 8 ]
    for script; do
        new=$(sed -n 's/.*The old name of scripts\/\([a-z_.-]*\);.*/\1/p' "$root/scripts/$script")
        printf '#!/bin/bash\nprintf "<%%s>" "$@" && exit 3\n' >"$root/scripts/$new"
        [[ $new != *.py ]] || printf '#!/usr/bin/env python3\nimport sys\nprint(sys.argv[1:])\nsys.exit(3)\n' >"$root/scripts/$new"
        code=0
        out=$("$root/scripts/$script" "a b" --c 2>err) || code=$?
        [ "$code" -eq 3 ]
        [[ $out == *"a b"*"--c"* ]]
        [ "$(cat err)" = "scripts/$script is now scripts/$new" ]
    done
}

# LINES: a function of C of so many between its braces.
function_of() {
    printf 'static void f(int a,\n              int b) {\n'
    yes '    a += b;' | head -n "$1"
    printf '}\n'
}

@test "limits.py names what is too long or too wide, and nothing else" {
    cd "$root"
    git init -q
    wide=$(printf '%098d' 0) # with the sign and blank of a comment as wide as can be
    mkdir -p docs
    { function_of 60; yes '' | head -n 437; } >right.c
    { printf '#!/bin/bash\n# %s\nf() {\n' "$wide"; yes : | head -n 60; echo '}'; } >right
    printf 'def f():\n    """%s."""\n' "${wide:9}" >right.py
    scripts/limits.py
    { function_of 61; yes '' | head -n 437; } >wrong.c
    { printf '#!/usr/bin/env bash\n# %s.\nf() {\n' "$wide"; yes : | head -n 61; echo '}'; } >wrong
    printf 'def f():\n    """%s."""\n' "${wide:8}" >wrong.py
    { echo 'def f():'; yes '    a = 1' | head -n 61; } >wrong2.py
    run scripts/limits.py
    [ "$status" -eq 1 ]
    [ "$output" = "wrong:2: prose of 101 columns; 100 at most
wrong:3: f(): 61 lines; 60 at most
wrong.c:1: 501 lines; 500 at most
wrong.c:1: static void f(int a,: 61 lines; 60 at most
wrong.py:2: prose of 101 columns; 100 at most
wrong2.py:1: f: 61 lines; 60 at most" ]
}

@test "build.sh says what was found and how far it is, and its log only when it fails" {
    cp "$BATS_TEST_DIRNAME/../../scripts/build.sh" "$root/scripts"
    printf '#!/bin/sh\n' >"$root/scripts/install-deps.sh"
    stand_in cmake <<'SH'
case $1 in
--preset) printf -- '-- The C compiler\n-- cairn: with oneDNN\n' ;;
*) printf '[1/2] Building x\n[2/2] Linking y\n' && exit "${FAILS:-0}" ;;
esac
SH
    export PATH=$PWD/bin:$PATH
    run "$root/scripts/build.sh"
    [ "$status" -eq 0 ]
    [ "$output" = $'Building Cairn (release) in build/\n    with oneDNN' ]
    run script -qec "$root/scripts/build.sh" /dev/null
    [[ $output == *$'\r1 of 2 steps\r2 of 2 steps\r'* ]]
    FAILS=1 run "$root/scripts/build.sh"
    [ "$status" -eq 1 ]
    [[ $output == *"The C compiler"*"[2/2] Linking y"*"the build failed"* ]]
}

@test "what was skipped is listed by its reason, with what would run it" {
    unset CAIRN_PRESET
    mkdir -p Testing/Temporary
    cat >Testing/Temporary/LastTest.log <<'LOG'
Start testing: now
1/3 Testing: e2e_docs
ok 1 runs
ok 7 zsh reads it # skip no zsh: apt-get install zsh installs it
ok 8 so does it # skip no zsh: apt-get install zsh installs it
2/3 Testing: gpu_test_ops
skipped: cuda: no driver
skipped: cuda: no driver
3/3 Testing: test_fine
1 test passed
LOG
    [ "$("$BATS_TEST_DIRNAME/../skipped.py" .)" = "
Skipped, why, and what runs them:
* no zsh: apt-get install zsh installs it
    e2e_docs: zsh reads it
    e2e_docs: so does it
  apt-get install zsh && scripts/test.sh -R '^(e2e_docs)$'
* cuda: no driver
    gpu_test_ops
  on a machine with a GPU: scripts/test.sh -R '^(gpu_test_ops)$'" ]
    : >Testing/Temporary/LastTest.log
    [ -z "$("$BATS_TEST_DIRNAME/../skipped.py" .)" ]
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
    for command in bash dirname env cut grep cat id mktemp rm "$@"; do
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

# NAME: a command of that name, from standard input, which comes first in PATH.
stand_in() {
    { echo '#!/bin/bash'; cat; } >"bin/$1"
    chmod +x "bin/$1"
}

# In the repository a program that is twice as fast as PyTorch and fails where FAILS says; and a
# Python whose PyTorch takes SLOW seconds for a setting.
stand_in_for_both() {
    rm "$root/build/cairn"
    stand_in cairn <<'SH'
case "$1 $*" in
*"train.precision=${FAILS-none}"*) echo "cairn: no dropout of bf16" >&2 && exit 1 ;;
bench*--json*)
    echo '{"images_per_second": 1000, "share_of_peak": 0.25, "launches": 30}'
    ;;
train*)
    while [ "$1" != --run-dir ]; do shift; done
    mkdir -p "$2"
    jq -nc '[range(10) | {train_loss: 2}]' >"$2/metrics.json"
    echo '{"final_test_acc": 0.7, "seconds": 5, "final_epoch": 5, "train_images_per_second": 9}' >"$2/summary.json"
    ;;
info*) printf '  cuda  available\n        one GPU\n  cpu   %s\n' "${PRECISIONS-float32, bf16}" ;;
esac
SH
    mv bin/cairn "$root/build/cairn"
    stand_in python <<'SH'
[[ $* != *pytorch_simple_cnn.py* ]] || { sleep "${SLOW-0}" && echo '{"images_per_second": 500}'; }
SH
    export CAIRN_PYTHON=$PWD/bin/python
    printf '#!/bin/sh\nexit 2\n' >"$root/scripts/install-deps.sh" # nothing can be installed
}

@test "bench-pytorch.sh goes on where a setting of Cairn's fails, and tells" {
    stand_in_for_both
    FAILS=bf16 run "$root/scripts/bench-pytorch.sh" --built --device cuda --rounds 1 --seconds 1
    [ "$status" -eq 1 ]
    [[ $output == *"round 1/1, bf16, PyTorch autocast: 500; Cairn: failed"* ]]
    [[ $output == *"| bf16 | images/s | Cairn / PyTorch |"$'\n'"| --- | ---: | ---: |"$'\n'"| Cairn | failed | |"* ]]
    [[ $output == *"| PyTorch, autocast | 500 |  |"* ]]
    [[ $output == *"tf32: 2 times PyTorch at its best"* ]]
    [[ $output != *"bf16: "*"times"* ]]
    run "$root/scripts/bench-pytorch.sh" --built --rounds 2 --seconds 1
    [ "$status" -eq 0 ]
    [[ $output == *"bf16: 2 times PyTorch by default"* ]]
}

@test "bench-pytorch.sh leaves bf16 out where the processor has no instructions for it" {
    stand_in_for_both
    PRECISIONS=float32 run "$root/scripts/bench-pytorch.sh" --built --rounds 1 --seconds 1
    [ "$status" -eq 0 ]
    [[ $output == *"this processor does not compute in bf16, which is left out"* ]]
    [[ $output == *"float32: 2 times PyTorch by default"* ]]
    [[ $output != *"bf16 |"* ]]
}

@test "bench-pytorch.sh shows what it has when its time is over" {
    stand_in_for_both
    SLOW=6 run "$root/scripts/bench-pytorch.sh" --built --device cuda --rounds 1 --seconds 1 --limit 12
    [ "$status" -eq 0 ]
    [[ $output == *"| PyTorch, default | 500 | 2 |"* ]]
    [[ $output == *"| PyTorch, the same, max-autotune | no time left | |"* ]]
    [[ $output == *"| Cairn | no time left | |"* ]]
}

# What gpu-check.sh calls besides; compute-sanitizer writes down how.
stand_in_for_tools() {
    stand_in_for_both
    export CALLS=$PWD/calls PATH=$PWD/bin:$PATH
    cp -r "$BATS_TEST_DIRNAME/../../cuda" "$root"
    stand_in cmake <<<'echo "cmake $*" >>"$CALLS"'
    stand_in ctest <<'SH'
sleep "${SLOW_TESTS-0}"
echo "100% tests passed, 0 tests failed out of 9"
SH
    stand_in compute-sanitizer <<<'echo "compute-sanitizer $*" >>"$CALLS"'
}

# SIGNAL CODE: ends bench-pytorch.sh once the stand-in `bench` runs, and sees it gone.
ends_with() {
    local script code=0
    rm -f process
    "$root/scripts/bench-pytorch.sh" --built --device cuda 3>&- 2>/dev/null >&2 &
    script=$!
    while [ ! -s process ]; do sleep 0.05; done
    grep -q '^State:.[^ZX]' "/proc/$(cat process)/status"
    kill "-$1" "$script"
    wait "$script" || code=$?
    [ "$code" -eq "$2" ]
    [ -z "$(grep -s '^State:.[^ZX]' "/proc/$(cat process)/status")" ]
}

@test "a script that is ended takes with it what it started, in groups of their own too" {
    stand_in_for_both
    export STARTED=$PWD/process
    stand_in bench <<<'echo $$ >"$STARTED"; exec sleep 300'
    CAIRN_PYTHON=$PWD/bin/bench ends_with TERM 143 # below `timeout`
    cp bin/bench "$root/build/cairn"
    ends_with TERM 143
    ends_with HUP 129
}

@test "gpu-check.sh builds with what is there, and runs the sanitizers last" {
    stand_in_for_tools
    run "$root/scripts/gpu-check.sh" --out out
    [ "$status" -eq 0 ]
    grep -q "^cmake --preset release" calls
    grep -q "^cmake --build build" calls
    order=$(grep -oE '^\| (build|tests on the GPU|bench, bf16|PyTorch|memcheck, training|initcheck, kernels) ' <<<"$output" | tr -d '\n')
    [ "$order" = "| build | tests on the GPU | bench, bf16 | PyTorch | memcheck, training | initcheck, kernels " ]
    [[ $output == *"bf16: 2 times PyTorch at its best"* ]]
    [[ $output == *" 0 failed, 0 without time"* ]]
    grep -q -- "--tool memcheck .*--report-api-errors no build/tests/test_trajectories" calls
    grep -q -- "--tool racecheck .*--kernel-name kns=13cross_entropy .*build/tests/test_trajectories" calls
    [ "$(grep -o -- '--kernel-name' calls | wc -l)" -eq "$(cat "$root"/cuda/kernels/*.cu* | grep -c __global__)" ]
    ! grep -q -- "--tool initcheck .*test_trajectories" calls
}

@test "gpu-check.sh tells what its time cut off, and what failed" {
    stand_in_for_tools
    SLOW_TESTS=30 FAILS=bf16 run "$root/scripts/gpu-check.sh" --out out --minutes 0.12
    [ "$status" -eq 0 ]
    [[ $output == *"| tests on the GPU "*"| cut "*"| stopped after "* ]]
    [[ $output == *"| PyTorch "*"| skipped "*"| no time left"* ]]
    FAILS=bf16 run "$root/scripts/gpu-check.sh" --out out
    [ "$status" -eq 1 ]
    [[ $output == *"| bench, bf16 "*"| FAILED "* ]]
    [[ $output == *"| PyTorch "*"| FAILED "*"float32: 2 times PyTorch at its best"* ]]
}

@test "reproduce.py trusts nothing that a run's files say" {
    cd "$root"
    export GIT_CONFIG_GLOBAL=$PWD/own
    git config --global user.name t
    git config --global user.email t@example.org
    git init -q -b main .
    git commit -q --allow-empty -m one
    git checkout -q -b other # which was fetched to be read, and never checked out
    printf '#!/bin/sh\necho ran >"%s/owned"\nexit 1\n' "$PWD" >scripts/build.sh
    git add -f scripts/build.sh
    git commit -q -m two
    theirs=$(git rev-parse HEAD)
    git checkout -q main
    git branch -q -m other pull-42
    "$CAIRN" train --quiet -S data.name=synthetic --run-dir run
    reproduce() { # JQ [FILE]: with the summary, or FILE, changed so
        rm -rf changed
        cp -r run changed
        jq "$1" "run/${2:-summary.json}" >"changed/${2:-summary.json}"
        run timeout 60 scripts/reproduce.py changed
        [ ! -e owned ]
        ! grep -q $'\033\|\302\233\|\342\200\256' <<<"$output"
        [[ "$output" != *Traceback* ]]
    }
    for words in '.status = "\u001b]0;a\u0007\u009b31m\u202e"' '.binary_digest = "0" | .git_dirty = false |
        .git_revision = "\u001b[31m"' ".binary_digest = \"0\" | .git_dirty = false |
        .git_revision = \"$theirs\"" '.binary_digest = "0" | .git_dirty = false |
        .git_revision = "pull-42"' '.binary_digest = "0" | .git_revision = "--output=owned"' \
        '.git_revision = 5' 'del(.data_digest)' '.data_digest = 7' '[.]' '"text"' '.plugin_digest = []'; do
        reproduce "$words"
        [ "$status" -eq 2 ]
    done
    for words in '.[0].epoch = "x\u001b[31m"' '{}' '[1]' '[[]]' '.[0].test_loss = {}' \
        'del(.[0].test_acc)' '.[0].train_acc = "\u009b"'; do
        reproduce "$words" metrics.json
        [ "$status" -eq 2 ]
    done
    for words in '[]' '.[0].test_loss = null' '.[0].val_loss = 1 | .[0].val_acc = 1'; do
        reproduce "$words" metrics.json
        [ "$status" -eq 1 ]
    done
    mkdir -p lone
    mkfifo lone/summary.json
    run timeout 10 scripts/reproduce.py lone
    [ "$status" -eq 2 ]
    # A revision of one's own is built, and another's where one says so.
    reproduce ".binary_digest = \"0\" | .git_dirty = false | .git_revision = \"$(git rev-parse HEAD)\""
    [[ "$output" == *"building cairn at"*"to build it by"* ]]
    sed -i "s/\"git_revision\".*/\"git_revision\": \"$theirs\",/; s/\"binary_digest\".*/\"binary_digest\": \"0\",/
        s/\"git_dirty\".*/\"git_dirty\": false,/" changed/summary.json
    run scripts/reproduce.py --any-revision changed
    [ -e owned ]
}

@test "reproduce.py compares runs that were measured on a validation part" {
    cd "$root"
    "$CAIRN" train --quiet -S data.name=synthetic -S data.validation=16 --run-dir run
    run scripts/reproduce.py run
    [ "$status" -eq 0 ]
    [[ "$output" == *"val loss"*"the same bytes"* ]]
}

@test "a folder whose name the shell would read is built in" {
    command -v protoc-c >/dev/null || skip "no protoc-c"
    folder="$BATS_TEST_TMPDIR/cairn (1) it's & \$HOME"
    mkdir "$folder"
    (cd "$BATS_TEST_DIRNAME/../.." && tar c CMakeLists.txt CMakePresets.json cuda host include \
        scripts tests) | tar x -C "$folder"
    cd "$folder"
    cmake --preset release -DCAIRN_CUDA=OFF -DCAIRN_TESTS=OFF >/dev/null
    # What runs a command of the build's own, and what is compiled of it.
    ninja -C build messages/onnx.pb-c.c CMakeFiles/cairn_host.dir/host/exchange/onnx.c.o
    [ -s build/messages/onnx.pb-c.c ]
}
