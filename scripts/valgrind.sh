#!/usr/bin/env bash
# Looks for misused and lost memory: builds for a plain x86-64, since valgrind knows no AVX-512, and
# runs unit tests, the readers of image files and the program's commands under memcheck. Any error
# or leak fails it.
#
#   scripts/valgrind.sh [TEST]...     such as test_config; all unit tests and test_ops unless given
#
# Image files are the fuzzers' kept ones and, where Pillow is installed, those that
# tests/parity/check_images.py makes; CAIRN_IMAGES names a folder of more. Every pixel that is read
# is written out, so that one from memory that nobody set is seen.
#
# test_stop is left out: its signals come faster than valgrind delivers them.
#
# tests/valgrind.supp says what is left out, and why.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/help.sh"
. "$(dirname "${BASH_SOURCE[0]}")/children.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

command -v valgrind >/dev/null || {
    echo "valgrind.sh: valgrind is not installed (apt-get install valgrind)" >&2
    exit 2
}
scripts/install-deps.sh build test && scripts/build.sh valgrind -DCAIRN_TESTS=ON || exit
build=$PWD/build-valgrind
suppressions=$PWD/tests/valgrind.supp
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
# oneDNN compiles for what the processor is said to have; its threads are not what is looked at.
export ONEDNN_MAX_CPU_ISA=AVX2 OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive

status=0
check() { # TITLE COMMAND...
    local title=$1 code=0 begin=$SECONDS
    shift
    valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=definite,possible \
        --errors-for-leak-kinds=definite,possible --suppressions="$suppressions" \
        --log-file="$temporary/valgrind" "$@" >"$temporary/out" 2>&1 || code=$?
    if [ "$code" -eq 0 ]; then
        echo "clean after $((SECONDS - begin)) s: $title"
        return
    fi
    echo "FAILED with $code: $title"
    tail -5 "$temporary/out"
    head -60 "$temporary/valgrind"
    status=1
}

tests=("$@")
if [ ${#tests[@]} -eq 0 ]; then
    for source in tests/unit/test_*.c; do
        [ "$source" = tests/unit/test_stop.c ] || tests+=("$(basename "$source" .c)")
    done
    tests+=(test_ops)
fi
for name in "${tests[@]}"; do
    check "$name" "$build/tests/$name"
done

python=.venv/bin/python
[ -x "$python" ] || python=python3
"$python" tests/parity/check_images.py --make "$temporary/images" >"$temporary/made" ||
    echo "image files are not made: $(cat "$temporary/made")"
for folder in "$temporary/images" tests/fuzz/corpus/image tests/fuzz/regressions/image \
    ${CAIRN_IMAGES:+"$CAIRN_IMAGES"}; do
    [ ! -d "$folder" ] || mapfile -d '' -t images < <(find "$folder" -type f -print0)
    # Of libjpeg's vector instructions memcheck takes some for uses of what lies beside a row.
    [ ! -d "$folder" ] || JSIMD_FORCENONE=1 check "${#images[@]} image files of $folder" \
        "$build/tests/image_pixels" "${images[@]}"
done

cat >"$temporary/params.yaml" <<'YAML'
data: {name: synthetic, dir: none, train_limit: 12, test_limit: 6}
model: {widths: 4 8, hidden: 16}
train: {epochs: 2, batch_size: 4, lr: 0.001, threads: 1}
tensorboard: {enabled: true}
run: {name: x}
YAML
cd "$temporary" || exit
python3 -c 'import struct, sys
sys.stdout.buffer.write(struct.pack("<2sIHHIIiiHHIIIIII", b"BM", 54 + 96, 0, 0, 54, 40, 4, 8, 1, 24,
                                    0, 96, 0, 0, 0, 0) + bytes(range(96)))' >image.bmp
cairn=$build/cairn
for device in reference cpu; do
    check "train on $device" "$cairn" train --device "$device" -S "run.name=$device"
    check "resume on $device" "$cairn" train --device "$device" -S "run.name=$device" --resume \
        -S train.epochs=3
    check "eval on $device" "$cairn" eval --device "$device" --run-dir "runs/$device"
    check "predict on $device" "$cairn" predict --device "$device" --run-dir "runs/$device" image.bmp
done
check "train resnet20" "$cairn" train --device cpu -S model.name=resnet20 -S run.name=resnet20 \
    -S train.epochs=1
check "export as ONNX" "$cairn" export runs/cpu --out model.onnx
check "export as safetensors" "$cairn" export runs/cpu --out model.safetensors
check "data check" "$cairn" data check
check "info" "$cairn" info
exit "$status"
