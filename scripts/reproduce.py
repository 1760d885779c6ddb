#!/usr/bin/env python3
"""Trains a recorded run again and compares the two.

    scripts/reproduce.py [--any-program] [--keep FOLDER] RUN

RUN is a run folder, or the name of a DVC experiment. The program is build/cairn or DVC's copy of it
where one of them, with its plugin where that computed, made the run; else it is built from the
run's git revision, in a temporary folder. On the same kind of machine (program and plugin,
processor, device, threads) every file must be the same byte for byte; elsewhere losses and
accuracies of every epoch must agree within the tolerances below.

--any-program takes build/cairn whatever it is, and then no bytes are compared.

Exit codes: 0 reproduced; 1 not; 2 it cannot be tried."""
import argparse
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

LOSS, ACCURACY = 0.05, 0.02
FILES = ["metrics.json", "model.safetensors", "predictions.csv", "confusion.csv"]
BUILT = ["binary_digest", "plugin_digest"]
MACHINE = BUILT + ["processor", "device", "device_description", "threads", "precision"]
here = pathlib.Path(__file__).resolve().parent.parent


def stop(message):
    print(f"reproduce.py: {message}", file=sys.stderr)
    sys.exit(2)


def call(*command, **options):
    return subprocess.run(command, cwd=here, **options)


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
    refs = text_of("git", "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps") or ""
    revision = [r.split()[0] for r in refs.splitlines() if r.endswith("/" + name)][0]
    folder = scratch / "recorded"
    if call(dvc, "get", "--quiet", ".", "runs/dvc", "--rev", revision, "-o", str(folder)).returncode:
        stop(f"the files of experiment '{name}' are not in DVC's cache; the lines above say why")
    return folder


def has_digest(file, digest):
    return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == digest


def find_program(summary, scratch, any_program):
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
    if text_of("git", "cat-file", "-t", revision) != "commit":
        stop(f"git does not have the run's revision {revision[:12]} here; fetch it, or give "
             "--any-program")
    print(f"building cairn at {revision[:12]}", file=sys.stderr)
    sources = scratch / "sources"
    sources.mkdir()
    packed = call("git", "archive", revision, stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x", "-C", str(sources)], input=packed.stdout, check=True)
    if subprocess.run([str(sources / "scripts/build.sh"), "release", "-DCAIRN_TESTS=OFF"],
                      stdout=sys.stderr).returncode:
        stop(f"revision {revision[:12]} cannot be built here; the lines above say why")
    return sources / "build/cairn", sources / "build"


def read(folder, name):
    try:
        return json.loads((folder / name).read_text())
    except (OSError, ValueError) as error:
        stop(f"{folder / name}: {error}: is {folder} the folder of a finished run?")


def compare_rows(was, now):
    """Prints the epochs side by side; whether they agree within the tolerances."""
    agree = len(was) == len(now)
    print("epoch   test loss: was      now   test acc: was     now")
    for a, b in zip(was, now):
        print(f"{a['epoch']:5d} {a['test_loss']:16.4f} {b['test_loss']:8.4f} "
              f"{a['test_acc']:15.4f} {b['test_acc']:7.4f}")
        for key in ("train_loss", "train_acc", "test_loss", "test_acc"):
            agree &= abs(a[key] - b[key]) <= (LOSS if key.endswith("loss") else ACCURACY)
    return agree


def reproduce(arguments, scratch):
    run = find_run(arguments.run, scratch)
    was = read(run, "summary.json")
    if was.get("status") != "finished":
        stop(f"{run}: the run is {was.get('status')}, not finished")
    program, plugins = find_program(was, scratch, arguments.any_program)
    again = pathlib.Path(arguments.keep).resolve() if arguments.keep else scratch / "again"
    libraries = ":".join(filter(None, (str(plugins), os.environ.get("LD_LIBRARY_PATH"))))
    status = call(str(program), "train", str(run / "params.yaml"), "--run-dir", str(again),
                  "--overwrite", stdout=sys.stderr,
                  env=os.environ | {"LD_LIBRARY_PATH": libraries}).returncode
    if status:
        stop(f"training ended with exit code {status}; the lines above say why")
    now = read(again, "summary.json")
    if now["data_digest"] != was["data_digest"]:
        stop(f"the data differs: the run had digest {was['data_digest'][:12]}, now it is "
             f"{now['data_digest'][:12]}")
    agree = compare_rows(read(run, "metrics.json"), read(again, "metrics.json"))
    rebuilt = scratch in program.parents # other digests: both hold the folder's path
    differs = [key for key in MACHINE if was.get(key) != now.get(key)
               and not (rebuilt and key in BUILT)]
    if differs:
        print(f"another kind of machine or program ({', '.join(differs)} differ): "
              f"losses within {LOSS}, accuracies within {ACCURACY}: {'yes' if agree else 'NO'}")
        return agree
    unequal = [name for name in FILES if (run / name).read_bytes() != (again / name).read_bytes()]
    print(f"NOT the same bytes: {', '.join(unequal)}" if unequal
          else f"the same bytes: {', '.join(FILES)}")
    return not unequal


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--any-program", action="store_true")
    parser.add_argument("--keep", metavar="FOLDER", help="where the new run goes, and stays")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cairn-reproduce-") as scratch:
        return 0 if reproduce(arguments, pathlib.Path(scratch)) else 1


sys.exit(main())
