# What zsh asks when Tab is pressed after `cairn`. scripts/make-manual.sh puts the tables before it,
# which completion.bash describes.

_cairn_key() { # a key, and after "=" its choices
    local key=${PREFIX%%=*}
    if compset -P '*='; then
        compadd -- ${=_cairn_choices[$key]}
    else
        compadd -S= -q -- ${(k)_cairn_choices}
    fi
}

_cairn_value() { # OPTION VALUE
    case $1=$2 in
    -S=* | --set=*) _cairn_key ;;
    --device=*) compadd -- ${=_cairn_choices[device]} ;;
    *=PATH* | *=FILE*) _files ;;
    *=DIR) _files -/ ;;
    *=*'|'*) compadd -- ${(s:|:)2} ;;
    esac
}

_cairn() {
    local command=$words[2] previous=$words[CURRENT-1] option
    if (( CURRENT == 2 )); then
        compadd -- ${(k)_cairn_options} --help --version
        return
    fi
    for option in ${=_cairn_options[$command]} --set=key=value; do
        if [[ $option == "$previous"=* ]]; then
            _cairn_value $previous ${option#*=}
            return
        fi
    done
    if [[ $PREFIX == -* ]]; then
        compadd -- ${${=_cairn_options[$command]}%%=*} --help
        return
    fi
    (( CURRENT > 3 )) || compadd -- ${=_cairn_words[$command]}
    _files
}
_cairn "$@"
