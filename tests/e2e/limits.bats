#!/usr/bin/env bats
# The edges: sizes, paths, full and read-only disks, closed outputs. Every run either does
# its work or ends with one line and the documented exit code.

load older_bats

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    cat >params.yaml <<'YAML'
data: {name: synthetic, dir: none, train_limit: 40, test_limit: 10}
train: {epochs: 2, batch_size: 16, lr: 0.001, threads: 1}
run: {name: small}
YAML
}

teardown() {
    ! mountpoint -q "$BATS_TEST_TMPDIR/disk" || umount "$BATS_TEST_TMPDIR/disk"
}

# Runs cairn with stdout and stderr apart, in the files out and err; the exit code in $code.
cairn() {
    code=0
    "$CAIRN" "$@" >out 2>err || code=$?
}

fails_with() { # CODE PATTERN: that exit code, and one line of stderr that matches
    [ "$code" -eq "$1" ] && [ "$(grep -c '^cairn: ' err)" -eq 1 ] && grep -q -- "$2" err || {
        echo "code $code" && cat err && false
    }
}

disk() { # MIB [OPTION]: a file system of that size in disk/, or skips the test
    mkdir -p disk
    mount -t tmpfs -o "size=$1m${2+,$2}" tmpfs disk 2>/dev/null || skip "may not mount a file system"
}

@test "batches of one image, of more images than there are, and of one image in all" {
    cairn train --quiet -S train.batch_size=1 -S run.name=one
    [ "$code" -eq 0 ]
    cairn train --quiet -S train.batch_size=65536 -S run.name=all
    [ "$code" -eq 0 ]
    cairn train --quiet -S train.batch_size=40 -S run.name=exact
    cmp runs/all/metrics.json runs/exact/metrics.json
    cairn train --quiet -S data.train_limit=1 -S data.test_limit=1 -S run.name=single
    [ "$code" -eq 0 ]
    jq -e '.[1].test_acc == 0 or .[1].test_acc == 1' runs/single/metrics.json
}

@test "more threads than cores compute the same" {
    cairn train --quiet --device reference -S run.name=one
    cairn train --quiet --device reference -S train.threads=64 -S run.name=many
    [ "$code" -eq 0 ]
    cmp runs/one/model.safetensors runs/many/model.safetensors
}

@test "as many threads as may not be started end the run with one line" {
    [ "$(id -u)" -eq 0 ] || skip "the limit is another user's"
    ! "$CAIRN" info | grep -q -- -fsanitize || skip "the leak sanitizer needs a thread of its own"
    chmod 777 .
    setpriv --reuid=54321 --clear-groups test -x "$CAIRN" || skip "the program is not for other users"
    code=0
    setpriv --reuid=54321 --clear-groups prlimit --nproc=4:4 \
        "$CAIRN" train --quiet -S train.threads=8 >out 2>err || code=$?
    fails_with 1 'cannot start 8 threads'
    [ ! -e runs/small ]
}

# Trains a small net of each kind by "$@" into runs/NAME, given as $1.
train_small() { # NAME OPTION...
    local model
    for model in simple_cnn resnet20; do
        cairn train --quiet --device cpu -S model.name="$model" -S data.train_limit=100 \
            -S train.epochs=1 -S train.batch_size=32 --run-dir "runs/$1-$model" "${@:2}"
        [ "$code" -eq 0 ] || return
    done
}

same_small() { # NAME NAME
    local model
    for model in simple_cnn resnet20; do
        cmp "runs/$1-$model/metrics.json" "runs/$2-$model/metrics.json"
        cmp "runs/$1-$model/model.safetensors" "runs/$2-$model/model.safetensors"
    done
}

@test "whatever OpenMP is told of threads, they are as many as asked, or the run is refused" {
    "$CAIRN" info | grep -q '^ *cpu ' || skip "built without oneDNN"
    precisions=(float32)
    ! "$CAIRN" info --json | jq -e '.backends[] | select(.name == "cpu") | .precisions |
        index("bf16")' || precisions+=(bf16)
    for precision in "${precisions[@]}"; do
        for threads in 1 2; do
            train_small "$precision-$threads" -S train.precision="$precision" -S train.threads=$threads
        done
        for setting in OMP_DYNAMIC=true OMP_MAX_ACTIVE_LEVELS=0 OMP_NUM_THREADS=1 OMP_NUM_THREADS=7 \
            OMP_THREAD_LIMIT=2; do
            export "${setting?}"
            train_small "$setting-$precision" -S train.precision="$precision" -S train.threads=2
            same_small "$setting-$precision" "$precision-2"
            unset "${setting%=*}"
        done
        for setting in OMP_NUM_THREADS=1 OMP_THREAD_LIMIT=1; do
            export "${setting?}"
            train_small "auto-$setting-$precision" -S train.precision="$precision" -S train.threads=0
            same_small "auto-$setting-$precision" "$precision-1"
            jq -e '.threads == 1' "runs/auto-$setting-$precision-simple_cnn/summary.json"
            unset "${setting%=*}"
        done
    done
    jq -e '.threads == 1' <<<"$(OMP_NUM_THREADS=1 "$CAIRN" info --json)"
    OMP_NUM_THREADS=1 "$CAIRN" info | grep -q '^threads *1: by OMP_NUM_THREADS'
    taskset -c "$(taskset -pc $$ | sed 's/.*: *\([0-9]*\).*/\1/')" "$CAIRN" info |
        grep -q '^threads *1: processors'
    # More than there are is no reason to start more.
    [ "$(OMP_NUM_THREADS=999 "$CAIRN" info --json | jq .threads)" -lt 999 ]
    for device in cpu reference; do
        OMP_THREAD_LIMIT=2 cairn train --device "$device" -S train.threads=3
        fails_with 2 'train.threads: found 3, but OpenMP gives this process 2'
        [ ! -e runs/small ]
    done
}

@test "a batch that does not fit into memory ends with one line; what was there stays" {
    ! "$CAIRN" info | grep -q -- -fsanitize || skip "the address sanitizer takes all addresses"
    cairn train --quiet -S train.epochs=1
    [ "$code" -eq 0 ]
    before=$(md5sum runs/small/*)
    code=0
    prlimit --as=1000000000 "$CAIRN" train --quiet --overwrite -S data.train_limit=10000 \
        -S train.batch_size=10000 >out 2>err || code=$?
    fails_with 1 'out of memory.*train.batch_size'
    [ "$(md5sum runs/small/*)" = "$before" ]
}

@test "eval takes memory for the images that there are, whatever the batch size" {
    ! "$CAIRN" info | grep -q -- -fsanitize || skip "the address sanitizer takes all addresses"
    cairn train --quiet -S train.epochs=1
    cairn eval --json
    mv out small
    code=0
    prlimit --as=1000000000 "$CAIRN" eval --json -S train.batch_size=65536 >out 2>err || code=$?
    [ "$code" -eq 0 ]
    cmp small out
}

@test "more than a control group allows is refused before the kernel ends the process" {
    ! "$CAIRN" info | grep -q -- -fsanitize || skip "the sanitizers take memory of their own"
    top=/sys/fs/cgroup limits=(memory.max memory.swap.max)
    [ ! -d $top/memory ] || top=$top/memory limits=(memory.{,memsw.}limit_in_bytes)
    group=$top/cairn-test-$$
    mkdir "$group" || skip "no control group can be made here"
    echo 300M >"$group/${limits[0]}" || { rmdir "$group"; skip "this group limits no memory"; }
    [ ! -e "$group/${limits[1]}" ] || echo 300M >"$group/${limits[1]}"
    code=0
    (echo "$BASHPID" >"$group/cgroup.procs" && exec "$CAIRN" train --quiet \
        -S data.train_limit=2000 -S train.batch_size=2000) >out 2>err || code=$?
    rmdir "$group"
    fails_with 1 'out of memory: .*train.batch_size'
}

@test "one class missing from the data" {
    python3 - <<'PY'
for name, count in ("data_batch_1", 40), ("test_batch", 10):
    with open(name + ".bin", "wb") as file:
        for i in range(count):
            label = i % 10 if i % 10 != 3 else 4
            file.write(bytes([label]) + bytes((label * 25 + p) % 256 for p in range(3072)))
        file.truncate(10000 * 3073)
PY
    cairn train --quiet -S data.name=cifar10 -S data.dir=. -S data.train_limit=40 -S data.test_limit=10
    [ "$code" -eq 0 ]
    jq -e '[.[].test_loss < 100] | all' runs/small/metrics.json
    [ "$(grep -c '^cat,0,0,0,0,0,0,0,0,0,0$' runs/small/confusion.csv)" -eq 1 ]
}

@test "a rate that diverges is named with epoch and step" {
    cairn train --quiet -S train.lr=1000 -S train.epochs=3 -S optimizer.name=sgd
    fails_with 1 'diverged in epoch [0-9]*, seen after step [0-9]*'
}

@test "a clock that runs backwards, and files of another time, change nothing" {
    ! "$CAIRN" info | grep -q -- -fsanitize || skip "the address sanitizer comes first"
    cc -shared -fPIC -o backwards.so -x c - <<'C'
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static time_t earlier(void) { /* an hour at each call */
    static time_t now = 2000000000;
    return now -= 3600;
}
int clock_gettime(clockid_t clock, struct timespec *out) {
    if (clock != CLOCK_REALTIME)
        return (int)syscall(SYS_clock_gettime, clock, out);
    *out = (struct timespec){earlier(), 0};
    return 0;
}
time_t time(time_t *out) {
    time_t now = earlier();
    if (out)
        *out = now;
    return now;
}
int gettimeofday(struct timeval *out, void *zone) {
    (void)zone;
    *out = (struct timeval){earlier(), 0};
    return 0;
}
C
    cairn train --quiet --run-dir whole -S checkpoint.every_seconds=0.01
    LD_PRELOAD=$PWD/backwards.so cairn train --quiet --run-dir back -S train.epochs=1 \
        -S checkpoint.every_seconds=0.01
    [ "$code" -eq 0 ]
    touch -d 2001-01-01 back/checkpoint.safetensors
    touch -d 2099-01-01 back/checkpoint.previous.safetensors back/params.yaml
    LD_PRELOAD=$PWD/backwards.so cairn train params.yaml --quiet --run-dir back --resume \
        -S checkpoint.every_seconds=0.01
    [ "$code" -eq 0 ]
    for file in metrics.json model.safetensors predictions.csv; do cmp whole/$file back/$file; done
    jq -e '.seconds >= 0 and .seconds < 600' back/summary.json
}

@test "folders with blanks and letters of all kinds; one that is too long is refused" {
    cairn train --quiet --run-dir 'a run, für 東京/"quoted"'
    [ "$code" -eq 0 ]
    jq -e .best_test_acc 'a run, für 東京/"quoted"/summary.json'
    long=$(printf '%0200d/' $(seq 25))
    cairn train --quiet --run-dir "$long"
    fails_with 2 'path too long'
    [ "$(wc -c <err)" -lt 400 ]
    cairn train --quiet --run-dir "$(printf '%0300d' 0)"
    fails_with 1 'File name too long'
}

@test "a name that leaves no room for a number ends a second run in one line" {
    name=$(printf '%0254d' 0)
    cairn train --quiet -S "run.name=$name"
    [ "$code" -eq 0 ]
    before=$(md5sum "runs/$name"/*)
    cairn train --quiet -S "run.name=$name" -S train.epochs=1
    fails_with 1 'File name too long'
    [ "$(md5sum "runs/$name"/*)" = "$before" ]
    [ "$(ls runs | wc -l)" -eq 1 ]
}

@test "a full disk ends the run in order; with more room it goes on to the same end" {
    disk 24
    cairn train --quiet --run-dir whole
    head -c 10M /dev/zero >disk/ballast # a checkpoint and the model take 10 MB as well
    cairn train --run-dir disk/run
    fails_with 1 'No space left on device'
    [ -z "$(find disk/run -name '*.tmp-*')" ]
    ! grep -q . disk/run/metrics.json 2>/dev/null || jq -e 'type == "array"' disk/run/metrics.json
    mount -o remount,size=64m disk
    cairn train --quiet --run-dir disk/run --resume
    [ "$code" -eq 0 ]
    for file in metrics.json model.safetensors predictions.csv; do cmp whole/$file disk/run/$file; done
}

@test "a read-only disk is refused before anything is trained" {
    disk 8
    mkdir disk/runs
    mount -o remount,ro disk
    cairn train --run-dir disk/runs/new
    fails_with 1 'Read-only file system'
    [ ! -s out ]
    cairn train --run-dir disk/runs
    fails_with 1 'Read-only file system'
    cairn train -S run.out_dir=disk -S run.name=runs
    fails_with 1 'Read-only file system'
}

@test "a reader that goes away, or a closed output, does not end a training" {
    "$CAIRN" train --run-dir piped | head -n 1
    jq -e '.status == "finished"' piped/summary.json
    "$CAIRN" train --run-dir closed >&- 2>&-
    jq -e '.status == "finished"' closed/summary.json
    cmp piped/metrics.json closed/metrics.json
    "$CAIRN" train --run-dir full >/dev/full 2>err
    jq -e '.status == "finished"' full/summary.json
}

@test "output that is lost fails a command whose result it is" {
    cairn train --quiet
    for command in --help --version "train --help" info params "params --print" "model simple_cnn" \
        "data check" "data show 1" eval "eval --json"; do
        code=0
        # shellcheck disable=SC2086 # words
        "$CAIRN" $command >/dev/full 2>err || code=$?
        fails_with 1 'cannot write the output: No space left on device'
    done
    "$CAIRN" eval >&- 2>err # nobody wants it
    [ ! -s err ]
}

@test "a reader that does not read holds the run up; Ctrl-C ends it all the same, and it resumes" {
    cairn train --quiet --run-dir whole
    mkfifo pipe
    exec 7<>pipe
    dd if=/dev/zero of=pipe bs=4096 count=100 oflag=nonblock 2>/dev/null || true # until it is full
    # Background processes of a shell that is no terminal's ignore SIGINT.
    python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$CAIRN" train --run-dir held >pipe 2>err 3>&- 7>&- &
    pid=$!
    for _ in $(seq 600); do
        [ ! -e held/metrics.json ] || break # the epoch's line comes after its files
        sleep 0.1
    done
    sleep 0.5
    [ "$(jq length held/metrics.json)" -eq 1 ] # it waits
    builtin kill -INT "$pid"
    code=0
    wait "$pid" || code=$?
    exec 7>&-
    [ "$code" -eq 130 ]
    cairn train --quiet --run-dir held --resume
    [ "$code" -eq 0 ]
    for file in metrics.json model.safetensors predictions.csv; do cmp whole/$file held/$file; done
}
