#!/usr/bin/env bats
# What systems and habits bring: outputs that are no files, file systems that refuse what others
# allow, links and pipes where files are expected, folders that are moved, signals.

load older_bats

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    cat >params.yaml <<'YAML'
data: {name: synthetic, dir: none, train_limit: 40, test_limit: 10}
train: {epochs: 2, batch_size: 16, lr: 0.001, threads: 1}
model: {widths: 4 4, hidden: 8}
run: {name: a}
YAML
}

# A library that answers CALLS' way, for LD_PRELOAD: lines of C.
preload() { # NAME
    ! "$CAIRN" info | grep -q -- -fsanitize || skip "a sanitizer has to be loaded first"
    cat >"$1.c"
    cc -shared -fPIC -o "$1.so" "$1.c"
}

wait_for() { # FILE
    for _ in $(seq 300); do
        [ ! -e "$1" ] || return 0
        sleep 0.05
    done
    return 1
}

# What is asked for, for a user's path.
outputs() { # PATH: every command that writes to one
    "$CAIRN" data show 0 --count 1 --epochs 1 --out "$1"
    "$CAIRN" export runs/a --format safetensors --out "$1"
    ! "$CAIRN" export runs/a --format onnx --out "$1" 2>&1 | grep -v libprotobuf-c
}

@test "what a user names for output may be a link, a pipe, or a file with a mode of its own" {
    "$CAIRN" train --quiet
    touch private
    chmod 640 private
    outputs private
    [ "$(stat -c %a private)" = 640 ]
    [ -s private ]
    mkdir far near
    ln -s ../far/made near/first
    ln -s near/first second
    outputs second
    [ -L second ] && [ -L near/first ] && [ -f far/made ] && [ ! -L far/made ]
    chmod 600 far/made
    outputs second
    [ "$(stat -c %a far/made)" = 600 ]
    ln -s loop loop
    run outputs loop
    [ "$status" -ne 0 ] && [ -L loop ]
    mkfifo pipe
    cat pipe >got &
    "$CAIRN" data show 0 --count 1 --epochs 1 --out pipe
    wait $!
    [ -p pipe ]
    "$CAIRN" data show 0 --count 1 --epochs 1 --out plain
    cmp got plain
    (echo before && "$CAIRN" data show 0 --count 1 --epochs 1 --out /dev/fd/5 >/dev/null) 5>all >&5
    [ "$(head -1 all)" = before ]
    tail -n +2 all | cmp - plain
    "$CAIRN" data show 0 --count 1 --epochs 1 --out >(cat >through)
    wait_for through
    run "$CAIRN" data show 0 --count 1 --epochs 1 --out /dev/full
    [ "$status" -eq 1 ] && [ -c /dev/full ]
    run outputs far
    [ "$status" -ne 0 ]
    run find . -name '*.tmp-*'
    [ -z "$output" ]
}

@test "a device of the user's own stays one" {
    mknod null c 1 3 2>/dev/null && : 2>/dev/null >null || skip "may not make devices"
    "$CAIRN" train --quiet --profile null
    outputs null
    [ -c null ]
}

@test "file systems that refuse modes, owners, syncs or hard links are written to" {
    preload refuse <<'C'
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
static int no(const char *call) {
    errno = strcmp(call, "fsync") == 0 ? EINVAL : EPERM;
    return -1;
}
int fchmod(int fd, mode_t mode) { (void)fd; (void)mode; return no("fchmod"); }
int chmod(const char *path, mode_t mode) { (void)path; (void)mode; return no("chmod"); }
int fchown(int fd, uid_t u, gid_t g) { (void)fd; (void)u; (void)g; return no("fchown"); }
int fsync(int fd) { (void)fd; return no("fsync"); }
int link(const char *from, const char *to) { (void)from; (void)to; return no("link"); }
C
    "$CAIRN" train --quiet --run-dir plain
    LD_PRELOAD=$PWD/refuse.so "$CAIRN" train --quiet --run-dir run
    for file in metrics.json model.safetensors predictions.csv; do
        cmp "plain/$file" "run/$file"
    done
    (umask 027 && "$CAIRN" train --quiet --run-dir masked)
    [ "$(stat -c %a masked/metrics.json)" = 640 ]
    "$CAIRN" train --quiet
    touch out
    LD_PRELOAD=$PWD/refuse.so outputs out
}

@test "without locks a run goes on, with one line about it" {
    preload locks <<'C'
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
#define ANSWER(name)                                                                    \
    int name(int fd, int command, ...) {                                                \
        va_list list;                                                                   \
        va_start(list, command);                                                        \
        void *argument = va_arg(list, void *);                                          \
        va_end(list);                                                                   \
        if (command == F_SETLK || command == F_SETLKW || command == F_GETLK) {          \
            errno = atoi(getenv("LOCK_ERROR"));                                         \
            return -1;                                                                  \
        }                                                                               \
        return (int)syscall(SYS_fcntl, fd, command, argument);                          \
    }
ANSWER(fcntl) ANSWER(fcntl64)
C
    for error in ENOSYS ENOLCK EOPNOTSUPP EINVAL; do
        LOCK_ERROR=$(python3 -c "import errno; print(errno.$error)") LD_PRELOAD=$PWD/locks.so \
            "$CAIRN" train --run-dir "$error" 2>said
        [ "$(grep -c 'cannot lock' said)" -eq 1 ]
        [ ! -e "$error/.lock" ]
    done
    run env LOCK_ERROR=5 LD_PRELOAD="$PWD/locks.so" "$CAIRN" train --run-dir io
    [ "$status" -eq 1 ]
}

@test "links in a run folder lead nowhere" {
    "$CAIRN" train --quiet --dvclive --run-dir first
    mkdir other
    fill() { # a folder of another, with the names that a run has
        rm -rf other
        cp -r first/dvclive other
        cp first/*.json first/*.csv first/*.yaml first/*.safetensors other
        (cd other && find . -type f -exec md5sum {} +) >before
    }
    for link in dvclive dvclive/plots dvclive/plots/metrics dvclive/plots/metrics/train \
        dvclive/metrics.json .lock metrics.json summary.json model.safetensors params.yaml \
        predictions.csv checkpoint.safetensors checkpoint.previous.safetensors; do
        for how in '' --dvclive --resume; do
            fill
            rm -rf run
            cp -r first run
            target=$PWD/other/${link#dvclive}
            rm -rf "run/$link"
            [ "$link" = .lock ] && target=$PWD/other/new
            ln -s "$target" "run/$link"
            run "$CAIRN" train --quiet $how --run-dir run -S train.epochs=3
            [ "$how" = --resume ] || run "$CAIRN" train --quiet $how --overwrite --run-dir run
            [ ! -e other/new ]
            (cd other && find . -type f -exec md5sum {} +) | cmp - before || {
                echo "$link $how"
                return 1
            }
        done
    done
}

@test "a pipe in place of a file is refused, and nothing waits for it" {
    "$CAIRN" train --quiet
    mkfifo pipe
    mkdir data pictures
    mkfifo pictures/a.png
    tries() { # COMMAND...: ends in time
        run timeout 20 "$@" </dev/null
        [ "$status" -ne 124 ] || {
            echo "hangs: $*"
            return 1
        }
    }
    refuses() {
        tries "$@"
        [ "$status" -eq 2 ] || [ "$status" -eq 1 ] || {
            echo "$status: $*"
            return 1
        }
    }
    refuses "$CAIRN" params --print pipe
    refuses "$CAIRN" train pipe
    refuses "$CAIRN" eval --model pipe
    refuses "$CAIRN" predict --model pipe x.png
    refuses "$CAIRN" predict --run-dir runs/a pipe
    refuses "$CAIRN" predict --run-dir runs/a pictures
    refuses "$CAIRN" export pipe --out o.onnx
    for file in checkpoint.safetensors checkpoint.previous.safetensors metrics.json params.yaml \
        model.safetensors summary.json .lock; do
        for how in --resume --overwrite ''; do
            rm -rf runs/b
            cp -r runs/a runs/b
            rm -f "runs/b/$file"
            mkfifo "runs/b/$file"
            tries "$CAIRN" train --quiet -S run.name=b -S train.epochs=3 $how
        done
        for command in eval "predict x.png --run-dir"; do
            tries "$CAIRN" $command ${command:+--run-dir} runs/b
        done
    done
    mkdir -p raw/cifar-10-batches-bin raw/cifar-10-batches-py
    mkfifo raw/cifar-10-batches-bin/data_batch_1.bin raw/cifar-10-batches-py/data_batch_1
    refuses "$CAIRN" data check -S data.name=cifar10 -S data.dir=raw
}

@test "a run whose folder is moved or removed stops, and leaves what is there then alone" {
    for how in 'mv run/y run/archive' 'rm -rf run/y' 'mv run elsewhere; mkdir run'; do
        rm -rf run elsewhere
        "$CAIRN" train --quiet --run-dir run/y -S train.epochs=10000 2>said 3>&- &
        pid=$!
        wait_for run/y/metrics.json
        kill -STOP $pid
        eval "$how"
        "$CAIRN" train --quiet --run-dir run/y -S train.lr=0.002
        (cd run/y && find . -type f -exec md5sum {} +) >before
        kill -CONT $pid
        code=0
        wait $pid || code=$?
        cat said
        [ "$code" -eq 1 ]
        grep -q 'moved or removed\|No such file' said # the latter: in the middle of a file
        (cd run/y && find . -type f -exec md5sum {} +) | cmp - before
    done
}

@test "a lock's file that is removed does not stop its run" {
    "$CAIRN" train --quiet -S train.epochs=300 3>&- &
    pid=$!
    wait_for runs/a/metrics.json
    rm runs/a/.lock
    wait $pid
}

begin_run() { # ARGUMENT...: one that would go on for long, in $pid; `said` has its stderr
    rm -rf runs
    "$CAIRN" train -S train.epochs=10000 "$@" >/dev/null 2>said 3>&- &
    pid=$!
    wait_for runs/a/metrics.json
}

@test "whatever signal ends a session, a batch job or its time, the run is saved and says so" {
    for signal in INT TERM HUP USR1 XCPU; do
        begin_run
        kill -$signal $pid
        code=0
        wait $pid || code=$?
        [ "$code" -eq 130 ]
        grep -q '^stopping after this step' said
        jq -e '.status == "interrupted"' runs/a/summary.json
        epochs=$(jq .final_epoch runs/a/summary.json)
        "$CAIRN" train --quiet --resume -S "train.epochs=$((epochs + 2))"
    done
    begin_run --quiet
    kill -HUP $pid
    wait $pid || [ $? -eq 130 ]
    [ ! -s said ]
    run bash -c 'ulimit -St 1; exec "$CAIRN" train --quiet -S train.epochs=10000 -S run.name=b'
    [ "$status" -eq 130 ]
    jq -e '.status == "interrupted"' runs/b/summary.json
}

@test "signals that the caller had ignored or held back" {
    with() { # HOW SIGNAL COMMAND...
        exec python3 -c 'import os, signal, sys
number = getattr(signal, "SIG" + sys.argv[2])
if sys.argv[1] == "ignored":
    signal.signal(number, signal.SIG_IGN)
else:
    signal.pthread_sigmask(signal.SIG_BLOCK, [number])
os.execv(sys.argv[3], sys.argv[3:])' "$@"
    }
    for signal in HUP USR1 XCPU; do
        rm -rf runs
        with ignored $signal "$CAIRN" train --quiet -S train.epochs=100 3>&- &
        pid=$!
        wait_for runs/a/metrics.json
        kill -$signal $pid 2>/dev/null || true
        wait $pid
        jq -e '.status == "finished"' runs/a/summary.json
    done
    for signal in TERM HUP; do
        rm -rf runs
        with held $signal "$CAIRN" train --quiet -S train.epochs=10000 3>&- &
        pid=$!
        wait_for runs/a/metrics.json
        kill -$signal $pid
        code=0
        wait $pid || code=$?
        [ "$code" -eq 130 ]
    done
}

@test "a file that grows beyond its limit ends the run with a message" {
    run bash -c 'ulimit -f 8; exec "$CAIRN" train --quiet -S model.hidden=256' # KiB
    [ "$status" -eq 1 ]
    [[ "$output" == *"cannot write: File too large"* ]]
    run find . -name '*.tmp-*'
    [ -z "$output" ]
}

@test "the program keeps its name, and runs whoever starts it" {
    "$CAIRN" train --quiet -S train.epochs=10000 3>&- &
    pid=$!
    wait_for runs/a/metrics.json
    [ "$(cat /proc/$pid/comm)" = "$(basename "$CAIRN" | cut -c1-15)" ]
    kill $pid
    wait $pid || [ $? -eq 130 ]
    loader=$(readelf -p .interp "$CAIRN" | grep -o '/[^ ]*ld[^ ]*')
    ! "$CAIRN" info | grep -q '^compiler *gcc' ||
        env -u OMP_WAIT_POLICY -u GOMP_SPINCOUNT OMP_DISPLAY_ENV=verbose "$CAIRN" --version 2>&1 | grep -q "GOMP_SPINCOUNT = '1000'"
    mkdir folder
    ln -s "$CAIRN" folder/other
    for start in "$loader $CAIRN" "folder/other" "env PATH=$(dirname "$CAIRN"):$PATH $(basename "$CAIRN")"; do
        $start train --quiet --overwrite
        [ "$(jq -r .binary_digest runs/a/summary.json)" = "$(sha256sum <"$CAIRN" | cut -d' ' -f1)" ]
    done
}

@test "a processor with less than the program was built for is told, in one line" {
    command -v qemu-x86_64 >/dev/null || skip "no qemu-x86_64: apt-get install qemu-user installs it"
    "$CAIRN" info | grep -q -- -march=native || skip "built for any processor"
    ! "$CAIRN" info | grep -q -- -fsanitize || skip "a sanitizer does not run in qemu"
    run qemu-x86_64 -cpu Nehalem "$CAIRN" --version
    [ "$status" -eq 2 ]
    [[ "$output" == *"was built for processors with "*avx*"CAIRN_NATIVE=OFF"* ]]
}

@test "a small model's file asks for no more than a configuration could" {
    "$CAIRN" train --quiet
    "$CAIRN" data show 0 --count 1 --epochs 1 --out x.png
    cat >change.py <<'PY'
import hashlib, json, struct, sys
data = open("runs/a/model.safetensors", "rb").read()
length = struct.unpack("<Q", data[:8])[0]
header, body = json.loads(data[8:8 + length]), data[8 + length:]
metadata = header["__metadata__"]
described = json.loads(metadata["data"])
described["shape"] = json.loads(sys.argv[1])
metadata["data"] = json.dumps(described)
seal = hashlib.sha256()
for name, tensor in header.items():
    if name != "__metadata__":
        begin, end = tensor["data_offsets"]
        seal.update(name.encode() + b"\0" + body[begin:end])
for name, text in metadata.items():
    if name != "cairn.sha256":
        seal.update(name.encode() + b"\0" + text.encode() + b"\0")
metadata["cairn.sha256"] = seal.hexdigest()
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
open("changed.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + body)
PY
    python3 change.py '[3, 32, 32]'
    "$CAIRN" predict --model changed.safetensors x.png
    for shape in '[3, 1025, 32]' '[3, 32, 8192]' '[3, 65536, 65536]' '[3, 0, 32]' '[3, 1e300, 32]' \
        '[3, 32.5, 32]' '[3, -1, 32]'; do
        python3 change.py "$shape"
        for command in "predict x.png" eval "export changed.safetensors --out o.safetensors"; do
            set -- $command
            [ "$1" = export ] || set -- "$@" --model changed.safetensors
            run timeout 20 "$CAIRN" "$@"
            [ "$status" -eq 2 ]
            [[ "$output" == *"description of the data is damaged"* ]]
        done
    done
}

@test "a finished run that goes on and is killed says so, whenever that is" {
    "$CAIRN" train --quiet --run-dir done
    model=$(sha256sum <done/model.safetensors)
    for delay in 0.02 0.05 0.1 0.2 0.4 0.8; do
        rm -rf run
        cp -r done run
        "$CAIRN" train --quiet --resume --run-dir run -S train.epochs=10000 3>&- &
        pid=$!
        for _ in $(seq 400); do # until it has begun
            ! grep -q 'epochs: 10000' run/params.yaml || break
            sleep 0.02
        done
        sleep $delay
        kill -KILL $pid
        wait $pid || true
        jq -e '.status == "running"' run/summary.json
        # What is said of the best model is said of the one that is there.
        [ ! -e run/predictions.csv ] || [ "$(sha256sum <run/model.safetensors)" = "$model" ]
        [ ! -e run/confusion.csv ] || [ "$(sha256sum <run/model.safetensors)" = "$model" ]
    done
}

@test "without --overwrite a run replaces nothing that is not a run's" {
    "$CAIRN" train --quiet
    fill() { # WHAT
        rm -rf folder
        mkdir folder
        case $1 in
        model) "$CAIRN" export runs/a --out folder/model.safetensors ;;
        params) cp params.yaml folder ;;
        both) "$CAIRN" export runs/a --out folder/model.safetensors && cp params.yaml folder ;;
        other) cp runs/a/model.safetensors runs/a/params.yaml folder ;;
        metrics) cp runs/a/metrics.json folder ;;
        esac
        (cd folder && find . -type f -exec md5sum {} +) >before
    }
    for what in model params both other metrics; do
        for how in '' --resume; do
            fill $what
            run "$CAIRN" train --quiet $how --run-dir folder -S train.lr=0.002
            [ "$status" -eq 2 ]
            [[ "$output" == *--overwrite* ]]
            (cd folder && find . -type f -exec md5sum {} +) | cmp - before
        done
        "$CAIRN" train --quiet --overwrite --run-dir folder -S train.lr=0.002
    done
    run "$CAIRN" train --quiet --run-dir .
    [ "$status" -eq 2 ]
    # What a run left that was ended before its first checkpoint holds nobody up.
    rm -rf folder
    mkdir folder
    cp runs/a/params.yaml runs/a/model.safetensors folder
    "$CAIRN" train --quiet --run-dir folder
    cmp folder/model.safetensors runs/a/model.safetensors
}

@test "a resume on other processors, or by another backend, says what that means" {
    resume() { # ARGUMENT...: of a run that was begun with one thread
        rm -rf run
        cp -r begun run
        "$CAIRN" train --resume --run-dir run -S train.epochs=3 -S train.threads=0 "$@" 2>said
    }
    OMP_NUM_THREADS=1 "$CAIRN" train --quiet --run-dir begun -S train.threads=0
    OMP_NUM_THREADS=1 resume
    ! grep -q 'computed so far by' said
    OMP_NUM_THREADS=1 resume --device reference
    "$CAIRN" info | grep -q '^ *cpu *not' || grep -q 'computed so far by cpu .*, 1 threads' said
    [ "$("$CAIRN" info --json | jq .threads)" -gt 1 ] || skip "there is one processor"
    resume
    grep -q 'computed so far by .*, 1 threads' said
}
