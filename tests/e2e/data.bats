#!/usr/bin/env bats
# `cairn data`: getting the data from paths and from a web server on this machine, checking it,
# showing an image. No test leaves the machine.

load older_bats

setup_file() {
    shared=$(mktemp -d)
    export shared
    python3 "$BATS_TEST_DIRNAME/make_archives.py" "$shared"
    python3 "$BATS_TEST_DIRNAME/range_server.py" "$shared" "$shared/port" "$shared/log" 3>&- &
    echo $! >"$shared/server"
    for _ in $(seq 100); do
        [ -s "$shared/port" ] && break
        sleep 0.05
    done
    url="http://127.0.0.1:$(cat "$shared/port")"
    md5=$(cat "$shared/good.md5")
    export url md5 no_proxy=127.0.0.1
}

teardown_file() {
    kill "$(cat "$shared/server")"
    rm -rf "$shared"
}

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    : >"$shared/log"
    unset CAIRN_DATA_FROM CAIRN_DATA_MD5 CAIRN_DATA_SHA256
    printf 'train: {epochs: 1, batch_size: 8, lr: 0.1}\ndata: {dir: raw}\nrun: {name: a}\n' >params.yaml
}

# Runs cairn; the output has both streams.
cairn() {
    run "$CAIRN" "$@"
}

succeeds() {
    [ "$status" -eq 0 ] || { echo "status $status: $output" && false; }
}

fails_with() { # STATUS PART...: the status, and one line that has every part
    [ "$status" -eq "$1" ] || { echo "status $status: $output" && return 1; }
    shift
    for part; do
        [[ "${lines[-1]}" == *"$part"* ]] || { echo "'$part' is not in: $output" && return 1; }
    done
}

complete() { # FOLDER: has the data, and nothing else
    [ "$(ls -A "$1")" = cifar-10-batches-bin ] && [ "$(ls "$1/cifar-10-batches-bin" | wc -l)" -eq 6 ]
}

# The stalling server's half of the archive, left by an interrupted download.
interrupted_download() {
    "$CAIRN" data get --from "$url/stall/good.tar.gz" --md5 "$md5" 3>&- 2>stderr &
    for _ in $(seq 100); do
        [ -s raw/good.tar.gz.part ] && break
        sleep 0.05
    done
    kill -INT $!
    status=0
    wait $! || status=$?
    [ "$status" -eq 130 ]
    grep -q 'same command resumes' stderr
    half=$(stat -c %s raw/good.tar.gz.part)
    [ "$half" -gt 0 ]
}

@test "get from a path; the archive stays, a second get does nothing, check and show read it" {
    cairn data get --from "$shared/good.tar.gz" --md5 "${md5^^}"
    succeeds
    [[ $output != *"no checksum"* ]]
    complete raw
    [ -e "$shared/good.tar.gz" ]
    cairn data get --from /nowhere
    succeeds
    cairn data check -S data.train_limit=20
    succeeds
    [[ $output == *"20 train, 10000 test, 3 channels of 32 x 32"* ]]
    [[ $output == *sha256* && $output == *"9 truck "*" 2   1000"* ]]
    cairn data show 13
    succeeds
    [[ ${lines[0]} == "cifar10 train 13: 3 cat" ]]
    cairn data show 10000 --split test
    fails_with 2 "N: '10000'" "0 to 9999"
}

@test "get from a URL into --dir, through a redirect, by SHA-256" {
    cairn data get --from "$url/moved/good.tar.gz?x=1" --sha256 "$(cat "$shared/good.sha256")" \
        --dir deep/er
    succeeds
    complete deep/er
}

@test "the Python archive is taken too" {
    cairn data get --from "$shared/python.tar.gz"
    succeeds
    [[ $output == *"python.tar.gz: not the official archive of CIFAR-10, and no checksum was given"* ]]
    [ "$(ls -A raw)" = cifar-10-batches-py ]
}

@test "CIFAR-100 is got, checked and shown by its fine labels" {
    hundred=(-S data.name=cifar100 -S data.dir=hundred)
    cairn data check "${hundred[@]}"
    fails_with 2 "hundred: there is no such folder" "cairn data get --name cifar100 --dir hundred"
    mkdir hundred
    cairn data check "${hundred[@]}"
    fails_with 2 "hundred: holds no cifar-100-binary" "cairn data get"
    cairn data get --from "$shared/cifar100-short.tar.gz" "${hundred[@]}"
    fails_with 2 "lacks some of CIFAR-100's two files train.bin and test.bin"
    cairn data get --from "$shared/good.tar.gz" "${hundred[@]}"
    fails_with 2 "holds 'cifar-10-batches-bin/'" "only whole files directly in cifar-100-binary/"
    [ -z "$(ls -A hundred)" ]
    cairn data get --from "$shared/cifar100.tar.gz" "${hundred[@]}"
    succeeds
    [[ $output == *"CIFAR-100 is in hundred" ]]
    [ "$(ls -A hundred)" = cifar-100-binary ]
    cairn data check "${hundred[@]}" -S data.train_limit=300
    succeeds
    [[ $output == *"300 train, 10000 test, 3 channels of 32 x 32"*" 99 fine99 "*" 3    100"* ]]
    cairn data show 142 "${hundred[@]}"
    [[ ${lines[0]} == "cifar100 train 142: 42 fine42" ]]
    cairn data get --name cifar100 --dir other --from "$shared/cifar100.tar.gz"
    succeeds
    [ "$(ls -A other)" = cifar-100-binary ]
    cairn data get -S data.name=cifar100 --dir third --from "$shared/cifar100.tar.gz"
    succeeds
    [ "$(ls -A third)" = cifar-100-binary ]
    cairn data get --name cifar --dir other
    fails_with 2 "cifar: there is nothing to get"
}

@test "an interrupted download exits 130 and is resumed with a Range request" {
    interrupted_download
    cairn data get --from "$url/range/good.tar.gz" --md5 "$md5"
    succeeds
    complete raw
    grep -qx "/range/good.tar.gz bytes=$half-" "$shared/log"
}

@test "a download that another process is at is refused, and left alone" {
    "$CAIRN" data get --from "$url/stall/good.tar.gz" --md5 "$md5" 3>&- 2>stderr &
    for _ in $(seq 100); do
        [ -s raw/good.tar.gz.part ] && break
        sleep 0.05
    done
    cairn data get --from "$url/range/good.tar.gz" --md5 "$md5"
    kill -INT $!
    wait $! || true
    fails_with 1 "raw/good.tar.gz.part: another process is downloading it" "--dir"
    half=$(stat -c %s raw/good.tar.gz.part)
    [ "$half" -gt 0 ]
    cairn data get --from "$url/range/good.tar.gz" --md5 "$md5"
    succeeds
    complete raw
    grep -qx "/range/good.tar.gz bytes=$half-" "$shared/log"
}

@test "a server that ignores Range sends the archive anew" {
    interrupted_download
    cairn data get --from "$url/plain/good.tar.gz" --md5 "$md5"
    succeeds
    complete raw
    grep -qx "/plain/good.tar.gz bytes=$half-" "$shared/log"
}

@test "a download that is complete already is only verified" {
    mkdir raw
    cp "$shared/good.tar.gz" raw/good.tar.gz.part
    cairn data get --from "$url/range/good.tar.gz" --md5 "$md5"
    succeeds
    complete raw
}

@test "a broken connection fails, keeps its part, and says so" {
    cairn data get --from "$url/cut/good.tar.gz" --md5 "$md5"
    fails_with 1 "cannot download" "bytes are kept to resume"
    [ -s raw/good.tar.gz.part ]
    cairn data get --from "$url/range/no-such-file" --md5 "$md5"
    fails_with 1 "404"
    [ ! -e raw/no-such-file.part ]
}

@test "a wrong checksum names both, and deletes the download but not the user's file" {
    wrong=0123456789abcdef0123456789abcdef
    cairn data get --from "$url/range/good.tar.gz" --md5 "$wrong"
    fails_with 2 "$md5" "$wrong"
    [ -z "$(ls -A raw)" ]
    cairn data get --from "$shared/good.tar.gz" --sha256 "$wrong$wrong"
    fails_with 2 "$(cat "$shared/good.sha256")" "$wrong$wrong"
    [ -e "$shared/good.tar.gz" ]
    [ -z "$(ls -A raw)" ]
}

@test "a URL needs a checksum, and only http, https and file are addresses" {
    cairn data get --from "$url/range/good.tar.gz"
    fails_with 2 "--md5 or --sha256"
    cairn data get --from ftp://127.0.0.1/good.tar.gz --md5 "$md5"
    fails_with 2 "ftp://127.0.0.1/good.tar.gz" "http://, https:// or file://"
    cairn data get --from "$url/to-file/good.tar.gz" --md5 "$md5"
    fails_with 1 "rotocol"
    cairn data get --from "$url/" --md5 "$md5"
    fails_with 2 "file's name"
    cairn data get --from "$shared/good.tar.gz" --md5 xyz
    fails_with 2 "--md5: 'xyz'" "32 hex digits"
}

@test "hostile and damaged archives are refused, and leave nothing" {
    for name in dotdot outside absolute elsewhere nested hidden symlink link-below hardlink fifo; do
        cairn data get --from "$shared/$name.tar.gz"
        fails_with 2 "$name.tar.gz: holds '" "a CIFAR-10 archive holds only"
    done
    cairn data get --from "$shared/twice.tar.gz"
    fails_with 2 "holds 'evil' twice"
    cairn data get --from "$shared/many.tar.gz"
    fails_with 2 "more than 32 files"
    cairn data get --from "$shared/bomb.tar.gz"
    fails_with 2 "more than 96 MiB"
    cairn data get --from "$shared/lacks-one.tar.gz"
    fails_with 2 "lacks some of"
    cairn data get --from "$shared/damaged.tar.gz"
    fails_with 2 "damaged.tar.gz: cannot unpack"
    cairn data get --from "$shared/text.tar.gz"
    fails_with 2 "text.tar.gz: cannot unpack"
    [ -z "$(ls -A raw)" ]
    [ -z "$(find "$shared" . -name '*evil*')" ]
}

@test "an incomplete folder steps aside and is kept" {
    mkdir -p raw/cifar-10-batches-bin
    echo short >raw/cifar-10-batches-bin/test_batch.bin
    echo mine >raw/cifar-10-batches-bin/notes
    cairn data check
    fails_with 2 "data_batch_1.bin" "missing"
    cairn data get --from "$shared/good.tar.gz"
    succeeds
    [ "$(cat raw/cifar-10-batches-bin.old-*/notes)" = mine ]
    [ "$(stat -c %s raw/cifar-10-batches-bin/test_batch.bin)" -eq 30730000 ]
}

@test "missing data says how to get it; synthetic needs none" {
    cairn data check
    fails_with 2 "raw: there is no such folder" "cairn data get" "data.name=synthetic"
    mkdir raw
    cairn data check
    fails_with 2 "raw: holds neither" "cairn data get" "data.name=synthetic"
    rmdir raw
    cairn data check -S data.name=synthetic -S data.train_limit=30 -S data.test_limit=10
    succeeds
    [[ ${lines[0]} == *synthetic ]]
    cairn data get -S data.name=synthetic
    succeeds
    [[ $output == *"nothing to get"* ]]
    cairn data get -S data.name=folder
    succeeds
    [ ! -e raw ]
}

@test "show prints characters to a file and colours to a terminal" {
    synthetic=(-S data.name=synthetic -S data.train_limit=10)
    cairn data show 4 "${synthetic[@]}"
    succeeds
    [[ ${lines[0]} == "synthetic train 4: 4 "* ]]
    "$CAIRN" data show 4 "${synthetic[@]}" >out
    [ "$(wc -l <out)" -eq 33 ]
    [ "$(tail -n +2 out | awk '{ print length }' | sort -u)" -eq 64 ]
    script -qec "'$CAIRN' data show 4 ${synthetic[*]}" /dev/null >out
    grep -q $'\033\[38;2;' out
}

@test "show --out writes a sheet of augmented images" {
    synthetic=(-S data.name=synthetic -S data.train_limit=10)
    size() { # of the PNG, in hexadecimal: width, height
        od -An -tx1 -j16 -N8 sheet.png | tr -d ' '
    }
    cairn data show 7 --out sheet.png --epochs 2 "${synthetic[@]}" -S augment.flip=alternating
    succeeds
    [ "$(size)" = 0000012e00000128 ] # 8 + 3 * 98 by 2 + 3 * 98: there are but three more images
    cp sheet.png flipped.png
    cairn data show 7 --out sheet.png --epochs 2 "${synthetic[@]}" -S augment.flip=alternating
    cmp sheet.png flipped.png
    cairn data show 7 --out sheet.png --epochs 2 "${synthetic[@]}"
    ! cmp -s sheet.png flipped.png
    cairn data show 7 --out sheet.png --split test "${synthetic[@]}"
    fails_with 2 "--split"
    cairn data show 7 --out sheet.png --epochs 0 "${synthetic[@]}"
    fails_with 2 "--epochs"
    cairn data show 7 --out no/such/sheet.png "${synthetic[@]}"
    fails_with 1 "no/such/sheet.png"
}

@test "wrong usage exits 2 and names the help" {
    cairn data
    fails_with 2 "cairn data --help"
    cairn data fetch
    fails_with 2 "'fetch'"
    cairn data show
    fails_with 2 "number"
    cairn data show 1 --split all -S data.name=synthetic
    fails_with 2 "--split: 'all'"
    cairn data check params.yaml another
    fails_with 2 "cairn data --help"
    cairn data --help
    succeeds
}

@test "scripts/get-data.sh passes source and checksum from the environment" {
    cp "$shared/good.tar.gz" here.tar.gz
    CAIRN_DATA_FROM=here.tar.gz CAIRN_DATA_MD5=$md5 \
        run "$BATS_TEST_DIRNAME/../../scripts/get-data.sh" --dir "$PWD/raw"
    succeeds
    complete raw
    CAIRN_DATA_FROM=here.tar.gz CAIRN_DATA_SHA256=$md5$md5 \
        run "$BATS_TEST_DIRNAME/../../scripts/get-data.sh" --dir "$PWD/other"
    fails_with 2 "wrong checksum" "$md5$md5"
}
