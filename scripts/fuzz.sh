#!/usr/bin/env bash
# Builds the harnesses of tests/fuzz/ with libFuzzer and sanitizers, and runs them.
#
#   scripts/fuzz.sh [PARSER]... [--runs N | --seconds N] [--jobs N] [--minimise]
#
# Without a PARSER all run, --jobs at a time, or one; without a limit 10 seconds each. A run starts
# from tests/fuzz/corpus/PARSER and regressions/PARSER, and from what earlier runs found, which is
# kept in build-fuzz/corpus/PARSER. A find ends its parser's run: the input is saved and named, and
# the exit code is 1. --minimise then rewrites tests/fuzz/corpus/PARSER as few inputs that reach all
# that is known to be reachable; make_seeds.py makes what a new corpus can start from. Nothing is
# built when CAIRN_FUZZ_BUILT is set.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/help.sh"
. "$(dirname "${BASH_SOURCE[0]}")/children.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
folder=$PWD/build-fuzz

stop() {
    echo "fuzz.sh: $1" >&2
    exit 2
}

parsers=()
limit=(-max_total_time=10)
jobs=1
minimise=
while [ $# -gt 0 ]; do
    case $1 in
    --runs | --seconds | --jobs)
        [[ ${2-} =~ ^[1-9][0-9]*$ ]] || stop "$1 takes a whole number from 1"
        case $1 in
        --runs) limit=(-runs="$2") ;;
        --seconds) limit=(-max_total_time="$2") ;;
        --jobs) jobs=$2 ;;
        esac
        shift
        ;;
    --minimise) minimise=yes ;;
    -*) stop "no option '$1': --runs N, --seconds N, --jobs N, --minimise" ;;
    *)
        [ -e "tests/fuzz/fuzz_$1.c" ] || stop "no parser '$1': see tests/fuzz/fuzz_*.c"
        parsers+=("$1")
        ;;
    esac
    shift
done
if [ ${#parsers[@]} -eq 0 ]; then
    for source in tests/fuzz/fuzz_*.c; do
        source=${source##*/fuzz_}
        parsers+=("${source%.c}")
    done
fi

# The longest input worth trying: longer ones are slower and show nothing new.
longest() { # PARSER
    case $1 in
    overrides) echo 512 ;;
    cifar) echo 512 ;;
    archive) echo 4096 ;;
    image) echo 2048 ;;
    pickle) echo 12288 ;;
    *) echo 8192 ;;
    esac
}

if [ -z "${CAIRN_FUZZ_BUILT-}" ]; then
    scripts/install-deps.sh build check && scripts/build.sh fuzz || exit
fi
temporary=$(mktemp -d -p "$([ -d /dev/shm ] && echo /dev/shm || echo /tmp)")
trap 'rm -rf "$temporary"' EXIT
export TMPDIR=$temporary OMP_NUM_THREADS=1
# Large blocks come and go with every input: shadow memory that stays mapped makes that cheap. An
# input's freed blocks, and the callers that a report names, need no more than this.
export ASAN_OPTIONS=clear_shadow_mmap_threshold=1073741824:quarantine_size_mb=8:malloc_context_size=8

# libFuzzer's statistics in a log: `final NAME`, and the edges seen and there.
final() { # NAME LOG
    sed -nE "s/^stat::$1: *//p" "$2"
}
edges() { # LOG
    local seen there
    seen=$(sed -nE 's/^#[0-9]+.* cov: ([0-9]+) .*/\1/p' "$1" | tail -1)
    there=$(sed -nE 's/^INFO: Loaded .* \(([0-9]+) inline.*/\1/p' "$1" | head -1)
    echo "$seen of $there"
}

fuzz() { # PARSER: prints its row and what it found; fails where that was anything
    local parser=$1 log=$temporary/$1.log kept=tests/fuzz/corpus/$1 found=$folder/corpus/$1
    local finds=$folder/finds/$1 sources=() source options code saved
    mkdir -p "$found" "$finds"
    for source in "$kept" "tests/fuzz/regressions/$parser"; do
        [ ! -d "$source" ] || sources+=("$PWD/$source")
    done
    options=(-max_len="$(longest "$parser")" -timeout=20 -rss_limit_mb=2048)
    [ ! -e "tests/fuzz/dictionaries/$parser.dict" ] ||
        options+=(-dict="$PWD/tests/fuzz/dictionaries/$parser.dict")
    "$folder/tests/fuzz/fuzz_$parser" "${options[@]}" "${limit[@]}" -print_final_stats=1 \
        -artifact_prefix="$finds/" "$found" "${sources[@]}" >"$log" 2>&1
    code=$?
    saved=$(sed -nE 's/.*Test unit written to //p' "$log")
    printf '%-12s %12s %10s %14s  %s\n' "$parser" "$(final number_of_executed_units "$log")" \
        "$(final average_exec_per_sec "$log")" "$(edges "$log")" "${saved:-none}"
    if [ "$code" -ne 0 ]; then
        grep -E 'ERROR|runtime error|fuzz: |SUMMARY' "$log" | head -5 || tail "$log"
        return 1
    fi
    [ -n "$minimise" ] || return 0
    mkdir -p "$temporary/$parser" "$kept"
    "$folder/tests/fuzz/fuzz_$parser" "${options[@]}" -set_cover_merge=1 \
        "$temporary/$parser" "$found" "${sources[@]}" >"$log" 2>&1 || {
        tail -3 "$log" >&2
        return 1
    }
    find "$kept" -type f -delete
    cp "$temporary/$parser"/* "$kept/"
}

printf '%-12s %12s %10s %14s  %s\n' parser inputs inputs/s 'edges reached' finds
for parser in "${parsers[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do
        wait -n
    done
    { fuzz "$parser" || touch "$temporary/failed"; } &
done
wait
[ ! -e "$temporary/failed" ]
