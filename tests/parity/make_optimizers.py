#!/usr/bin/env python3
"""Makes tests/parity/fixtures/optimizers.safetensors: what PyTorch's optimisers, and Lion, make of
a net that Cairn can make by itself.

    python3 -m venv venv && venv/bin/pip install torch numpy safetensors
    venv/bin/python tests/parity/make_optimizers.py

As in make_fixtures.py, images, labels, weights, crops and dropout masks are functions of the seed,
and PyTorch works in float64. The metadata is the net (ops, channels, height, width), its data
(samples, padding, seed), `steps`, the batch's size, the names of the `cases`, and under each name
its overrides of Cairn's configuration. Step t has the rate train.lr / (1 + t) and train.accumulate
batches, but for the second, which has two thirds of the samples. A case has the tensors

    <case>/losses [steps], <case>/eval_loss
                  means over a step's samples; the sum over all samples, by the average where there
                  is one
    <case>/<kind>.<parameter>
                  after the last step: parameter, gradient (before clipping and decay), first,
                  second (moments) and average, where PyTorch has them
"""
import copy

import torch
from make_fixtures import (OUT, TEST, Dropout, Graph, below, crop, initialise, normalise, random_words)
from safetensors.torch import save_file
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

OPS, SHAPE, SEED, SAMPLES, BATCH, PADDING, STEPS = "conv 4 3 2 1, flat, drop 25, linear 5", (3, 7, 5), 77, 40, 10, 1, 4
NORM_BIAS = "0.bias"  # the convolution's stands for a normalisation's
CASES = {
    "adam": "train.lr=0.02 optimizer.beta1=0.8 optimizer.beta2=0.95 optimizer.epsilon=0.001",
    "adam_l2": "train.lr=0.02 optimizer.epsilon=0.001 optimizer.weight_decay=0.3",
    "adamw": "train.lr=0.02 optimizer.epsilon=0.001 optimizer.name=adamw optimizer.weight_decay=2",
    "adamw_weights": "train.lr=0.02 optimizer.epsilon=0.001 optimizer.name=adamw optimizer.weight_decay=2 "
                     "optimizer.decay_exclude=norms_and_biases",
    "sgd": "train.lr=0.2 optimizer.name=sgd",
    "sgd_l2": "train.lr=0.2 optimizer.name=sgd optimizer.weight_decay=0.1",
    "momentum": "train.lr=0.2 optimizer.name=sgd optimizer.momentum=0.9 optimizer.weight_decay=0.1 "
                "optimizer.decay_exclude=norms_and_biases",
    "nesterov": "train.lr=0.2 optimizer.name=sgd optimizer.momentum=0.9 optimizer.nesterov=true",
    "norm_bias": "train.lr=0.02 optimizer.name=sgd optimizer.momentum=0.9 optimizer.nesterov=true "
                 "optimizer.weight_decay=0.1 optimizer.norm_bias_scale=8",
    "adamw_norm_bias": "train.lr=0.01 optimizer.epsilon=0.001 optimizer.name=adamw optimizer.weight_decay=2 "
                       "optimizer.norm_bias_scale=4",
    "clip": "train.lr=0.2 optimizer.name=sgd train.clip_norm=1.1",
    "average": "train.lr=0.2 optimizer.name=sgd ema.decay=0.7",
    "accumulate": "train.lr=0.2 optimizer.name=sgd optimizer.momentum=0.9 train.accumulate=3",
    "adam_all": "train.lr=0.02 optimizer.epsilon=0.001 optimizer.weight_decay=0.3 train.clip_norm=0.5 ema.decay=0.9 "
                "train.accumulate=2",
    "sgd_all": "train.lr=0.2 optimizer.name=sgd optimizer.momentum=0.9 optimizer.nesterov=true "
               "optimizer.weight_decay=0.1 optimizer.decay_exclude=norms_and_biases train.clip_norm=0.5 ema.decay=0.9 "
               "train.accumulate=3",
    "lion": "train.lr=0.002 optimizer.name=lion optimizer.beta2=0.99",
    "lion_all": "train.lr=0.002 optimizer.name=lion optimizer.beta1=0.8 optimizer.beta2=0.95 "
                "optimizer.weight_decay=20 optimizer.decay_exclude=norms_and_biases optimizer.norm_bias_scale=4 "
                "train.clip_norm=0.5 ema.decay=0.9 train.accumulate=2",
}


class Lion(torch.optim.Optimizer):
    """Chen et al., "Symbolic Discovery of Optimization Algorithms", NeurIPS 2023, which PyTorch
    does not have."""

    def __init__(self, groups, lr, betas):
        super().__init__(groups, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            (beta1, beta2), lr, decay = group["betas"], group["lr"], group["weight_decay"]
            for w in group["params"]:
                m = self.state[w].setdefault("exp_avg", torch.zeros_like(w))
                u = torch.sign(beta1 * m + (1 - beta1) * w.grad)
                w -= lr * (u + decay * w)
                m.copy_(beta2 * m + (1 - beta2) * w.grad)


def optimizer_of(net, o):
    decay = float(o.get("optimizer.weight_decay", 0))
    free = [p for p in net.parameters() if p.dim() <= 1 and o.get("optimizer.decay_exclude") == "norms_and_biases"]
    # What optimizer.norm_bias_scale scales.
    scale, shift = float(o.get("optimizer.norm_bias_scale", 1)), [net.get_parameter(NORM_BIAS)]
    groups = [{"params": [], "weight_decay": (0.0 if is_free else decay) / times, "scale": times}
              for times in (1, scale) for is_free in (False, True)]
    for p in net.parameters():
        groups[2 * any(p is s for s in shift) + any(p is f for f in free)]["params"].append(p)
    groups = [g for g in groups if g["params"]]
    if o.get("optimizer.name") == "sgd":
        return torch.optim.SGD(groups, lr=1, momentum=float(o.get("optimizer.momentum", 0)),
                               nesterov=o.get("optimizer.nesterov") == "true")
    betas = tuple(float(o.get(f"optimizer.{k}", v)) for k, v in (("beta1", 0.9), ("beta2", 0.999)))
    if o.get("optimizer.name") == "lion":
        return Lion(groups, lr=1, betas=betas)
    kind = torch.optim.AdamW if o.get("optimizer.name") == "adamw" else torch.optim.Adam
    return kind(groups, lr=1, betas=betas, eps=float(o["optimizer.epsilon"]))


def run(name, net, images, labels, o):
    optimizer, decay, clip = optimizer_of(net, o), float(o.get("ema.decay", 0)), float(o.get("train.clip_norm", 0))
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(decay)) if decay else None
    full, losses, norms, out = BATCH * int(o.get("train.accumulate", 1)), [], [], {}
    for t in range(STEPS):
        indices = below(random_words(SEED, TEST, 0, 2 + t, full, True), SAMPLES)[:full if t != 1 else 2 * full // 3]
        optimizer.zero_grad()
        losses.append(0)
        for number, first in enumerate(range(0, len(indices), BATCH)):
            for op in net.modules():
                if isinstance(op, Dropout):
                    op.step, op.batch = t, number
            part = indices[first:first + BATCH]
            logits = net(normalise(crop(images, part, PADDING, SEED)))
            loss = functional.cross_entropy(logits, labels[part.astype(int)], reduction="sum") / len(indices)
            loss.backward()
            losses[-1] += loss.item()
        gradients = {key: p.grad.clone() for key, p in net.named_parameters()}
        if clip:
            norms.append(torch.nn.utils.clip_grad_norm_(net.parameters(), clip).item())
        for group in optimizer.param_groups:
            group["lr"] = group["scale"] * float(o["train.lr"]) / (1 + t)
        optimizer.step()
        if average:
            average.update_parameters(net)
    print(name, "losses", [round(x, 4) for x in losses], "norms", [round(x, 4) for x in norms])
    assert not clip or name != "clip" or min(norms) < clip < max(norms)
    with torch.no_grad():
        evaluated = average.module if average else net
        logits = evaluated.eval()(normalise(images))
        out["eval_loss"] = functional.cross_entropy(logits, labels, reduction="sum")
    out["losses"] = torch.tensor(losses)
    averages = dict(average.module.named_parameters()) if average else {}
    for key, p in net.named_parameters():
        state = optimizer.state[p]
        tensors = {"parameter": p.detach(), "gradient": gradients[key], "second": state.get("exp_avg_sq"),
                   "first": state.get("exp_avg", state.get("momentum_buffer")), "average": averages.get(key)}
        out |= {f"{kind}.{key}": v.detach().clone() for kind, v in tensors.items() if v is not None}
    return {f"{name}/{key}": v.float().contiguous() for key, v in out.items()}


def main():
    pixels = random_words(SEED, TEST, 0, 0, SAMPLES * SHAPE[0] * SHAPE[1] * SHAPE[2], True) >> 24
    images = torch.from_numpy(pixels.astype("uint8")).reshape(SAMPLES, *SHAPE)
    labels = torch.from_numpy(below(random_words(SEED, TEST, 0, 1, SAMPLES, True), 5).astype("int64"))
    fresh, tensors = Graph(OPS, SHAPE, SEED), {}
    initialise(fresh, SEED)
    for name, text in CASES.items():
        tensors |= run(name, copy.deepcopy(fresh).train(), images, labels, dict(w.split("=") for w in text.split()))
    metadata = dict(ops=OPS, channels=SHAPE[0], height=SHAPE[1], width=SHAPE[2], batch=BATCH, samples=SAMPLES,
                    padding=PADDING, seed=SEED, steps=STEPS, cases=" ".join(CASES), torch=torch.__version__) | CASES
    save_file(tensors, OUT / "optimizers.safetensors", {k: str(v) for k, v in metadata.items()})
    (OUT / "optimizers.safetensors").chmod(0o644)


if __name__ == "__main__":
    main()
