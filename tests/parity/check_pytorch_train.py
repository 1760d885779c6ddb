"""Checks scripts/pytorch_train.py, the peer of a recipe, against Cairn itself.

    check_pytorch_train.py schedules
    check_pytorch_train.py PARAMS [--bound B] [-S key=value]...

The first compares with tests/unit/fixtures/schedules.txt, the second with build/cairn, or the
program that CAIRN names.

The second trains a few steps twice: by Cairn, and by the peer from Cairn's first weights, with
Cairn's order, crops, flips and holes instead of PyTorch's random ones. Losses and accuracies of
every epoch have to agree, to the bound (of what is above 1): so model, data, augmentation,
optimiser, schedule and evaluation do. Then Cairn's model, loaded strictly, has to give the logits
that `cairn predict` gives. Without dropout, whose masks cannot be handed to PyTorch's module.
"""
import argparse
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent.parent / "scripts"), str(HERE)]

import pytorch_train as peer
from make_fixtures import CROP, below, philox

SHUFFLE, AUGMENT = 2, 7  # purposes of include/cairn/rng.h
FLIP, CUTOUT = 0, 1      # streams of AUGMENT
RECORDS, PICTURES = 10000, 8
LOGITS, FILTERS = 1e-4, 1e-4


class CairnDraws:
    """Cairn's random numbers, by the rule of include/cairn/rng.h."""

    def __init__(self, seed, count):
        self.seed, self.count = seed, count

    def words(self, purpose, epoch, stream, index):
        index = np.asarray(index, np.uint64)
        zero = np.zeros_like(index)
        return philox((self.seed & 0xFFFFFFFF, self.seed >> 32),
                      (index, zero, zero + np.uint64(epoch), zero + np.uint64(purpose << 24 | stream)))

    def order(self, epoch):
        word, order = self.words(SHUFFLE, epoch, 0, range(self.count))[0], list(range(self.count))
        for i in range(self.count - 1, 0, -1):
            j = int(below(word[i], np.uint64(i + 1)))
            order[i], order[j] = order[j], order[i]
        return torch.tensor(order)

    def places(self, purpose, epoch, index, limit):
        words = self.words(*((CROP, epoch, 0) if purpose == "crop" else (AUGMENT, epoch, CUTOUT)), index.numpy())
        return torch.from_numpy(np.stack([below(word, np.uint64(limit)) for word in words[:2]]).astype(np.int64))

    def flips(self, how, epoch, index):
        alternates = how == "alternating"
        word = self.words(AUGMENT, 0 if alternates else epoch, FLIP, index.numpy())[0].astype(np.int64)
        return torch.from_numpy(word + (epoch if alternates else 0)) & 1


def write_data(folder, train, test):
    """A CIFAR-10 of which so many records are more than zeros: soft pictures, each class of its own
    colour."""
    random = np.random.default_rng(1)
    folder.mkdir()
    for name, count in [("test_batch", test), *((f"data_batch_{i}", train if i == 1 else 0) for i in range(1, 6))]:
        labels = random.integers(0, 10, (count, 1), np.uint8)
        colour = np.stack([labels * 12, labels % 5 * 25, labels % 3 * 40], 1)[..., None]
        coarse = (random.integers(0, 128, (count, 3, 8, 8)) + colour).astype(np.uint8)
        pixels = coarse.repeat(4, 2).repeat(4, 3).reshape(count, 3 * 32 * 32)
        with open(folder / f"{name}.bin", "wb") as file:
            file.write(np.concatenate([labels, pixels], 1).tobytes())
            file.truncate(RECORDS * 3073)


def write_bmp(path, pixels):
    """[32,32,3] as a BMP file: from the lowest row up, blue first."""
    body = pixels[::-1, :, ::-1].tobytes()
    head = struct.pack("<2sIII IiiHHIIIIII", b"BM", 54 + len(body), 0, 54, 40, 32, 32, 1, 24, 0, len(body), 0, 0, 0, 0)
    path.write_bytes(head + body)


def cairn(*arguments):
    done = subprocess.run([peer.os.environ.get("CAIRN", peer.ROOT / "build/cairn"), *arguments], capture_output=True,
                          text=True)
    if done.returncode:
        sys.exit(f"cairn {arguments[0]}: {done.stderr}")
    return done.stdout


def flags(overrides):
    return [word for override in overrides for word in ("-S", override)]


def compare(name, found, wanted, bound):
    """Prints both; whether they agree. A NaN does not."""
    agree = abs(found - wanted) <= bound * max(1, abs(wanted))
    print(f"{name}: PyTorch {found:.7g}, Cairn {wanted:.7g}{'' if agree else '  NOT EQUAL'}")
    return agree


def check_rows(recipe, rows, bound):
    agree = True

    def report(found, *_):
        nonlocal agree
        for key, value in found[-1].items():
            agree &= key == "epoch" or compare(f"epoch {len(found)} {key}", value, rows[len(found) - 1][key], bound)

    peer.train(recipe, report)
    return agree


def check_logits(recipe, run, folder):
    pictures = [folder / f"{i}.bmp" for i in range(PICTURES)]
    for i, path in enumerate(pictures):
        write_bmp(path, recipe.test.windows[i, recipe.test.padding, recipe.test.padding].numpy())
    answers = json.loads(cairn("predict", "--run-dir", str(run), "--top", "10", "--json", *map(str, pictures)))
    by_label = [sorted(answer["predictions"], key=lambda p: p["label"]) for answer in answers]
    wanted = torch.tensor([[p["logit"] for p in predictions] for predictions in by_label])
    recipe.model.load_state_dict(load_file(run / "model.safetensors"))
    recipe.average = None
    worst = (recipe.logits()[:PICTURES] - wanted).abs().max().item()
    bound = LOGITS * max(1, wanted.abs().max().item())
    print(f"logits of Cairn's model: {worst:.1e} apart, of at most {bound:.1e}")
    return worst <= bound


def check(params, overrides, bound, folder):
    write_data(folder / "cifar-10-batches-bin", 96, 32)
    overrides = ["device=cpu", "train.epochs=3", "train.batch_size=32", *overrides, f"data.dir={folder}",
                 "data.train_limit=96", "data.test_limit=32", "model.dropout=0"]
    # One epoch that moves no weight.
    still = ["train.epochs=1", "train.lr=1e-30", "schedule.name=constant"]
    run, start = folder / "run", folder / "start"
    for overrides_of, into in ((overrides, run), (overrides + still, start)):
        cairn("train", params, *flags(overrides_of), "--run-dir", str(into), "--quiet")
    c = peer.resolve(params, overrides)
    train, test = peer.load(c)
    torch.set_num_threads(1)
    recipe = peer.Recipe(c, torch.device("cpu"), train, test, CairnDraws(c["seed"], len(train[1])))
    made = {name: value.clone() for name, value in recipe.model.state_dict().items() if name.startswith("whiten.w")}
    recipe.model.load_state_dict(load_file(start / "model.safetensors"))
    for module in recipe.model.modules():
        if peer.is_norm(module):
            module.reset_running_stats()
    agree = check_rows(recipe, json.loads((run / "metrics.json").read_text()), bound)
    for name, value in made.items():
        agree &= check_filters(value, recipe.model.state_dict()[name])
    return check_logits(recipe, run, folder) and agree


def check_filters(found, wanted):
    """Equal but for the sign of each, of which the first half and the second have both."""
    half = len(found) // 2
    found, wanted = found[:half].flatten(1), wanted[:half].flatten(1)
    signs = (found * wanted).sum(1, keepdim=True).sign()
    worst = ((signs * found - wanted).norm(dim=1) / wanted.norm(dim=1)).max().item()
    print(f"whitening filters: {worst:.1e} apart")
    return worst <= FILTERS


def check_schedules():
    """Every case but plateau's, whose rates depend on losses to come."""
    lines = (HERE.parent / "unit/fixtures/schedules.txt").read_text().split("\n")
    defaults = peer.resolve(str(HERE.parent / "unit/reference_params.yaml"))
    agree = True
    for case, _, wanted in zip(lines[::3], lines[1::3], lines[2::3]):
        c = defaults | {"train.lr": 0.2, "train.epochs": 12}
        for override in filter(None, case.split(";")):
            c |= peer.read_printed(override.replace("=", ": "))
        if c["schedule.name"] == "plateau":
            continue
        wanted = [float(word) for word in wanted.split()]
        worst = max(abs(a - b) for a, b in zip(peer.rates(c, 7), wanted, strict=True))
        print(f"{case or 'constant'}: {worst:.1e} apart")
        agree &= worst <= 1e-9
    return agree


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("params")
    ap.add_argument("-S", dest="overrides", action="append", default=[])
    ap.add_argument("--bound", type=float, default=1e-4)
    a = ap.parse_args()
    if a.params == "schedules":
        sys.exit(not check_schedules())
    with tempfile.TemporaryDirectory() as name:
        sys.exit(not check(a.params, a.overrides, a.bound, Path(name)))
