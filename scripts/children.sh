#!/usr/bin/env bash
# What scripts that start long programs do next: they source this file after help.sh. The script
# then runs below a process that only waits; ended by INT, TERM or HUP, that one ends whatever runs
# below it, in process groups of its own too, so that nothing goes on unseen.
#
#   . "$(dirname "${BASH_SOURCE[0]}")/children.sh"
# shellcheck disable=SC2317,SC2013 # what traps call; words
if [ "${CAIRN_PARENT-}" = "$PPID" ]; then
    unset CAIRN_PARENT # what this starts is to do the same
else
    # PROCESS: it and all below it, each stopped first, so that it starts no more.
    below() {
        local started
        kill -STOP "$1" 2>/dev/null || return 0
        echo "$1"
        for started in $(cat "/proc/$1/task/"*/children 2>/dev/null); do
            below "$started"
        done
    }

    running() { # PROCESS...: whether any is; a zombie that nobody waits for is not
        local process
        for process; do
            ! grep -qs '^State:.[^ZX]' "/proc/$process/status" || return 0
        done
        return 1
    }

    # EXIT CODE: ends all of them; what takes longer than 30 seconds over it is killed.
    end() {
        local all=() ticks
        trap - INT TERM HUP
        mapfile -t all < <(below "$child")
        kill -TERM "${all[@]}" 2>/dev/null
        kill -CONT "${all[@]}" 2>/dev/null
        for ((ticks = 0; ticks < 300; ticks++)); do
            running "${all[@]}" || exit "$1"
            sleep 0.1
        done
        kill -KILL "${all[@]}" 2>/dev/null
        exit "$1"
    }

    trap 'end 130' INT
    trap 'end 143' TERM
    trap 'end 129' HUP
    # A background process ignores Ctrl-C, unless told otherwise.
    CAIRN_PARENT=$$ env --default-signal=INT bash "$0" "$@" <&0 &
    child=$!
    code=0
    wait "$child" || code=$?
    exit "$code"
fi
