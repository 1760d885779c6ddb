# shellcheck shell=bash
# What bash asks when Tab is pressed after `cairn`. scripts/make-manual.sh puts the tables before
# it:
# _cairn_options[COMMAND]   --name, or --name=VALUE where it takes one
# _cairn_words[COMMAND]     what may follow the command at once
# _cairn_choices[KEY]       what the key of the configuration chooses from

# As words of the candidates in $1 that begin with $2. Bash replaces what follows the last "=" or
# ":" alone, where it takes them to part words.
_cairn_offer() {
    local word prefix=
    [[ $COMP_WORDBREAKS == *=* && $2 == *=* ]] && prefix=${2%"${2##*=}"}
    [[ $COMP_WORDBREAKS == *:* && $2 == *:* ]] && prefix=${2%"${2##*:}"}
    while read -r word; do
        COMPREPLY+=("${word#"$prefix"}")
    done < <(compgen -W "$1" -- "$2")
}

_cairn_offer_files() { # -f or -d, BEGINNING
    compopt -o filenames 2>/dev/null # says that it is no completion, in a test
    mapfile -t COMPREPLY < <(compgen "$1" -- "$2")
}

_cairn_offer_key() { # BEGINNING: a key, and after "=" its choices
    local key=${1%%=*} choice choices=
    if [[ $1 != *=* ]]; then
        _cairn_offer "${!_cairn_choices[*]}" "$1"
        COMPREPLY=("${COMPREPLY[@]/%/=}")
        compopt -o nospace 2>/dev/null
        return
    fi
    for choice in ${_cairn_choices[$key]-}; do
        choices+=" $key=$choice"
    done
    _cairn_offer "$choices" "$1"
}

_cairn_offer_value() { # OPTION VALUE BEGINNING: what the option's VALUE may be
    case $1=$2 in
    -S=* | --set=*) _cairn_offer_key "$3" ;;
    --device=*) _cairn_offer "${_cairn_choices[device]}" "$3" ;;
    *=PATH* | *=FILE*) _cairn_offer_files -f "$3" ;;
    *=DIR) _cairn_offer_files -d "$3" ;;
    *=*'|'*) _cairn_offer "${2//|/ }" "$3" ;;
    esac
}

_cairn() {
    local line=${COMP_LINE:0:COMP_POINT} words option command current previous
    COMPREPLY=()
    read -ra words <<<"$line" # by blanks alone, which bash's own words are not
    [[ $line != *[[:blank:]] ]] || words+=('')
    command=${words[1]-}
    current=${words[-1]}
    previous=${words[-2]}
    if [ "${#words[@]}" -le 2 ]; then
        _cairn_offer "${!_cairn_options[*]} --help --version" "$current"
        return
    fi
    for option in ${_cairn_options[$command]-} --set=key=value; do
        if [[ $option == "$previous"=* ]]; then
            _cairn_offer_value "$previous" "${option#*=}" "$current"
            return
        elif [[ $option == *=* && $current == "${option%%=*}"=* ]]; then
            _cairn_offer_value "${option%%=*}" "${option#*=}" "${current#*=}"
            return
        fi
    done
    if [[ $current == -* ]]; then
        for option in ${_cairn_options[$command]-}; do
            _cairn_offer "${option%%=*}" "$current"
        done
        _cairn_offer --help "$current"
        return
    fi
    [ "${#words[@]}" -gt 3 ] || _cairn_offer "${_cairn_words[$command]-}" "$current"
    [ "${#COMPREPLY[@]}" -gt 0 ] || _cairn_offer_files -f "$current"
}
complete -F _cairn cairn
