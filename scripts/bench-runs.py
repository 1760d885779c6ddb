#!/usr/bin/env python3
"""What a run costs: whole `cairn train` commands, by batch size and number of epochs.

  scripts/bench-runs.py [--batches 32,64,...] [--epochs 1,2,4] [--device D] [-S KEY=VALUE]...

Times the built program (build/cairn) from start to end, evaluation and files included, on the
built-in images; prints a table with the wall time of each, the share by which the longest run
misses the line through the two shortest, and the peak memory.
"""
import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(batch, epochs, folder, settings):
    """Seconds and peak MiB of one command."""
    command = [os.environ.get("CAIRN", ROOT / "build/cairn"), "train", folder / "params.yaml", "--quiet", "--overwrite",
               "-S", f"train.batch_size={batch}", "-S", f"train.epochs={epochs}", *settings]
    begin = time.perf_counter()
    child = subprocess.Popen(command)
    try:
        _, status, usage = os.wait4(child.pid, 0)
    except BaseException:
        child.terminate()
        child.wait()
        raise
    seconds = time.perf_counter() - begin
    if status:
        sys.exit(f"bench-runs.py: cairn train ended with {os.waitstatus_to_exitcode(status)}")
    return seconds, usage.ru_maxrss / 1024


def numbers(text):
    return [int(x) for x in text.split(",")]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--batches", type=numbers, default=[32, 64, 128, 256, 512, 1024])
    ap.add_argument("--epochs", type=numbers, default=[1, 2, 4], help="three or more, rising")
    ap.add_argument("--device")
    ap.add_argument("-S", action="append", default=[], metavar="KEY=VALUE", help="as of cairn train")
    a = ap.parse_args()
    for number in signal.SIGTERM, signal.SIGHUP:  # with the training that runs
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    if len(a.epochs) < 3 or a.epochs != sorted(set(a.epochs)):
        ap.error("--epochs: three or more, rising")
    settings = [word for setting in a.S for word in ("-S", setting)] + (["--device", a.device] if a.device else [])

    print("| batch | " + " | ".join(f"{n} epoch{'s' * (n > 1)}" for n in a.epochs) + " | off the line | peak memory |")
    print("| ---: |" + " ---: |" * (len(a.epochs) + 2))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "params.yaml").write_text(
            "data: {name: synthetic, dir: none}\ntrain: {epochs: 1, batch_size: 1, lr: 0.0005}\n"
            f"run: {{name: cost, out_dir: {folder}}}\n")
        for batch in a.batches:
            seconds, peaks = zip(*(run(batch, n, folder, settings) for n in a.epochs))
            slope = (seconds[1] - seconds[0]) / (a.epochs[1] - a.epochs[0])
            line = seconds[0] + slope * (a.epochs[-1] - a.epochs[0])
            print(f"| {batch} | " + " | ".join(f"{s:.1f} s" for s in seconds) +
                  f" | {seconds[-1] / line - 1:+.1%} | {max(peaks):.0f} MiB |", flush=True)


if __name__ == "__main__":
    main()
