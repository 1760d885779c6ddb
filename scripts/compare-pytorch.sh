#!/usr/bin/env bash
# Trains the recipes of experiments/ by Cairn and by PyTorch, measures the speed of both, and prints
# one table of what there is.
#
#   scripts/compare-pytorch.sh [RECIPE]... [--seeds '42 43 44'] [--only cairn|pytorch|speed|table]
#                              [--out DIR] [--seconds 10] [--rounds 3] [-S key=value]...
#
# All recipes unless some are named, all four parts unless one is. What is finished in DIR
# (experiments/results, of which git keeps what the table needs) is not done again, and an
# interrupted training by Cairn goes on, so a table can grow over days. A run made elsewhere counts
# once it lies in DIR: a run folder, or a file *.pytorch.json that pytorch_train.py --out wrote. One
# of another configuration is named and left out; seed, device, threads, paths, checkpoints and
# TensorBoard may differ.
#
# Speed is of training steps alone: each of PyTorch's two settings is measured --rounds times for
# --seconds, Cairn right before each, so that both meet the same state of the machine; the table has
# medians, and PyTorch's faster setting. Other programs should rest meanwhile. PyTorch is that of
# .venv/, or of the interpreter that CAIRN_PYTHON names.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/help.sh"
. "$(dirname "${BASH_SOURCE[0]}")/children.sh"
caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

stop() {
    echo "compare-pytorch.sh: $*" >&2
    exit 2
}

names=()
overrides=()
seeds='42 43 44'
only=
out=$PWD/experiments/results
seconds=10
rounds=3
while [ $# -gt 0 ]; do
    case $1 in
    --seeds | --only | --out | --seconds | --rounds | -S)
        [ $# -gt 1 ] || stop "a value is missing after $1"
        case $1 in
        -S) overrides+=(-S "$2") ;;
        --out) out=$(cd "$caller" && realpath -m -- "$2") ;;
        *) declare "${1#--}=$2" ;;
        esac
        shift 2
        ;;
    -*) stop "no option '$1'; --seeds, --only, --out, --seconds, --rounds, -S" ;;
    *)
        [ -e "experiments/$1.yaml" ] || stop "there is no experiments/$1.yaml"
        names+=("$1")
        shift
        ;;
    esac
done
[[ $only =~ ^(|cairn|pytorch|speed|table)$ ]] || stop "--only '$only': cairn, pytorch, speed or table"
[[ $seeds =~ ^[0-9]+( [0-9]+)*$ ]] || stop "--seeds '$seeds': whole numbers with blanks between"
for option in seconds rounds; do
    [[ ${!option} =~ ^[1-9][0-9]*$ ]] || stop "--$option: '${!option}' is not a whole number above 0"
done
[ "${#names[@]}" -gt 0 ] || for file in experiments/*.yaml; do
    names+=("$(basename "$file" .yaml)")
done

wanted() { # PART
    [ -z "$only" ] || [ "$only" = "$1" ]
}

[ -n "${CAIRN-}" ] || scripts/build.sh
cairn=${CAIRN:-build/cairn}
python=${CAIRN_PYTHON:-.venv/bin/python}
if wanted pytorch || wanted speed; then
    scripts/install-deps.sh bench
    "$python" -c 'import numpy, torch' 2>/dev/null || stop "$python has no PyTorch: CAIRN_PYTHON" \
        "names one that has, and scripts/bench-pytorch.sh installs it into .venv/"
fi
mkdir -p "$out"

finished() { # FILE: whether it is the summary of a whole run
    [ -e "$1" ] && jq -e '.status == "finished"' "$1" >/dev/null
}

train_cairn() { # NAME SEED
    local folder=$out/$1-$2
    finished "$folder/summary.json" || "$cairn" train "experiments/$1.yaml" "${overrides[@]}" \
        -S "seed=$2" --run-dir "$folder" --resume >&2
}

train_pytorch() { # NAME SEED
    local file=$out/$1-$2.pytorch.json
    finished "$file" || CAIRN=$cairn "$python" scripts/pytorch_train.py "experiments/$1.yaml" \
        "${overrides[@]}" -S "seed=$2" --out "$file" >&2
}

rate_of='.images_per_second * 10 | round / 10'
measure() { # NAME: adds a line for each round and setting
    local round mine peer setting
    for ((round = 1; round <= rounds; round++)); do
        for setting in '' --compile; do
            mine=$("$cairn" bench --json --seconds "$seconds" "experiments/$1.yaml" \
                "${overrides[@]}" | jq "$rate_of")
            # shellcheck disable=SC2086 # a word or none
            peer=$(CAIRN=$cairn "$python" scripts/pytorch_train.py "experiments/$1.yaml" \
                "${overrides[@]}" --speed "$seconds" $setting | jq "$rate_of") || peer=
            echo "$1, round $round/$rounds, PyTorch${setting:+ compiled}: ${peer:-failed};" \
                "Cairn: $mine" >&2
            jq -nc '$ARGS.named' --arg setting "$setting" --argjson cairn "$mine" \
                --argjson peer "${peer:-null}" >>"$out/$1.speed"
        done
    done
}

# Of a printed configuration: what decides the results, but for the seed.
essence() {
    awk '/^[^ ]/ { section = $1 }
        section ~ /^(run|checkpoint|tensorboard|seed|device):/ { next }
        $1 !~ /^(dir|num_workers|threads|deterministic):$/'
}

# NAME PARAMS: a line of JSON for each finished run of that configuration.
collect() {
    local file params kind printed
    printed=$(mktemp)
    while IFS= read -r file; do
        finished "$file" || continue
        [ "$(jq -r .run "$file")" = "$1" ] || continue
        if [ "$(basename "$file")" = summary.json ]; then
            kind=cairn
            cp "$(dirname "$file")/params.yaml" "$printed"
        else
            kind=peer
            jq -r '.params // ""' "$file" >"$printed"
        fi
        # again, since an earlier version may have printed it otherwise
        params=$("$cairn" params --print "$printed" 2>/dev/null | essence)
        if [ "$params" = "$2" ]; then
            jq -c --arg kind "$kind" '{kind: $kind, seed, seconds,
                accuracy: (.final_test_acc // .final_val_acc)}' "$file"
        else
            echo "recipes: $file is of another configuration than the recipe: left out" >&2
        fi
    done < <(find "$out" -name summary.json -o -name '*.pytorch.json' | sort)
    rm "$printed"
}

row() { # NAME
    local params
    params=$("$cairn" params --print "experiments/$1.yaml" "${overrides[@]}" | essence)
    { collect "$1" "$params" && { [ ! -e "$out/$1.speed" ] || cat "$out/$1.speed"; }; } |
        jq -sr --arg name "$1" '
        def none: "not yet measured";
        def mean: add / length;
        def round_to(n): . * n | round / n;
        def deviation: mean as $m | (map((. - $m) * (. - $m)) | add / (length - 1) | sqrt);
        def median: sort | (.[(length - 1) / 2 | floor] + .[length / 2 | floor]) / 2;
        def accuracy: map(.accuracy) | if . == [] then none
            elif length == 1 then "\(.[0] | round_to(10000)) (1)"
            else "\(mean | round_to(10000)) ± \(deviation | round_to(10000)) (\(length))" end;
        def time: map(.seconds) | if . == [] then none else "\(mean | round) s" end;
        def rate: if . then round else none end;
        map(select(.kind == "cairn")) as $cairn | map(select(.kind == "peer")) as $peer
        | map(select(.setting)) as $speed
        | ($speed | if . == [] then null else map(.cairn) | median end) as $ours
        | ($speed | map(select(.peer)) | group_by(.setting) | map(map(.peer) | median) | max) as $theirs
        | "| `\($name)` | \($cairn | accuracy) | \($peer | accuracy) | \($cairn | time) " +
          "| \($ours | rate) | \($theirs | rate) " +
          "| \(if $ours and $theirs then $ours / $theirs | round_to(100) else none end) " +
          "| `build/cairn train experiments/\($name).yaml` |"'
}

for name in "${names[@]}"; do
    for seed in $seeds; do
        ! wanted cairn || train_cairn "$name" "$seed"
        ! wanted pytorch || train_pytorch "$name" "$seed"
    done
    ! wanted speed || measure "$name"
done
wanted table || exit 0
echo "| recipe | accuracy (runs) | PyTorch's | time | images/s | PyTorch's | ratio | command |"
echo "| --- | --- | --- | ---: | ---: | ---: | ---: | --- |"
for name in "${names[@]}"; do
    row "$name"
done
