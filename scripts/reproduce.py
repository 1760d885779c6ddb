#!/usr/bin/env python3
"""Trains a recorded run again and compares the two.

    scripts/reproduce.py [--any-program] [--any-revision] [--keep FOLDER] RUN

RUN is a run folder, or the name of a DVC experiment. The program is build/cairn or DVC's copy of it
where one of them, with its plugin where that computed, made the run; else it is built from the
run's git revision, in a temporary folder: one that HEAD descends from, since building runs what is
written there. On the same kind of machine (program and plugin,
processor, device, threads) every file must be the same byte for byte; elsewhere losses and
accuracies of every epoch must agree within the tolerances below.

--any-program takes build/cairn whatever it is, and then no bytes are compared. --any-revision
builds one of another branch too.

Exit codes: 0 reproduced; 1 not; 2 it cannot be tried."""
import argparse
import hashlib
import json
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

LOSS, ACCURACY = 0.05, 0.02
FILES = ["metrics.json", "model.safetensors", "predictions.csv", "confusion.csv"]
BUILT = ["binary_digest", "plugin_digest"]
MACHINE = BUILT + ["processor", "device", "device_description", "threads", "precision"]
here = pathlib.Path(__file__).resolve().parent.parent


# Whoever made the run may have written anything into its files.
LARGEST = 64 << 20
TEXTS = BUILT + ["status", "git_revision", "processor", "device", "device_description", "precision",
                 "data_digest"]


def printable(text):
    return "".join(c if c.isprintable() else "?" for c in str(text))


def stop(message):
    print(f"reproduce.py: {printable(message)}", file=sys.stderr)
    sys.exit(2)


def call(*command, **options):
    return subprocess.run(command, cwd=here, **options)


def git(*arguments, **options):
    """git, which starts nothing that the repository's configuration names."""
    return call("git", "--no-pager", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null",
                *arguments, env=os.environ | {"GIT_ALLOW_PROTOCOL": ""}, **options)


def text_of(*command):
    done = call(*command, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def find_run(name, scratch):
    """The run folder: as given, or an experiment's, out of DVC's cache."""
    for folder in (pathlib.Path(name), here / name):
        if folder.is_dir():
            return folder.resolve()
    dvc = shutil.which(os.environ.get("CAIRN_DVC") or str(here / ".venv/bin/dvc"))
    if not dvc:
        stop(f"there is no folder '{name}', and dvc is not installed, which may know an experiment "
             "of that name; scripts/setup-dvc.sh installs it")
    names = text_of(dvc, "exp", "list", "--all-commits", "--name-only")
    if names is None or name not in names.split():
        stop(f"'{name}' is neither a folder nor an experiment; `dvc exp list -A` names those")
    refs = git("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps",
               capture_output=True, text=True).stdout
    revision = [r.split()[0] for r in refs.splitlines() if r.endswith("/" + name)]
    if not revision:
        stop(f"git has no reference to the experiment '{name}'")
    folder = scratch / "recorded"
    if call(dvc, "get", "--quiet", ".", "runs/dvc", "--rev", revision[0], "-o", str(folder)).returncode:
        stop(f"the files of experiment '{name}' are not in DVC's cache; the lines above say why")
    return folder


def has_digest(file, digest):
    return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == digest


def check_revision(revision, any_revision):
    """Stops unless git has the commit, and HEAD descends from it."""
    if not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", revision):
        stop(f"'{revision[:80]}' is not the full name of a git revision")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if git("cat-file", "-e", revision + "^{commit}", **quiet).returncode:
        stop(f"git does not have the run's revision {revision[:12]} here; fetch it, or give "
             "--any-program")
    if not any_revision and git("merge-base", "--is-ancestor", revision, "HEAD",
                                **quiet).returncode:
        stop(f"the run's revision {revision[:12]} is none that HEAD descends from, and building it "
             "runs what is written there; read it, then give --any-revision, or --any-program")


def find_program(summary, scratch, any_program, any_revision):
    """The program, and the folder of the plugin that goes with it."""
    program, plugin = map(summary.get, BUILT)
    for built, plugins in ((here / "build/cairn", here / "build"),
                           (here / "build/dvc/cairn", here / "build/dvc/program")):
        if any_program and built.is_file() or has_digest(built, program) and (
                not plugin or has_digest(plugins / "libcairn_cuda.so", plugin)):
            return built, plugins
    if any_program:
        stop("there is no build/cairn; scripts/build.sh builds it")
    revision = summary.get("git_revision")
    if not revision:
        stop("build/cairn is not the program that made this run, or not with that plugin, and the "
             "run names no git revision; --any-program takes build/cairn all the same")
    if summary.get("git_dirty"):
        stop(f"this run's sources were {revision[:12]} with changes that were not committed; "
             "--any-program takes build/cairn all the same")
    check_revision(revision, any_revision)
    print(f"building cairn at {revision[:12]}", file=sys.stderr)
    sources = scratch / "sources"
    sources.mkdir()
    packed = git("archive", revision, stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x", "-C", str(sources)], input=packed.stdout, check=True)
    build = sources / "scripts/build.sh"
    if not build.is_file():
        stop(f"revision {revision[:12]} has no {build.relative_to(sources)} to build it by")
    if subprocess.run([str(build), "release", "-DCAIRN_TESTS=OFF"],
                      stdout=sys.stderr).returncode:
        stop(f"revision {revision[:12]} cannot be built here; the lines above say why")
    return sources / "build/cairn", sources / "build"


def read(folder, name):
    file = folder / name
    try:
        if file.exists() and (not file.is_file() or file.stat().st_size > LARGEST):
            raise ValueError("is no file, or one of more than 64 MiB")
        return json.loads(file.read_text())
    except (OSError, ValueError, RecursionError) as error:
        stop(f"{file}: {error}: is {folder} the folder of a finished run?")


def read_summary(folder):
    summary = read(folder, "summary.json")
    if not isinstance(summary, dict):
        stop(f"{folder / 'summary.json'}: is not one JSON object")
    for key in TEXTS:
        if not isinstance(summary.get(key), (str, type(None))):
            stop(f"{folder / 'summary.json'}: {key} is not a text")
    if not summary.get("data_digest"):
        stop(f"{folder / 'summary.json'}: has no data_digest")
    return summary


def read_rows(folder):
    """metrics.json, and whether its losses are of the test split or of a validation part."""
    rows = read(folder, "metrics.json")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        stop(f"{folder / 'metrics.json'}: is not a list of JSON objects")
    split = "val" if rows and "val_loss" in rows[0] else "test"
    for number, row in enumerate(rows, 1):
        for key in ("epoch", "train_loss", "train_acc", f"{split}_loss", f"{split}_acc"):
            try: # null: no number came of it
                row[key] = math.nan if key in row and row[key] is None else float(row.get(key, ""))
            except (TypeError, ValueError, OverflowError):
                stop(f"{folder / 'metrics.json'}: row {number}: {key} is not a number")
    return rows, split


def compare_rows(was, now):
    """Prints the epochs side by side; whether they agree within the tolerances."""
    (was, split), (now, other) = was, now
    agree = len(was) == len(now) and split == other
    print(f"{'epoch':>5} {split + ' loss: was':>16} {'now':>8} {split + ' acc: was':>15} {'now':>7}")
    for a, b in zip(was, now) if split == other else ():
        print(f"{a['epoch']:5.0f} {a[split + '_loss']:16.4f} {b[split + '_loss']:8.4f} "
              f"{a[split + '_acc']:15.4f} {b[split + '_acc']:7.4f}")
        for key in ("train_loss", "train_acc", split + "_loss", split + "_acc"):
            near = abs(a[key] - b[key]) <= (LOSS if key.endswith("loss") else ACCURACY)
            agree &= near or math.isnan(a[key]) and math.isnan(b[key])
    return agree


def same_bytes(one, other):
    if not one.is_file() or not other.is_file() or one.stat().st_size != other.stat().st_size:
        return False
    return one.read_bytes() == other.read_bytes()


def reproduce(arguments, scratch):
    run = find_run(arguments.run, scratch)
    was = read_summary(run)
    if was.get("status") != "finished":
        stop(f"{run}: the run is {was.get('status')}, not finished")
    rows = read_rows(run)
    if arguments.keep and pathlib.Path(arguments.keep).exists():
        stop(f"--keep {arguments.keep}: is there already")
    program, plugins = find_program(was, scratch, arguments.any_program, arguments.any_revision)
    again = pathlib.Path(arguments.keep).resolve() if arguments.keep else scratch / "again"
    libraries = ":".join(filter(None, (str(plugins), os.environ.get("LD_LIBRARY_PATH"))))
    status = call(str(program), "train", str(run / "params.yaml"), "--run-dir", str(again),
                  "--overwrite", stdout=sys.stderr,
                  env=os.environ | {"LD_LIBRARY_PATH": libraries}).returncode
    if status:
        stop(f"training ended with exit code {status}; the lines above say why")
    now = read_summary(again)
    if now["data_digest"] != was["data_digest"]:
        stop(f"the data differs: the run had digest {was['data_digest'][:12]}, now it is "
             f"{now['data_digest'][:12]}")
    agree = compare_rows(rows, read_rows(again))
    rebuilt = scratch in program.parents # other digests: both hold the folder's path
    differs = [key for key in MACHINE if was.get(key) != now.get(key)
               and not (rebuilt and key in BUILT)]
    if differs:
        print(f"another kind of machine or program ({', '.join(differs)} differ): "
              f"losses within {LOSS}, accuracies within {ACCURACY}: {'yes' if agree else 'NO'}")
        return agree
    unequal = [name for name in FILES if not same_bytes(run / name, again / name)]
    print(f"NOT the same bytes: {', '.join(unequal)}" if unequal
          else f"the same bytes: {', '.join(FILES)}")
    return not unequal


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--any-program", action="store_true")
    parser.add_argument("--any-revision", action="store_true")
    parser.add_argument("--keep", metavar="FOLDER", help="where the new run goes, and stays")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cairn-reproduce-") as scratch:
        return 0 if reproduce(arguments, pathlib.Path(scratch)) else 1


sys.exit(main())
