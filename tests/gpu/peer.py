#!/usr/bin/env python3
"""PyTorch's training step on one GPU, for tests/gpu/run to compare: ResNet-20 or ResNet-50, channels
last, bf16 by autocast, cross-entropy, SGD with momentum, eager or compiled with CUDA graphs. Random
images that are on the device already, which is in the peer's favour. Prints "ready" when everything is
compiled; on a line of input measures, and prints one line of JSON."""
import argparse
import json
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional


def conv_norm(inputs, outputs, kernel, stride):
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class Block(nn.Module):
    """`layers`: (outputs, kernel, stride) of each convolution of the residual branch."""

    def __init__(self, inputs, layers):
        super().__init__()
        widths = [inputs] + [outputs for outputs, _, _ in layers]
        self.branch = nn.ModuleList(conv_norm(i, *layer) for i, layer in zip(widths, layers))
        stride = max(stride for _, _, stride in layers)
        self.shortcut = nn.Identity()
        if stride > 1 or inputs != widths[-1]:
            self.shortcut = conv_norm(inputs, widths[-1], 1, stride)

    def forward(self, x):
        y = x
        for i, layer in enumerate(self.branch):
            y = layer(y)
            if i + 1 < len(self.branch):
                y = functional.relu(y, inplace=True)
        return functional.relu(y + self.shortcut(x), inplace=True)


def resnet20():
    blocks, inputs = [], 16
    for stage, width in enumerate((16, 32, 64)):
        for block in range(3):
            stride = 2 if stage and not block else 1
            blocks.append(Block(inputs, [(width, 3, stride), (width, 3, 1)]))
            inputs = width
    return nn.Sequential(conv_norm(3, 16, 3, 1), nn.ReLU(True), *blocks, nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(64, 10)), 32, 10


def resnet50():
    blocks, inputs = [], 64
    for stage, (count, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512))):
        for block in range(count):
            stride = 2 if stage and not block else 1
            blocks.append(Block(inputs, [(width, 1, 1), (width, 3, stride), (4 * width, 1, 1)]))
            inputs = 4 * width
    return nn.Sequential(conv_norm(3, 64, 7, 2), nn.ReLU(True), nn.MaxPool2d(3, 2, 1), *blocks,
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000)), 224, 1000


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=["resnet20", "resnet50"], required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("this PyTorch has no GPU")
    if options.device == "cpu":
        torch.set_num_threads(1)
    step = training_step(options)
    synchronize = torch.cuda.synchronize if options.device == "cuda" else lambda: None
    for _ in range(10 if options.device == "cuda" else 1):
        step()
    synchronize()
    print("ready", flush=True)
    if not sys.stdin.readline():
        return  # whoever would ask is gone
    rounds = []
    for _ in range(6):  # a step has no end of its own: rounds of steps are timed
        begin = time.perf_counter()
        for _ in range(options.steps):
            step()
        synchronize()
        rounds.append((time.perf_counter() - begin) / options.steps)
    print(json.dumps({"peer": f"PyTorch {torch.__version__}",
                      "step_seconds": statistics.median(rounds[1:])}), flush=True)


def training_step(options):
    """A function that trains one step; compiled with CUDA graphs if wanted."""
    torch.manual_seed(1)
    model, size, classes = {"resnet20": resnet20, "resnet50": resnet50}[options.model]()
    model = model.to(options.device, memory_format=torch.channels_last)
    net = torch.compile(model, mode="reduce-overhead") if options.compile else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    images = torch.randn(options.batch, 3, size, size, device=options.device)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(classes, (options.batch,), device=options.device)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(options.device, torch.bfloat16):
            loss = functional.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
    return step


if __name__ == "__main__":
    main()
