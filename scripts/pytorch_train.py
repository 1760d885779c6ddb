#!/usr/bin/env python3
"""The peer of a recipe: trains by PyTorch what a params file of Cairn says.

  scripts/pytorch_train.py PARAMS [-S key=value]... [--out FILE.json] [--compile [MODE]]
  scripts/pytorch_train.py PARAMS [-S key=value]... --speed SECONDS [--compile [MODE]]

The configuration is what `build/cairn params --print` resolves it to (CAIRN names another program),
so defaults are Cairn's. A key that this script cannot honour is refused. Prints a line an epoch,
then one JSON object with the keys of summary.json, which --out keeps, too. --speed measures
training steps alone, on random images, as `cairn bench` does: the median of 15 stretches that take
SECONDS together.

It is to be PyTorch at its best: the images stay in memory as bytes and a whole batch is cropped,
flipped, blanked and normalised by tensor operations instead of a DataLoader's, channels come last,
the optimiser is fused, and malloc keeps its memory (set in the environment, for which the script
starts itself again).
"""
import os
import sys

TUNED = {"MALLOC_TRIM_THRESHOLD_": "100000000000", "MALLOC_MMAP_THRESHOLD_": "100000000000",
         "OPENBLAS_NUM_THREADS": "1"}
if __name__ == "__main__" and {"-h", "--help"} & set(sys.argv): # needs no PyTorch
    print(__doc__)
    sys.exit()
if __name__ == "__main__" and any(key not in os.environ for key in TUNED):
    os.execve(sys.executable, [sys.executable, *sys.argv], TUNED | os.environ)

import argparse
import json
import math
import statistics
import subprocess
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.optim import lr_scheduler, swa_utils

import pytorch_models

ROOT = Path(__file__).resolve().parent.parent
CLASSES, SIDE = 10, 32
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
EVALUATION_BATCH, STRETCHES = 500, 15
PRINTED = ""  # the configuration's own key of the text that it was read from


def stop(message):
    print(f"pytorch_train.py: {message}", file=sys.stderr)
    sys.exit(2)


# The configuration --------------------------------------------------------------------------------

# What this script goes by.
TAKEN = set("""seed device data.dir data.train_limit data.test_limit data.validation data.crop_padding
    model.dropout model.widths model.depth model.hidden model.whiten_bias_epochs
    train.epochs train.batch_size train.lr train.threads train.on_nan train.label_smoothing train.clip_norm
    train.accumulate optimizer.name optimizer.beta1 optimizer.beta2 optimizer.epsilon optimizer.momentum
    optimizer.nesterov optimizer.weight_decay optimizer.decay_exclude optimizer.norm_bias_scale ema.decay
    schedule.per schedule.warmup schedule.warmup_start schedule.step_size schedule.milestones
    schedule.gamma schedule.min_lr schedule.end_factor schedule.power schedule.pct_start schedule.div_factor
    schedule.final_div_factor augment.padding augment.flip augment.cutout augment.tta augment.tta_shift
    run.name""".split())
# What changes no result, or is the strength of what has to be off. PyTorch may always choose its
# fastest algorithms.
IDLE = set("""data.num_workers data.image_size data.resize train.deterministic schedule.patience schedule.threshold
    augment.erasing_area augment.magnitude augment.mix_share run.out_dir run.recorders checkpoint.every_steps
    checkpoint.every_seconds tensorboard.enabled tensorboard.every_steps tensorboard.every_epochs""".split())
# The values that it can honour, of the rest.
ONLY = {
    "data.name": ["cifar10"],
    "model.name": ["simple_cnn", "resnet20", "resnet56", "resnet18", "wideresnet-16-4", "speed_cnn"],
    "train.precision": ["float32", "bf16", "tf32"],
    "schedule.name": ["constant", "step", "multistep", "exponential", "cosine", "linear", "polynomial", "onecycle"],
    **{f"augment.{key}": [0] for key in ("erasing", "brightness", "contrast", "saturation", "rotation",
                                         "translation", "randaugment", "mixup", "cutmix")},
}


def read_printed(text):
    """The YAML that Cairn prints, whose quoted texts, numbers, lists and truth values are JSON's:
    {"section.key": value}."""
    found, section = {}, ""
    for line in text.splitlines():
        key, _, value = line.strip().partition(":")
        if not value:
            section = key + "."
            continue
        try:
            value = json.loads(value)
        except ValueError:
            value = value.strip()
        found[section * line.startswith(" ") + key] = value
    return found


def resolve(params, overrides=()):
    """What the file and the overrides mean, refused where it cannot be honoured."""
    command = [os.environ.get("CAIRN", ROOT / "build/cairn"), "params", "--print", params]
    command += [word for override in overrides for word in ("-S", override)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        stop(f"{error}; scripts/build.sh builds it")
    if done.returncode:
        stop(done.stderr.strip())
    c = read_printed(done.stdout) | {PRINTED: done.stdout}
    for key, value in c.items():
        if key in ONLY and value not in ONLY[key]:
            stop(f"{key}: {value} cannot be honoured here; {' or '.join(map(str, ONLY[key]))} can")
        if key not in (PRINTED, *ONLY) and key not in TAKEN and key not in IDLE:
            stop(f"{key}: this script does not know the key, and cannot honour it")
    return c


def device_of(c):
    name = str(c["device"])
    if name == "reference":
        stop("device: PyTorch has no reference backend; auto, cpu, cuda or cuda:N")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name != "cpu" and not torch.cuda.is_available():
        stop(f"device: {name}: this PyTorch sees no GPU here")
    if name == "cpu" and c["train.precision"] == "tf32":
        stop("train.precision: tf32 is for cuda")
    return torch.device(name)


# The data -----------------------------------------------------------------------------------------

def read_files(folder, names):
    raw = np.concatenate([np.fromfile(folder / name, np.uint8) for name in names]).reshape(-1, 1 + 3 * SIDE**2)
    images = raw[:, 1:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), raw[:, 0].astype(np.int64)


def limited(split, limit):
    return tuple(part[:limit or len(part)] for part in split)


def held_out(labels, count, seed):
    """Which training images are held out: of each class its share, as Cairn's, by another draw."""
    members = np.bincount(labels)
    shares = members * count // len(labels)
    rest = np.argsort(-(members * count % len(labels)), kind="stable")
    shares[rest[:count - shares.sum()]] += 1
    draw, apart = np.random.default_rng(seed), np.zeros(len(labels), bool)
    for label, share in enumerate(shares):
        apart[draw.permutation(np.flatnonzero(labels == label))[:share]] = True
    return apart


def load(c):
    """Training and test split, each (images [n,h,w,c], labels [n])."""
    folder = Path(c["data.dir"])
    if (folder / "cifar-10-batches-bin").is_dir():
        folder /= "cifar-10-batches-bin"
    if not (folder / "test_batch.bin").is_file():
        stop(f"data.dir: {c['data.dir']} holds no cifar-10-batches-bin, the layout that is read here")
    train = read_files(folder, [f"data_batch_{i}.bin" for i in range(1, 6)])
    held = c["data.validation"]
    if held:
        apart = held_out(train[1], held, c["seed"])
        train, test = (tuple(part[chosen] for part in train) for chosen in (~apart, apart))
    else:
        test = read_files(folder, ["test_batch.bin"])
    return limited(train, c["data.train_limit"]), limited(test, c["data.test_limit"])


class Draws:
    """The random numbers of batch assembly, by PyTorch's generator."""

    def __init__(self, count, device):
        self.count, self.device = count, device
        self.first_flips = torch.randint(0, 2, (count,), device=device)

    def order(self, epoch):
        return torch.randperm(self.count, device=self.device)

    def places(self, purpose, epoch, index, below):
        """Two whole numbers below that for each sample: a row and a column, of the purpose "crop"
        or "cutout"."""
        return torch.randint(0, below, (2, len(index)), device=self.device)

    def flips(self, how, epoch, index):
        if how == "alternating":
            return (self.first_flips[index] + epoch) & 1
        return torch.randint(0, 2, (len(index),), device=self.device)


class Split:
    """A split as bytes on the device, and its images as the network reads them. cairn/augment.h has
    the rules."""

    def __init__(self, images, labels, c, device, padding):
        edge = ((0, 0), (padding, padding), (padding, padding), (0, 0))
        padded = np.pad(images, edge, "reflect" if c["augment.padding"] == "reflect" else "constant")
        padded = torch.from_numpy(padded).to(device)
        # [n,row,column,h,w,c]: every window of every padded image, in the same memory
        self.windows = padded.unfold(1, SIDE, 1).unfold(2, SIDE, 1).permute(0, 1, 2, 4, 5, 3)
        self.labels, self.padding = torch.from_numpy(labels).to(device), padding
        mean, std = torch.tensor(MEAN, device=device), torch.tensor(STD, device=device)
        self.scale, self.shift = 1 / (255 * std), -mean / std
        self.fill = (255 * mean).round().to(torch.uint8)
        self.span = torch.arange(SIDE, device=device)
        self.flip, self.cutout = c["augment.flip"], c["augment.cutout"]

    def normalised(self, pixels):
        """[n,c,h,w] of bytes [n,h,w,c], the channels last in memory."""
        return torch.addcmul(self.shift, pixels.float(), self.scale).permute(0, 3, 1, 2)

    def look(self, index, row, column, flipped):
        """Samples for a test, shifted by so many pixels."""
        pixels = self.windows[index, self.padding + row, self.padding + column]
        return self.normalised(pixels.flip(2) if flipped else pixels)

    def augmented(self, draws, epoch, index):
        row, column = draws.places("crop", epoch, index, 2 * self.padding + 1) if self.padding else (0, 0)
        pixels = self.windows[index, row, column]
        if self.flip != "none":
            flips = draws.flips(self.flip, epoch, index).bool()
            pixels = torch.where(flips[:, None, None, None], pixels.flip(2), pixels)
        if self.cutout:
            first = draws.places("cutout", epoch, index, SIDE) - self.cutout // 2
            inside = (self.span >= first[..., None]) & (self.span < first[..., None] + self.cutout)
            hole = inside[0][:, :, None] & inside[1][:, None, :]
            pixels = torch.where(hole[..., None], self.fill, pixels)
        return self.normalised(pixels)


# The schedule -------------------------------------------------------------------------------------

def schedulers(c, total):
    """PyTorch's scheduler over so many units, as a function of the optimiser."""
    lr, gamma = c["train.lr"], c["schedule.gamma"]
    return {
        "constant": lambda o: lr_scheduler.ConstantLR(o, factor=1.0),
        "step": lambda o: lr_scheduler.StepLR(o, c["schedule.step_size"], gamma),
        "multistep": lambda o: lr_scheduler.MultiStepLR(
            o, c["schedule.milestones"], gamma),
        "exponential": lambda o: lr_scheduler.ExponentialLR(o, gamma),
        "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, total, c["schedule.min_lr"]),
        "linear": lambda o: lr_scheduler.LinearLR(o, 1.0, c["schedule.end_factor"], total),
        "polynomial": lambda o: lr_scheduler.PolynomialLR(o, total, c["schedule.power"]),
        # The momentum stays as it is: Cairn does not move it with the rate.
        "onecycle": lambda o: lr_scheduler.OneCycleLR(
            o, lr, total, pct_start=c["schedule.pct_start"], div_factor=c["schedule.div_factor"],
            final_div_factor=c["schedule.final_div_factor"], cycle_momentum=False),
    }[c["schedule.name"]]


def run_scheduler(c, make, units):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=c["train.lr"])
    scheduler, rates = make(optimizer), []
    for unit in range(units):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if unit < units - 1:
            scheduler.step()
    return rates


def rates(c, steps_per_epoch):
    """The learning rate of every step of the run: a LinearLR to warm up, then the schedule over
    what is left."""
    by_epoch, epochs = c["schedule.per"] == "epoch", c["train.epochs"]
    units = epochs if by_epoch else epochs * steps_per_epoch
    warmup = min(c["schedule.warmup"], units)
    out = run_scheduler(c, lambda o: lr_scheduler.LinearLR(o, c["schedule.warmup_start"], 1.0, c["schedule.warmup"]),
                        warmup) if warmup else []
    out += run_scheduler(c, schedulers(c, units - warmup), units - warmup) if units > warmup else []
    return [out[step // steps_per_epoch if by_epoch else step] for step in range(epochs * steps_per_epoch)]


# The training -------------------------------------------------------------------------------------

def is_norm(module):
    return isinstance(module, nn.modules.batchnorm._BatchNorm)


def parameter_groups(c, model):
    """Trained parameters by what a step does to them; `scale` multiplies their rate."""
    decay, excluded = c["optimizer.weight_decay"], c["optimizer.decay_exclude"] == "norms_and_biases"
    groups = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            scale = c.get("optimizer.norm_bias_scale", 1) if is_norm(module) and name == "bias" else 1
            own = 0 if excluded and parameter.dim() <= 1 else decay / scale
            if parameter.requires_grad:
                groups.setdefault((scale, own), []).append(parameter)
    return [{"params": params, "scale": scale, "weight_decay": own} for (scale, own), params in groups.items()]


def make_optimizer(c, model):
    groups, name, lr = parameter_groups(c, model), c["optimizer.name"], c["train.lr"]
    if name == "sgd":
        momentum = c["optimizer.momentum"]
        return torch.optim.SGD(groups, lr, momentum, nesterov=c["optimizer.nesterov"] and momentum > 0, fused=True)
    kind = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
    return kind(groups, lr, (c["optimizer.beta1"], c["optimizer.beta2"]), c["optimizer.epsilon"], fused=True)


class Recipe:
    """A configuration's training: model, optimiser, data. `draws` and `test` may be left out."""

    def __init__(self, c, device, train, test=None, draws=None, compile_mode=None):
        self.c, self.device = c, device
        self.train = Split(*train, c, device, c["data.crop_padding"])
        self.test = test and Split(*test, c, device, c["augment.tta_shift"] if c["augment.tta"] == "crops" else 0)
        self.draws = draws or Draws(len(train[1]), device)
        widths = [] if c["model.widths"] == "default" else c["model.widths"]
        model = pytorch_models.build(c["model.name"], CLASSES, widths, c["model.depth"], c["model.hidden"],
                                     c["model.dropout"]).to(device, memory_format=torch.channels_last)
        if hasattr(model, "initialise"):
            first = torch.arange(min(5000, len(train[1])), device=device)
            model.initialise(self.train.look(first, 0, 0, False))
        self.model, self.compute = model, torch.compile(model, mode=compile_mode) if compile_mode else model
        self.optimizer = make_optimizer(c, model)
        self.average = swa_utils.AveragedModel(
            model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(c["ema.decay"])) if c["ema.decay"] else None
        self.loss = nn.CrossEntropyLoss(label_smoothing=c["train.label_smoothing"])
        self.amp = dict(device_type=device.type, dtype=torch.bfloat16, enabled=c["train.precision"] == "bf16")
        self.step_samples = min(c["train.batch_size"] * c["train.accumulate"], len(train[1]))
        self.steps_per_epoch = math.ceil(len(train[1]) / self.step_samples)
        self.rates, self.step = rates(c, self.steps_per_epoch), 0

    def train_batch(self, epoch, index, share):
        """Adds a batch's gradient, of that share in the step's; (sum of losses, right guesses)."""
        x, y = self.train.augmented(self.draws, epoch, index), self.train.labels[index]
        with torch.autocast(**self.amp):
            logits = self.compute(x)
            loss = self.loss(logits, y)
        (loss * share if share < 1 else loss).backward()
        return torch.stack([loss.detach().float() * len(y), (logits.detach().argmax(1) == y).sum()])

    def train_step(self, epoch, index):
        c = self.c
        for group in self.optimizer.param_groups:
            group["lr"] = group["scale"] * self.rates[self.step]
        self.optimizer.zero_grad(set_to_none=True)
        seen = sum(self.train_batch(epoch, part, len(part) / len(index)) for part in index.split(c["train.batch_size"]))
        if c["train.clip_norm"]:
            nn.utils.clip_grad_norm_(self.model.parameters(), c["train.clip_norm"])
        self.optimizer.step()
        if self.average:
            self.average.update_parameters(self.model)
        self.step += 1
        return seen

    def train_epoch(self, epoch):
        """Mean loss and accuracy."""
        self.model.train()
        if hasattr(self.model, "whiten"):
            self.model.whiten.bias.requires_grad_(epoch < self.c["model.whiten_bias_epochs"])
        order = self.draws.order(epoch)
        seen = sum(self.train_step(epoch, index) for index in order.split(self.step_samples))
        return (seen / len(order)).tolist()

    def views(self):
        """Row, column and flip of every look at a test image."""
        tta, shift = self.c["augment.tta"], self.c["augment.tta_shift"]
        corners = [(0, 0), *((y, x) for y in (-shift, shift) for x in (-shift, shift))]
        return [(y, x, flip) for y, x in corners[:5 if tta == "crops" else 1]
                for flip in ((False,) if tta == "none" else (False, True))]

    @torch.inference_mode()
    def logits(self):
        """Of the test split, by the average where there is one."""
        model, out, views = self.average or self.compute, [], self.views()
        model.eval()
        for index in torch.arange(len(self.test.labels), device=self.device).split(EVALUATION_BATCH):
            with torch.autocast(**self.amp):
                out.append(sum(model(self.test.look(index, *view)).float() for view in views) / len(views))
        return torch.cat(out)

    def evaluate(self):
        """Mean loss and accuracy."""
        logits, labels = self.logits(), self.test.labels
        return [nn.functional.cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).float().mean().item()]


def wait(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def train(recipe, report):
    """The whole run: a row an epoch, as in metrics.json; report(rows, seconds, training seconds)
    after each."""
    c, held = recipe.c, "val" if recipe.c["data.validation"] else "test"
    rows, seconds, training = [], 0.0, 0.0
    for epoch in range(c["train.epochs"]):
        begin = time.perf_counter()
        row = {"epoch": epoch + 1} | dict(zip(("train_loss", "train_acc"), recipe.train_epoch(epoch)))
        wait(recipe.device)
        trained = time.perf_counter()
        row |= dict(zip((f"{held}_loss", f"{held}_acc"), recipe.evaluate()))
        end = time.perf_counter()
        seconds, training = seconds + end - begin, training + trained - begin
        rows.append(row)
        print(f"Epoch {epoch + 1:02d} | train loss {row['train_loss']:.4f} acc {row['train_acc']:.3f} | "
              f"{held} loss {row[f'{held}_loss']:.4f} acc {row[f'{held}_acc']:.4f} | {end - begin:.1f} s", flush=True)
        if c["train.on_nan"] == "stop" and not (math.isfinite(row["train_loss"]) and
                                                math.isfinite(row[f"{held}_loss"])):
            print(f"pytorch_train.py: training diverged in epoch {epoch + 1}", file=sys.stderr)
            sys.exit(1)
        report(rows, seconds, training)


def summary(recipe, rows, seconds, training):
    """The keys of summary.json, as far as they say something here, and the rows."""
    c, key = recipe.c, "val_acc" if recipe.c["data.validation"] else "test_acc"
    best = max(rows, key=lambda row: row[key])  # the earliest of equals
    images = len(rows) * len(recipe.train.labels)
    return {
        "run": c["run.name"], "status": "finished" if len(rows) == c["train.epochs"] else "running",
        **{f"final_{k}": v for k, v in rows[-1].items()}, **{f"best_{k}": v for k, v in best.items()},
        "seconds": seconds, "train_images_per_second": images / training,
        "device": recipe.device.type, "precision": c["train.precision"], "threads": torch.get_num_threads(),
        "seed": c["seed"], "model": c["model.name"],
        "parameters": sum(p.numel() for p in recipe.model.parameters() if p.requires_grad),
        "epochs": len(rows), "batch_size": c["train.batch_size"], "lr": c["train.lr"],
        "torch": torch.__version__, "rows": rows, "params": c[PRINTED],
    }


def measure(recipe, seconds):
    """Images a second of training steps: the median of stretches, the slowest and the fastest."""
    def run(steps):
        begin = time.perf_counter()
        for _ in range(steps):
            recipe.step = 0
            recipe.train_step(0, torch.randint(0, recipe.draws.count, (recipe.step_samples,), device=recipe.device))
        wait(recipe.device)
        return steps * recipe.step_samples / (time.perf_counter() - begin)

    recipe.model.train()
    run(3)
    steps = int(seconds / STRETCHES * run(3) / recipe.step_samples) + 1
    found = [run(steps) for _ in range(STRETCHES)]
    return {"images_per_second": statistics.median(found), "slowest": min(found), "fastest": max(found)}


def random_split(count):
    return (np.random.randint(0, 256, (count, SIDE, SIDE, 3), np.uint8), np.random.randint(0, CLASSES, count))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("params")
    ap.add_argument("-S", dest="overrides", action="append", default=[], metavar="key=value")
    ap.add_argument("--out", type=Path, metavar="FILE")
    ap.add_argument("--speed", type=float, metavar="SECONDS")
    ap.add_argument("--compile", nargs="?", const="default", metavar="MODE", help="by torch.compile, in that mode")
    a = ap.parse_args()
    c = resolve(a.params, a.overrides)
    device = device_of(c)
    if c["train.threads"]:
        torch.set_num_threads(c["train.threads"])
    torch.manual_seed(c["seed"])
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = c["train.precision"] == "tf32"
    if a.speed:
        recipe = Recipe(c, device, random_split(max(4096, c["train.batch_size"] * c["train.accumulate"])),
                        compile_mode=a.compile)
        print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads(),
                          "precision": c["train.precision"], **measure(recipe, a.speed)}))
        return
    recipe = Recipe(c, device, *load(c), compile_mode=a.compile)

    def report(rows, seconds, training):
        done = summary(recipe, rows, seconds, training)
        if a.out:
            part = a.out.with_name(a.out.name + ".part")
            part.write_text(json.dumps(done, indent=1) + "\n")
            part.replace(a.out)
        if done["status"] == "finished":
            print(json.dumps({key: value for key, value in done.items() if key not in ("rows", "params")}))

    train(recipe, report)


if __name__ == "__main__":
    main()
