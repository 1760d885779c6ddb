#!/usr/bin/env python3
"""Makes tests/unit/fixtures/schedules.txt: the learning rates of PyTorch's schedulers over whole
runs.

    python3 -m venv venv && venv/bin/pip install torch
    venv/bin/python tests/unit/make_schedules.py

A case is three lines: its overrides of the configuration, the test losses of its epochs, the rate
of every step.
"""
from pathlib import Path

import torch
from torch.optim import lr_scheduler as lrs

EPOCHS, STEPS_PER_EPOCH, LR = 12, 7, 0.2
LOSSES = [2.0, 1.5, 1.5, 1.49999, 1.6, 1.2, 1.3, 1.25, 1.21, 1.1, 1.1, 1.1]
OUT = Path(__file__).parent / "fixtures" / "schedules.txt"


def scheduler(name, optimizer, total, o):
    number = {k: float(v) for k, v in o.items() if k not in ("name", "per", "milestones")}
    gamma, low = number.get("gamma", 0.1), number.get("min_lr", 0.0)
    return {
        "constant": lambda: lrs.ConstantLR(optimizer, factor=1.0),
        "step": lambda: lrs.StepLR(optimizer, int(number.get("step_size", 30)), gamma),
        "multistep": lambda: lrs.MultiStepLR(optimizer, [int(m) for m in o["milestones"].split()], gamma),
        "exponential": lambda: lrs.ExponentialLR(optimizer, gamma),
        "cosine": lambda: lrs.CosineAnnealingLR(optimizer, total, low),
        "linear": lambda: lrs.LinearLR(optimizer, 1.0, number.get("end_factor", 0.0), total),
        "polynomial": lambda: lrs.PolynomialLR(optimizer, total, number.get("power", 1.0)),
        "onecycle": lambda: lrs.OneCycleLR(optimizer, LR, total, pct_start=number.get("pct_start", 0.3),
                                           div_factor=number.get("div_factor", 25.0),
                                           final_div_factor=number.get("final_div_factor", 1e4)),
        "plateau": lambda: lrs.ReduceLROnPlateau(optimizer, factor=gamma, patience=int(number.get("patience", 10)),
                                                 threshold=number.get("threshold", 1e-4), min_lr=low),
    }[name]()


def rates(o):
    """The rate of every step of the run. The warm-up is a LinearLR in front, joined as SequentialLR
    does."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=LR)
    per_epoch, warmup = o.get("per", "step") == "epoch", int(o.get("warmup", 0))
    total = (EPOCHS if per_epoch else EPOCHS * STEPS_PER_EPOCH) - warmup
    name = o.get("name", "constant")
    plateau = name == "plateau"
    ramp = lrs.LinearLR(optimizer, float(o.get("warmup_start", 0.01)), 1.0, warmup) if warmup else None
    if ramp and not plateau:
        main = scheduler(name, optimizer, total, o)
        whole = lrs.SequentialLR(optimizer, [ramp, main], [warmup])
    else:
        whole = ramp if plateau else scheduler(name, optimizer, total, o)
    after = scheduler(name, optimizer, total, o) if plateau else None
    out, unit = [], 0
    for epoch in range(EPOCHS):
        for step in range(STEPS_PER_EPOCH):
            out.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            last = step == STEPS_PER_EPOCH - 1
            if (last or not per_epoch) and not (epoch == EPOCHS - 1 and last):
                if not plateau:
                    whole.step()
                elif ramp and unit < warmup:
                    ramp.step()
                unit += 1
        first = warmup if per_epoch else -(-warmup // STEPS_PER_EPOCH)
        if plateau and epoch >= first:
            after.step(LOSSES[epoch])
    return out


CASES = ["", "warmup=10", "name=step step_size=20", "name=step step_size=3 per=epoch gamma=0.5",
         "name=multistep milestones=5_6_50 gamma=0.3", "name=multistep milestones=2_9 per=epoch warmup=2",
         "name=exponential gamma=0.97", "name=exponential gamma=0.8 per=epoch", "name=cosine",
         "name=cosine min_lr=0.01 warmup=14 warmup_start=0.1", "name=cosine per=epoch warmup=3", "name=linear",
         "name=linear end_factor=0.25 warmup=5", "name=polynomial power=2", "name=polynomial power=0.9 per=epoch",
         "name=onecycle", "name=onecycle pct_start=0.4 div_factor=10 final_div_factor=100 per=epoch",
         "name=plateau patience=1 gamma=0.5", "name=plateau patience=0 gamma=0.2 min_lr=0.005",
         "name=plateau patience=1 threshold=0.1 warmup=10", "name=plateau patience=2 per=epoch warmup=2"]

if __name__ == "__main__":
    OUT.parent.mkdir(exist_ok=True)
    with OUT.open("w") as file:
        for case in CASES:
            overrides = dict(word.split("=") for word in case.split())
            overrides = {k: v.replace("_", " ") if k == "milestones" else v for k, v in overrides.items()}
            file.write(";".join(f"schedule.{k}={v}" for k, v in overrides.items()) + "\n")
            file.write(" ".join(map(repr, LOSSES)) + "\n")
            file.write(" ".join(map(repr, rates(overrides))) + "\n")
