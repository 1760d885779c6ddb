#!/usr/bin/env bash
# Checks the documents: no link leads nowhere, no prose is wider than 100 columns, and
# docs/configuration.md has the table of keys as the program prints it.
#
#   scripts/check-docs.sh [--fix]     --fix puts the program's table into docs/configuration.md
#
# The program is build/cairn, or CAIRN.
. "$(dirname "${BASH_SOURCE[0]}")/help.sh"
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export LC_ALL=C.UTF-8 # a column is a character

case ${1-} in
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

for file in "${documents[@]}"; do
    while IFS=: read -r line text; do
        [[ $text == '|'* || ${#text} -le 100 ]] || complain "$file:$line: wider than 100 columns"
        while [[ $text =~ \]\(([^\)\ ]+)\)(.*) ]]; do
            text=${BASH_REMATCH[2]}
            check_link "$file" "$line" "${BASH_REMATCH[1]}"
        done
    done < <(prose "$file")
done

# The table of keys lies between its first row and a blank line.
keys=docs/configuration.md
fixed=$(mktemp)
trap 'rm -f "$fixed"' EXIT
"$cairn" params --markdown >"$fixed.table"
awk -v table="$fixed.table" '
    /^[|] key [|]/ { while ((getline line <table) > 0) print line; skip = 1 }
    /^$/ { skip = 0 }
    !skip' "$keys" >"$fixed"
rm "$fixed.table"
if ! cmp -s "$fixed" "$keys"; then
    if [ "${1-}" = --fix ]; then
        cat "$fixed" >"$keys"
    else
        complain "$keys: its table is not what \`cairn params --markdown\` prints; $0 --fix mends it"
    fi
fi
exit "$wrong"
