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

@test "what the program shows to its plugin bears its prefix" {
    ! "$CAIRN" info | grep -q -- -fsanitize || skip "a sanitizer shows symbols of its own"
    # With a version behind an @: variables of the libraries that lie in the program.
    nm -D --defined-only "$CAIRN" | sed 's/.* //' >shown
    run grep -v -e '^cairn_' -e @ shown
    [ "$status" -eq 1 ] && [ -z "$output" ]
}

@test "libraries are not looked for in the folder that the program is started in" {
    path=$(readelf -dW "$CAIRN" | sed -n 's/.*R\(UN\)\?PATH.*\[\(.*\)\]/\2/p')
    echo "RUNPATH: $path"
    [[ ":$path:" != *::* || -z "$path" ]] # an empty entry is that folder
    [[ ":$path" != *:[!/$]* ]]            # a relative one is below it
    # Nor in lib/ beside a build's folder, which under /tmp anyone could make; the installed program
    # looks there alone.
    [[ "$path" != *'$ORIGIN/..'* ]]
    cmake --install "$(dirname "$CAIRN")" --prefix "$PWD/prefix" >log || skip "not a build's folder"
    path=$(readelf -dW prefix/bin/cairn | sed -n 's/.*R\(UN\)\?PATH.*\[\(.*\)\]/\2/p')
    [[ ":$path:" != *::* || -z "$path" ]]
    [[ "$path" != *'$ORIGIN' && "$path" != *'$ORIGIN:'* && "$path" != *'$ORIGIN/.:'* ]]
}

@test "the program starts git and itself alone, with nothing from outside in its arguments" {
    nm -D --undefined-only "$CAIRN" | sed 's/.* //; s/@.*//' >imports
    grep -qxE 'open(64)?' imports
    run grep -xE 'system|popen|exec(l|le|lp|ve|vp|vpe|veat)|fexecve|posix_spawn|v?fork|clone' imports
    [ "$status" -eq 1 ]
    mkdir bin
    printf '#!/bin/sh\nprintf "%%s\\n" "$@" >>"%s/arguments"\n' "$PWD" >bin/git
    chmod +x bin/git
    cat >params.yaml <<'YAML'
data: {name: synthetic, dir: "$(touch owned)", train_limit: 4, test_limit: 4}
train: {epochs: 1, batch_size: 4, lr: 0.001}
run: {name: "; touch owned"}
YAML
    PATH=$PWD/bin:$PATH DVC_EXP_NAME='`touch owned`' "$CAIRN" train --quiet
    [ ! -e owned ]
    safely="--no-pager -c core.fsmonitor=false -c core.hooksPath=/dev/null -c protocol.allow=never"
    safely+=" -c safe.bareRepository=explicit"
    [ "$(tr '\n' ' ' <arguments)" = "$safely config --null --name-only --get-regexp \
^filter\..*\.[a-z]*$ $safely status --porcelain=v2 --branch --no-ahead-behind \
--untracked-files=no --ignore-submodules=all -- :/ :(top,exclude)params.yaml :(top,exclude)dvc.lock " ]
}

# A folder `there` that a stranger packed, with a file that git has to look into, and the words of
# SHELL (which would make ../owned) where CONFIGURE puts them; a run in it must not make that file.
strangers_repository() { # NAME, CONFIGURE...: run in the repository, with $evil to be started
    rm -rf there owned evil
    printf '#!/bin/sh\necho "$0 $*" >>"%s/owned"\nexec cat\n' "$PWD" >evil
    chmod +x evil
    evil=$PWD/evil
    git init -q -b main there
    cp params.yaml there
    (
        cd there
        git config user.name t
        git config user.email t@example.org
        printf '* filter=x diff=x merge=x\n' >.gitattributes
        echo one >a.txt
        mkdir sub
        echo two >sub/b.txt
        git add .
        git commit -q -m one
        "${@:2}"
        touch -d '+1 second' a.txt # another time than git knows of: it has to look
    )
    rm -f owned # by what made it
    (cd there && "$CAIRN" train --quiet --overwrite --run-dir "$BATS_TEST_TMPDIR/run" </dev/null)
    if [ -e owned ]; then
        echo "$1 ran: $(cat owned)"
        return 1
    fi
}

configure() { # KEY VALUE...
    while [ $# -gt 0 ]; do
        git config "$1" "$2"
        shift 2
    done
}

partial_clone() { # KEY VALUE...: objects are missing, which a remote is to send
    configure extensions.partialClone origin remote.origin.promisor true "$@"
    rm -rf .git/objects/??
}

embedded() { # a bare repository, as a folder of an ordinary clone
    git init -q --bare -b main bare
    configure filter.x.clean "" # the outer one is harmless
    git -C bare config core.bare false
    git -C bare config core.worktree "$PWD"
    git -C bare config core.fsmonitor "$evil"
    git -C bare config filter.x.clean "$evil"
    cp .git/index bare
    cp -r .git/objects bare
    cp .git/refs/heads/main bare/refs/heads/main
    cp params.yaml bare
}

@test "training in a stranger's repository runs none of the programs that it names" {
    cat >params.yaml <<'YAML'
data: {name: synthetic, dir: raw, train_limit: 4, test_limit: 4}
train: {epochs: 1, batch_size: 4, lr: 0.001}
model: {widths: 4 4, hidden: 8}
run: {name: a}
YAML
    export GIT_CONFIG_GLOBAL=$PWD/own
    printf '%s\n' '[core]' 'pager = cat' >own
    for variable in clean smudge process; do
        strangers_repository "filter $variable" \
            eval 'configure filter.x.required true filter.x.$variable "$evil"'
        jq -e '(.git_revision | length == 40) and .git_dirty == false' run/summary.json
    done
    strangers_repository "a filter of an included file" \
        eval 'configure include.path inc; printf "[filter \"x\"]\nclean = %s\n" "$evil" >.git/inc'
    strangers_repository "a filter whose name has an equals sign" eval 'configure \
        "filter.x=y.clean" "$evil"; echo "* filter=x=y" >.git/info/attributes'
    jq -e '.git_revision == null and (.provenance_note | test("git_revision: .*filters"))' \
        run/summary.json
    strangers_repository "two filters" eval 'configure filter.x.clean "$evil" filter.Y.Z.clean "$evil"
        echo "*.txt filter=Y.Z" >.git/info/attributes'
    strangers_repository "the file monitor" eval 'configure core.fsmonitor "$evil"'
    strangers_repository "a hook" eval 'cp "$evil" .git/hooks/post-index-change'
    strangers_repository "hooks elsewhere" \
        eval 'mkdir h; cp "$evil" h/post-index-change; configure core.hooksPath h'
    strangers_repository "drivers and pagers" eval 'configure diff.x.textconv "$evil" \
        diff.x.command "$evil" diff.external "$evil" merge.x.driver "$evil" core.pager "$evil" \
        pager.status "$evil" pager.config "$evil" core.editor "$evil" core.askPass "$evil" \
        alias.status "!$evil" alias.config "!$evil" gpg.program "$evil" credential.helper "!$evil" \
        status.submoduleSummary true status.aheadBehind true'
    strangers_repository "a remote's uploadpack" eval 'git init -q --bare r; partial_clone \
        remote.origin.url "$PWD/r" remote.origin.uploadpack "$evil" protocol.file.allow always'
    strangers_repository "a remote by ext" eval 'partial_clone remote.origin.url "ext::$evil" \
        protocol.allow always protocol.ext.allow always'
    strangers_repository "a remote by ssh" eval 'partial_clone remote.origin.url ssh://h/p \
        core.sshCommand "$evil" protocol.ssh.allow always'
    strangers_repository "a remote through a proxy" eval 'partial_clone \
        remote.origin.url git://127.0.0.1/p core.gitProxy "$evil" protocol.git.allow always'
    strangers_repository "a submodule" eval 'git init -q m; cd m; git config user.name t
        git config user.email t@t; echo x >f; echo "* filter=x" >.gitattributes; git add .
        git commit -q -m m; git config filter.x.clean "$evil"; git config core.fsmonitor "$evil"
        touch -d "+1 second" f; cd ..; git -c advice.addEmbeddedRepo=false add m
        git commit -q -m m; configure diff.ignoreSubmodules none submodule.m.ignore none'
    strangers_repository "an embedded repository" embedded
    (cd there/bare && "$CAIRN" train --quiet --overwrite --run-dir "$BATS_TEST_TMPDIR/run")
    [ ! -e owned ]
}

@test "a git that hangs or dies holds no run, and summary.json has the reason" {
    printf 'data: {name: synthetic, dir: raw, train_limit: 4, test_limit: 4}
train: {epochs: 1, batch_size: 4, lr: 0.001}\nmodel: {widths: 4 4, hidden: 8}\nrun: {name: a}\n' >params.yaml
    mkdir bin
    printf '#!/bin/sh\nsleep 60 &\nsleep 60\n' >bin/git
    chmod +x bin/git
    PATH=$PWD/bin:$PATH timeout 30 "$CAIRN" train --quiet --run-dir run
    jq -e '.git_revision == null and (.provenance_note | test("did not answer"))' run/summary.json
    for words in 'exit 3' 'kill -9 $$' 'echo "fatal: no $(printf "\033")[31mway" >&2; exit 128' \
        'head -c 300000 /dev/zero; exit 1' 'head -c 300000 /dev/zero >&2; exit 1' 'exec >&- 2>&-'; do
        printf '#!/bin/sh\n%s\n' "$words" >bin/git
        PATH=$PWD/bin:$PATH "$CAIRN" train --overwrite --run-dir run 2>said
        jq -e '.git_revision == null and (.provenance_note | startswith("git_revision: "))' \
            run/summary.json
        ! grep -q $'\033' said run/summary.json
    done
    git init -q -b main .
    "$CAIRN" train --overwrite --run-dir run 2>said
    jq -e '.provenance_note == "git_revision: the git repository has no commit yet"' run/summary.json
    grep -q 'git revision unknown: the git repository has no commit yet' said
}

@test "the revision is found whatever the parent did with its signals" {
    printf 'data: {name: synthetic, dir: raw, train_limit: 4, test_limit: 4}
train: {epochs: 1, batch_size: 4, lr: 0.001}\nmodel: {widths: 4 4, hidden: 8}\nrun: {name: a}\n' >params.yaml
    git init -q -b main .
    git -c user.name=t -c user.email=t@t commit -q --allow-empty -m one
    for signal in SIGCHLD SIGPIPE SIGTERM SIGXFSZ; do
        python3 -c 'import os, signal, sys
signal.signal(getattr(signal, sys.argv[1]), signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [getattr(signal, sys.argv[1])])
os.execv(sys.argv[2], sys.argv[2:])' $signal "$CAIRN" train --quiet --overwrite --run-dir run
        jq -e '(.git_revision | length == 40) and .provenance_note == null' run/summary.json
    done
    [ "$(id -u)" -eq 0 ] || skip "only root can give a repository away"
    chown -R 12345 .git
    chown 12345 .
    "$CAIRN" train --overwrite --run-dir run 2>said
    grep -q 'git revision unknown: git: detected dubious ownership' said
}

@test "names of classes and files reach no terminal, table or JSON raw" {
    python3 - <<'PY'
import os, struct, zlib
def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
png = (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)) +
       chunk(b"IDAT", zlib.compress((b"\0" + b"\x80" * 24) * 8)) + chunk(b"IEND", b""))
for split in (b"train", b"test"):
    for name in (b"=cmd|calc!A1", b"@SUM(1)"):
        os.makedirs(b"set/%s/%s" % (split, name))
        for file in (b"caf\xe9", b"\xc2\x9b31m", b"\xe2\x80\xaegnp", b"\x1b[2J", b"a,\"b"):
            with open(b"set/%s/%s/%s.png" % (split, name, file), "wb") as out:
                out.write(png)
os.makedirs(b"bad/train/caf\xe9")
os.makedirs(b"bad/train/dog")
PY
    cat >params.yaml <<'YAML'
data: {name: folder, dir: set}
model: {widths: 4 4, hidden: 8}
train: {epochs: 1, batch_size: 4, lr: 0.001, threads: 1}
run: {name: a}
YAML
    "$CAIRN" train --quiet
    "$CAIRN" predict --run-dir runs/a set/test/@* >out
    "$CAIRN" predict --run-dir runs/a --json set/test/@* | tee -a out >list.json
    "$CAIRN" data check >>out
    "$CAIRN" predict --run-dir runs/a $'nowhere\xc2\x9b\xff.png' 2>>out || true
    "$CAIRN" data check -S data.dir=bad 2>&1 | tee -a out >refusal || true
    grep -qF "bad/train/caf\\xe9: 'caf\\xe9' is no name for a class" refusal
    grep -qF 'nowhere\u009b\xff.png' out
    python3 - <<'PY'
import csv, json, pathlib, re
hidden = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
texts = {p: p.read_text("utf-8") for p in [pathlib.Path("out"), *pathlib.Path("runs/a").rglob("*")]
         if p.suffix in ("", ".csv", ".json", ".yaml", ".tsv") and p.is_file()}
assert len(texts) > 5, texts.keys()
for path, text in texts.items():
    assert not hidden.search(text), (path, hidden.search(text))
shown = sorted(["\\x1b[2J.png", "\\u009b31m.png", "\\u202egnp.png", "caf\\xe9.png", 'a,"b.png'])
names = [entry["file"].split("/")[-1] for entry in json.load(open("list.json"))]
assert sorted(names) == shown, names
for table in ("confusion.csv", "predictions.csv"):
    rows = list(csv.reader(open("runs/a/" + table, encoding="utf-8")))
    assert not [f for row in rows for f in row if f[:1] in ("=", "+", "-", "@")], rows
    assert table != "confusion.csv" or rows[0][1:] == ["'=cmd|calc!A1", "'@SUM(1)"], rows
    assert table == "confusion.csv" or {r[3].split("/")[-1] for r in rows[1:]} == set(shown), rows
PY
}
