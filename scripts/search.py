#!/usr/bin/env python3
"""Searches for hyper-parameters: Optuna proposes, DVC runs each trial as an experiment.

    scripts/search.py [--space search.yaml] [--trials N] [-S key=value]... [--no-apply]
                      [--compare N]

The search space is a YAML file; search.yaml has every kind of entry. Each trial trains in a
temporary workspace of DVC's, as the experiment <study>-<number>. Proposals come from TPE; a trial
whose accuracy after an epoch is below the median of the earlier ones is stopped and leaves no
experiment. Where the file sets data.validation, trials are measured on training images that are
held out. The study is kept in runs/<study>.sqlite: the same command goes on after an interruption,
until there are N trials. At the end `dvc exp apply` brings the best one here.

--compare N: then the first trial and the best are trained again with N seeds each, on all training
images and measured on the test split, which no trial has seen; accuracies after the last epoch and
seconds are printed. These are the experiments <study>-first-<seed> and <study>-best-<seed>.

-S sets a parameter in every trial, over what the file sets.
Exit codes: 0 done; 1 failed; 2 wrong usage or space; 130 interrupted."""
import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

SCRIPT = pathlib.Path(__file__).resolve()
here = SCRIPT.parent.parent


def stop(message):
    print(f"search.py: {message}", file=sys.stderr)
    sys.exit(2)


if {"-h", "--help"} & set(sys.argv):
    print(__doc__)
    sys.exit()
os.chdir(here)
PYTHON = str(here / ".venv/bin/python") # the project's own, which has DVC and Optuna
if sys.executable != PYTHON:
    if not (here / ".venv/bin/optuna").exists():
        stop("DVC and Optuna are not installed; scripts/setup-dvc.sh installs them")
    os.execv(PYTHON, [PYTHON, str(SCRIPT), *sys.argv[1:]])

import optuna
import psutil
import yaml

DVC = os.environ.get("CAIRN_DVC") or str(here / ".venv/bin/dvc")
KINDS = {
    "uniform": lambda trial, key, ends: trial.suggest_float(key, *ends),
    "log_uniform": lambda trial, key, ends: trial.suggest_float(key, *ends, log=True),
    "int": lambda trial, key, ends: trial.suggest_int(key, *ends),
    "choice": lambda trial, key, values: trial.suggest_categorical(key, values),
}
KEYS = {"study", "trials", "seed", "metric", "set", "space", "first", "prune"}


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def read_space(path):
    try:
        space = yaml.safe_load(pathlib.Path(path).read_text())
    except (OSError, yaml.YAMLError) as error:
        stop(f"{path}: {' '.join(str(error).split())}")
    if not isinstance(space, dict) or not isinstance(space.get("space"), dict) or not space["space"]:
        stop(f"{path}: has no `space`, a map from parameters to where to look")
    for key in space.keys() - KEYS:
        stop(f"{path}: no key '{key}'; {', '.join(sorted(KEYS))}")
    if not str(space.get("study", "search")).replace("-", "").replace("_", "").isalnum():
        stop(f"{path}: study: '{space['study']}' is not made of letters, digits, - and _")
    for key, entry in space["space"].items():
        if not isinstance(entry, dict) or len(entry) != 1 or next(iter(entry)) not in KINDS:
            stop(f"{path}: {key}: {entry} is none of {{{', '.join(KINDS)}: [...]}}")
        kind, ends = next(iter(entry.items()))
        if kind == "choice":
            right = isinstance(ends, list) and ends
        else:
            right = (isinstance(ends, list) and len(ends) == 2 and all(map(is_number, ends))
                     and ends[0] < ends[1] and (kind != "log_uniform" or ends[0] > 0)
                     and (kind != "int" or all(isinstance(end, int) for end in ends)))
        if not right:
            stop(f"{path}: {key}: {kind}: {ends} should be "
                 + ("a list of values" if kind == "choice" else "[low, high]"))
    return space


def find_training(process):
    """The folder in which the experiment's cairn trains; None before and after."""
    try:
        for child in psutil.Process(process.pid).children(recursive=True):
            if child.name() == "cairn" and "train" in child.cmdline()[1:2]:
                return child, pathlib.Path(child.cwd()) / "runs/dvc"
    except (psutil.Error, OSError):
        pass
    return None


def read_rows(folder):
    try:
        return json.loads((folder / "metrics.json").read_text())
    except (OSError, ValueError):
        return []


def read_summary(name):
    """An experiment's summary.json, as DVC has it in its cache."""
    shown = subprocess.run([DVC, "exp", "show", "--json"], cwd=here, capture_output=True, text=True)
    if shown.returncode:
        raise RuntimeError(f"`dvc exp show` failed: {shown.stderr.strip()}")
    for baseline in json.loads(shown.stdout):
        for experiment in baseline.get("experiments") or []:
            for revision in experiment["revs"]:
                if revision["name"] == name and revision["data"]:
                    return revision["data"]["metrics"]["runs/dvc/summary.json"]["data"]
    raise RuntimeError(f"DVC shows no experiment {name}")


class Search:
    def __init__(self, space, overrides):
        self.space, self.overrides = space, overrides
        self.name = space.get("study", "search")
        self.metric = space.get("metric", "final_val_acc")

    def watch(self, process, trial):
        """Reports every epoch to Optuna; ends the training of a trial that is hopeless."""
        reported = 0
        while process.poll() is None:
            time.sleep(0.2)
            training = find_training(process)
            if not training:
                continue
            for row in read_rows(training[1])[reported:]:
                reported = row["epoch"]
                trial.report(row["val_acc"] if "val_acc" in row else row["test_acc"], reported)
                if trial.should_prune():
                    training[0].send_signal(signal.SIGINT)
                    process.wait()
                    raise optuna.TrialPruned
        return process.returncode

    def objective(self, trial):
        values = {key: KINDS[kind](trial, key, ends)
                  for key, entry in self.space["space"].items() for kind, ends in entry.items()}
        return self.train(f"{self.name}-{trial.number:03d}", values, self.metric, trial)[self.metric]

    def train(self, name, values, metric, trial=None, last=()):
        """Trains as an experiment of that name; its summary, which has the metric."""
        values = (self.space.get("set") or {}) | values
        # ++: also a key that params.yaml does not have yet
        settings = [f"++{key}={json.dumps(value)}" for key, value in values.items()]
        settings += ["++" + setting.lstrip("+") for setting in self.overrides]
        settings += ["++" + setting for setting in last]
        command = [DVC, "exp", "run", "--temp", "--name", name]
        for setting in settings:
            command += ["-S", setting]
        log = here / "runs" / f"{name}.log"
        with log.open("w") as out:
            process = subprocess.Popen(command, cwd=here, stdout=out, stderr=out,
                                       start_new_session=True, stdin=subprocess.DEVNULL)
            try:
                status = self.watch(process, trial) if trial else process.wait()
            except KeyboardInterrupt:
                os.killpg(process.pid, signal.SIGINT)
                process.wait()
                raise
        if status:
            print(log.read_text(), file=sys.stderr)
            raise RuntimeError(f"`dvc exp run` of {name} ended with exit code {status}")
        log.unlink()
        summary = read_summary(name)
        if not is_number(summary.get(metric)):
            raise RuntimeError(f"metric: '{metric}' is no number of summary.json; "
                               + ", ".join(k for k, v in summary.items() if is_number(v)))
        return summary

    def compare(self, best, count):
        """The baseline and the best once more, where nothing was chosen; in turns, so that what
        slows the machine down for a while slows both."""
        taken = subprocess.run([DVC, "exp", "list", "--name-only"], cwd=here, capture_output=True,
                               text=True, check=True).stdout.split()
        metric, found = "final_test_acc", {"first": [], "best": []}
        print(f"{'':5s}  seed  {metric}  seconds")
        for seed in range(42, 42 + count):
            for which, values in (("first", self.space["first"]), ("best", best)):
                name = f"{self.name}-{which}-{seed}"
                if name in taken:
                    summary = read_summary(name)
                else:
                    summary = self.train(name, values, metric,
                                         last=[f"seed={seed}", "data.validation=0"])
                found[which].append((summary[metric], summary["seconds"]))
                print(f"{which:5s}  {seed:4d}  {summary[metric]:14.4f}  {summary['seconds']:7.1f}",
                      flush=True)
        for which, pairs in found.items():
            accuracy, seconds = (sum(column) / count for column in zip(*pairs))
            print(f"{which:5s}  mean  {accuracy:14.4f}  {seconds:7.1f}")

    def run(self, trials):
        (here / "runs").mkdir(exist_ok=True)
        prune = self.space.get("prune") or {}
        study = optuna.create_study(
            storage=f"sqlite:///{here}/runs/{self.name}.sqlite", study_name=self.name,
            load_if_exists=True, direction="maximize",
            pruner=optuna.pruners.MedianPruner(prune.get("after_trials", 5),
                                               prune.get("after_epochs", 1) - 1)
            if prune else optuna.pruners.NopPruner())
        # Another seed after an interruption, or the first proposals would come again.
        study.sampler = optuna.samplers.TPESampler(
            seed=self.space.get("seed", 42) + len(study.trials))
        for trial in study.get_trials(deepcopy=False):
            if trial.state == optuna.trial.TrialState.RUNNING:  # an interrupted search left it
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        if not finished(study) and self.space.get("first"):
            study.enqueue_trial(self.space["first"])
        for _ in range(trials - len(finished(study))):
            study.optimize(self.objective, n_trials=1, callbacks=[print_trial])
        return study


def finished(study):
    return study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,
                                                    optuna.trial.TrialState.PRUNED))


def print_trial(study, trial):
    value = f"{trial.value:.4f}" if trial.value is not None else "-"
    print(f"{trial.number:3d} {trial.state.name.lower():9s} {value}  "
          + ", ".join(f"{key}={shorten(v)}" for key, v in trial.params.items()), flush=True)


def shorten(value):
    return f"{value:.4g}" if isinstance(value, float) else value


def main():
    for number in signal.SIGTERM, signal.SIGHUP:  # as Ctrl-C: with the training that runs
        signal.signal(number, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="search.yaml")
    parser.add_argument("--trials", type=int, metavar="N")
    parser.add_argument("-S", dest="overrides", action="append", default=[], metavar="key=value")
    parser.add_argument("--no-apply", action="store_true")
    parser.add_argument("--compare", type=int, default=0, metavar="N")
    arguments = parser.parse_args()
    space = read_space(arguments.space)
    trials = arguments.trials or space.get("trials", 20)
    if arguments.compare and not space.get("first"):
        stop(f"{arguments.space}: has no `first`, the baseline that --compare wants")
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    search = Search(space, arguments.overrides)
    try:
        study = search.run(trials)
        name = f"{search.name}-{study.best_trial.number:03d}"
        print(f"best of {len(finished(study))}: {name}, {search.metric} {study.best_value:.4f}",
              flush=True)
        if arguments.compare:
            search.compare(study.best_params, arguments.compare)
    except KeyboardInterrupt:
        print("search.py: interrupted; the same command goes on", file=sys.stderr)
        return 130
    except RuntimeError as error:
        print(f"search.py: {error}", file=sys.stderr)
        return 1
    if arguments.no_apply:
        return 0
    return subprocess.run([DVC, "exp", "apply", name], cwd=here).returncode


sys.exit(main())
