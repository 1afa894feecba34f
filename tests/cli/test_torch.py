"""The weights are PyTorch's, and so is the arithmetic: an oracle for whole training steps.

A step-0 checkpoint is loaded by name into ordinary PyTorch models with torchvision's names, written
below; a few steps there on the same batches must give the same losses, weights and running
statistics, and weights from PyTorch must give PyTorch's accuracy in `syncnorm eval`. The batches are
Fashion-MNIST's first images in file order, without augmentation.

PyTorch computes in double precision, so that only one side rounds. Even so a ReLU whose input is
zero to rounding may fall on either side, which changes gradients by a percent at most; hence the small
learning rate and the tolerance for weights.
"""
import gzip
import re
import struct
from pathlib import Path

import harness
from harness import full

try:
    import numpy
    import torch
    from torch import nn
except ImportError as error:
    harness.skip_file(f"needs Debian's python3-torch and python3-numpy ({error})")

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
if not FASHION_MNIST.exists():
    harness.skip_file("needs Debian's dataset-fashion-mnist")

torch.set_num_threads(1)
TEST_IMAGES = 1000  # the test split is cut to so many, to be quick
BATCH, STEPS, LR, MOMENTUM, DECAY = 16, 3, 0.002, 0.9, 0.1
MEAN, DEVIATION = 0.28604, 0.35302  # of the training images, scaled to [0, 1]


# ---- The models, as torchvision writes them.

class RmsNorm(nn.Module):
    """Over C, H and W of a sample; PyTorch 1.13 has none. Without a beta a bias before it stays."""
    keeps_bias = True

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        scale = (x.square().mean((1, 2, 3), keepdim=True) + 1e-5).rsqrt()
        return x * scale * self.weight[:, None, None]


class ChannelNorm(nn.LayerNorm):
    """Statistics of every pixel over its channels, as ConvNeXt's."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Dyt(nn.Module):
    """Zhu et al. 2025."""
    keeps_bias = True

    def __init__(self, channels):
        super().__init__()
        self.alpha = nn.Parameter(torch.full((1,), 0.5))
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def function(self, x):
        return torch.tanh(self.alpha * x)

    def forward(self, x):
        return self.function(x) * self.weight[:, None, None] + self.bias[:, None, None]


class Derf(Dyt):
    """Chen et al. 2025."""

    def __init__(self, channels):
        super().__init__(channels)
        self.shift = nn.Parameter(torch.zeros(1))

    def function(self, x):
        return torch.erf(self.alpha * x + self.shift)


class Frn(nn.Module):
    """Singh & Krishnan 2020, with TLU; maps here have several pixels, so eps is constant."""
    keeps_bias = has_activation = True

    def __init__(self, channels):
        super().__init__()
        self.tau = nn.Parameter(torch.zeros(channels))
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        y = x * (x.square().mean((2, 3), keepdim=True) + 1e-6).rsqrt()
        y = y * self.weight[:, None, None] + self.bias[:, None, None]
        return torch.maximum(y, self.tau[:, None, None])


class EvoNormS0(nn.Module):
    """Liu et al. 2020."""
    keeps_bias = has_activation = True

    def __init__(self, channels):
        super().__init__()
        self.v = nn.Parameter(torch.ones(channels))
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        n, c, h, w = x.shape
        variance = x.reshape(n, 8, c // 8, h, w).var((2, 3, 4), unbiased=False)
        deviation = (variance + 1e-5).sqrt().repeat_interleave(c // 8, 1)[:, :, None, None]
        y = x * torch.sigmoid(self.v[:, None, None] * x) / deviation
        return y * self.weight[:, None, None] + self.bias[:, None, None]


class SwitchNorm(nn.BatchNorm2d):
    """Luo et al. 2018, with biased variances; in their code, the shares are in the order IN, LN, BN."""

    def __init__(self, channels):
        super().__init__(channels)
        self.mean_weight = nn.Parameter(torch.ones(3))
        self.var_weight = nn.Parameter(torch.ones(3))

    def forward(self, x):
        def moments(axes):
            return torch.var_mean(x, axes, unbiased=False, keepdim=True)
        batch = moments((0, 2, 3))
        if self.training:
            count = x.numel() / x.shape[1]
            with torch.no_grad():
                self.running_mean.lerp_(batch[1].flatten(), self.momentum)
                self.running_var.lerp_(batch[0].flatten() * count / (count - 1), self.momentum)
                self.num_batches_tracked += 1
        else:
            batch = (self.running_var[:, None, None], self.running_mean[:, None, None])
        parts = [moments((2, 3)), moments((1, 2, 3)), batch]
        mean = sum(w * m for w, (_, m) in zip(self.mean_weight.softmax(0), parts))
        variance = sum(w * v for w, (v, _) in zip(self.var_weight.softmax(0), parts))
        y = (x - mean) * (variance + self.eps).rsqrt()
        return y * self.weight[:, None, None] + self.bias[:, None, None]


def relu_behind(norm, x):
    """The activation behind a norm, unless the norm contains one."""
    return x if getattr(norm, "has_activation", False) else torch.relu(x)


def keeps_bias(norm):
    return getattr(norm, "keeps_bias", False)


class BasicBlock(nn.Module):
    def __init__(self, inputs, width, stride, norm):
        super().__init__()
        bias = keeps_bias(norm)
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=bias)
        self.bn1 = norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=bias)
        self.bn2 = norm(width)
        self.downsample = None
        if stride != 1 or inputs != width:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=bias),
                                            norm(width))

    def forward(self, x):
        y = relu_behind(self.bn1, self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    def __init__(self, inputs, width, stride, norm):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = norm(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = norm(4 * width)
        self.downsample = None
        if stride != 1 or inputs != 4 * width:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, 4 * width, 1, stride, bias=False),
                                            norm(4 * width))

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """`imagenet`: a 7x7 stem, pooling, stages from 64 channels; else the CIFAR form from 16."""

    def __init__(self, stages, norm, imagenet=False, block=BasicBlock, channels=1, classes=10):
        super().__init__()
        width = 64 if imagenet else 16
        bias = keeps_bias(norm)
        self.conv1 = (nn.Conv2d(channels, width, 7, 2, 3, bias=bias) if imagenet
                      else nn.Conv2d(channels, width, 3, 1, 1, bias=bias))
        self.bn1 = norm(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if imagenet else nn.Identity()
        inputs = width
        self.stages = []
        for s, count in enumerate(stages):
            blocks = []
            for i in range(count):
                blocks.append(block(inputs, width << s, 2 if s > 0 and i == 0 else 1, norm))
                inputs = (width << s) * (4 if block is Bottleneck else 1)
            setattr(self, f"layer{s + 1}", nn.Sequential(*blocks))
            self.stages.append(f"layer{s + 1}")
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.maxpool(relu_behind(self.bn1, self.bn1(self.conv1(x))))
        for stage in self.stages:
            x = getattr(self, stage)(x)
        return self.fc(x.mean((2, 3)))


def group_norm(channels):
    return nn.GroupNorm(8, channels)


def layer_norm(channels):
    return nn.GroupNorm(1, channels)  # over C, H and W of a sample, gamma and beta per channel


class BatchRenorm2d(nn.BatchNorm2d):
    """Ioffe 2017, with r in [1/1.2, 1.2] and d in [-0.3, 0.3]; the gradient takes them as constants."""

    def forward(self, x):
        variance, mean = torch.var_mean(x, (0, 2, 3), unbiased=False)
        running = (self.running_var + self.eps).sqrt()
        r = ((variance + self.eps).sqrt() / running).clamp(1 / 1.2, 1.2).detach()
        d = ((mean - self.running_mean) / running).clamp(-0.3, 0.3).detach()
        if not self.training:
            return super().forward(x)
        count = x.numel() / x.shape[1]
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            self.num_batches_tracked += 1

        def wide(v):
            return v[:, None, None]
        y = (x - wide(mean)) / wide((variance + self.eps).sqrt()) * wide(r) + wide(d)
        return y * wide(self.weight) + wide(self.bias)


class MomentumNorm2d(nn.BatchNorm2d):
    """Yong et al. 2020 with m = 16 images, m0 = 64 and T = 2; the moving pair before is a constant."""

    def __init__(self, channels):
        super().__init__(channels)
        self.register_buffer("moving_mean", torch.zeros(channels))
        self.register_buffer("moving_var", torch.zeros(channels))

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        share, t, ramp = BATCH / 64, float(self.num_batches_tracked) + 1, 2
        rho = share ** (1 / ramp)
        weight = rho ** (ramp / (ramp - 1) * max(ramp - t, 0)) - share
        variance, mean = torch.var_mean(x, (0, 2, 3), unbiased=False)
        used_mean = weight * self.moving_mean + (1 - weight) * mean
        used_variance = weight * self.moving_var + (1 - weight) * variance
        count, momentum = x.numel() / x.shape[1], 1 - 0.9 ** share
        with torch.no_grad():
            self.moving_mean.copy_(used_mean)
            self.moving_var.copy_(used_variance)
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * count / (count - 1), momentum)
            self.num_batches_tracked += 1

        def wide(v):
            return v[:, None, None]
        y = (x - wide(used_mean)) / wide((used_variance + self.eps).sqrt())
        return y * wide(self.weight) + wide(self.bias)


class Mabn2d(nn.BatchNorm2d):
    """Yan et al. 2020 with a window of 2 from the third update on, and r clipped in the third."""
    keeps_bias = False

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight, bias, norm):
            t = int(norm.num_batches_tracked) + 1
            averaged = t > 2
            norm.moving_square[(t - 1) % 2] = x.square().mean((0, 2, 3))
            square = norm.moving_square.mean(0) if averaged else norm.moving_square[(t - 1) % 2]
            root = (square + norm.eps).sqrt()
            r = root / (norm.running_var + norm.eps).sqrt()
            r = r.clamp(1 / 1.05, 1.05) if t > 2 else torch.ones_like(r)
            norm.running_var.lerp_(square, 0.02)
            norm.num_batches_tracked += 1
            z = x / root[:, None, None]
            ctx.save_for_backward(z, weight, r, root)
            ctx.norm, ctx.slot, ctx.averaged = norm, (t - 1) % 2, averaged
            return (weight * r)[:, None, None] * z + bias[:, None, None]

        @staticmethod
        def backward(ctx, dy):
            z, weight, r, root = ctx.saved_tensors
            g = dy * (weight * r)[:, None, None]
            history = ctx.norm.moving_gradient
            history[ctx.slot] = (g * z).mean((0, 2, 3))
            mean = history.mean(0) if ctx.averaged else history[ctx.slot]
            dx = (g - z * mean[:, None, None]) / root[:, None, None]
            return dx, (dy * z * r[:, None, None]).sum((0, 2, 3)), dy.sum((0, 2, 3)), None

    def __init__(self, channels):
        super().__init__(channels)
        self.register_buffer("moving_square", torch.zeros(2, channels))
        self.register_buffer("moving_gradient", torch.zeros(2, channels))

    def forward(self, x):
        if self.training:
            return self.Function.apply(x, self.weight, self.bias, self)
        return super().forward(x)  # its running mean stays 0


class CrossNorm2d(nn.BatchNorm2d):
    """Yao et al. 2020 over 3 updates from the first one on; the slopes come from autograd."""

    def __init__(self, channels):
        super().__init__(channels)
        self.kept = []  # weight, mean, mean square and their slopes of earlier updates

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        weight = self.conv[0].weight
        mean, square = x.mean((0, 2, 3)), x.square().mean((0, 2, 3))
        slopes = [torch.autograd.grad(m.sum(), weight, retain_graph=True)[0] for m in (mean, square)]
        means, squares = [mean], [square]
        for then, m, q, m_slope, q_slope in self.kept:
            moved = weight.detach() - then
            means.append(m + (m_slope * moved).sum((1, 2, 3)))
            squares.append(q + (q_slope * moved).sum((1, 2, 3)))
        used = torch.stack(means).mean(0)
        variance = torch.maximum(torch.stack(squares), torch.stack(means).square()).mean(0) - used.square()
        self.kept = [(weight.detach().clone(), mean.detach(), square.detach(), *slopes), *self.kept][:2]
        count = x.numel() / x.shape[1]
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_((square - mean.square()) * count / (count - 1), self.momentum)
            self.num_batches_tracked += 1
        y = (x - used[:, None, None]) / (variance + self.eps).sqrt()[:, None, None]
        return y * self.weight[:, None, None] + self.bias[:, None, None]


def follow_convolutions(model):
    """Tells every cross-iteration norm which convolution stands before it."""
    conv = None
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            conv = module
        elif isinstance(module, CrossNorm2d):
            module.conv = [conv]  # in a list, so that it is not a submodule


class EvoNormB0(nn.BatchNorm2d):
    """Liu et al. 2020."""
    keeps_bias = has_activation = True

    def __init__(self, channels):
        super().__init__(channels)
        self.v = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        variance, mean = torch.var_mean(x, (0, 2, 3), unbiased=False)
        if self.training:
            count = x.numel() / x.shape[1]
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * count / (count - 1), self.momentum)
                self.num_batches_tracked += 1
        else:
            variance = self.running_var
        own = (x.var((2, 3), unbiased=False, keepdim=True) + self.eps).sqrt()
        of_batch = (variance + self.eps).sqrt()[:, None, None]
        y = x / torch.maximum(of_batch, self.v[:, None, None] * x + own)
        return y * self.weight[:, None, None] + self.bias[:, None, None]


class DeviationNorm2d(nn.BatchNorm2d):
    """BatchNorm that divides by another deviation s; `running_var` averages its square."""

    def deviation(self, centred):
        raise NotImplementedError

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        centred = x - x.mean((0, 2, 3), keepdim=True)
        square = self.deviation(centred).square()
        with torch.no_grad():
            self.running_mean.lerp_(x.mean((0, 2, 3)), self.momentum)
            self.running_var.lerp_(square.flatten(), self.momentum)
            self.num_batches_tracked += 1
        y = centred / (square + self.eps).sqrt()
        return y * self.weight[:, None, None] + self.bias[:, None, None]


class L1Norm2d(DeviationNorm2d):
    def deviation(self, centred):
        return centred.abs().mean((0, 2, 3), keepdim=True) * (numpy.pi / 2) ** 0.5


class LinfNorm2d(DeviationNorm2d):
    def deviation(self, centred):
        return centred.abs().amax((0, 2, 3), keepdim=True)


def normalize_weights(model):
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.utils.weight_norm(module)


class CenteredConv2d(nn.Conv2d):
    """Yan et al. 2020: every filter with mean 0."""

    def forward(self, x):
        return self._conv_forward(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True), self.bias)


def center_weights(model):
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.__class__ = CenteredConv2d


class StandardizedConv2d(nn.Conv2d):
    """Qiao et al. 2019: every filter with mean 0 and variance 1."""

    def forward(self, x):
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), unbiased=False, keepdim=True)
        return self._conv_forward(x, (self.weight - mean) / (variance + 1e-5).sqrt(), self.bias)


def standardize_weights(model):
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.__class__ = StandardizedConv2d


# Settings, the module, and what is done to the model's weights.
NORMS = {"syncbn": ("syncbn", nn.BatchNorm2d, None), "ln": ("ln", layer_norm, None),
         "lc": ({"kind": "layer", "over": "channels"}, ChannelNorm, None),
         "gn": ({"kind": "group", "groups": 8}, group_norm, None),
         "rms": ("rms", RmsNorm, None), "frn": ({"kind": "frn", "tlu": True}, Frn, None),
         "evonorm_s0": ({"kind": "evonorm_s0", "groups": 8}, EvoNormS0, None),
         "switchable": ({"kind": "switchable"}, SwitchNorm, None), "dyt": ("dyt", Dyt, None), "derf": ("derf", Derf, None),
         "renorm": ({"kind": "batch", "renormalize": True, "r_max": 1.2, "d_max": 0.3},
                    BatchRenorm2d, None),
         "momentum": ({"kind": "momentum", "momentum_ramp": 2}, MomentumNorm2d, None),
         "mabn": ({"kind": "mabn", "window": 2, "window_start": 0, "renormalize_start": 2, "r_max": 1.05},
                  Mabn2d, None),
         "cross_iteration": ({"kind": "cross_iteration", "window": 3, "window_start": 0}, CrossNorm2d,
                             follow_convolutions),
         "evonorm_b0": ({"kind": "evonorm_b0"}, EvoNormB0, None),
         "l1": ({"kind": "batch", "deviation": "l1"}, L1Norm2d, None),
         "linf": ({"kind": "batch", "deviation": "linf"}, LinfNorm2d, None),
         "wn": ({"kind": "batch", "weights": "normalized"}, nn.BatchNorm2d, normalize_weights),
         # Not mabn, which subtracts no mean: a centered filter maps an even background to 0, give or take
         # a rounding, on ReLU's kink.
         "cw": ({"kind": "group", "weights": "centered"}, group_norm, center_weights),
         "ws": ({"kind": "group", "weights": "standardized"}, group_norm, standardize_weights)}
MODELS = {"resnet8": dict(stages=[1, 1, 1]), "resnet20": dict(stages=[3, 3, 3]),
          "resnet18": dict(stages=[2, 2, 2, 2], imagenet=True),
          "resnet34": dict(stages=[3, 4, 6, 3], imagenet=True),
          "resnet50": dict(stages=[3, 4, 6, 3], imagenet=True, block=Bottleneck)}


# ---- The data and the steps.

def idx(name, header):
    content = gzip.decompress((FASHION_MNIST / f"{name}.gz").read_bytes())
    return numpy.frombuffer(content, numpy.uint8, offset=header)


def images_and_labels(split, first, count):
    pixels = idx(f"{split}-images-idx3-ubyte", 16)[first * 784:(first + count) * 784]
    images = pixels.reshape(count, 1, 28, 28).astype(numpy.float64) / 255
    labels = idx(f"{split}-labels-idx1-ubyte", 8)[first:first + count].astype(numpy.int64)
    return torch.from_numpy((images - MEAN) / DEVIATION), torch.from_numpy(labels)


def load(model, path):
    """Loads a checkpoint's file by name, every name and shape checked by PyTorch."""
    state = {k: torch.from_numpy(v) for k, v in harness.read_safetensors(path).items()}
    model.load_state_dict(state, strict=True)
    return model.double()


def train(model, steps, lr=LR, decay=DECAY, decay_all=False):
    """Momentum SGD whose weight decay spares norms, gains and biases, or none; returns the losses."""
    decays = {name: decay_all or (p.dim() > 1 and not name.endswith("_g"))
              for name, p in model.named_parameters()}
    decayed = [p for name, p in model.named_parameters() if decays[name]]
    spared = [p for name, p in model.named_parameters() if not decays[name]]
    optimizer = torch.optim.SGD([{"params": decayed, "weight_decay": decay},
                                 {"params": spared, "weight_decay": 0.0}],
                                lr=lr, momentum=MOMENTUM)
    model.train()
    losses = []
    for step in range(steps):
        images, labels = images_and_labels("train", step * BATCH, BATCH)
        images = images.to(next(model.parameters()).dtype)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def write_data(folder):
    """Fashion-MNIST in `folder`, with fewer test images."""
    folder.mkdir()
    for name in ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"):
        (folder / name).symlink_to(FASHION_MNIST / name)
    images = idx("t10k-images-idx3-ubyte", 16)[:TEST_IMAGES * 784]
    labels = idx("t10k-labels-idx1-ubyte", 8)[:TEST_IMAGES]
    (folder / "t10k-images-idx3-ubyte").write_bytes(
        struct.pack(">IIII", 0x803, TEST_IMAGES, 28, 28) + images.tobytes())
    (folder / "t10k-labels-idx1-ubyte").write_bytes(
        struct.pack(">II", 0x801, TEST_IMAGES) + labels.tobytes())


def settings(architecture, norm):
    return {"data": {"dataset": "fashion_mnist", "shuffle": False, "limit": 1024},
            "model.architecture": architecture, "norm": NORMS[norm][0], "replicas": 8,
            "batch_per_replica": BATCH // 8, "steps": STEPS, "optimizer.lr": LR,
            "optimizer.momentum": MOMENTUM, "optimizer.weight_decay": DECAY}


class Torch(harness.TestCase):
    def setUp(self):
        super().setUp()
        write_data(self.folder / "data")

    def three_steps(self, architecture, norm, ranks=0, **changes):
        run = self.train(f"{architecture}-{norm}",
                         {**settings(architecture, norm), "data.path": str(self.folder / "data"),
                          **changes}, ranks=ranks)
        _, make_norm, change_weights = NORMS[norm]
        model = ResNet(norm=make_norm, **MODELS[architecture])
        if change_weights is not None:
            change_weights(model)
        load(model, run.checkpoint(0) / "model.safetensors")
        losses = train(model, STEPS, decay_all=changes.get("optimizer.decay_norm_and_bias", False))
        self.assertEqual(len(run.losses), STEPS)
        for step, (ours, theirs) in enumerate(zip(run.losses, losses), 1):
            self.assertAlmostEqual(ours, theirs, delta=1e-4 * theirs, msg=f"loss of step {step}")
        ours, theirs = run.model(STEPS), model.state_dict()
        start = run.model(0)
        self.assertEqual(sorted(ours), sorted(theirs))
        all_moved = all_off = 0.0
        for name, value in theirs.items():
            value = value.numpy()
            if value.dtype.kind == "i":
                self.assertEqual(ours[name], value, name)
                continue
            # Compared is what three steps changed, not what both began with.
            moved = numpy.linalg.norm(value - start[name])
            off = numpy.linalg.norm(ours[name] - value)
            if norm == "mabn" and name.endswith(".running_mean"):  # which stays 0
                self.assertEqual(off, 0.0, name)
                continue
            self.assertGreater(moved, 0.0, name)
            self.assertLess(off, 0.05 * moved + 1e-6 * numpy.linalg.norm(value), name)
            if ".running_" not in name and ".moving_" not in name:
                all_moved, all_off = numpy.hypot(all_moved, moved), numpy.hypot(all_off, off)
        self.assertLess(all_off, 0.01 * all_moved)
        return run, model

    def test_small_resnet_with_syncbn(self):
        self.three_steps("resnet8", "syncbn", ranks=3)

    def test_small_resnet_with_group_norm(self):
        self.three_steps("resnet8", "gn")

    @full
    def test_small_resnet_with_layer_norm(self):
        self.three_steps("resnet8", "ln")

    @full
    def test_small_resnet_with_layer_norm_over_channels(self):
        self.evaluates_alike(*self.three_steps("resnet8", "lc", ranks=3))

    def evaluates_alike(self, run, model):
        """The last evaluation of `run`, made in chunks, against PyTorch's of the same weights."""
        load(model, run.checkpoint(STEPS) / "model.safetensors").eval()
        with torch.no_grad():
            images, labels = images_and_labels("t10k", 0, TEST_IMAGES)
            loss = nn.functional.cross_entropy(model(images), labels).item()
        self.assertAlmostEqual(run.of("eval")[-1]["loss"], loss, delta=1e-4 * loss)

    @full
    def test_small_resnet_with_rms_norm(self):
        self.evaluates_alike(*self.three_steps("resnet8", "rms"))

    def test_small_resnet_with_frn_and_tlu(self):
        self.evaluates_alike(*self.three_steps("resnet8", "frn", ranks=3))

    def test_small_resnet_with_evonorm_s0(self):
        self.evaluates_alike(*self.three_steps("resnet8", "evonorm_s0", ranks=3))

    def test_small_resnet_with_switchable_norm(self):
        self.evaluates_alike(*self.three_steps("resnet8", "switchable", ranks=3))

    @full
    def test_small_resnet_with_dyt(self):
        self.evaluates_alike(*self.three_steps("resnet8", "dyt", ranks=3))

    @full
    def test_small_resnet_with_derf_and_decay_of_all_parameters(self):
        self.three_steps("resnet8", "derf", **{"optimizer.decay_norm_and_bias": True})

    @full
    def test_small_resnet_with_normalized_weights(self):
        self.evaluates_alike(*self.three_steps("resnet8", "wn", ranks=3))

    def test_small_resnet_with_centered_weights(self):
        self.evaluates_alike(*self.three_steps("resnet8", "cw"))

    def test_small_resnet_with_standardized_weights(self):
        self.evaluates_alike(*self.three_steps("resnet8", "ws"))

    def test_small_resnet_with_batch_renormalization(self):
        self.evaluates_alike(*self.three_steps("resnet8", "renorm", ranks=3))

    def test_small_resnet_with_momentum_batch_norm(self):
        self.evaluates_alike(*self.three_steps("resnet8", "momentum", ranks=3))

    def test_small_resnet_with_moving_average_batch_norm(self):
        self.evaluates_alike(*self.three_steps("resnet8", "mabn", ranks=3))

    def test_small_resnet_with_cross_iteration_batch_norm(self):
        self.evaluates_alike(*self.three_steps("resnet8", "cross_iteration", ranks=3))

    def test_small_resnet_with_evonorm_b0(self):
        self.evaluates_alike(*self.three_steps("resnet8", "evonorm_b0", ranks=3))

    @full
    def test_small_resnet_with_l1_deviation(self):
        self.evaluates_alike(*self.three_steps("resnet8", "l1", ranks=3))

    @full
    def test_small_resnet_with_largest_deviation(self):
        self.evaluates_alike(*self.three_steps("resnet8", "linf", ranks=3))

    def test_fine_tuning_with_frozen_norms(self):
        """Detection's everyday choice: statistics, gammas and betas are constants of the given weights."""
        self.fine_tunes_alike("frozen", statistics=True, affine=True)

    def test_fine_tuning_with_frozen_statistics(self):
        self.fine_tunes_alike({"kind": "frozen", "frozen": "statistics"}, statistics=True, affine=False)

    def test_fine_tuning_with_frozen_affine(self):
        self.fine_tunes_alike({"kind": "frozen", "frozen": "affine"}, statistics=False, affine=True)

    def fine_tunes_alike(self, norm, statistics, affine):
        """`statistics`, `affine`: what of the norms stays as it was."""
        start, _ = self.three_steps("resnet8", "syncbn")
        weights = start.checkpoint(STEPS) / "model.safetensors"
        run = self.train("frozen", {**settings("resnet8", "syncbn"), "norm": norm,
                                    "data.path": str(self.folder / "data")},
                         ranks=3, arguments=["--init-from", weights])
        model = load(ResNet(norm=nn.BatchNorm2d, **MODELS["resnet8"]), weights)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.requires_grad_(not affine)
                if statistics:
                    module.train = lambda mode=True: None
                    module.training = False
        losses = train(model, STEPS)
        for step, (ours, theirs) in enumerate(zip(run.losses, losses), 1):
            self.assertAlmostEqual(ours, theirs, delta=1e-5 * theirs, msg=f"loss of step {step}")
        before, after = harness.read_safetensors(weights), run.model(STEPS)
        for name, value in model.state_dict().items():
            if "num_batches" in name:
                continue
            of_norm = "bn" in name or "downsample.1" in name
            if of_norm and (statistics if ".running_" in name else affine):
                self.assertTrue((after[name] == before[name]).all(), f"{name} was to be frozen")
            else:
                moved = numpy.linalg.norm(value.numpy() - before[name])
                self.assertGreater(moved, 0.0, name)
                self.assertLess(numpy.linalg.norm(after[name] - value.numpy()), 0.02 * moved, name)

    def test_precise_statistics_are_those_of_all_their_samples(self):
        """Over 60 samples, so 64 in global batches of 16: the exact mean and unbiased variance."""
        base = {**settings("resnet8", "syncbn"), "data.path": str(self.folder / "data"),
                "norm": {"kind": "batch", "precise_samples": 60}}
        run = self.train("precise", base, ranks=3)
        self.assert_same_bits(run, self.train("precise-alone", base))
        model = ResNet(norm=nn.BatchNorm2d, **MODELS["resnet8"])
        load(model, run.checkpoint(STEPS) / "model.safetensors").train()
        seen = {}
        for name, module in model.named_modules():
            if isinstance(module, nn.BatchNorm2d):
                module.register_forward_hook(
                    lambda _, x, __, name=name: seen.setdefault(name, []).append(x[0].detach()))
        images, _ = images_and_labels("train", 0, 64)
        with torch.no_grad():
            for part in images.split(BATCH):
                model(part)
        found = run.model(STEPS)
        for name, parts in seen.items():
            variance, mean = torch.var_mean(torch.cat(parts), (0, 2, 3), unbiased=True)
            for ours, theirs in ((found[f"{name}.running_mean"], mean.numpy()),
                                 (found[f"{name}.running_var"], variance.numpy())):
                off = numpy.abs(ours - theirs).max()
                self.assertLess(off, 1e-4 * numpy.abs(theirs).max(), name)

    # Deeper models begin with residual branches at zero: else gradients explode, and rounding
    # with them (PyTorch's own f32 then leaves its f64 by 2% in three steps; here by 0.004%).

    def test_resnet20(self):
        self.three_steps("resnet20", "syncbn", **{"model.zero_gamma": True})

    def test_imagenet_form(self):
        self.three_steps("resnet18", "syncbn", **{"model.zero_gamma": True})

    @full
    def test_larger_models(self):
        for architecture in ("resnet34", "resnet50"):
            for norm in ("syncbn", "ln", "gn"):
                with self.subTest(model=architecture, norm=norm):
                    self.three_steps(architecture, norm, **{"model.zero_gamma": True})

    def test_evaluation_of_a_checkpoint_and_of_weights_from_torch(self):
        run, model = self.three_steps("resnet8", "syncbn")
        train(model.float(), 40, lr=0.02, decay=0.0)
        path = self.folder / "torch.safetensors"
        harness.write_safetensors(path, {k: v.numpy() for k, v in model.state_dict().items()})
        model.eval()
        with torch.no_grad():
            images, labels = images_and_labels("t10k", 0, TEST_IMAGES)
            scores = torch.cat([model(part.float()) for part in images.split(500)])
            loss = nn.functional.cross_entropy(scores, labels).item()
            right = (scores.argmax(1) == labels).double().mean().item()
        self.assertGreater(right, 0.3)  # 40 steps have taught it something to compare
        result = harness.run("eval", self.folder / "resnet8-syncbn.yaml", "--weights", path)
        self.assertEqual(result.code, 0, result.err)
        found = re.fullmatch(r"test accuracy (\S+)%, loss (\S+), 1000 samples\n", result.out)
        self.assertTrue(found, result.out)
        self.assertAlmostEqual(float(found[1]), 100 * right, delta=0.11)  # one image on the edge
        self.assertAlmostEqual(float(found[2]), loss, delta=1e-4 * loss)
        # A checkpoint folder is evaluated as the run itself did.
        result = harness.run("eval", self.folder / "resnet8-syncbn.yaml", "--weights",
                             run.checkpoint(STEPS))
        self.assertIn(f"loss {run.evals[-1]['loss']!r},", result.out)


if __name__ == "__main__":
    harness.main()
