#!/usr/bin/env python3
"""The old name of scripts/bench-runs.py; the next release is without it."""
import os
import sys

print("scripts/bench-cost.py is now scripts/bench-runs.py", file=sys.stderr)
script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bench-runs.py")
os.execv(sys.executable, [sys.executable, script, *sys.argv[1:]])
