#!/usr/bin/env bash
# Gets CIFAR-10 or CIFAR-100 into the data.dir of params.yaml, by the cairn that is built
# (build/cairn).
#
#   scripts/get-data.sh [ARGUMENT OF cairn data get]...
#
# The environment may name another source, and the checksum that it should have:
#   CAIRN_DATA_FROM                     path or URL of the archive
#   CAIRN_DATA_MD5, CAIRN_DATA_SHA256   in hex
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/help.sh"
from=${CAIRN_DATA_FROM-}
case $from in
'' | /* | *://*) ;;
*) from=$PWD/$from ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cairn=${CAIRN:-build/cairn}
if [ ! -x "$cairn" ]; then
    echo "get-data.sh: there is no $cairn; scripts/build.sh builds it" >&2
    exit 1
fi
[ -z "$from" ] || set -- --from "$from" "$@"
[ -z "${CAIRN_DATA_MD5-}" ] || set -- --md5 "$CAIRN_DATA_MD5" "$@"
[ -z "${CAIRN_DATA_SHA256-}" ] || set -- --sha256 "$CAIRN_DATA_SHA256" "$@"
exec "$cairn" data get "$@"
