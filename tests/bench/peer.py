#!/usr/bin/python3
"""PyTorch's time for one data-parallel training step of ResNet-20 or a U-Net, for tests/bench/run to compare.

The peer is what a user of Debian's python3-torch would write: DistributedDataParallel over gloo,
one process and one thread per rank, random 1x28x28 images (U-Net: 3x96x96, with 11 classes per pixel),
cross-entropy, SGD with momentum. A step
is forward, backward with the reduction of gradients, and update. Prints one line of JSON.

PyTorch synchronizes BatchNorm on GPUs only. `syncbn` here is how it is done on CPUs: the ranks'
mean and mean of squares are averaged, and autograd goes back through that average.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

# ---- The norms.


class MeanOverRanks(torch.autograd.Function):
    """The average of a tensor over the ranks; its gradient is averaged just so."""

    @staticmethod
    def average(tensor):
        result = tensor.detach().clone()
        dist.all_reduce(result)
        return result / dist.get_world_size()

    @staticmethod
    def forward(_, tensor):
        return MeanOverRanks.average(tensor)

    @staticmethod
    def backward(_, gradient):
        return MeanOverRanks.average(gradient)


class SyncedBatchNorm(nn.BatchNorm2d):
    """Training only: running statistics are not kept, which is in the peer's favour."""

    def forward(self, x):
        moments = torch.stack((x.mean((0, 2, 3)), x.square().mean((0, 2, 3))))
        mean, square = MeanOverRanks.apply(moments)
        factor = self.weight * (square - mean.square() + self.eps).rsqrt()
        offset = self.bias - factor * mean
        return torch.addcmul(offset.view(1, -1, 1, 1), x, factor.view(1, -1, 1, 1))


NORMS = {
    "bn": nn.BatchNorm2d,
    "syncbn": SyncedBatchNorm,
    "gn": lambda channels: nn.GroupNorm(8, channels),
    "ln": lambda channels: nn.GroupNorm(1, channels),
}


# ---- ResNet-20, as He et al. 2016 have it for small images, with projection shortcuts.


def conv_norm(inputs, outputs, kernel, stride, norm):
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, norm(outputs))


class Block(nn.Module):
    def __init__(self, inputs, outputs, norm):
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.first = conv_norm(inputs, outputs, 3, stride, norm)
        self.second = conv_norm(outputs, outputs, 3, 1, norm)
        self.shortcut = nn.Identity() if stride == 1 else conv_norm(inputs, outputs, 1, 2, norm)

    def forward(self, x):
        inner = functional.relu(self.first(x), inplace=True)
        return functional.relu(self.second(inner) + self.shortcut(x), inplace=True)


def resnet20(norm):
    widths = [16] * 4 + [32] * 3 + [64] * 3
    blocks = [Block(i, o, norm) for i, o in zip(widths, widths[1:])]
    return nn.Sequential(conv_norm(1, 16, 3, 1, norm), nn.ReLU(inplace=True), *blocks,
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


# ---- A U-Net of syncnorm's defaults: 16 channels, four levels below the first.


class DoubleConv(nn.Sequential):
    def __init__(self, inputs, outputs, norm):
        super().__init__(conv_norm(inputs, outputs, 3, 1, norm), nn.ReLU(inplace=True),
                         conv_norm(outputs, outputs, 3, 1, norm), nn.ReLU(inplace=True))


class UNet(nn.Module):
    def __init__(self, norm, width=16, depth=4, classes=11):
        super().__init__()
        widths = [width << level for level in range(depth + 1)]
        self.first = DoubleConv(3, width, norm)
        self.down = nn.ModuleList(DoubleConv(i, o, norm) for i, o in zip(widths, widths[1:]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(o, i, 2, 2) for i, o in zip(widths, widths[1:]))
        self.joined = nn.ModuleList(DoubleConv(2 * w, w, norm) for w in widths[:-1])
        self.last = nn.Conv2d(width, classes, 1)

    def forward(self, x):
        skips = [self.first(x)]
        for down in self.down:
            skips.append(down(functional.max_pool2d(skips[-1], 2)))
        x = skips.pop()
        for up, joined, skip in zip(reversed(self.up), reversed(self.joined), reversed(skips)):
            x = joined(torch.cat((skip, up(x)), 1))
        return self.last(x)


# ---- The measurement.


def example_of(options):
    """The model, images and labels."""
    if options.model == "unet":
        return (UNet(NORMS[options.norm]), torch.randn(options.batch, 3, 96, 96),
                torch.randint(11, (options.batch, 96, 96)))
    return (resnet20(NORMS[options.norm]), torch.randn(options.batch, 1, 28, 28),
            torch.randint(10, (options.batch,)))


def measure(options):
    """Median seconds of a step on this rank."""
    torch.manual_seed(1)
    torch.set_num_threads(1)
    layout = {"nhwc": torch.channels_last, "nchw": torch.contiguous_format}[options.layout]
    model, images, labels = example_of(options)
    model = model.to(memory_format=layout)
    parallel = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    images = images.to(memory_format=layout)
    seconds = []
    for _ in range(options.warmup + options.steps):
        begin = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16"):
            loss = functional.cross_entropy(parallel(images), labels)
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[options.warmup:])


def one_rank(options):
    warnings.filterwarnings("ignore")  # DDP mentions the strides of 1x1 kernels
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{options.meeting}", rank=options.rank,
                            world_size=options.ranks)
    seconds = measure(options)
    dist.barrier()
    if options.rank == 0:
        print(json.dumps({"peer": f"PyTorch {torch.__version__}", "model": options.model,
                          "norm": options.norm, "layout": options.layout, "batch": options.batch,
                          "precision": options.precision,
                          "ranks": options.ranks, "step_ms": round(1e3 * seconds, 4)}))


def all_ranks(arguments, ranks):
    """This script once per rank; they meet in a file. Returns the first exit code that is not 0."""
    with tempfile.TemporaryDirectory(prefix="syncnorm-peer-") as folder:
        command = [sys.executable, __file__, *arguments, "--meeting", f"{folder}/meeting"]
        started = [subprocess.Popen([*command, "--rank", str(rank)]) for rank in range(ranks)]
        return next((code for code in [process.wait() for process in started] if code), 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--model", choices=["resnet20", "unet"], default="resnet20")
    parser.add_argument("--norm", choices=NORMS, default="bn")
    parser.add_argument("--layout", choices=["nhwc", "nchw"], default="nchw")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32",
                        help="bf16: automatic mixed precision")
    parser.add_argument("--batch", type=int, default=2, help="images per rank")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--steps", type=int, default=30, help="whose median is printed")
    parser.add_argument("--warmup", type=int, default=5, help="steps before those")
    parser.add_argument("--rank", type=int, default=-1, help=argparse.SUPPRESS)
    parser.add_argument("--meeting", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank < 0:
        sys.exit(all_ranks(sys.argv[1:], options.ranks))
    one_rank(options)


if __name__ == "__main__":
    main()
