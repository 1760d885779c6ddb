#!/usr/bin/env bash
# Training speed of Cairn beside PyTorch's, in one run on this machine.
#
#   scripts/bench-pytorch.sh [--device cpu|cuda] [--batch 128] [--seconds 10] [--rounds 3]
#                            [--limit SECONDS] [--data DIR] [--built]
#
# Each of PyTorch's settings is measured --rounds times for --seconds, Cairn right before each (on a
# GPU, before the first of each precision), so that both meet the same state of the machine; each
# is told when it is measured, and the table shows medians. After --limit seconds no more is
# measured. A setting that fails leaves the others alone; exit code 1 says that one of Cairn's did.
# --built takes the build that is there, and installs nothing. DIR holds
# cifar-10-batches-bin; without it, and without data/raw, PyTorch gets random images, as `cairn
# bench` always does: what an image shows does not change the speed. PyTorch comes from PyPI into
# .venv/, or from the interpreter that CAIRN_PYTHON names.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/help.sh"
. "$(dirname "${BASH_SOURCE[0]}")/children.sh"
caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

device=cpu
batch=128
seconds=10
rounds=3
limit=1000000
data=
built=
while [ $# -gt 0 ]; do
    case $1 in
    --built)
        built=1
        shift
        ;;
    --device | --batch | --seconds | --rounds | --limit | --data)
        [ $# -gt 1 ] || {
            echo "bench-pytorch.sh: a value is missing after $1" >&2
            exit 2
        }
        declare "${1#--}=$2"
        shift 2
        ;;
    *)
        echo "bench-pytorch.sh: no option '$1'; --device, --batch, --seconds, --rounds, --limit," \
            "--data, --built" >&2
        exit 2
        ;;
    esac
done
for option in batch seconds rounds limit; do
    [[ ${!option} =~ ^[1-9][0-9]*$ ]] || {
        echo "bench-pytorch.sh: --$option: '${!option}' is not a whole number above 0" >&2
        exit 2
    }
done
case $data in
'') [ ! -d data/raw/cifar-10-batches-bin ] || data=$PWD/data/raw ;;
/*) ;;
*) data=$caller/$data ;;
esac

python=${CAIRN_PYTHON:-.venv/bin/python}
if [ -z "$built" ] && [ -n "${CAIRN_PYTHON-}" ]; then
    scripts/install-deps.sh build
elif [ -z "$built" ]; then
    scripts/install-deps.sh build bench
    if ! .venv/bin/python -c 'import numpy, torch' 2>/dev/null; then
        echo "Installing PyTorch into .venv/ (some GB)" >&2
        python3 -m venv .venv
        .venv/bin/pip install --quiet torch numpy
    fi
fi
[ -n "$built" ] || scripts/build.sh

# precision | name | environment | arguments
big_heap='MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_MMAP_THRESHOLD_=100000000000'
tuned="$big_heap OPENBLAS_NUM_THREADS=1"
settings="
float32 | default                            |        |
float32 | channels_last                      |        | --channels-last
float32 | channels_last, tuned               | $tuned | --channels-last
float32 | channels_last, tuned, compile      | $tuned | --channels-last --compile
float32 | channels_last, tuned, max-autotune | $tuned | --channels-last --compile max-autotune
bf16    | autocast                           |        | --amp bf16
bf16    | channels_last, tuned               | $tuned | --channels-last --amp bf16
bf16    | channels_last, tuned, compile      | $tuned | --channels-last --amp bf16 --compile
"
# Where the processor has no instructions for it, PyTorch takes minutes a step.
if [[ $device != cuda* ]] && ! build/cairn info | grep -q '^ *cpu .*bf16'; then
    echo "bench-pytorch.sh: this processor does not compute in bf16, which is left out" >&2
    settings=$(grep -v '^bf16' <<<"$settings")
fi
# On a GPU the data lies in its memory, but for the DataLoader's; cuDNN picks by measuring. What
# takes longest to compile comes last.
last='--channels-last --fused'
[[ $device != cuda* ]] || settings="
float32 | default                            |        |
tf32    | default                            |        | --tf32
bf16    | autocast                           |        | --amp bf16
float32 | channels_last, fused Adam          |        | $last
tf32    | channels_last, fused Adam          |        | --tf32 $last
bf16    | channels_last, fused Adam          |        | --amp bf16 $last
bf16    | the same, CUDA graphs              |        | --amp bf16 $last --compile reduce-overhead
tf32    | the same, CUDA graphs              |        | --tf32 $last --compile reduce-overhead
float32 | the same, CUDA graphs              |        | $last --compile reduce-overhead
float32 | DataLoader, as usual               |        | --loader
bf16    | the same, max-autotune             |        | --amp bf16 $last --compile max-autotune
tf32    | the same, max-autotune             |        | --tf32 $last --compile max-autotune
float32 | the same, max-autotune             |        | $last --compile max-autotune
"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

rate_of='.images_per_second * 10 | round / 10'
# PRECISION -> images/s, or nothing where Cairn fails
measure_cairn() {
    build/cairn bench --json --seconds "$seconds" --device "$device" \
        -S "train.precision=$1" -S "train.batch_size=$batch" | jq "$rate_of"
}

# ENVIRONMENT ARGUMENTS -> images/s, or nothing where PyTorch fails or the time is over
measure_pytorch() {
    local left=$((limit - SECONDS))
    # shellcheck disable=SC2086 # words
    timeout "$((left > 0 ? left : 1))" env $1 "$python" scripts/pytorch_simple_cnn.py speed \
        ${data:+--data "$data"} --device "$device" --batch-size "$batch" --seconds "$seconds" $2 \
        2>"$work/stderr" | jq "$rate_of"
}

failed=0
declare -A cairn
for ((round = 1; round <= rounds; round++)); do
    cairn=() # of a precision, as measured last: a rate, or null
    while IFS='|' read -r precision name environment arguments; do
        read -r precision <<<"$precision"
        read -r name <<<"$name"
        [ -n "$name" ] || continue
        peer='' rate=${cairn[$precision]-}
        rate=${rate#null}
        if [ "$SECONDS" -lt "$limit" ]; then
            if [[ $device != cuda* || -z ${cairn[$precision]-} ]]; then
                rate=$(measure_cairn "$precision") || rate=
                [ -n "$rate" ] || failed=1
                cairn[$precision]=${rate:-null}
            fi
            peer=$(measure_pytorch "$environment" "$arguments") || peer=
            [ -n "$peer" ] || tail -n 1 "$work/stderr" >&2
        fi
        shown=failed
        [ "$SECONDS" -lt "$limit" ] || shown='no time left'
        jq -nc '$ARGS.named' --arg precision "$precision" --arg name "$name" --arg shown "$shown" \
            --argjson cairn "${cairn[$precision]:-null}" --argjson peer "${peer:-null}" >>"$work/rows"
        echo "round $round/$rounds, $precision, PyTorch $name: ${peer:-$shown};" \
            "Cairn: ${rate:-$shown}" >&2
    done <<<"$settings"
done

echo
"$python" -c 'import torch; print("PyTorch", torch.__version__, end=", ")'
echo "$(build/cairn --version), $device, $(nproc) cores, batch $batch; medians of $rounds"
echo
# shellcheck disable=SC2016 # $names are jq's
jq -sr '
def median: sort | if . == [] then null
                   else (.[(length - 1) / 2 | floor] + .[length / 2 | floor]) / 2 end;
def ratio: . * 100 | round / 100;
group_by(.precision) | reverse[]
| .[0] as $first
| (map(.cairn | values) | median) as $cairn
| (if $cairn then "\($cairn | round)" else $first.shown end) as $ours
| def times: if $cairn then $cairn / .rate | ratio else "" end;
  (group_by(.name) | map({name: .[0].name, shown: .[0].shown, rates: map(.peer | values)})) as $settings
| ($settings | map(select(.rates != []) | {name, rate: (.rates | median)}) | sort_by(.rate)) as $peers
| "| \($first.precision) | images/s | Cairn / PyTorch |\n| --- | ---: | ---: |",
  "| Cairn | \($ours) | |",
  ($peers[] | "| PyTorch, \(.name) | \(.rate | round) | \(times) |"),
  ($settings[] | select(.rates == []) | "| PyTorch, \(.name) | \(.shown) | |"),
  "",
  (select($cairn) | $peers[] | select(.name == $first.name)
   | "\($first.precision): \(times) times PyTorch by default"),
  (select($cairn) | $peers[-1] // empty
   | "\($first.precision): \(times) times PyTorch at its best (\(.name))"),
  ""
' "$work/rows"
exit "$failed"
