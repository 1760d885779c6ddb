#!/usr/bin/env bash
# What every script of shell here does first: it sources this file, which answers --help (or -h)
# with the comment that the script begins with, and ends. Scripts of Python print theirs.
#
#   . "$(dirname "${BASH_SOURCE[0]}")/help.sh"
for argument; do
    case $argument in
    --help | -h)
        sed -n '2,${/^#/!q;s/^# \{0,1\}//p;}' "${BASH_SOURCE[1]}"
        exit
        ;;
    esac
done
unset argument
