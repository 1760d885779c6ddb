#!/usr/bin/env bash
# Installs what is missing, builds, gets the data, and trains what params.yaml says.
#
#   scripts/train.sh [ARGUMENT OF `cairn train`]...     such as -S train.epochs=1; `build/cairn
#                                                       train --help` names them
#
# The data comes from the official address, or from CAIRN_DATA_FROM (see get-data.sh). Where it
# cannot be had, the built-in data set `synthetic` stands in, in a run folder of its own name.
# Works from any folder: files and folders in the arguments are seen from there, the paths in
# params.yaml from the repository.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/help.sh"
caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

from_caller() {
    case $1 in
    /*) printf '%s\n' "$1" ;;
    *) printf '%s\n' "$caller/$1" ;;
    esac
}

case ${CAIRN_DATA_FROM-} in
'' | *://*) ;;
*) CAIRN_DATA_FROM=$(from_caller "$CAIRN_DATA_FROM") ;;
esac

# `train` gets every argument; `config` those that decide the configuration.
train=()
config=()
while [ $# -gt 0 ]; do
    case $1 in
    --params=*) set -- --params "${1#*=}" "${@:2}" ;;
    --run-dir=*) set -- --run-dir "${1#*=}" "${@:2}" ;;
    esac
    case $1 in
    --params | --run-dir)
        option=("$1" ${2+"$(from_caller "$2")"})
        train+=("${option[@]}")
        [ "$1" = --run-dir ] || config+=("${option[@]}")
        shift $(($# > 1 ? 2 : 1))
        ;;
    -S | --set | --device)
        train+=("${@:1:2}")
        config+=("${@:1:2}")
        shift $(($# > 1 ? 2 : 1))
        ;;
    -S?* | --set=* | --device=*)
        train+=("$1")
        config+=("$1")
        shift
        ;;
    -*)
        train+=("$1")
        shift
        ;;
    *)
        train+=("$(from_caller "$1")")
        config+=("$(from_caller "$1")")
        shift
        ;;
    esac
done

scripts/build.sh

# The value of SECTION's KEY in the resolved configuration, as YAML.
resolved=$(build/cairn params --print "${config[@]}") || exit
value() {
    sed -n "/^$1:/,/^[^ ]/s/^  $2: //p" <<<"$resolved"
}

data=$(value data name)
if [ "$data" = cifar10 ] || [ "$data" = cifar100 ]; then
    status=0
    scripts/get-data.sh "${config[@]}" || status=$?
    # 1: it cannot be reached. Anything else, such as a wrong checksum, must not go unseen; nor
    # must a source that the user named.
    if [ "$status" -eq 1 ] && [ -z "${CAIRN_DATA_FROM-}" ]; then
        name=$(value run name)
        quote=${name##*[!\'\"]}
        synthetic="${name%"$quote"}_synthetic$quote"
        train+=(-S data.name=synthetic -S "run.name=$synthetic")
        echo "No CIFAR-${data#cifar} here and no way to get it: training on the built-in data set" \
            "\`synthetic\` instead, as the run $synthetic" >&2
    elif [ "$status" -ne 0 ]; then
        exit "$status"
    fi
fi
exec build/cairn train "${train[@]}"
