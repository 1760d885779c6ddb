#!/usr/bin/env python3
"""The old name of scripts/pytorch_train.py; the next release is without it."""
import os
import sys

print("scripts/pytorch_recipe.py is now scripts/pytorch_train.py", file=sys.stderr)
script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pytorch_train.py")
os.execv(sys.executable, [sys.executable, script, *sys.argv[1:]])
