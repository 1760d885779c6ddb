#!/usr/bin/env bash
# Compiles every kernel with nvcc for all GPUs that Cairn supports, and prints what each kernel
# takes: registers by architecture, bytes of shared and of local memory, bytes spilled. Fails on a
# warning and when anything is spilled. Needs no GPU; without nvcc it says so and succeeds.
#
#   scripts/check-kernels.sh [FOLDER]     FOLDER: keeps the results for the next time;
#                                         build/check-kernels unless given
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/help.sh"
. "$(dirname "${BASH_SOURCE[0]}")/children.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
[ -x "$nvcc" ] || {
    echo "check-kernels.sh: skipped: no nvcc"
    exit 0
}
folder=${1-build/check-kernels}
mkdir -p "$folder"

known=$("$nvcc" --list-gpu-code)
architectures=()
for number in 75 80 86 89 90 100 120; do
    [[ $'\n'$known$'\n' != *$'\n'sm_$number$'\n'* ]] || architectures+=("$number")
done
newest=${architectures[-1]}

# One compilation a kernel file and architecture, and one that goes through the host's compiler to
# an object with PTX; each leaves its output in a file. What is newer than its sources is kept.
sources=(cuda/kernels/*.cu)
mapfile -t headers < <(find cuda include host/data scripts/check-kernels.sh -name '*.h' -o -name '*.cuh' \
    -o -name check-kernels.sh)
jobs=()
for source in "${sources[@]}"; do
    name=$(basename "$source" .cu)
    for target in "${architectures[@]}" ptx; do
        result=$folder/$name.$target.txt
        [ -f "$result" ] && [ -z "$(find "$source" "${headers[@]}" -newer "$result")" ] ||
            jobs+=("$source" "$result" "$target")
    done
done

export nvcc newest
# shellcheck disable=SC2016 # expanded by the inner shell
[ ${#jobs[@]} -eq 0 ] || printf '%s\0' "${jobs[@]}" | xargs -0 -n 3 -P "$(nproc)" bash -c '
    source=$0 result=$1 target=$2
    kind=(-cubin "-arch=sm_$target" --resource-usage)
    [ "$target" != ptx ] || kind=(-c "-gencode=arch=compute_$newest,code=compute_$newest")
    if "$nvcc" -std=c++17 -O3 -I. -Iinclude --Werror all-warnings -Xcompiler -Wall,-Wextra \
        "${kind[@]}" -o "$result.o" "$source" >"$result.new" 2>&1; then
        mv "$result.new" "$result"
    else
        echo "check-kernels.sh: $source for $target:" >&2
        cat "$result.new" >&2
        rm -f "$result" "$result.new"
        exit 255 # xargs starts no more
    fi' || {
    echo "check-kernels.sh: nvcc refuses a kernel; the lines above say why" >&2
    exit 1
}

# ptxas writes, for each kernel: its name and architecture, then stack and spills, then registers.
results=()
for source in "${sources[@]}"; do
    for target in "${architectures[@]}"; do
        results+=("$folder/$(basename "$source" .cu).$target.txt")
    done
done
cat "${results[@]}" | c++filt -p | awk -v list="${architectures[*]}" '
    function number_before(word, back,    i) { # the number so many words before it, in this line
        for (i = back + 1; i <= NF; i++)
            if (index($i, word) == 1) return $(i - back) + 0
        return 0
    }
    /Compiling entry function/ {
        split($0, part, "\047")
        kernel = part[2]
        sub(/^void /, "", kernel)
        gsub(/\(anonymous namespace\)::/, "", kernel)
        sub(/__nv_bfloat16/, "bf16", kernel)
        architecture = part[4]
        sub(/^sm_/, "", architecture)
        if (!(kernel in seen)) {
            seen[kernel] = 1
            order[++kernels] = kernel
            if (length(kernel) > widest) widest = length(kernel)
        }
    }
    /bytes stack frame/ {
        split($0, part, ",")
        stack = part[1] + 0
        if (stack > local[kernel]) local[kernel] = stack
        spilled[kernel] += part[2] + part[3]
    }
    /Used [0-9]+ registers/ {
        registers[kernel, architecture] = number_before("registers", 1)
        bytes = number_before("smem", 2)
        if (bytes > shared[kernel]) shared[kernel] = bytes
    }
    END {
        count = split(list, name, " ")
        printf "%-*s", widest, "registers on sm_"
        for (a = 1; a <= count; a++) printf " %4s", name[a]
        printf "  shared  local  spilled\n"
        for (k = 1; k <= kernels; k++) {
            kernel = order[k]
            printf "%-*s", widest, kernel
            for (a = 1; a <= count; a++) printf " %4d", registers[kernel, name[a]]
            printf "  %6d  %5d  %7d\n", shared[kernel], local[kernel], spilled[kernel]
            total += spilled[kernel]
        }
        if (!kernels || total) {
            printf "check-kernels.sh: %d kernels, %d bytes spilled\n", kernels, total >"/dev/stderr"
            exit 1
        }
        printf "%d kernels, no warnings, nothing spilled\n", kernels
    }'
