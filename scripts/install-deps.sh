#!/usr/bin/env bash
# Installs what is missing of the packages that Cairn needs.
#
#   scripts/install-deps.sh [build] [test] [check] [bench] [dvc] [page]
#
# Debian 12 and Ubuntu 22.04 or newer: by apt-get, as root or by sudo. Elsewhere, or without those
# rights, it names what is missing and stops with exit code 2. When nothing is missing it takes
# some milliseconds and says nothing.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/help.sh"

# group | Debian's package | how its content is found where dpkg does not know it | what for
packages='
build | gcc                  | command gcc                  | C compiler
build | libc6-dev            | header stdio.h               | the C library
build | cmake                | command cmake                | build system
build | ninja-build          | command ninja                | build system
build | pkg-config           | command pkg-config           | finds the libraries
build | libyaml-dev          | module yaml-0.1              | reads params.yaml
build | libcjson-dev         | module libcjson              | JSON files
build | libssl-dev           | module libcrypto             | checksums
build | libcurl4-openssl-dev | module libcurl               | downloads the data
build | ca-certificates      | file /etc/ssl/certs          | downloads the data
build | libarchive-dev       | module libarchive            | unpacks the data
build | libpng-dev           | module libpng                | reads image files
build | libjpeg-dev          | module libjpeg               | reads image files
build | libwebp-dev          | module libwebpdemux          | reads image files
build | libstb-dev           | header stb/stb_easy_font.h   | resizes images, draws letters
build | libprotobuf-c-dev    | module libprotobuf-c         | writes protocol buffers
build | protobuf-c-compiler  | command protoc-c             | writes protocol buffers
build | libdnnl-dev          | header oneapi/dnnl/dnnl.h    | oneDNN, for speed; Cairn works without
test  | libcmocka-dev        | module cmocka                | unit tests
test  | g++                  | command g++                  | tests of the CUDA sources
test  | bats                 | command bats                 | tests of the program
test  | jq                   | command jq                   | reads JSON in tests
test  | python3              | command python3              | reads Cairn files in tests
test  | bsdutils             | command script               | gives tests a terminal
test  | openssl              | command openssl              | a certificate for tests
test  | binutils             | command readelf              | looks into the program
test  | groff-base           | command groff                | renders the manual page
check | clang                | command clang                | a second compiler
check | libomp-dev           | header omp.h                 | OpenMP of clang
check | clang-format-14      | command clang-format-14      | layout of the sources
check | clang-tidy           | command clang-tidy           | static checks
check | cppcheck             | command cppcheck             | static checks
check | shellcheck           | command shellcheck           | checks of shell scripts
check | python3-venv         | python ensurepip             | a place for oneDNN 3
bench | jq                   | command jq                   | reads measurements
bench | python3-venv         | python ensurepip             | a place for PyTorch
bench | python3-dev          | command python3-config       | torch.compile
bench | g++                  | command g++                  | torch.compile
dvc   | git                  | command git                  | records of experiments
dvc   | python3-venv         | python ensurepip             | a place for DVC
dvc   | jq                   | command jq                   | reads run folders
page  | chromium             | command chromium             | looks at plots in tests
'
optional=libdnnl-dev
os_release=${CAIRN_OS_RELEASE:-/etc/os-release}

wanted_rows() { # GROUP...: the rows of the table in these groups, as package|kind|what|purpose
    local group package probe purpose kind what
    while IFS='|' read -r group package probe purpose; do
        read -r group package <<<"$group $package"
        read -r kind what <<<"$probe"
        [[ -z $group || " $* " != *" $group "* ]] || echo "$package|$kind|$what|${purpose# }"
    done <<<"$packages"
}

found() { # KIND WHAT
    case $1 in
    command) command -v "$2" >/dev/null ;;
    file) [ -e "$2" ] ;;
    python) python3 -c "import $2" 2>/dev/null ;;
    module) pkg-config --exists "$2" 2>/dev/null ;;
    header) echo "#include <$2>" | cc -E -o /dev/null - 2>/dev/null ;;
    esac
}

missing_rows() { # GROUP...
    local rows names installed package kind what purpose
    rows=$(wanted_rows "$@")
    names=$(cut -d'|' -f1 <<<"$rows")
    # shellcheck disable=SC2086 # one word a package
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $names 2>/dev/null || true)
    while IFS='|' read -r package kind what purpose; do
        [[ $'\n'$installed$'\n' == *$'\n'"installed $package"$'\n'* ]] || found "$kind" "$what" ||
            echo "$package|$kind|$what|$purpose"
    done <<<"$rows"
}

name_rows() { # ROW...: for people, one a line
    local package kind what purpose
    while IFS='|' read -r package kind what purpose; do
        printf '  %-21s %s (%s %s)\n' "$package" "$purpose" "$kind" "$what"
    done
}

stop() {
    printf '%s\n' "$@" >&2
    exit 2
}

[ $# -gt 0 ] || set -- build
for group; do
    [[ $group =~ ^(build|test|check|bench|dvc|page)$ ]] ||
        stop "install-deps.sh: no group '$group': build, test, check, bench, dvc, page"
done

missing=$(missing_rows "$@")
[ -n "$missing" ] || exit 0
names=$(cut -d'|' -f1 <<<"$missing")
needed=$(grep -vx "$optional" <<<"$names" || true)

# shellcheck source=/dev/null
system=$(. "$os_release" 2>/dev/null && echo " ${ID-} ${ID_LIKE-} ${PRETTY_NAME-}") || system=
if [[ ! $system =~ \ (debian|ubuntu)\  ]] || ! command -v apt-get >/dev/null; then
    [ -n "$needed" ] || exit 0
    stop "install-deps.sh: this system is neither Debian nor Ubuntu; install these and run again" \
        "(Debian's package names; what is looked for in brackets):" "$(name_rows <<<"$missing")"
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        as_root=(sudo)
    elif [ -n "$needed" ]; then
        stop "install-deps.sh: neither root nor sudo; packages are missing. Run as root:" \
            "  apt-get install --no-install-recommends ${names//$'\n'/ }"
    else
        exit 0
    fi
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" >"$log" 2>&1 </dev/null
}
lists_read() {
    compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null
}
# With the lists of packages as they are; where that fails, with new ones.
install() {
    { lists_read && apt install -y --no-install-recommends "$@"; } ||
        { apt update && apt install -y --no-install-recommends "$@"; }
}

if [ -n "$needed" ]; then
    echo "Installing ${needed//$'\n'/ }" >&2
    # shellcheck disable=SC2086 # one word a package
    install $needed || {
        cat "$log" >&2
        stop "install-deps.sh: apt-get could not install them; the lines above say why"
    }
fi
if grep -qx "$optional" <<<"$names"; then
    if ! lists_read || [ -n "$(apt-cache policy "$optional")" ]; then
        echo "Installing $optional" >&2
        install "$optional" && exit 0
    fi
    echo "No $optional here: building without oneDNN; the slower backend \`reference\` trains" >&2
fi
