#!/usr/bin/env python3
"""Prints which tests the last ctest run skipped, whole or in part, why, and what would run them.

  tests/skipped.py BUILD_FOLDER     prints nothing where none was
"""
import os
import re
import sys
from pathlib import Path

# What a reason asks for: a pattern in it, and a command with {tests}, which runs them again.
REMEDIES = [
    (r": (.+) installs (?:it|them)$", r"\1 && {tests}"),
    (r"CAIRN_DATA_FROM", "CAIRN_DATA_FROM=cifar-10-binary.tar.gz {tests}"),
    (r"^no PyTorch", "python3 -m venv .venv && .venv/bin/pip install torch numpy safetensors && {tests}"),
    (r"^cuda:|no CUDA device", "on a machine with a GPU: {tests}"),
    (r"headers of CUDA", "with CUDA and cuDNN installed (docs/gpu.md): {tests}"),
    (r"sanitizer", "CAIRN_PRESET=release {tests}"),
    (r"only root|may not|another user|control group", "as root: {tests}"),
]


def skipped(log):
    """Pairs of a test, or one of its parts, and the reason, from LastTest.log's text."""
    for block in re.split(r"^\d+/\d+ Testing: ", log, flags=re.M)[1:]:
        test = block.split("\n", 1)[0]
        parts = re.findall(r"^ok \d+ (.*?) # skip ?(.*)$", block, flags=re.M)
        for title, reason in parts:
            yield test, f"{test}: {title}", reason
        if not parts:
            reason = re.search(r"^skipped: (.*)$", block, flags=re.M)
            if reason:
                yield test, test, reason[1]


def remedy(reason, tests):
    for pattern, command in REMEDIES:
        found = re.search(pattern, reason)
        if found:
            if "CAIRN_PRESET" in command:
                tests = tests[tests.index("scripts/"):]
            return found.expand(command).replace("{tests}", tests)
    return tests


def main():
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    log = Path(sys.argv[1], "Testing/Temporary/LastTest.log")
    preset = os.environ.get("CAIRN_PRESET")
    script = f"CAIRN_PRESET={preset} scripts/test.sh" if preset else "scripts/test.sh"
    by_reason = {}
    for test, title, reason in skipped(log.read_text(errors="replace") if log.exists() else ""):
        tests, titles = by_reason.setdefault(reason, ({}, {}))
        tests[test] = titles[title] = None
    if by_reason:
        print("\nSkipped, why, and what runs them:")
    for reason, (tests, titles) in by_reason.items():
        print(f"* {reason}")
        for title in titles:
            print(f"    {title}")
        print("  " + remedy(reason, f"{script} -R '^({'|'.join(tests)})$'"))


main()
