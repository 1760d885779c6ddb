#!/usr/bin/env bash
# Proves the CUDA backend on a machine with a GPU: builds, runs the tests labelled `gpu`, compares
# the first 100 steps with the CPU's, trains the three experiments (with --data), measures speed,
# PyTorch's too where it is installed, and runs tests under compute-sanitizer. Ends inside 9
# minutes, what counts most first: what there is no time for is cut off or skipped, and the table,
# which comes last, says so.
#
#   scripts/gpu-check.sh [--out DIR] [--data DIR] [--minutes N]
#
# Packages that are missing and cannot be installed (no network, no rights) are left out of the
# build where it can do without them.
#
# --out     where the log and the results stay; build/gpu-check unless given
# --data    a folder that holds cifar-10-batches-bin
# CAIRN_PYTHON names a Python that has PyTorch; python3 unless set
set -u
. "$(dirname "${BASH_SOURCE[0]}")/help.sh"
. "$(dirname "${BASH_SOURCE[0]}")/children.sh"
caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

out=
data=
minutes=9
while [ $# -gt 0 ]; do
    case $1 in
    --out | --data | --minutes)
        [ $# -gt 1 ] || {
            echo "gpu-check.sh: a value is missing after $1" >&2
            exit 2
        }
        declare "${1#--}=$2"
        shift 2
        ;;
    *)
        echo "gpu-check.sh: no option '$1'; --out, --data, --minutes" >&2
        exit 2
        ;;
    esac
done
[[ $minutes =~ ^[0-9]+([.][0-9]+)?$ && $minutes =~ [1-9] ]] || {
    echo "gpu-check.sh: --minutes: '$minutes' is not a number above 0" >&2
    exit 2
}
for folder in out data; do
    [[ -z ${!folder} || ${!folder} == /* ]] || declare "$folder=$caller/${!folder}"
done
out=${out:-$PWD/build/gpu-check}
mkdir -p "$out" || exit
log=$out/log.txt
: >"$log"
deadline=$((SECONDS + $(awk "BEGIN { printf \"%d\", 60 * $minutes }")))
table=()
failed=0
cut=0
export OMP_WAIT_POLICY=passive

# NAME LIMIT COMMAND...: runs it, at most LIMIT seconds and what is left; its last line of output is
# the result in the table.
section() {
    local name=$1 limit=$2 begin=$SECONDS left=$((deadline - SECONDS)) status=0 last late=FAILED
    shift 2
    if [ "$left" -lt 5 ]; then
        table+=("$name|skipped|no time left|0")
        cut=$((cut + 1))
        return 0
    fi
    printf '\n== %s\n' "$name" | tee -a "$log"
    ((limit <= left)) || limit=$left late=cut
    export section_limit=$limit
    # A command may be a function of this script: it runs in a shell of its own that knows them.
    timeout -k 5 "$limit" bash -c '"$@"' section "$@" >"$out/section.txt" 2>&1 || status=$?
    tee -a "$log" <"$out/section.txt"
    last=$(grep -v '^[[:space:]]*$' "$out/section.txt" | tail -n 1 | cut -c 1-90)
    case $status in
    0) status=passed ;;
    77) status=skipped ;;
    124 | 137) status=$late last="stopped after $limit s: $last" ;;
    *) status=FAILED ;;
    esac
    [ "$status" != FAILED ] || failed=$((failed + 1))
    [ "$status" != cut ] || cut=$((cut + 1))
    table+=("$name|$status|$last|$((SECONDS - begin))")
    [ "$status" != FAILED ]
}

# CMake says itself what it leaves out; but tests it makes only with cmocka.
build() {
    local options=()
    timeout 90 scripts/install-deps.sh build test && {
        scripts/build.sh release
        return
    }
    pkg-config --exists cmocka || options=(-DCAIRN_TESTS=OFF)
    cmake --preset release "${options[@]}" && cmake --build build && echo "built with what is here"
}

gpu_tests() {
    ctest --test-dir build -L gpu --output-on-failure | tee "$out/ctest.txt"
    local status=${PIPESTATUS[0]}
    ! grep -q 'Skipped' "$out/ctest.txt" || {
        echo "some tests were skipped on a machine with a GPU"
        return 1
    }
    [ "$status" -eq 0 ] || return 1
    grep 'tests passed' "$out/ctest.txt"
}

sanitize() { # TOOL PROGRAM
    local sanitizer
    sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
    [ -x "$sanitizer" ] || {
        echo "compute-sanitizer is not installed"
        return 77
    }
    CAIRN_TEST_BACKEND=cuda "$sanitizer" --tool "$1" --error-exitcode 1 "${@:3}" \
        "build/tests/$2" && echo "no error found"
}

# compute-sanitizer's options for our kernels alone, by their mangled names.
our_kernels() {
    local name
    cat cuda/kernels/*.cu cuda/kernels/*.cuh | tr '\n' ' ' |
        grep -oE '__global__ void +(__launch_bounds__[(][^)]*[)] +)?[a-z_0-9]+[(]' |
        sed -E 's/.* ([a-z_0-9]+)[(]$/\1/' | sort -u |
        while read -r name; do
            printf ' --kernel-name kns=%d%s' "${#name}" "$name"
        done
}

# Means of 10 steps each over the first 100, of one training.
first_steps() { # DEVICE PRECISION
    build/cairn train params.yaml --quiet --overwrite --device "$1" --run-dir "$out/first-$1-$2" \
        -S data.train_limit=1280 -S data.test_limit=1000 -S train.epochs=10 -S train.batch_size=128 \
        -S "train.precision=$2" -S data.name="$data_name" -S "data.dir=${data:-data/raw}"
}

compare_first_steps() { # PRECISION TOLERANCE
    first_steps cuda "$1" || return 1
    jq -rn --argjson tolerance "$2" --slurpfile cpu "$out/first-cpu-float32/metrics.json" \
        --slurpfile gpu "$out/first-cuda-$1/metrics.json" '
        def size: if . < 0 then -. else . end;
        [range(10) | (($gpu[0][.].train_loss / $cpu[0][.].train_loss) - 1) | size] | max
        | "losses of 100 steps within \(. * 1e6 | round / 1e6) of the CPU'\''s, allowed \($tolerance)",
          if . <= $tolerance then empty else "too far\n" | halt_error(1) end'
}

experiment() { # PRECISION NAME EPOCHS BATCH LR
    [ -n "$data" ] || {
        echo "no --data given"
        return 77
    }
    build/cairn train params.yaml --overwrite --device cuda --run-dir "$out/$2-$1" \
        -S "data.dir=$data" -S "run.name=$2" -S "train.epochs=$3" -S "train.batch_size=$4" \
        -S "train.lr=$5" -S "train.precision=$1" -S data.name=cifar10 &&
        jq -r '"accuracy \(.final_test_acc), \(.seconds * 1000 / .final_epoch | round) ms an epoch, \(.train_images_per_second | round) images/s"' \
            "$out/$2-$1/summary.json"
}

bench() { # PRECISION
    build/cairn bench --device cuda --seconds 3 -S "train.precision=$1" &&
        build/cairn bench --device cuda --seconds 3 --json -S "train.precision=$1" >"$out/bench-$1.json" &&
        jq -r '"\(.images_per_second | round) images/s, \(.share_of_peak * 1000 | round / 10)% of peak, \(.launches) launches a step"' \
            "$out/bench-$1.json"
}

pytorch() {
    local python=${CAIRN_PYTHON:-python3}
    "$python" -c 'import torch, numpy; assert torch.cuda.is_available()' 2>/dev/null || {
        echo "no PyTorch with CUDA in $python (CAIRN_PYTHON names another)"
        return 77
    }
    CAIRN_PYTHON=$python scripts/bench-pytorch.sh --built --device cuda --rounds 1 --seconds 2 \
        --limit "$((section_limit > 60 ? section_limit - 45 : 15))" ${data:+--data "$data"} |
        tee "$out/pytorch.txt"
    local status=${PIPESTATUS[0]}
    grep 'times PyTorch at its best' "$out/pytorch.txt" | tail -n 1
    return "$status"
}

data_name=synthetic
[ -z "$data" ] || data_name=cifar10
export out data data_name
export -f build gpu_tests sanitize first_steps compare_first_steps experiment bench pytorch

section "build" 240 build
if ! info=$(build/cairn info 2>&1) || grep -q 'cuda *not available' <<<"$info"; then
    grep 'cuda\|cairn' <<<"$info" >&2
    echo "gpu-check.sh: the cuda backend cannot run here" >&2
    exit 1
fi
section "device" 30 bash -c 'build/cairn info; build/cairn info | grep -A1 "^  cuda" | tail -n 1'
section "tests on the GPU" 300 gpu_tests
section "first steps on the CPU" 60 first_steps cpu float32
for precision in float32:1e-3 tf32:1e-2 bf16:3e-2; do
    section "first steps, ${precision%:*}" 60 compare_first_steps "${precision%:*}" "${precision#*:}"
done
for precision in float32 tf32 bf16; do
    section "bench, $precision" 40 bench "$precision"
done
for precision in float32 bf16; do
    section "exp1_baseline, $precision" 30 experiment $precision exp1_baseline 5 128 0.001
    section "exp2_low_lr_more_epochs, $precision" 30 experiment $precision exp2_low_lr_more_epochs 10 128 0.0005
    section "exp3_big_batch, $precision" 30 experiment $precision exp3_big_batch 10 256 0.001
done
section "PyTorch" 180 pytorch
# cuDNN and cuBLAS try calls that fail, and handle it: memcheck does not count them. Their kernels
# are theirs to judge: a training is checked for races in ours alone, and not for reads of what was
# never written, since it could not tell who should have. The tests of kernels launch no others.
read -ra ours <<<"$(our_kernels)"
section "memcheck, training" 60 sanitize memcheck test_trajectories --report-api-errors no
section "racecheck, training" 60 sanitize racecheck test_trajectories "${ours[@]}"
for tool in memcheck racecheck initcheck; do
    for kernels in kernels kernels_step kernels_norm kernels_optimizer; do
        section "$tool, $kernels" 60 sanitize $tool gpu_test_$kernels
    done
done

rm -f "$out/section.txt"
{
    printf '\n| %-34s | %-7s | %4s | %s\n| --- | --- | ---: | ---\n' check result s what
    for row in "${table[@]}"; do
        IFS='|' read -r name status what seconds <<<"$row"
        printf '| %-34s | %-7s | %4s | %s\n' "$name" "$status" "$seconds" "$what"
    done
    printf '\n%d s, %d failed, %d without time; %s\n' "$SECONDS" "$failed" "$cut" "$log"
} | tee -a "$log"
[ "$failed" -eq 0 ]
