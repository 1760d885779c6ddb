#!/usr/bin/env bash
# Training speed of Cairn beside PyTorch's, in one run on this machine.
#
#   scripts/bench-pytorch.sh [--device cpu|cuda] [--batch 128] [--seconds 10] [--rounds 3] [--data DIR]
#
# Each of PyTorch's settings is measured --rounds times for --seconds, Cairn right before each, so
# that both meet the same state of the machine; the table shows medians. DIR holds
# cifar-10-batches-bin; without it, and without data/raw, PyTorch gets random images, as `cairn
# bench` always does: what an image shows does not change the speed. PyTorch comes from PyPI into
# .venv/, or from the interpreter that CAIRN_PYTHON names.
set -eu
caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

device=cpu
batch=128
seconds=10
rounds=3
data=
while [ $# -gt 0 ]; do
    case $1 in
    --device | --batch | --seconds | --rounds | --data)
        [ $# -gt 1 ] || {
            echo "bench-pytorch.sh: a value is missing after $1" >&2
            exit 2
        }
        declare "${1#--}=$2"
        shift 2
        ;;
    *)
        echo "bench-pytorch.sh: no option '$1'; --device, --batch, --seconds, --rounds, --data" >&2
        exit 2
        ;;
    esac
done
for option in batch seconds rounds; do
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
if [ -n "${CAIRN_PYTHON-}" ]; then
    scripts/install-deps.sh build
else
    scripts/install-deps.sh build bench
    if ! .venv/bin/python -c 'import numpy, torch' 2>/dev/null; then
        echo "Installing PyTorch into .venv/ (some GB)" >&2
        python3 -m venv .venv
        .venv/bin/pip install --quiet torch numpy
    fi
fi
scripts/build.sh

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
# On a GPU the data lies in its memory, but for the DataLoader's; cuDNN picks by measuring.
last='--channels-last --fused'
[[ $device != cuda* ]] || settings="
float32 | default                            |        |
float32 | DataLoader, as usual               |        | --loader
float32 | channels_last, fused Adam          |        | $last
float32 | the same, CUDA graphs              |        | $last --compile reduce-overhead
float32 | the same, max-autotune             |        | $last --compile max-autotune
tf32    | default                            |        | --tf32
tf32    | channels_last, fused Adam          |        | --tf32 $last
tf32    | the same, CUDA graphs              |        | --tf32 $last --compile reduce-overhead
tf32    | the same, max-autotune             |        | --tf32 $last --compile max-autotune
bf16    | autocast                           |        | --amp bf16
bf16    | channels_last, fused Adam          |        | --amp bf16 $last
bf16    | the same, CUDA graphs              |        | --amp bf16 $last --compile reduce-overhead
bf16    | the same, max-autotune             |        | --amp bf16 $last --compile max-autotune
"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# PRECISION -> images/s
measure_cairn() {
    build/cairn bench --json --seconds "$seconds" --device "$device" \
        -S "train.precision=$1" -S "train.batch_size=$batch" | jq .images_per_second
}

# ENVIRONMENT ARGUMENTS -> images/s, or nothing where PyTorch fails
measure_pytorch() {
    # shellcheck disable=SC2086 # words
    env $1 "$python" scripts/pytorch_cnn.py speed ${data:+--data "$data"} --device "$device" \
        --batch-size "$batch" --seconds "$seconds" $2 2>"$work/stderr" | jq .images_per_second
}

for ((round = 1; round <= rounds; round++)); do
    while IFS='|' read -r precision name environment arguments; do
        read -r precision <<<"$precision"
        read -r name <<<"$name"
        [ -n "$name" ] || continue
        cairn=$(measure_cairn "$precision")
        peer=$(measure_pytorch "$environment" "$arguments") || peer=
        [ -n "$peer" ] || tail -n 1 "$work/stderr" >&2
        echo "round $round/$rounds, $precision, PyTorch $name: ${peer:-failed}; Cairn: $cairn" >&2
        jq -nc '$ARGS.named' --arg precision "$precision" --arg name "$name" \
            --argjson cairn "$cairn" --argjson peer "${peer:-null}" >>"$work/rows"
    done <<<"$settings"
done

echo
"$python" -c 'import torch; print("PyTorch", torch.__version__, end=", ")'
echo "$(build/cairn --version), $device, $(nproc) cores, batch $batch; medians of $rounds"
echo
# shellcheck disable=SC2016 # $names are jq's
jq -sr '
def median: sort | (.[(length - 1) / 2 | floor] + .[length / 2 | floor]) / 2;
def ratio: . * 100 | round / 100;
group_by(.precision) | reverse[]
| .[0] as $first
| (map(.cairn) | median) as $cairn
| (group_by(.name) | map({name: .[0].name, rates: map(.peer | values)})) as $settings
| ($settings | map(select(.rates != []) | {name, rate: (.rates | median)}) | sort_by(.rate)) as $peers
| "| \($first.precision) | images/s | Cairn / PyTorch |\n| --- | ---: | ---: |",
  "| Cairn | \($cairn | round) | |",
  ($peers[] | "| PyTorch, \(.name) | \(.rate | round) | \($cairn / .rate | ratio) |"),
  ($settings[] | select(.rates == []) | "| PyTorch, \(.name) | failed | |"),
  "",
  ($peers[] | select(.name == $first.name)
   | "\($first.precision): \($cairn / .rate | ratio) times PyTorch by default"),
  ($peers[-1] // empty
   | "\($first.precision): \($cairn / .rate | ratio) times PyTorch at its best (\(.name))"),
  ""
' "$work/rows"
