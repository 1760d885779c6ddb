#!/usr/bin/env bash
# Trains the three recorded experiments as DVC experiments, and prints them as one table.
#
#   scripts/dvc-experiments.sh [-S key=value]...     overrides for all three, such as -S seed=43
#
# Each trains in a temporary workspace of DVC's, so that the files here stay as they are. An
# experiment of that name is replaced. `dvc exp apply exp1_baseline` brings one here.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/help.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# name | epochs | batch size | learning rate
experiments='
exp1_baseline            5  128  0.001
exp2_low_lr_more_epochs  10 128  0.0005
exp3_big_batch           10 256  0.001
'
dvc=${CAIRN_DVC:-.venv/bin/dvc}
command -v "$dvc" >/dev/null || {
    echo "dvc-experiments.sh: dvc is not installed; scripts/setup-dvc.sh installs it" >&2
    exit 2
}
names=$("$dvc" exp list --name-only)
while read -r name epochs batch lr; do
    [ -n "$name" ] || continue
    ! grep -qx "$name" <<<"$names" || "$dvc" exp remove --quiet "$name"
    "$dvc" exp run --temp --name "$name" -S "run.name=$name" -S "train.epochs=$epochs" \
        -S "train.batch_size=$batch" -S "train.lr=$lr" "$@" </dev/null
done <<<"$experiments"
exec "$dvc" exp show --no-pager --md --sort-by train.lr --hide-workspace --drop '.*' \
    --keep '^(Experiment|train\.(epochs|batch_size|lr)|(final|best)_test_acc|seconds)$'
