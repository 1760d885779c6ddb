#!/usr/bin/env python3
"""The peer: the reference CNN trained by PyTorch, for accuracy and speed side by side.

  scripts/pytorch_simple_cnn.py train --data DIR [--epochs 10] [--lr 0.0005] [--seed 42]
  scripts/pytorch_simple_cnn.py speed [--data DIR] [--seconds 20] [--loader]

  both: [--batch-size 128] [--device cuda] [--threads N] [--channels-last] [--compile [MODE]]
        [--amp bf16|fp16] [--tf32] [--fused]

DIR holds cifar-10-batches-bin/; `speed` without it takes random images. The data set stays in
memory as uint8, on the GPU where one computes, and a whole batch is cropped and normalised with
tensor operations, so PyTorch is measured without its DataLoader: its best case, not its usual one,
which --loader takes. `train` prints one JSON row an epoch, with the keys of metrics.json; `speed`
prints the median images per second of a full training step (batch assembly, forward, backward,
Adam).
"""
import sys

if __name__ == "__main__" and {"-h", "--help"} & set(sys.argv): # needs no PyTorch
    print(__doc__)
    sys.exit()

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

MEAN = torch.tensor([0.4914, 0.4822, 0.4465]).view(1, 3, 1, 1)
STD = torch.tensor([0.2470, 0.2435, 0.2616]).view(1, 3, 1, 1)


def load(root, names):
    raw = np.concatenate([np.fromfile(Path(root) / "cifar-10-batches-bin" / n, np.uint8) for n in names])
    raw = raw.reshape(-1, 3073)
    return torch.from_numpy(raw[:, 1:].reshape(-1, 3, 32, 32).copy()), torch.from_numpy(raw[:, 0].astype(np.int64))


class SimpleCNN(nn.Module):
    def __init__(self):
        super().__init__()
        blocks, cin = [], 3
        for cout in (32, 64, 128):
            blocks += [nn.Conv2d(cin, cout, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
            cin = cout
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(2048, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, 10))

    def forward(self, x):
        return self.classifier(self.features(x))


class Batches:
    """Shuffled, randomly cropped (padding 4), normalised batches on the device."""

    def __init__(self, images, labels, size, device, channels_last):
        self.pad = nn.functional.pad(images, (4, 4, 4, 4)).to(device)
        self.labels, self.size, self.device = labels.to(device), size, device
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.mean, self.std = (255 * MEAN).to(device), (255 * STD).to(device)
        self.span = torch.arange(32, device=device)

    def __iter__(self):
        order = torch.randperm(len(self.labels), device=self.device)
        for first in range(0, len(order), self.size):
            idx = order[first:first + self.size]
            dy, dx = torch.randint(0, 9, (2, len(idx)), device=self.device)
            rows, cols = dy[:, None] + self.span, dx[:, None] + self.span
            x = self.pad[idx[:, None, None], :, rows[:, :, None], cols[:, None, :]].permute(0, 3, 1, 2)
            yield ((x.float() - self.mean) / self.std).contiguous(memory_format=self.format), self.labels[idx]


class Samples(torch.utils.data.Dataset):
    """One image at a time, as a DataLoader's worker processes take them."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        dy, dx = torch.randint(0, 9, (2,)).tolist()
        x = nn.functional.pad(self.images[i], (4, 4, 4, 4))[:, dy:dy + 32, dx:dx + 32].float() / 255
        return (x - MEAN[0]) / STD[0], self.labels[i]


class Loaded:
    """The reference system's way: a DataLoader with two workers, batches copied to the device."""

    def __init__(self, images, labels, size, device, channels_last):
        self.loader = torch.utils.data.DataLoader(Samples(images, labels), batch_size=size, shuffle=True,
                                                  num_workers=2)
        self.device, self.format = device, torch.channels_last if channels_last else torch.contiguous_format

    def __iter__(self):
        for x, y in self.loader:
            yield x.to(self.device, memory_format=self.format), y.to(self.device)


def arguments():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("mode", choices=("train", "speed"))
    ap.add_argument("--data")
    ap.add_argument("--epochs", type=int, default=10)
    ap.add_argument("--batch-size", type=int, default=128)
    ap.add_argument("--lr", type=float, default=0.0005)
    ap.add_argument("--seed", type=int, default=42)
    ap.add_argument("--device", default="cpu")
    ap.add_argument("--threads", type=int, default=0)
    ap.add_argument("--channels-last", action="store_true")
    ap.add_argument("--compile", nargs="?", const="default")
    ap.add_argument("--amp", choices=("bf16", "fp16"))
    ap.add_argument("--loader", action="store_true", help="batches from a DataLoader with two workers")
    ap.add_argument("--tf32", action="store_true", help="TF32 in convolutions and matrix products, on a GPU")
    ap.add_argument("--fused", action="store_true", help="Adam in one kernel")
    ap.add_argument("--seconds", type=float, default=20, help="how long `speed` measures")
    a = ap.parse_args()
    if a.mode == "train" and not a.data:
        ap.error("train needs --data")
    return a


class Trainer:
    """The model, its optimiser and its batches, as the arguments say."""

    def __init__(self, a):
        self.a, self.device = a, torch.device(a.device)
        if a.threads:
            torch.set_num_threads(a.threads)
        torch.manual_seed(a.seed)
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = a.tf32
        if a.data:
            images, labels = load(a.data, [f"data_batch_{i}.bin" for i in range(1, 6)])
        else:
            images = torch.randint(0, 256, (50000, 3, 32, 32), dtype=torch.uint8)
            labels = torch.randint(0, 10, (50000,))
        self.batches = (Loaded if a.loader else Batches)(images, labels, a.batch_size, self.device, a.channels_last)
        self.model = SimpleCNN().to(self.device)
        if a.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)
        self.step_model = torch.compile(self.model, mode=a.compile) if a.compile else self.model
        self.loss_of = nn.CrossEntropyLoss()
        self.adam = torch.optim.Adam(self.model.parameters(), lr=a.lr, fused=a.fused or None)
        self.amp = dict(enabled=a.amp is not None, dtype=torch.float16 if a.amp == "fp16" else torch.bfloat16)

    def step(self, x, y):
        with torch.autocast(self.device.type, **self.amp):
            logits = self.step_model(x)
            loss = self.loss_of(logits, y)
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        self.adam.step()
        return logits, loss

    def epoch(self):
        """Loss and accuracy of the batches of one epoch, each before its step."""
        total, correct, loss_sum = 0, 0, 0.0
        self.model.train()
        for x, y in self.batches:
            logits, loss = self.step(x, y)
            loss_sum += loss.item() * len(y)
            correct += (logits.argmax(1) == y).sum().item()
            total += len(y)
        return loss_sum / total, correct / total

    def evaluate(self, images, labels):
        device, right, loss_sum = self.device, 0, 0.0
        self.model.eval()
        with torch.no_grad():
            for x, y in zip(images.split(1000), labels.split(1000)):
                x, y = ((x.to(device).float() - 255 * MEAN.to(device)) / (255 * STD.to(device))), y.to(device)
                logits = self.model(x)
                loss_sum += self.loss_of(logits, y).item() * len(y)
                right += (logits.argmax(1) == y).sum().item()
        return loss_sum / len(labels), right / len(labels)


def measure(trainer):
    """Images per second of stretches of steps; the first one warms up."""
    a, device = trainer.a, trainer.device
    rates, begin = [], time.perf_counter()
    while time.perf_counter() - begin < a.seconds or len(rates) < 4:
        done, chunk = 0, time.perf_counter()
        for x, y in trainer.batches:
            trainer.step(x, y)
            done += len(y)
            if done >= 12800 and len(y) == a.batch_size:
                break
        if device.type == "cuda":
            torch.cuda.synchronize()
        rates.append(done / (time.perf_counter() - chunk))
    return rates[1:]


def main():
    a = arguments()
    trainer = Trainer(a)
    if a.mode == "speed":
        rates = measure(trainer)
        print(json.dumps({"torch": torch.__version__, "device": str(trainer.device),
                          "threads": torch.get_num_threads(), "batch_size": a.batch_size,
                          "images_per_second": round(statistics.median(rates), 1),
                          "spread": [round(min(rates), 1), round(max(rates), 1)]}))
        return
    test = load(a.data, ["test_batch.bin"])
    for epoch in range(1, a.epochs + 1):
        begin = time.perf_counter()
        train_loss, train_acc = trainer.epoch()
        test_loss, test_acc = trainer.evaluate(*test)
        print(json.dumps({"epoch": epoch, "train_loss": train_loss, "train_acc": train_acc,
                          "test_loss": test_loss, "test_acc": test_acc,
                          "seconds": round(time.perf_counter() - begin, 2)}), flush=True)


if __name__ == "__main__":
    main()
