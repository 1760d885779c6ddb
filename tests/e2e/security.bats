#!/usr/bin/env bats
# What SECURITY.md promises of the built program: whom downloads trust, what it was built with, what
# it never calls. Hostile archives are in data.bats, hostile files of every kind in tests/fuzz/.

load older_bats

setup_file() {
    shared=$(mktemp -d)
    export shared
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 \
        -addext subjectAltName=IP:127.0.0.1 -keyout "$shared/key" -out "$shared/certificate" \
        2>/dev/null
    cat "$shared/key" "$shared/certificate" >"$shared/pem"
    echo archive >"$shared/a.tar.gz"
    md5=$(md5sum "$shared/a.tar.gz" | cut -d' ' -f1)
    python3 "$BATS_TEST_DIRNAME/range_server.py" "$shared" "$shared/port" "$shared/log" \
        "$shared/pem" 3>&- &
    echo $! >"$shared/server"
    for _ in $(seq 100); do
        [ -s "$shared/port" ] && break
        sleep 0.05
    done
    url="https://127.0.0.1:$(cat "$shared/port")"
    export url md5 no_proxy=127.0.0.1
}

teardown_file() {
    kill "$(cat "$shared/server")"
    rm -rf "$shared"
}

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    : >"$shared/log"
    unset CURL_CA_BUNDLE CAIRN_DATA_FROM CAIRN_DATA_MD5 CAIRN_DATA_SHA256
    printf 'train: {epochs: 1, batch_size: 8, lr: 0.1}\ndata: {dir: raw}\nrun: {name: a}\n' >params.yaml
}

trusting() { # from here on the server's authority is trusted
    export CURL_CA_BUNDLE=$shared/certificate
}

get() { # PATH: a download, which fails: the output has both streams
    run "$CAIRN" data get --quiet --from "$url/$1" --md5 "$md5"
    [ "$status" -ne 0 ]
}

@test "a certificate that no trusted authority signed ends the download before a request" {
    get plain/a.tar.gz
    [[ $output == *"cannot download"*ertificate* ]]
    [ ! -s "$shared/log" ]
}

@test "a trusted certificate for another name is refused" {
    trusting
    url=${url/127.0.0.1/localhost} no_proxy=localhost get plain/a.tar.gz
    [[ $output == *"cannot download"* ]]
    [ ! -s "$shared/log" ]
}

@test "with its authority trusted the same download is made and goes on to be unpacked" {
    trusting
    get plain/a.tar.gz
    [[ $output == *"cannot unpack"* ]]
    grep -q '^/plain/a.tar.gz' "$shared/log"
}

@test "no redirect leads from https to http or to a file" {
    trusting
    for way in to-http to-file; do
        get "$way/a.tar.gz"
        [[ $output == *rotocol* ]]
        grep -q "^/$way/" "$shared/log"
    done
}

@test "a download does not write through a link" {
    mkdir raw
    echo mine >mine
    ln -s ../mine raw/a.tar.gz.part
    trusting
    get plain/a.tar.gz
    [ "$(cat mine)" = mine ]
}

@test "the program is hardened: position-independent, relro, no executable stack, guarded" {
    ! "$CAIRN" info | grep -q -- -fsanitize || skip "a sanitizer's build has its own guards"
    readelf -hW "$CAIRN" | grep -q 'Type: *DYN'
    readelf -lW "$CAIRN" | grep -q GNU_RELRO
    readelf -dW "$CAIRN" | grep -qw BIND_NOW
    [ "$(readelf -lW "$CAIRN" | awk '/GNU_STACK/ { print $7 }')" = RW ]
    nm -D "$CAIRN" | grep -q __stack_chk_fail
    nm -D "$CAIRN" | grep -q '__snprintf_chk\|__memcpy_chk\|__vsnprintf_chk'
}

@test "libraries are not looked for in the folder that the program is started in" {
    path=$(readelf -dW "$CAIRN" | sed -n 's/.*R\(UN\)\?PATH.*\[\(.*\)\]/\2/p')
    echo "RUNPATH: $path"
    [[ ":$path:" != *::* || -z "$path" ]] # an empty entry is that folder
    [[ ":$path" != *:[!/$]* ]]            # a relative one is below it
}

@test "the program starts git and itself alone, with nothing from outside in its arguments" {
    nm -D --undefined-only "$CAIRN" | sed 's/.* //; s/@.*//' >imports
    grep -qxE 'open(64)?' imports
    run grep -xE 'system|popen|exec(l|le|lp|ve|vp|vpe|veat)|fexecve|posix_spawn|v?fork|clone' imports
    [ "$status" -eq 1 ]
    mkdir bin
    printf '#!/bin/sh\nprintf "%%s\\n" "$@" >"%s/arguments"\n' "$PWD" >bin/git
    chmod +x bin/git
    cat >params.yaml <<'YAML'
data: {name: synthetic, dir: "$(touch owned)", train_limit: 4, test_limit: 4}
train: {epochs: 1, batch_size: 4, lr: 0.001}
run: {name: "; touch owned"}
YAML
    PATH=$PWD/bin:$PATH DVC_EXP_NAME='`touch owned`' "$CAIRN" train --quiet
    [ ! -e owned ]
    [ "$(tr '\n' ' ' <arguments)" = "-c core.fsmonitor=false --no-optional-locks status \
--porcelain=v2 --branch --untracked-files=no --ignore-submodules -- :/ :(top,exclude)params.yaml :(top,exclude)dvc.lock " ]
}
