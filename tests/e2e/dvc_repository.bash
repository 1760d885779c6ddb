# What dvc.bats and remotes.bats share: a git repository in $shared that holds these sources
# (without the tests: DVC hands every file of git on to each experiment), with a small archive in
# the place of CIFAR-10's and small trainings.

# Settings of git and dvc that nobody's own disturb; $source and $shared.
dvc_environment() {
    source=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
    shared=$(mktemp -d)
    export source shared OMP_WAIT_POLICY=passive CAIRN_LOCKS=$shared/locks
    export GIT_CONFIG_GLOBAL=$shared/gitconfig GIT_CONFIG_NOSYSTEM=1 DVC_NO_ANALYTICS=1
    export DVC_GLOBAL_CONFIG_DIR=$shared/dvc DVC_SYSTEM_CONFIG_DIR=$shared/dvc
    export DVC_SITE_CACHE_DIR=$shared/site
    git config --global user.name Test
    git config --global user.email test@example.org
    git config --global init.defaultBranch main
    export PATH=$source/.venv/bin:$PATH
}

# ARCHIVE BUILD: the repository, committed; BUILD is the command of the stage `build`.
make_sources() {
    local archive=$1 build=$2
    mkdir "$shared/repository"
    (cd "$source" && { git ls-files -z -- ':!tests' && printf 'tests/README.md\0'; } |
        xargs -0 cp --parents -t "$shared/repository")
    cd "$shared/repository" || return
    sed -i "s/md5: c32a.*/md5: $(md5sum <"$archive" | cut -d' ' -f1)/
        s/size: .*/size: $(stat -c %s "$archive")/" data/cifar-10-binary.tar.gz.dvc
    sed -i "s|cmd: exec scripts/dvc-build-program.sh|cmd: $build|" dvc.yaml
    cat >params.yaml <<'YAML'
seed: 42
data: {name: synthetic, dir: data/raw, train_limit: 512, test_limit: 100}
train: {epochs: 2, batch_size: 64, lr: 0.001}
run: {name: small, out_dir: runs}
YAML
    ln -s "$source/.venv" .venv
    git init -q
    echo /.venv >>.git/info/exclude
    git add -A
    git commit -qm sources
}

clone() { # NAME: a fresh clone, there
    git clone -q "$shared/repository" "$BATS_TEST_TMPDIR/$1"
    cd "$BATS_TEST_TMPDIR/$1" || return
    ln -s "$source/.venv" .venv
    echo /.venv >>.git/info/exclude
}

wait_for() { # SECONDS COMMAND...: until it succeeds
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || { echo "waited in vain: $*" && return 1; }
        sleep 0.2
    done
}
