#!/usr/bin/env bats
# A remote of one's own on S3 and over SSH, as docs/dvc.md says: with the real dvc, a server of S3's
# protocol (moto) and OpenSSH's, both on this machine. `scripts/setup-dvc.sh s3 ssh`, and
# `.venv/bin/pip install 'moto[server]'` and a package openssh-server, for these tests only.

load older_bats
load dvc_repository

# Some data and a run in a repository's cache; the program comes from the build at hand.
setup_file() {
    local bin=$BATS_TEST_DIRNAME/../../.venv/bin
    [ -x "$bin/dvc" ] && "$bin/python" -c 'import dvc_s3, dvc_ssh' 2>/dev/null || return 0
    dvc_environment
    python3 "$BATS_TEST_DIRNAME/make_archives.py" "$shared"
    make_sources "$shared/good.tar.gz" "install -D -m 644 $CAIRN build/dvc/program/cairn.bin"
    # No way to the official address: what comes, comes from the remote of one's own.
    sed -i "s|https://.*#|http://127.0.0.1:9/nothing#|" .dvc/config
    cp "$shared/good.tar.gz" data/cifar-10-binary.tar.gz
    dvc commit -q -f data/cifar-10-binary.tar.gz.dvc
    dvc repro -q >"$shared/repro.log" 2>&1 || cat "$shared/repro.log" >&3
    git add -A
    git commit -qm run
    # Servers choose no port themselves.
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    export port no_proxy=127.0.0.1 HOME=$shared/home
    mkdir -p -m 700 "$HOME/.ssh"
}

teardown_file() {
    [ -z "${shared-}" ] || rm -rf "$shared"
}

setup() {
    [ -n "${shared-}" ] || skip "no DVC for S3 and SSH: scripts/setup-dvc.sh s3 ssh installs it"
}

teardown() {
    [ -z "${server-}" ] || kill "$server"
}

# Pushes to the address from one clone, and pulls from it into another.
goes_there_and_back() { # ADDRESS EXTRA
    clone sender
    scripts/setup-dvc.sh --remote "$1" "$2"
    dvc cache dir --local "$shared/repository/.dvc/cache"
    dvc push
    clone receiver
    scripts/setup-dvc.sh --remote "$1" "$2"
    dvc pull -q --allow-missing
    cmp data/cifar-10-binary.tar.gz "$shared/good.tar.gz"
    cmp runs/dvc/model.safetensors "$shared/repository/runs/dvc/model.safetensors"
    [ "$(ls data/raw/cifar-10-batches-bin | wc -l)" -eq 6 ]
    [ ! -e build/dvc/program ]
    [ -z "$(git status --porcelain)" ] # addresses and credentials stay out of git
}

listening() {
    (: <"/dev/tcp/127.0.0.1/$port")
}

@test "S3, with credentials as for the AWS command line" {
    [ -x "$source/.venv/bin/moto_server" ] || skip "no moto: .venv/bin/pip install 'moto[server]'"
    moto_server -H 127.0.0.1 -p "$port" >"$BATS_TEST_TMPDIR/server" 2>&1 3>&- &
    server=$!
    wait_for 30 listening
    export AWS_ENDPOINT_URL=http://127.0.0.1:$port AWS_ACCESS_KEY_ID=key AWS_SECRET_ACCESS_KEY=secret
    export AWS_DEFAULT_REGION=us-east-1
    curl -sf -X PUT "$AWS_ENDPOINT_URL/bucket"
    goes_there_and_back s3://bucket/cairn s3
    # A bucket that is not there is a clear line.
    scripts/setup-dvc.sh --remote s3://elsewhere/cairn s3
    run dvc push
    [ "$status" -ne 0 ]
    [[ $output == *"bucket does not exist"* ]]
}

@test "SSH, with host, port and key from ~/.ssh/config" {
    sshd=$(PATH=$PATH:/usr/sbin command -v sshd) || skip "no sshd: a package openssh-server has it"
    [ "$(id -u)" -ne 0 ] || mkdir -p /run/sshd # sshd's own place, which its service makes
    ssh-keygen -q -t ed25519 -N '' -f "$HOME/.ssh/host"
    ssh-keygen -q -t ed25519 -N '' -f "$HOME/.ssh/mine"
    cp "$HOME/.ssh/mine.pub" "$HOME/.ssh/authorized_keys"
    echo "[127.0.0.1]:$port $(cut -d' ' -f1,2 "$HOME/.ssh/host.pub")" >"$HOME/.ssh/known_hosts"
    cat >"$HOME/.ssh/config" <<CONFIG
Host store
    HostName 127.0.0.1
    Port $port
    User $(id -un)
    IdentityFile $HOME/.ssh/mine
CONFIG
    "$sshd" -D -e -f /dev/null -p "$port" -h "$HOME/.ssh/host" -o ListenAddress=127.0.0.1 \
        -o PidFile=none -o UsePAM=no -o StrictModes=no -o PasswordAuthentication=no \
        -o AuthorizedKeysFile="$HOME/.ssh/authorized_keys" -o Subsystem="sftp internal-sftp" \
        >"$BATS_TEST_TMPDIR/server" 2>&1 3>&- &
    server=$!
    wait_for 10 listening
    goes_there_and_back "ssh://store$BATS_TEST_TMPDIR/store" ssh
    # Another key is a clear line.
    ssh-keygen -q -t ed25519 -N '' -f "$HOME/.ssh/other"
    sed -i 's/mine$/other/' "$HOME/.ssh/config"
    run dvc push
    [ "$status" -ne 0 ]
    [[ $output == *"uthentication fail"* || $output == *"ermission denied"* ]]
}
