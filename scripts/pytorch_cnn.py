#!/usr/bin/env python3
"""The old name of scripts/pytorch_simple_cnn.py; the next release is without it."""
import os
import sys

print("scripts/pytorch_cnn.py is now scripts/pytorch_simple_cnn.py", file=sys.stderr)
script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pytorch_simple_cnn.py")
os.execv(sys.executable, [sys.executable, script, *sys.argv[1:]])
