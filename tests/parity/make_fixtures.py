#!/usr/bin/env python3
"""Makes tests/parity/fixtures/*.safetensors: what PyTorch computes for nets and batches that Cairn
can make by itself.

    python3 -m venv venv && venv/bin/pip install torch numpy safetensors
    venv/bin/python tests/parity/make_fixtures.py

A fixture holds results alone. Images, labels, weights, crops and dropout masks are functions of its
seed (include/cairn/rng.h), which this script computes by an implementation of its own; so the
fixtures prove that rule too. PyTorch works in float64. Every file has the metadata

    ops, channels, height, width, batch, padding, seed
                  the net, as tests/parity/parity.h builds it, and its data
    model         simple_cnn, resnet or speed_cnn instead of ops: host/model/
    exact         1: pixels 0 and 255 and weights in quarters, so that what ReLU and max-pooling
                  compare is exact in every precision; only the third step moves the weights, and
                  Adam's epsilon is 1e-3. 0: as in a real training, from Cairn's initial weights
    smoothing     CrossEntropyLoss's label_smoothing in training; 0 where absent
    stride        of tensors of more than 4096 elements, every so many are kept
    torch         the version that computed it

and the tensors

    eval_logits [samples, classes], eval_loss
                  over all samples, in order; sum of losses
    losses [3]    mean loss of each training step; the second is a smaller batch
    gradient.<parameter>
                  of the first step
    parameter.<parameter>, exp_avg.<parameter>, exp_avg_sq.<parameter>
                  after three steps of Adam; running statistics are parameters too
    whitening     speed_cnn: what cairn/whiten.h makes of the images
"""
import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

INIT, CROP, DROPOUT, TEST = 1, 3, 4, 6  # purposes
STEPS, LR, LONG = 3, 1e-3, 4096
OUT = Path(__file__).parent / "fixtures"


def philox(key, counter):
    """Philox4x32-10 (Salmon et al., SC 2011) over arrays of counters: four arrays of words."""
    k, c, low = list(key), [np.asarray(x, np.uint64) for x in counter], np.uint64(0xFFFFFFFF)
    for _ in range(10):
        p, q = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(q >> np.uint64(32)) ^ c[1] ^ np.uint64(k[0]), q & low,
             (p >> np.uint64(32)) ^ c[3] ^ np.uint64(k[1]), p & low]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def random_words(seed, purpose, round_, stream, count, one_each=False, first=0):
    """`count` words of (seed, purpose, round, stream) from block `first` on: four a block, or one a
    block."""
    index = np.uint64(first) + np.arange(count if one_each else (count + 3) // 4, dtype=np.uint64)
    zero = np.zeros_like(index)
    words = philox((seed & 0xFFFFFFFF, seed >> 32),
                   (index & np.uint64(0xFFFFFFFF), index >> np.uint64(32), zero + np.uint64(round_),
                    zero + np.uint64(purpose << 24 | stream)))
    return words[0] if one_each else np.stack(words, 1).reshape(-1)[:count]


def below(words, n):
    return (words * np.uint64(n)) >> np.uint64(32)


class Dropout(nn.Module):
    """Cairn's dropout rule, for the op of that ordinal."""

    def __init__(self, p, ordinal, seed):
        super().__init__()
        self.p, self.ordinal, self.seed, self.step, self.batch = float(np.float32(p)), ordinal, seed, 0, 0

    def forward(self, x):
        if not self.training:
            return x
        words = random_words(self.seed, DROPOUT, self.step, self.ordinal, x.numel(), first=self.batch << 40)
        kept = words >= np.uint64(int(self.p * 4294967296.0))
        return x * torch.from_numpy(kept.reshape(x.shape)) / (1 - self.p)


class Graph(nn.Module):
    """The net of an ops text: conv OUT KERNEL STRIDE PADDING, relu, pool KERNEL STRIDE, avg KERNEL
    STRIDE, flat, linear OUT, drop PERCENT, norm, gelu, add OP; convn and linearn without bias; "at
    OP": what the next op reads."""

    def __init__(self, ops, shape, seed):
        super().__init__()
        self.kinds, self.reads, self.adds, reads = [], [], [], -1
        values = {-1: torch.zeros(2, *shape, dtype=torch.float64)}
        for text in ops.split(", "):
            kind, *n = text.split()
            n = [int(x) for x in n]
            if kind == "at":
                reads = n[0]
                continue
            ordinal, x = len(self.kinds), values[reads]
            op = {"conv": lambda: nn.Conv2d(x.shape[1], *n), "convn": lambda: nn.Conv2d(x.shape[1], *n, bias=False),
                  "linear": lambda: nn.Linear(x.shape[1], n[0]), "gelu": nn.GELU, "relu": nn.ReLU, "flat": nn.Flatten,
                  "linearn": lambda: nn.Linear(x.shape[1], n[0], bias=False), "add": nn.Identity,
                  "norm": lambda: (nn.BatchNorm2d if x.dim() == 4 else nn.BatchNorm1d)(x.shape[1]),
                  "pool": lambda: nn.MaxPool2d(*n), "avg": lambda: nn.AvgPool2d(*n),
                  "drop": lambda: Dropout(n[0] / 100, ordinal, seed)}[kind]().double()
            self.add_module(str(ordinal), op)
            self.kinds.append(kind)
            self.reads.append(reads)
            self.adds.append(n[0] if kind == "add" else None)
            values[ordinal] = op.eval()(x)
            reads = ordinal

    def forward(self, x):
        values = {-1: x}
        for i, (reads, adds) in enumerate(zip(self.reads, self.adds)):
            x = values[i] = getattr(self, str(i))(values[reads]) + (0 if adds is None else values[adds])
        return x


class Block(nn.Module):
    """He et al.'s basic block, with torchvision's names."""

    def __init__(self, i, o, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        self.downsample = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o)) \
            if stride > 1 or i != o else nn.Identity()

    def forward(self, x):
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(y + self.downsample(x))


class ResNet(nn.Module):
    """host/model/resnet.c's for small images."""

    def __init__(self, widths, blocks):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0])
        self.layers = []
        for s, (width, count) in enumerate(zip(widths, blocks)):
            first = Block(widths[max(s - 1, 0)], width, 2 if s else 1)
            layer = nn.Sequential(first, *[Block(width, width, 1) for _ in range(count - 1)])
            self.add_module(f"layer{s + 1}", layer)
            self.layers.append(layer)
        self.fc = nn.Linear(widths[-1], 10)

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)))
        for layer in self.layers:
            x = layer(x)
        return self.fc(x.mean((2, 3)))


class SpeedCNN(nn.Module):
    """host/model/speed_cnn.c's: Jordan's network (arXiv:2404.00498), with Cairn's names and
    widths."""

    def __init__(self, channels, widths, classes):
        super().__init__()
        self.whiten = nn.Conv2d(channels, 8 * channels, 2)
        self.whiten.weight.requires_grad = False
        ins, self.groups = 8 * channels, []
        for g, width in enumerate(widths):
            group = nn.Module()
            for i in (1, 2):
                group.add_module(f"conv{i}", nn.Conv2d(ins, width, 3, padding=1, bias=False))
                group.add_module(f"norm{i}", nn.BatchNorm2d(width, momentum=0.4))
                group.get_submodule(f"norm{i}").weight.requires_grad = False
                ins = width
            self.add_module(f"group{g + 1}", group)
            self.groups.append(group)
        self.fc = nn.Linear(widths[-1], classes, bias=False)

    def forward(self, x):
        x = functional.gelu(self.whiten(x))
        for group in self.groups:
            x = functional.gelu(group.norm1(functional.max_pool2d(group.conv1(x), 2)))
            x = functional.gelu(group.norm2(group.conv2(x)))
        return self.fc(functional.max_pool2d(x, 3).flatten(1)) / 9


def whitening(images):
    """The filters of the normalised images' patches of 2x2."""
    x = normalise(images)
    patches = functional.unfold(x, 2).transpose(1, 2).flatten(0, 1)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    rows = vectors.T.flip(0) / (values.flip(0) + 5e-4).sqrt()[:, None]
    rows = rows * rows.gather(1, rows.abs().argmax(1, keepdim=True)).sign()
    return torch.cat((rows, -rows)).reshape(-1, x.shape[1], 2, 2)


class SimpleCNN(nn.Module):
    """The reference's model, with its names."""

    def __init__(self, seed):
        super().__init__()
        conv = [nn.Conv2d(i, o, 3, padding=1) for i, o in ((3, 32), (32, 64), (64, 128))]
        self.features = nn.Sequential(*[op for c in conv for op in (c, nn.ReLU(), nn.MaxPool2d(2))])
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(2048, 256), nn.ReLU(), Dropout(0.2, 12, seed),
                                        nn.Linear(256, 10))

    def forward(self, x):
        return self.classifier(self.features(x))


def cairn_parameters(net):
    """Names and values in Cairn's order: running statistics are among them, PyTorch's counters are
    not."""
    return [(name, value) for name, value in net.state_dict().items() if not name.endswith("num_batches_tracked")]


def owner(net, name):
    return net.get_submodule(name.rpartition(".")[0])


def set_quarters(net, seed):
    """Multiples of 1/4 in [-1/2, 1/2]; a norm's bias 1/8 more, its running variance 1 more."""
    for ordinal, (name, value) in enumerate(cairn_parameters(net)):
        norm = isinstance(owner(net, name), (nn.BatchNorm1d, nn.BatchNorm2d))
        shift = 1 if name.endswith("running_var") else 0.125 if norm and name.endswith("bias") else 0
        fifths = below(random_words(seed, TEST, 0, 8 + ordinal, value.numel(), True), 5)
        value.copy_(torch.from_numpy(0.25 * (fifths.reshape(value.shape).astype(float) - 2) + shift))


def initialise(net, seed):
    """Cairn's initial weights: PyTorch's range; He et al.'s for the convolutions of a residual
    net."""
    for ordinal, (name, value) in enumerate(cairn_parameters(net)):
        op = owner(net, name)
        if isinstance(op, nn.BatchNorm2d):
            continue
        kaiming = isinstance(net, ResNet) and isinstance(op, nn.Conv2d)
        bound = np.float32(math.sqrt((6 if kaiming else 1) / op.weight[0].numel()))
        if not kaiming:
            assert value.abs().max() <= bound * 1.0001
            assert value.numel() < 1000 or value.abs().max() > bound * 0.98
        words = random_words(seed, INIT, 0, ordinal, value.numel())
        unit = (words >> np.uint64(8)).astype(np.float32) * np.float32(2**-24)
        values = bound * (np.float32(2) * unit - np.float32(1))
        value.copy_(torch.from_numpy(values.reshape(value.shape)).double())
        if isinstance(net, SpeedCNN) and ".conv" in name:
            nn.init.dirac_(value[:value.shape[1]])


def normalise(images):
    return (images.double() / 255 - 0.5) / 0.5


def crop(images, indices, padding, seed):
    """The step's batch: padded by zero bytes, cropped by Cairn's rule for epoch 0."""
    words = philox((seed & 0xFFFFFFFF, seed >> 32),
                   (indices, np.zeros_like(indices), np.zeros_like(indices), np.zeros_like(indices) + (CROP << 24)))
    dy, dx = (below(words[i], 2 * padding + 1).astype(int) for i in range(2))
    padded = functional.pad(images[indices.astype(int)], (padding,) * 4)
    height, width = images.shape[2:]
    return torch.stack([p[:, y:y + height, x:x + width] for p, y, x in zip(padded, dy, dx)])


def make(name, net, seed, batch, shape, exact, padding=1, stride=1, smoothing=0.0, **metadata):
    samples = batch + (batch + 1) // 2
    count = samples * math.prod(shape)
    words = random_words(seed, TEST, 0, 0, count, True)
    pixels = words >> np.uint64(31) if exact else words >> np.uint64(24)
    images = torch.from_numpy((pixels * np.uint64(255 if exact else 1)).astype(np.uint8)).reshape(samples, *shape)
    classes = net.double().eval()(normalise(images[:1])).flatten(1).shape[1]
    labels = torch.from_numpy(below(random_words(seed, TEST, 0, 1, samples, True), min(classes, 256)).astype(np.int64))
    (set_quarters if exact else initialise)(net, seed)

    out = {}
    with torch.no_grad():
        logits = net(normalise(images)).flatten(1)
        out["eval_logits"] = logits
        out["eval_loss"] = functional.cross_entropy(logits, labels, reduction="sum")
    net.train()
    trained = {key: p for key, p in net.named_parameters() if p.requires_grad}
    adam = torch.optim.Adam(trained.values(), lr=LR, eps=1e-3 if exact else 1e-8)
    losses = []
    for step in range(STEPS):
        adam.param_groups[0]["lr"] = 0.0 if exact and step < STEPS - 1 else LR
        for op in net.modules():
            if isinstance(op, Dropout):
                op.step = step
        indices = below(random_words(seed, TEST, 0, 2 + step, batch, True), samples)
        indices = indices[:(batch + 1) // 2] if step == 1 else indices
        loss = functional.cross_entropy(net(normalise(crop(images, indices, padding, seed))).flatten(1),
                                        labels[indices.astype(int)], label_smoothing=smoothing)
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.detach())
        if step == 0:
            out |= {f"gradient.{key}": p.grad.clone() for key, p in trained.items()}
    out["losses"] = torch.stack(losses)
    if isinstance(net, SpeedCNN):
        out["whitening"] = whitening(images)
    for key, parameter in trained.items():
        out |= {f"{kind}.{key}": adam.state[parameter][kind] for kind in ("exp_avg", "exp_avg_sq")}
    out |= {f"parameter.{key}": value for key, value in cairn_parameters(net)}
    kept = {k: v.flatten()[::stride if v.numel() > LONG else 1] for k, v in sorted(out.items())}
    if smoothing:
        metadata["smoothing"] = smoothing
    metadata |= dict(channels=shape[0], height=shape[1], width=shape[2], batch=batch, padding=padding, seed=seed,
                     exact=int(exact), stride=stride, torch=torch.__version__)
    save_file({k: v.float().contiguous() for k, v in kept.items()}, OUT / f"{name}.safetensors",
              {k: str(v) for k, v in metadata.items()})
    (OUT / f"{name}.safetensors").chmod(0o644)


NETS = {
    "conv": ("conv 5 3 1 1, conv 3 5 2 2", 31),
    "conv_bare": ("conv 17 1 2 0, conv 2 3 1 0", 3),
    "relu_pool": ("conv 8 3 1 1, relu, pool 2 2, conv 16 3 1 1, pool 3 1, relu", 16),
    "pool_overlap": ("conv 5 3 1 1, relu, pool 3 2", 1),
    "linear": ("flat, linear 17, relu, linear 10", 127),
    "dropout": ("conv 5 3 1 1, drop 25, flat, linear 8, relu, drop 50, linear 10", 13),
    "norm": ("convn 8 3 1 1, norm, relu, avg 2 2, flat, linearn 17, gelu, linear 10", 31),
    "branches": ("conv 8 3 1 1, gelu, convn 8 3 2 1, norm, at 1, convn 8 1 2 0, norm, add 3, gelu, avg 2 2, flat, "
                 "linear 10", 16),
}

if __name__ == "__main__":
    assert [int(w) for w in philox((0, 0), (0, 0, 0, 0))] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    OUT.mkdir(exist_ok=True)
    for number, (name, (ops, batch)) in enumerate(NETS.items()):
        seed = 2**40 + number
        make(name, Graph(ops, (3, 11, 9), seed), seed, batch, (3, 11, 9), True, ops=ops)
    ops, seed = "flat, linear 5, relu, linear 10", 2**40 + 20
    make("smoothing", Graph(ops, (3, 11, 9), seed), seed, 13, (3, 11, 9), True, ops=ops, smoothing=0.1)
    make("simple_cnn", SimpleCNN(42), 42, 16, (3, 32, 32), False, padding=4, stride=251, model="simple_cnn")
    make("resnet", ResNet([4, 8, 12], [1, 2, 1]), 43, 8, (3, 12, 12), False, padding=2, model="resnet")
    # no padding, in which pooling's windows would be all ties
    make("speed_cnn", SpeedCNN(3, [5, 8], 10), 44, 8, (3, 14, 13), False, padding=0, model="speed_cnn")
