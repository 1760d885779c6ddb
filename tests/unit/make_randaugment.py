#!/usr/bin/env python3
"""Makes tests/unit/fixtures/randaugment.txt: an image after torchvision's operations that look at
more than one pixel.

    python3 -m venv venv && venv/bin/pip install torchvision
    venv/bin/python tests/unit/make_randaugment.py

A line is an operation of RandAugment, its magnitude (of 30, with its sign) and the levels of the
result, [3,26,21], as hexadecimal digits. The image is a rule, as the test has it too.
"""
from pathlib import Path

import torch
from torchvision.transforms import InterpolationMode, autoaugment

HEIGHT, WIDTH = 26, 21
OUT = Path(__file__).parent / "fixtures" / "randaugment.txt"


def image():
    """A channel of some levels, one of one level, and one with most of its pixels dark."""
    p = torch.arange(HEIGHT * WIDTH)
    return torch.stack([40 + (p * p + 7 * p) % 101, torch.full_like(p, 90),
                        (p * 37 % 256) ** 2 >> 8]).to(torch.uint8).reshape(3, HEIGHT, WIDTH)


def main():
    strengths = autoaugment.RandAugment()._augmentation_space(31, (HEIGHT, WIDTH))
    lines = []
    for name, magnitude in (("AutoContrast", 0), ("Equalize", 0), ("Sharpness", 30), ("Sharpness", -30)):
        strength = float(strengths[name][0][abs(magnitude)]) * (-1 if magnitude < 0 else 1) if magnitude else 0.0
        result = autoaugment._apply_op(image(), name, strength, InterpolationMode.NEAREST, None)
        lines.append(f"{name} {magnitude} {bytes(result.flatten().tolist()).hex()}\n")
    OUT.write_text("".join(lines))


if __name__ == "__main__":
    main()
