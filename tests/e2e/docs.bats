#!/usr/bin/env bats
# The documents (scripts/check-docs.sh), the manual page and the shells' completions
# (scripts/make-manual.sh), which are made from the program's own help.

load older_bats

setup() {
    cd "$BATS_TEST_TMPDIR"
    root=$BATS_TEST_DIRNAME/../..
}

# The folder `manual`, made once for all tests.
make_manual() {
    local folder=$BATS_FILE_TMPDIR/manual
    [ -e "$folder/_cairn" ] || "$root/scripts/make-manual.sh" "$CAIRN" "$folder"
    ln -s "$folder" manual
}

commands() {
    "$CAIRN" help | sed -nE '/^commands:/,/^$/s/^  ([a-z]+) .*/\1/p'
}

# Every "--name" that the command's help mentions.
options() { # COMMAND
    "$CAIRN" help "$1" | grep -oE -- '(^|[^[:alnum:]-])--[a-z][a-z0-9-]*' | grep -oE -- '--.*' | sort -u
}

@test "the documents have no dead link, no wide line, no name that is gone, and the program's tables" {
    "$root/scripts/check-docs.sh"
}

@test "a dead link, a wide line, a name that is gone and an old table are seen; --fix mends the table" {
    mkdir copy
    for file in "$root"/*; do # what is not changed below is linked
        [ "${file##*/}" = docs ] || [ "${file##*/}" = README.md ] || ln -s "$file" copy
    done
    cp -r "$root/docs" "$root/README.md" copy
    rm copy/scripts && cp -r "$root/scripts" copy
    sed -i 's/| `train.lr` | required |/| `train.lr` | 1 |/' copy/docs/configuration.md
    run copy/scripts/check-docs.sh
    [ "$status" -eq 1 ]
    [ "${#lines[@]}" -eq 1 ] && [[ $output == *"docs/configuration.md: its table is not"* ]]
    copy/scripts/check-docs.sh --fix
    cmp copy/docs/configuration.md "$root/docs/configuration.md"
    {
        printf '[a](docs/nowhere.md) [b](docs/data.md#memory) [c](#no-such-heading)\n'
        printf '[d](docs/data.md#no-such-heading)\n%0101d\n' 0
    } >>copy/README.md
    printf '`host/cli/main.c` `host/no_such.c` `main()` `no_such_function()`\n' >>copy/docs/adding.md
    run copy/scripts/check-docs.sh
    [ "$status" -eq 1 ]
    [ "${#lines[@]}" -eq 6 ]
    [[ $output == *"no file for the link to docs/nowhere.md"* ]]
    [[ $output == *"no heading for the link to #no-such-heading"* ]]
    [[ $output == *"no heading for the link to docs/data.md#no-such-heading"* ]]
    [[ $output == *"wider than 100 columns"* ]]
    [[ $output == *"there is no host/no_such.c"* ]]
    [[ $output == *"there is no no_such_function()"* ]]
}

@test "every option that a help text names is understood" {
    [ "$(commands | wc -l)" -ge 12 ]
    for command in $(commands); do
        for option in $(options "$command"); do
            [ "$option" != --help ] && [ "$option" != --version ] || continue
            run "$CAIRN" "$command" "$option"
            [[ $output != *"unknown option"* ]] || { echo "$command $option"; false; }
        done
    done
}

@test "the manual page renders without a warning and has every command, option and key" {
    command -v groff >/dev/null || skip "no groff"
    make_manual
    run groff -mandoc -Tutf8 -ww -z manual/cairn.1
    [ "$status" -eq 0 ] && [ -z "$output" ]
    groff -mandoc -Tascii -P-cbou -rLL=200n manual/cairn.1 >page
    for command in $(commands); do
        grep -qx "   cairn $command" page
        for option in $(options "$command"); do
            grep -qF -e "$option" page || { echo "$command $option"; false; }
        done
    done
    for key in $("$CAIRN" params --choices | cut -d' ' -f1); do
        grep -qE "^       ${key//./\\.}( |$)" page || { echo "$key"; false; }
    done
}

# What bash offers at the end of the line, sorted, on one line.
offered() { # LINE
    local COMP_LINE=$1 COMP_POINT=${#1} COMPREPLY=()
    _cairn
    printf '%s\n' "${COMPREPLY[@]}" | LC_ALL=C sort | paste -sd' '
}

@test "bash completes commands, options, their values, keys and their choices" {
    make_manual
    . manual/cairn.bash
    mkdir -p runs/first
    touch runs.yaml
    [ "$(offered 'cairn tr')" = train ]
    [ "$(offered 'cairn ')" = "$({ commands; printf '%s\n' --help --version; } | LC_ALL=C sort | paste -sd' ')" ]
    [ "$(offered 'cairn train --re')" = --resume ]
    [ "$(offered 'cairn train --resume --p')" = "--params --profile --profile-steps" ]
    [ "$(offered 'cairn train -S schedule.p')" = "schedule.patience= schedule.pct_start= schedule.per= schedule.power=" ]
    [ "$(offered 'cairn train -S schedule.per=')" = "epoch step" ]
    [ "$(offered 'cairn train --set schedule.per=s')" = step ]
    [ "$(offered 'cairn train -S train.lr=')" = "" ]
    [ "$(offered 'cairn train --device c')" = "cpu cuda cuda:0" ]
    [ "$(offered 'cairn train --device=c')" = "cpu cuda cuda:0" ]
    [ "$(offered 'cairn export runs/first --format ')" = "onnx safetensors" ]
    [ "$(offered 'cairn eval --run-dir r')" = runs ]
    [ "$(offered 'cairn eval --run-dir runs/')" = runs/first ]
    [ "$(offered 'cairn train r')" = "runs runs.yaml" ]
    [ "$(offered 'cairn data ')" = "check get show" ]
    [ "$(offered 'cairn data show 0 --split ')" = "test train" ]
    [ "$(offered 'cairn model simple')" = simple_cnn ]
    [ "$(offered 'cairn help par')" = params ]
}

@test "bash offers every option of every help, and every key" {
    make_manual
    . manual/cairn.bash
    for command in $(commands); do
        for option in $(options "$command"); do
            [[ " $(offered "cairn $command --") " == *" $option "* ]] || [ "$option" = --version ] ||
                { echo "$command $option"; false; }
        done
    done
    [ "$(offered 'cairn train -S ' | tr ' ' '\n' | wc -l)" -eq "$("$CAIRN" params --choices | wc -l)" ]
}

@test "zsh reads its completion" {
    command -v zsh >/dev/null || skip "no zsh: apt-get install zsh installs it"
    make_manual
    zsh -n manual/_cairn
}

@test "cmake --install puts program, manual page and completions where they are looked for" {
    build=$(dirname "$CAIRN")
    [ -e "$build/manual/cairn.1" ] || skip "this build has no manual page"
    cmake --install "$build" --prefix "$PWD/prefix" >log
    prefix/bin/cairn version
    [ -s prefix/share/man/man1/cairn.1 ]
    [ -s prefix/share/bash-completion/completions/cairn ]
    [ -s prefix/share/zsh/site-functions/_cairn ]
}
