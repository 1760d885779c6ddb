#!/usr/bin/env bash
# Writes the manual page and the completions of bash and zsh, from what the program says of itself:
# `cairn help`, every command's help, and the keys of the configuration.
#
#   scripts/make-manual.sh CAIRN FOLDER     FOLDER/cairn.1, FOLDER/cairn.bash and FOLDER/_cairn
#
# host/cli/cli.h says which form a help text has. The build calls this; `cmake --install` installs.
. "$(dirname "${BASH_SOURCE[0]}")/help.sh"
set -eu
export LC_ALL=C.UTF-8

[ $# -eq 2 ] || {
    echo "usage: scripts/make-manual.sh CAIRN FOLDER" >&2
    exit 2
}
here=$(dirname "${BASH_SOURCE[0]}")
cairn=$1
folder=$2
version=$("$cairn" version)
mapfile -t commands < <("$cairn" help | sed -nE '/^commands:/,/^$/s/^  ([a-z]+) .*/\1/p')

# The manual page ---------------------------------------------------------------------------------

# Plain text for troff: a dash that can be searched for, and no line that is taken for a request.
escape() {
    sed -e 's/\\/\\e/g' -e 's/-/\\-/g' -e "s/^[.']/\\\\\&&/"
}

help_as_troff() { # the help text of a command
    escape | awk '
        function fold(on) { if (on != filled) print (filled = on) ? ".fi" : ".nf" }
        BEGIN { filled = 1 }
        NR == 1, /^$/ { fold(/^$/); sub(/^usage: |^       /, ""); if ($0) print; else print ".PP"; next }
        /^  \\-/ { # an option, and after two blanks or on the next lines what it does
            line = substr($0, 3)
            at = match(line, /  +/)
            print ".TP\n.B \"" (at ? substr(line, 1, at - 1) : line) "\""
            if (at) print substr(line, at + RLENGTH)
            next
        }
        /^  cairn / { if (filled) print ".RS"; fold(0); print substr($0, 3); next }
        /^$/ { fold(1); print ".PP"; next }
        { sub(/^ +/, ""); print }
        END { if (!filled) print ".fi\n.RE" }'
}

keys_as_troff() {
    "$cairn" params --markdown | tail -n +3 | tr -d '\140' | # of "`": | key | default | takes | meaning |
        sed -E 's/ \| /\t/g; s/^\| | \|$//g' | escape | awk -F'\t' '{
            print ".TP\n.B " $1 "\n" $4 ".\nTakes " $3 ($2 ~ /required/ ? "; required." : "; default " $2 ".") }'
}

manual() {
    local command
    cat <<TROFF
.TH CAIRN 1 "" "$version"
.SH NAME
cairn \\- train image\\-classification networks
.SH SYNOPSIS
.B cairn
.I COMMAND
.RI [ ARGUMENT ]...
.SH DESCRIPTION
$("$cairn" help | sed -n '3,/^$/p' | escape)
.SH COMMANDS
TROFF
    for command in "${commands[@]}"; do
        printf '.SS cairn %s\n' "$command"
        "$cairn" help "$command" | help_as_troff
    done
    printf '.SH KEYS OF THE CONFIGURATION\n'
    keys_as_troff
    printf '.SH EXIT STATUS\n'
    "$cairn" help | sed -n 's/^Exit codes: //p' | escape
}

# The completions ---------------------------------------------------------------------------------

options_of() { # COMMAND: --name, or --name=VALUE where it takes one; -S and -h likewise
    "$cairn" help "$1" | sed -nE 's/^  (-[^ ]+)$/\1/p; s/^  (-[^ ]+)  .*/\1/p; s/^  (-[^ ]+) ([^ ]+).*/\1=\2/p'
}

words_of() { # COMMAND: what may follow it at once
    case $1 in
    help) printf '%s\n' "${commands[@]}" ;;
    model) "$cairn" model | cut -d' ' -f1 ;;
    *) "$cairn" help "$1" | sed -nE "s/^(usage:|      ) cairn $1 ([a-z]+)( .*|$)/\2/p" | sort -u ;;
    esac
}

row() { # NAME KEY: a row of the table NAME from the words on standard input, for bash and zsh alike
    printf '_cairn_%s[%s]="%s"\n' "$1" "$2" "$(paste -sd' ')"
}

tables() {
    local command key choices
    printf 'typeset -gA _cairn_options _cairn_words _cairn_choices\n'
    for command in "${commands[@]}"; do
        options_of "$command" | row options "$command"
        words_of "$command" | row words "$command"
    done
    while read -r key choices; do
        row choices "$key" <<<"$choices"
    done < <("$cairn" params --choices)
    # The one key whose values are names and yet no closed list: "auto, cpu, ... or cuda:N".
    "$cairn" params --markdown | sed -nE '/^\| .device. /{s/^([^|]*\|){3} ([^|]*) \|.*/\2/; s/:N/:0/; s/,| or//gp}' |
        row choices device
}

mkdir -p "$folder"
manual >"$folder/cairn.1"
{
    printf '# Made by scripts/make-manual.sh.\n'
    tables
    cat "$here/completion.bash"
} >"$folder/cairn.bash"
{
    printf '#compdef cairn\n# Made by scripts/make-manual.sh.\n'
    tables
    cat "$here/completion.zsh"
} >"$folder/_cairn"
