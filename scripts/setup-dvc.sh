#!/usr/bin/env bash
# Puts DVC and Optuna, from PyPI, into the project's own virtual environment, .venv/.
#
#   scripts/setup-dvc.sh [--remote ADDRESS] [--tensorboard] [--test] [s3] [ssh] [gs] [azure]...
#
# --remote ADDRESS: a remote of one's own, a folder or an address that DVC knows (s3://bucket/path,
# ssh://host/path); it becomes the default remote of this checkout, and the archive of the data is
# kept there too. s3, ssh and so on: what DVC needs besides for such an address.
# --tensorboard: TensorBoard too.
# --test: what the tests need besides: TensorBoard, onnxruntime, Vega for the pages of plots, and a
# browser.
# When all is there it takes some milliseconds. PIP_INDEX_URL names another index, as for any pip.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/help.sh"
caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

stop() {
    printf 'setup-dvc.sh: %s\n' "$@" >&2
    exit 2
}

dvc=3.67.1
optuna=5.0.0
vega=1.9.0 # of vl-convert
onnx=1.23.2
onnxruntime=1.32.0
tensorboard=2.21.0
remote=
board=
tests=
extras=()
while [ $# -gt 0 ]; do
    case $1 in
    --remote)
        [ $# -gt 1 ] || stop "an address is missing after --remote"
        remote=$2
        shift 2
        ;;
    --tensorboard)
        board=yes
        shift
        ;;
    --test)
        board=yes
        tests=yes
        shift
        ;;
    -*) stop "no option '$1'; --remote ADDRESS, --tensorboard, --test, and extras such as s3 or ssh" ;;
    *)
        [[ $1 =~ ^[a-z0-9-]+$ ]] || stop "'$1' is not an extra of DVC; such as s3 or ssh"
        extras+=("$1")
        shift
        ;;
    esac
done
case $remote in
'' | /* | *://*) ;;
*) remote=$caller/$remote ;;
esac

git rev-parse --git-dir >/dev/null 2>&1 ||
    stop "$PWD is not a git repository, and DVC keeps its records in one: \`git init\`, or clone"

extra=$(IFS=,; echo "${extras[*]-}")
wanted="dvc${extra:+[$extra]}==$dvc optuna==$optuna${board:+ tensorboard==$tensorboard}"
[ -z "$tests" ] || wanted+=" vl-convert-python==$vega onnx==$onnx onnxruntime==$onnxruntime"
[ -z "$tests" ] || scripts/install-deps.sh dvc page
mark=.venv/cairn-dvc
if [ ! -x .venv/bin/dvc ] || [ ! -x .venv/bin/optuna ] ||
    ! grep -qxF -e "$wanted" "$mark" 2>/dev/null; then
    scripts/install-deps.sh dvc
    echo "Installing $wanted into .venv/" >&2
    [ -x .venv/bin/python ] || python3 -m venv .venv
    # shellcheck disable=SC2086 # words
    .venv/bin/pip install --quiet --disable-pip-version-check $wanted ||
        stop "pip could not install $wanted; the lines above say why"
    echo "$wanted" >>"$mark"
fi

if [ -n "$remote" ]; then
    .venv/bin/dvc remote add --quiet --force --local --default own "$remote"
    .venv/bin/dvc config --quiet --local remote.official.url "$remote"
fi
