"""Cairn's networks as PyTorch modules: the same layers under the same names, started by the same
rules, so that a model.safetensors loads strictly into them. host/model/ has their descriptions and
sources."""

import torch
from torch import nn
from torch.nn import functional


class SimpleCNN(nn.Module):
    def __init__(self, classes, widths, depth, hidden, dropout):
        super().__init__()
        layers, channels = [], 3
        for width in widths:
            for _ in range(depth):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        side = 32 >> len(widths)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(channels * side * side, hidden), nn.ReLU(),
                                        nn.Dropout(dropout), nn.Linear(hidden, classes))

    def forward(self, x):
        return self.classifier(self.features(x))


def conv(channels, width, kernel, stride=1):
    """Without a bias, started for the ReLU behind it."""
    made = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_uniform_(made.weight, nonlinearity="relu")
    return made


class ResidualBlock(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(channels, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3), nn.BatchNorm2d(width)
        self.downsample = nn.Identity()
        if stride != 1 or channels != width:
            self.downsample = nn.Sequential(conv(channels, width, 1, stride), nn.BatchNorm2d(width))

    def forward(self, x):
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class ResNet(nn.Module):
    def __init__(self, classes, widths, blocks):
        super().__init__()
        self.conv1, self.bn1 = conv(3, widths[0], 3), nn.BatchNorm2d(widths[0])
        self.stages, channels = len(widths), widths[0]
        for stage, width in enumerate(widths):
            layers = []
            for i in range(blocks):
                layers.append(ResidualBlock(channels, width, 2 if stage and not i else 1))
                channels = width
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)))
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class WideBlock(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(channels), conv(channels, width, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(width), conv(width, width, 3)
        self.projects = stride != 1 or channels != width
        if self.projects:
            self.convShortcut = conv(channels, width, 1, stride)

    def forward(self, x):
        activated = functional.relu(self.bn1(x))
        y = self.conv2(functional.relu(self.bn2(self.conv1(activated))))
        return y + (self.convShortcut(activated) if self.projects else x)


class WideGroup(nn.Module):
    def __init__(self, channels, width, blocks, stride):
        super().__init__()
        self.layer = nn.Sequential(WideBlock(channels, width, stride),
                                   *[WideBlock(width, width, 1) for _ in range(blocks - 1)])

    def forward(self, x):
        return self.layer(x)


class WideResNet(nn.Module):
    def __init__(self, classes, blocks, widen):
        super().__init__()
        self.conv1 = conv(3, 16, 3)
        self.block1 = WideGroup(16, 16 * widen, blocks, 1)
        self.block2 = WideGroup(16 * widen, 32 * widen, blocks, 2)
        self.block3 = WideGroup(32 * widen, 64 * widen, blocks, 2)
        self.bn1, self.fc = nn.BatchNorm2d(64 * widen), nn.Linear(64 * widen, classes)

    def forward(self, x):
        x = functional.relu(self.bn1(self.block3(self.block2(self.block1(self.conv1(x))))))
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class SpeedGroup(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        self.conv1, self.norm1 = self.conv(channels, width), self.norm(width)
        self.conv2, self.norm2 = self.conv(width, width), self.norm(width)

    @staticmethod
    def conv(channels, width):
        made = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        with torch.no_grad():
            nn.init.dirac_(made.weight[:channels])
        return made

    @staticmethod
    def norm(width):
        made = nn.BatchNorm2d(width, momentum=0.4)
        made.weight.requires_grad_(False)
        return made

    def forward(self, x):
        x = functional.gelu(self.norm1(functional.max_pool2d(self.conv1(x), 2)))
        return functional.gelu(self.norm2(self.conv2(x)))


class SpeedCNN(nn.Module):
    PATCH = 2

    def __init__(self, classes, widths):
        super().__init__()
        outputs = 2 * 3 * self.PATCH**2
        self.whiten = nn.Conv2d(3, outputs, self.PATCH)
        self.whiten.weight.requires_grad_(False)
        self.groups = len(widths)
        for i, (channels, width) in enumerate(zip([outputs, *widths], widths)):
            self.add_module(f"group{i + 1}", SpeedGroup(channels, width))
        side = ((32 - self.PATCH + 1) >> len(widths)) // 3
        self.fc = nn.Linear(widths[-1] * side * side, classes, bias=False)

    def initialise(self, images):
        """The filters from the first training images, normalised, [n,3,h,w]: the principal
        directions of their patches over the roots of their variances, and the negatives of
        those."""
        patches = functional.unfold(images.double(), self.PATCH).transpose(1, 2).flatten(0, 1)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (vectors / (values + 5e-4).sqrt()).T.flip(0)
        with torch.no_grad():
            self.whiten.weight.copy_(torch.cat([filters, -filters]).view_as(self.whiten.weight))

    def forward(self, x):
        x = functional.gelu(self.whiten(x))
        for i in range(self.groups):
            x = getattr(self, f"group{i + 1}")(x)
        return self.fc(functional.max_pool2d(x, 3).flatten(1)) / 9


def build(name, classes, widths=(), depth=1, hidden=256, dropout=0.0):
    """The network of that name; None where there is none. `widths` is empty for the network's
    own."""
    made = {
        "simple_cnn": lambda: SimpleCNN(classes, widths or (32, 64, 128), depth, hidden, dropout),
        "resnet20": lambda: ResNet(classes, (16, 32, 64), 3),
        "resnet56": lambda: ResNet(classes, (16, 32, 64), 9),
        "resnet18": lambda: ResNet(classes, (64, 128, 256, 512), 2),
        "wideresnet-16-4": lambda: WideResNet(classes, 2, 4),
        "speed_cnn": lambda: SpeedCNN(classes, widths or (64, 256, 256)),
    }.get(name)
    return made and made()
