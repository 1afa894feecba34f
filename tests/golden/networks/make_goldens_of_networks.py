#!/usr/bin/python3
"""Writes segmentation.golden: logits of whole segmentation networks, and deeplabv3_resnet50.names.

The oracle is PyTorch on the CPU in float64, in evaluation mode with running means 0 and variances 1;
for DeepLabV3 it is torchvision's own model, for the others the modules below, whose names are those of
well-known codes. Parameters are a function of their name (value() below), so that no weights are
stored; tests/engine/model/segmentation_test.cpp makes the same. tests/regenerate does not run this, as
it needs torchvision beside Debian's python3-torch: 0.14 in PYTHONPATH (`pip download --no-deps
torchvision==0.14.1`, unpacked, is enough).
"""
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import resnet18
from torchvision.models.segmentation import deeplabv3_resnet50

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from make_goldens import Golden, Random, last  # noqa: E402

FOLDER = os.path.dirname(os.path.abspath(__file__))
CLASSES = 4


def value(name, shape):
    """Numbers from -1 to 1 that follow from the name and their index, scaled by what they are."""
    count = 1
    for extent in shape:
        count *= extent
    # A hash of the index, in 32 bits.
    h = np.arange(count, dtype=np.uint32) + np.uint32(sum(name.encode()) * 65537)
    for factor in (2654435761, 2246822519):
        h = h * np.uint32(factor)
        h = h ^ (h >> np.uint32(15))
    uniform = torch.from_numpy(h.astype(np.float64) / 2**31 - 1)
    if len(shape) == 4:
        values = uniform * (4.0 / (shape[1] * shape[2] * shape[3])) ** 0.5
    else:
        values = uniform * 0.2 + (1.0 if name.endswith("weight") else 0.0)
    return values.to(torch.float32).to(torch.float64).reshape(shape)


class DoubleConv(nn.Module):
    def __init__(self, inputs, width):
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())

    def forward(self, x):
        return self.double_conv(x)


class Down(nn.Module):
    def __init__(self, inputs, width):
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(inputs, width))

    def forward(self, x):
        return self.maxpool_conv(x)


class Up(nn.Module):
    def __init__(self, inputs, width):
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, width, 2, stride=2)
        self.conv = DoubleConv(2 * width, width)

    def forward(self, x, skip):
        x = self.up(x, output_size=skip.shape[2:])
        return self.conv(torch.cat([skip, x], 1))


class OutConv(nn.Module):
    def __init__(self, inputs, classes):
        super().__init__()
        self.conv = nn.Conv2d(inputs, classes, 1)

    def forward(self, x):
        return self.conv(x)


class UNet(nn.Module):
    """milesial's Pytorch-UNet, but for the padding of odd sizes."""

    def __init__(self, width, depth):
        super().__init__()
        self.depth, self.inc = depth, DoubleConv(3, width)
        for level in range(1, depth + 1):
            setattr(self, f"down{level}", Down(width << level - 1, width << level))
            setattr(self, f"up{level}", Up(width << depth - level + 1, width << depth - level))
        self.outc = OutConv(width, CLASSES)

    def forward(self, x):
        skips = [self.inc(x)]
        for level in range(1, self.depth + 1):
            skips.append(getattr(self, f"down{level}")(skips[-1]))
        x = skips.pop()
        for level in range(1, self.depth + 1):
            x = getattr(self, f"up{level}")(x, skips.pop())
        return self.outc(x)


def unit(conv):
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU())


class Decoder(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        inner = inputs // 4
        self.conv1 = unit(nn.Conv2d(inputs, inner, 1, bias=False))
        self.tp_conv = unit(nn.ConvTranspose2d(inner, inner, 3, stride, 1, bias=False))
        self.conv2 = unit(nn.Conv2d(inner, outputs, 1, bias=False))

    def forward(self, x, skip):
        x = self.tp_conv[0](self.conv1(x), output_size=skip.shape[2:])
        return self.conv2(self.tp_conv[2](self.tp_conv[1](x))) + skip


class LinkNet(nn.Module):
    """The authors' LinkNet around torchvision's ResNet-18."""

    def __init__(self):
        super().__init__()
        self.encoder = resnet18(weights=None)
        del self.encoder.avgpool, self.encoder.fc
        for stage, (inputs, outputs) in enumerate([(64, 64), (128, 64), (256, 128), (512, 256)], 1):
            setattr(self, f"decoder{stage}", Decoder(inputs, outputs, 1 if stage == 1 else 2))
        self.tp_conv1 = unit(nn.ConvTranspose2d(64, 32, 3, 2, 1, bias=False))
        self.conv2 = unit(nn.Conv2d(32, 32, 3, padding=1, bias=False))
        self.tp_conv2 = nn.ConvTranspose2d(32, CLASSES, 2, 2)

    def forward(self, x):
        e, size = self.encoder, x.shape[2:]
        outputs = [e.maxpool(e.relu(e.bn1(e.conv1(x))))]
        for stage in (e.layer1, e.layer2, e.layer3, e.layer4):
            outputs.append(stage(outputs[-1]))
        y = outputs.pop()
        for stage in (4, 3, 2, 1):
            y = getattr(self, f"decoder{stage}")(y, outputs.pop())
        half = [(extent + 1) // 2 for extent in size]
        y = self.tp_conv1[2](self.tp_conv1[1](self.tp_conv1[0](y, output_size=half)))
        y = self.tp_conv2(self.conv2(y))
        return y if y.shape[2:] == size else F.interpolate(y, size=size, mode="bilinear", align_corners=False)


class Logits(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.backbone, self.classifier, self.model = model.backbone, model.classifier, [model]

    def forward(self, x):
        return self.model[0](x)["out"]


def main():
    torch.set_num_threads(1)
    golden = Golden("networks/segmentation")
    deeplab = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=False)
    for i, (name, model, (height, width)) in enumerate([
            ("unet", UNet(3, 2), (9, 14)), ("deeplabv3", Logits(deeplab), (33, 40)), ("linknet", LinkNet(), (33, 46))]):
        model = model.to(torch.float64).eval()
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                parameter.copy_(value(key, list(parameter.shape)))
            x = Random(800 + i).normal(2, 3, height, width)
            y = model(x)
        print(f"{name}: logits from {y.min():.3g} to {y.max():.3g}")
        golden.case(name, dict(height=height, width=width, samples=2), dict(x=last(x), y=last(y)))
        if name == "deeplabv3":
            with open(os.path.join(FOLDER, "deeplabv3_resnet50.names"), "w") as names:
                for key, parameter in model.named_parameters():
                    names.write(" ".join([key, *map(str, parameter.shape)]) + "\n")


if __name__ == "__main__":
    main()
