#!/usr/bin/env bash
# Checks the documents: no link leads nowhere, no prose is wider than 100 columns, what the
# documents about the code name (`host/cli/main.c`, `main()`) is there, and the tables of keys and
# of models are what the program prints.
#
#   scripts/check-docs.sh [--fix]     --fix puts the program's tables into docs/
#
# The program is build/cairn, or CAIRN.
. "$(dirname "${BASH_SOURCE[0]}")/help.sh"
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export LC_ALL=C.UTF-8 # a column is a character

fix=${1-}
case $fix in
'' | --fix) ;;
*)
    echo "usage: scripts/check-docs.sh [--fix]" >&2
    exit 2
    ;;
esac
cairn=${CAIRN:-build/cairn}
documents=(*.md docs/*.md tests/README.md)
wrong=0

complain() {
    printf '%s\n' "$*" >&2
    wrong=1
}

prose() { # FILE: without its code blocks, each line after its number
    awk '/^ *```/ { code = !code; next } !code { print FNR ":" $0 }' "$1"
}

# As GitHub names a heading: lower case, without punctuation, a dash for each blank.
anchors() { # FILE
    prose "$1" | sed -nE 's/^[0-9]+:#+ +//p' | tr '[:upper:]' '[:lower:]' |
        sed -E 's/[^a-z0-9 _-]//g; s/ /-/g'
}

check_link() { # FILE LINE TARGET
    local path=${3%%#*} anchor=
    case $3 in
    http://* | https://* | mailto:*) return ;;
    *'#'*) anchor=${3#*#} ;;
    esac
    [ -z "$path" ] && path=$1 || path=$(dirname "$1")/$path
    if [ ! -e "$path" ]; then
        complain "$1:$2: no file for the link to $3"
    elif [ -n "$anchor" ] && ! anchors "$path" | grep -qxF -e "$anchor"; then
        complain "$1:$2: no heading for the link to $3"
    fi
}

# A file or folder in backquotes is one of the repository's, a function one of its sources'.
check_names() { # FILE
    local line name quote=$'\140'
    while IFS=: read -r line name; do
        case $name in
        *'()') grep -qrE "\b${name%'()'}\(" cuda host include ;;
        *) [ -e "$name" ] ;;
        esac || complain "$1:$line: there is no $name"
    done < <(grep -noE "${quote}[A-Za-z_0-9./-]+(/|[.](c|h|cu|cuh|def|sh|py|txt|yaml|bats)|[(][)])$quote" "$1" |
        tr -d "$quote")
}

for file in "${documents[@]}"; do
    while IFS=: read -r line text; do
        [[ $text == '|'* || ${#text} -le 100 ]] || complain "$file:$line: wider than 100 columns"
        while [[ $text =~ \]\(([^\)\ ]+)\)(.*) ]]; do
            text=${BASH_REMATCH[2]}
            check_link "$file" "$line" "${BASH_REMATCH[1]}"
        done
    done < <(prose "$file")
done

for file in docs/architecture.md docs/adding.md; do
    check_names "$file"
done

fixed=$(mktemp)
trap 'rm -f "$fixed" "$fixed.table"' EXIT
check_table() { # FILE COLUMN COMMAND: the table lies between its first row and a blank line
    "$cairn" "$3" --markdown >"$fixed.table"
    awk -v table="$fixed.table" -v first="| $2 |" '
        index($0, first) == 1 { while ((getline line <table) > 0) print line; skip = 1 }
        /^$/ { skip = 0 }
        !skip' "$1" >"$fixed"
    cmp -s "$fixed" "$1" && return
    if [ "$fix" ]; then
        cat "$fixed" >"$1"
    else
        complain "$1: its table is not what \`cairn $3 --markdown\` prints; $0 --fix mends it"
    fi
}
check_table docs/configuration.md key params
check_table docs/models.md name model
exit "$wrong"
