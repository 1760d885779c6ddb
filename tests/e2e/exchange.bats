#!/usr/bin/env bats
# Data sets in folders of images, from training to `cairn predict` and `cairn export`: 120 classes,
# so that nothing counts on ten, one with a name as long as names can be; and what onnxruntime makes
# of the exported model, where it is installed.

load older_bats

setup_file() {
    shared=$BATS_FILE_TMPDIR
    python=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)/.venv/bin/python
    long=$(printf 'class 119%.0s' {1..28})end # of 255 bytes
    export shared python long OMP_WAIT_POLICY=passive
    cd "$shared"
    python3 "$BATS_TEST_DIRNAME/make_images.py" images 120 3 1 12
    mv 'images/train/class 119' "images/train/$long"
    mv 'images/test/class 119' "images/test/$long"
    cat >params.yaml <<END
data: {name: folder, dir: images, image_size: 8, crop_padding: 1}
train: {epochs: 2, batch_size: 32, lr: 0.003, threads: 1}
run: {name: many}
END
    "$CAIRN" train --quiet
}

setup() {
    cd "$shared"
}

# Runs cairn with stdout and stderr apart, in the files out and err; the exit code in $code.
cairn() {
    code=0
    "$CAIRN" "$@" >out 2>err || code=$?
}

fails_with() { # CODE PART...: the code, and one line that has every part
    [ "$code" -eq "$1" ] || { echo "code $code: $(cat err)" && return 1; }
    [ "$(wc -l <err)" -eq 1 ]
    shift
    for part; do
        grep -qF -- "$part" err || { echo "'$part' is not in: $(cat err)" && return 1; }
    done
}

metadata() { # FILE: the description of the data in a safetensors file
    tail -c +9 "$1" | head -c "$(od -A n -t u8 -N 8 "$1")" | jq -r '.__metadata__.data'
}

@test "120 classes: check, recorded files, eval, and the model's own description" {
    cairn data check
    [ "$code" -eq 0 ]
    grep -qx 'images    360 train, 120 test, 3 channels of 8 x 8' out
    grep -qx 'memory    0.1 MB' out
    grep -Eqx "119 $long +3 +1" out
    [ "$(wc -l <runs/many/confusion.csv)" -eq 121 ]
    [ "$(tail -n +2 runs/many/confusion.csv | tr , '\n' | grep -cx 1)" -eq 120 ]
    [ "$(tail -n +2 runs/many/predictions.csv | cut -d, -f1 | sort -n | tail -1)" -eq 119 ]
    [ "$(head -1 runs/many/predictions.csv)" = actual,predicted,confidence,file ]
    [ "$(tail -1 runs/many/predictions.csv | cut -d, -f1,4)" = "119,test/$long/0.png" ]
    jq -e '.data == "folder" and .train_images == 360 and (.synthetic | not)' runs/many/summary.json
    cairn eval --run-dir runs/many --json
    [ "$(jq '.test_acc' out)" = "$(jq '.best_test_acc' runs/many/summary.json)" ]
    cp out whole
    cairn eval --run-dir runs/many --json -S data.train_limit=3 # normalised as the model was trained
    cmp out whole
    for file in model checkpoint; do
        metadata runs/many/$file.safetensors >description
        jq -e '.shape == [3, 8, 8] and (.classes | length == 120 and .[7] == "class 007") and
               (.classes[119] | length == 255) and
               (.mean | length == 3) and all(.std[]; . > 0.1)' description
    done
    cairn params --plot-lr
    grep -q '2 epochs of 12 steps' out
}

@test "images of other sizes, broken and misplaced files are refused by name" {
    cp -r images sizes
    cairn data check -S data.dir=sizes -S data.image_size=0
    [ "$code" -eq 0 ]
    grep -q '3 channels of 12 x 12' out
    python3 "$BATS_TEST_DIRNAME/make_images.py" larger 1 1 1 13
    cp larger/train/*/0.png 'sizes/test/class 050/0.png'
    cairn data check -S data.dir=sizes -S data.image_size=0
    fails_with 2 "sizes/test/class 050/0.png: is 13 by 13 pixels, the first image 12 by 12" \
        "data.image_size"
    truncate -s 60 "sizes/train/$long/2.png"
    cairn train -S data.dir=sizes -S run.name=none
    fails_with 2 "sizes/train/$long/2.png: the image is damaged or cut short"
    [ ! -e runs/none ]
    cairn data check -S data.dir=nowhere
    fails_with 2 "nowhere/train: there is no such folder" "train/<class>/ and test/<class>/"
    cairn data check -S data.image_size=1025
    fails_with 2 "data.image_size=1025: found 1025; it must be a whole number from 0 to 1024"
}

@test "eval refuses a data set of other classes" {
    cp -r images renamed
    mv 'renamed/train/class 003' 'renamed/train/class 003b'
    rm -r 'renamed/test/class 003'
    cairn eval --run-dir runs/many -S data.dir=renamed
    fails_with 2 "model.safetensors: class 3 is 'class 003' to the model and 'class 003b' in"
    cairn eval --run-dir runs/many -S data.name=cifar10 -S data.dir=nowhere
    fails_with 2 "nowhere"
}

@test "predict takes files, folders and the standard input, without the data set" {
    mkdir -p away/photos/.cache
    cp -r runs/many away/run
    cp 'images/test/class 000/0.png' away/photos/b.png
    cp 'images/test/class 001/0.png' away/photos/A.PNG
    cp away/photos/b.png away/photos/.cache/
    echo words >away/photos/notes.txt
    cd away
    cairn predict --run-dir run photos - --top 2 <photos/b.png
    [ "$code" -eq 0 ]
    [ "$(cat err)" = 'cairn: left out 2 that are no images, first photos/.cache' ]
    [ "$(sed 's/: class .*//' out)" = $'photos/A.PNG\nphotos/A.PNG\nphotos/b.png\nphotos/b.png\n-\n-' ]
    [ "$(sed -n 's/^-: //p' out)" = "$(sed -n 's/^photos.b.png: //p' out)" ]
    cairn predict --run-dir run --json --top 256 - <photos/b.png
    jq -e 'length == 1 and .[0].file == "-" and (.[0].predictions | length == 120)' out
    jq -e '.[0].predictions | map(.logit) | . == (sort | reverse)' out
    cairn predict --run-dir run photos photos/notes.txt - <photos/notes.txt
    [ "$code" -eq 2 ]
    [ "$(wc -l <out)" -eq 2 ]
    grep -qx 'cairn: photos/notes.txt: is no PNG, JPEG, BMP or WebP image' err
    grep -qx 'cairn: standard input: is no PNG, JPEG, BMP or WebP image' err
    grep -qx 'cairn: 2 of 4 images could not be read' err
    mkdir empty
    cairn predict --run-dir run empty
    fails_with 2 "empty: the folder holds no image files (.png, .jpg, .jpeg, .bmp, .webp)"
    cairn predict --run-dir run - - <photos/b.png
    fails_with 2 "'-' twice"
    mkfifo pipe.png
    cairn predict --run-dir run pipe.png
    [ "$code" -eq 2 ]
    grep -qx 'cairn: pipe.png: is not a regular file' err
    cp photos/b.png $'photos/\033[31m.png'
    cairn predict --run-dir run photos
    [ "$code" -eq 0 ]
    ! grep -q $'\033' out
}

@test "predict crops what was cropped in training" {
    python3 - <<END
import struct
def bmp(name, row): # eight times
    open(name, "wb").write(b"BM" + struct.pack("<IIIIiiHHIIiiII", 54 + 8 * len(row), 0, 54, 40, len(row) // 3, 8, 1, 24,
                                               0, 8 * len(row), 2835, 2835, 0, 0) + 8 * row)
middle = b"\x10\x80\xf0" * 8
bmp("square.bmp", middle)
bmp("wide.bmp", bytes(24) + middle + b"\xff" * 24)
END
    cairn train --quiet -S data.resize=crop -S run.name=crop -S train.epochs=1 -S data.train_limit=120
    [ "$code" -eq 0 ]
    metadata runs/crop/model.safetensors | jq -e '.resize == "crop"'
    metadata runs/many/model.safetensors | jq -e 'has("resize") | not'
    for run in crop many; do
        cairn predict --model runs/$run/model.safetensors --json wide.bmp square.bmp
        jq -e --arg run $run '(.[0].predictions == .[1].predictions) == ($run == "crop")' out
        cairn predict --model runs/$run/model.safetensors --json - <wide.bmp
        jq '.[0].predictions' out >piped
        cairn predict --model runs/$run/model.safetensors --json wide.bmp
        jq '.[0].predictions' out | cmp - piped
    done
}

@test "export to safetensors keeps tensors and description, of a checkpoint too" {
    cairn export runs/many --out copy.safetensors
    [ "$code" -eq 0 ] && [ ! -s err ]
    cmp copy.safetensors runs/many/model.safetensors
    cairn export runs/many/checkpoint.safetensors --format safetensors --out last.st
    [ "$code" -eq 0 ]
    [ "$(stat -c %s last.st)" -eq "$(stat -c %s copy.safetensors)" ]
    cp runs/many/params.yaml .
    cairn predict --model last.st 'images/test/class 000/0.png'
    [ "$code" -eq 0 ]
}

@test "export says what is wrong" {
    cairn export
    fails_with 2 "cairn export --help"
    cairn export runs/many
    fails_with 2 "and --out"
    cairn export runs/many --out m.pt
    fails_with 2 "--out: 'm.pt' ends in neither .safetensors nor .onnx"
    cairn export runs/many --out m.onnx --format torch
    fails_with 2 "--format: 'torch' is neither safetensors nor onnx"
    cairn export runs/nothing --out m.onnx
    fails_with 2 "runs/nothing"
    cairn export runs/many --out m.onnx -S model.name=other
    fails_with 2 "model.name"
    cairn export runs/many --out nowhere/m.onnx
    fails_with 1 "nowhere/m.onnx: cannot write"
    [ ! -e m.onnx ]
    printf 'no tensors' >bad.safetensors
    cairn export bad.safetensors --out m.onnx
    fails_with 2 "bad.safetensors"
}

@test "export to ONNX: onnxruntime gives the same logits" {
    cairn export runs/many --out many.onnx
    if grep -q libprotobuf-c err; then skip "built without libprotobuf-c"; fi
    [ "$code" -eq 0 ] && [ ! -s err ]
    "$python" -c 'import onnx, onnxruntime' 2>/dev/null ||
        skip "no onnxruntime: scripts/setup-dvc.sh --test installs it"
    python3 "$BATS_TEST_DIRNAME/make_images.py" same 12 1 2 8
    cairn predict --run-dir runs/many --json --top 256 same
    "$python" "$BATS_TEST_DIRNAME/compare_onnx.py" many.onnx out

    residual=(-S model.name=resnet20 -S run.name=residual -S train.epochs=1)
    cairn train "${residual[@]}" -S data.train_limit=64 -S data.test_limit=2 --quiet
    [ "$code" -eq 0 ]
    cairn export runs/residual --out residual.onnx
    [ "$code" -eq 0 ]
    cairn predict --run-dir runs/residual --json --top 256 same/train
    "$python" "$BATS_TEST_DIRNAME/compare_onnx.py" residual.onnx out
}
