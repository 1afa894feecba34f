#!/usr/bin/python3
"""Writes the golden files of this folder: inputs, values and gradients of every operation.

The oracle is PyTorch on the CPU in float64. Inputs are rounded to f32 first, so that the oracle and
the kernels read the same numbers; results are rounded to f32 last. To regenerate, on Debian 12:

    apt-get install python3-torch
    tests/regenerate goldens

The files are a function of this script and PyTorch alone (seeds are fixed); a changed file after a
run means that one of them changed. tests/kernels/golden.h reads them.

Format: a sequence of cases. A case is the line "case NAME key=number ...", then for each of its
tensors the line "tensor NAME COUNT" followed by COUNT little-endian f32 and a newline, then "end".
Activations are channels last, [samples, height, width, channels]; weights as in PyTorch.
"""
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F

FOLDER = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)


def f32(t):
    return t.to(torch.float32).to(torch.float64)


class Random:
    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape, scale=1.0, mean=0.0):
        return f32(torch.randn(*shape, generator=self.generator) * scale + mean)

    def shuffled(self, *shape, step=0.01):
        """All values different and at least `step` apart: no ties for a maximum."""
        count = int(np.prod(shape))
        order = torch.randperm(count, generator=self.generator).to(torch.float64)
        return f32((order - count / 2) * step).reshape(shape)


def last(t):
    """[N, C, H, W] to channels last."""
    return t.permute(0, 2, 3, 1)


class Golden:
    def __init__(self, name):
        self.file = open(os.path.join(FOLDER, name + ".golden"), "wb")

    def case(self, name, numbers, tensors):
        text = " ".join(f"{k}={v!r}" for k, v in numbers.items())
        self.file.write(f"case {name} {text}\n".encode())
        for key, tensor in tensors.items():
            if tensor is None:
                continue
            data = tensor.detach().contiguous().numpy().astype("<f4").tobytes()
            self.file.write(f"tensor {key} {len(data) // 4}\n".encode() + data + b"\n")
        self.file.write(b"end\n")


def needs_grad(*tensors):
    for t in tensors:
        if t is not None:
            t.requires_grad_(True)


def convolution():
    golden = Golden("convolution")
    shapes = [  # samples, height, width, channels, filters, kernel, stride, padding, bias[, dilation, groups]
        (1, 5, 5, 1, 1, 3, 1, 1, 0), (3, 6, 5, 1, 17, 3, 1, 1, 1), (1, 7, 7, 3, 16, 3, 1, 1, 0),
        (3, 8, 6, 3, 5, 3, 2, 1, 1), (1, 5, 7, 5, 3, 1, 1, 0, 1), (3, 4, 4, 17, 5, 1, 1, 0, 0),
        (1, 7, 5, 17, 17, 3, 1, 1, 0), (3, 8, 8, 16, 32, 1, 2, 0, 0), (1, 9, 8, 1, 6, 5, 1, 2, 1),
        (3, 7, 9, 5, 3, 5, 1, 0, 1), (1, 11, 9, 3, 5, 5, 2, 2, 0), (1, 7, 7, 3, 8, 7, 2, 3, 0),
        (3, 6, 6, 16, 16, 3, 1, 1, 0), (1, 8, 8, 16, 32, 3, 2, 1, 1), (1, 1, 1, 5, 17, 1, 1, 0, 1),
        (2, 3, 10, 8, 24, 3, 1, 0, 1), (1, 3, 3, 33, 31, 3, 1, 1, 0),
        (2, 9, 8, 5, 7, 3, 1, 2, 1, 2, 1), (1, 12, 13, 3, 16, 3, 2, 4, 0, 4, 1), (2, 6, 7, 16, 16, 3, 1, 1, 0, 1, 16),
        (3, 5, 6, 6, 9, 3, 1, 1, 1, 1, 3), (1, 8, 7, 24, 24, 5, 2, 2, 1, 1, 24), (2, 4, 5, 32, 64, 1, 1, 0, 0, 1, 4),
        (1, 9, 9, 4, 8, 3, 1, 3, 1, 3, 4),
    ]
    for i, (n, h, w, c, f, k, s, p, has_bias, *rest) in enumerate(shapes):
        d, g = rest or (1, 1)
        random = Random(100 + i)
        x, weight = random.normal(n, c, h, w), random.normal(f, c // g, k, k, scale=(c // g * k * k) ** -0.5)
        bias = random.normal(f) if has_bias else None
        needs_grad(x, weight, bias)
        y = F.conv2d(x, weight, bias, stride=s, padding=p, dilation=d, groups=g)
        dy = random.normal(*y.shape)
        y.backward(dy)
        golden.case(f"n{n}_{h}x{w}x{c}_f{f}_k{k}_s{s}_p{p}_b{has_bias}" + (f"_d{d}_g{g}" if rest else ""),
                    dict(samples=n, height=h, width=w, channels=c, filters=f, kernel=k, stride=s,
                         padding=p, bias=has_bias, dilation=d, groups=g),
                    dict(x=last(x), weight=weight, bias=bias, y=last(y), dy=last(dy),
                         dx=last(x.grad), dweight=weight.grad,
                         dbias=None if bias is None else bias.grad))


def conv_transpose():
    golden = Golden("conv_transpose")
    shapes = [  # samples, height, width, channels, out, kernel, stride, padding, output_padding, bias, dilation, groups
        (2, 3, 4, 6, 5, 2, 2, 0, 0, 1, 1, 1), (1, 5, 3, 17, 8, 2, 2, 0, 1, 1, 1, 1), (3, 4, 4, 16, 16, 3, 2, 1, 1, 0, 1, 1),
        (1, 5, 6, 3, 7, 4, 2, 1, 0, 1, 1, 1), (2, 4, 5, 8, 3, 3, 1, 1, 0, 1, 1, 1), (1, 3, 3, 5, 4, 1, 3, 0, 2, 1, 1, 1),
        (2, 5, 4, 6, 4, 3, 2, 2, 1, 1, 2, 1), (1, 4, 6, 16, 32, 2, 2, 0, 0, 0, 1, 1), (2, 4, 3, 8, 12, 3, 2, 1, 1, 1, 1, 4),
        (1, 1, 1, 9, 3, 4, 1, 0, 0, 1, 1, 1), (2, 5, 5, 6, 6, 4, 2, 1, 0, 1, 1, 6), (1, 3, 5, 33, 31, 5, 3, 2, 2, 1, 1, 1),
    ]
    for i, (n, h, w, c, f, k, s, p, extra, has_bias, d, g) in enumerate(shapes):
        random = Random(600 + i)
        x, weight = random.normal(n, c, h, w), random.normal(c, f // g, k, k, scale=(c // g * k * k) ** -0.5)
        bias = random.normal(f) if has_bias else None
        needs_grad(x, weight, bias)
        y = F.conv_transpose2d(x, weight, bias, stride=s, padding=p, output_padding=extra, groups=g, dilation=d)
        dy = random.normal(*y.shape)
        y.backward(dy)
        golden.case(f"n{n}_{h}x{w}x{c}_f{f}_k{k}_s{s}_p{p}_o{extra}_b{has_bias}_d{d}_g{g}",
                    dict(samples=n, height=h, width=w, channels=c, out=f, kernel=k, stride=s, padding=p,
                         output_padding=extra, bias=has_bias, dilation=d, groups=g),
                    dict(x=last(x), weight=weight, bias=bias, y=last(y), dy=last(dy),
                         dx=last(x.grad), dweight=weight.grad,
                         dbias=None if bias is None else bias.grad))


def upsampling():
    golden = Golden("upsampling")
    shapes = [  # samples, height, width, channels, out height, out width
        (2, 3, 4, 5, 6, 8), (1, 5, 3, 17, 15, 9), (3, 4, 4, 1, 7, 11), (1, 7, 5, 8, 3, 4), (2, 1, 1, 6, 5, 3),
        (1, 2, 9, 32, 16, 18), (1, 6, 6, 11, 48, 48), (2, 4, 3, 3, 4, 3), (1, 5, 2, 16, 1, 1), (1, 1, 5, 2, 4, 13),
    ]
    modes = [("nearest", 0), ("bilinear", 0), ("bilinear", 1)]
    for i, ((n, h, w, c, oh, ow), (mode, corners)) in enumerate((a, b) for a in shapes for b in modes):
        random = Random(700 + i)
        x = random.normal(n, c, h, w)
        needs_grad(x)
        y = F.interpolate(x, size=(oh, ow), mode=mode, **({} if mode == "nearest" else {"align_corners": bool(corners)}))
        dy = random.normal(*y.shape)
        y.backward(dy)
        golden.case(f"{mode}{corners}_n{n}_{h}x{w}x{c}_{oh}x{ow}",
                    dict(bilinear=int(mode == "bilinear"), corners=corners, samples=n, height=h, width=w, channels=c,
                         out_height=oh, out_width=ow),
                    dict(x=last(x), y=last(y), dy=last(dy), dx=last(x.grad)))


def linear():
    golden = Golden("linear")
    for i, (n, inner, out, has_bias) in enumerate(
            [(1, 1, 1, 1), (1, 7, 10, 1), (3, 17, 5, 0), (3, 64, 10, 1), (16, 33, 31, 1),
             (2, 100, 17, 0)]):
        random = Random(200 + i)
        x, weight = random.normal(n, inner), random.normal(out, inner, scale=inner ** -0.5)
        bias = random.normal(out) if has_bias else None
        needs_grad(x, weight, bias)
        y = F.linear(x, weight, bias)
        dy = random.normal(n, out)
        y.backward(dy)
        golden.case(f"n{n}_{inner}_{out}_b{has_bias}",
                    dict(samples=n, **{"in": inner}, out=out, bias=has_bias),
                    dict(x=x, weight=weight, bias=bias, y=y, dy=dy, dx=x.grad, dweight=weight.grad,
                         dbias=None if bias is None else bias.grad))


def pooling():
    golden = Golden("pooling")
    shapes = [  # samples, height, width, channels, kernel height, kernel width, stride, padding
        (1, 4, 4, 1, 2, 2, 2, 0), (3, 7, 5, 3, 3, 3, 2, 1), (1, 6, 7, 5, 3, 3, 1, 1),
        (3, 5, 5, 17, 2, 2, 1, 0), (1, 9, 8, 16, 3, 3, 2, 0), (1, 8, 8, 33, 3, 3, 2, 1),
        (3, 5, 7, 17, 5, 7, 1, 0), (1, 1, 1, 5, 1, 1, 1, 0), (2, 4, 4, 64, 4, 4, 1, 0),
    ]
    for kind in ("max", "average"):
        for i, (n, h, w, c, kh, kw, s, p) in enumerate(shapes):
            random = Random(300 + i)
            x = random.shuffled(n, c, h, w)
            needs_grad(x)
            if kind == "max":
                y = F.max_pool2d(x, (kh, kw), stride=s, padding=p)
            else:
                y = F.avg_pool2d(x, (kh, kw), stride=s, padding=p, count_include_pad=False)
            dy = random.normal(*y.shape)
            y.backward(dy)
            golden.case(f"{kind}_n{n}_{h}x{w}x{c}_k{kh}x{kw}_s{s}_p{p}",
                        dict(max=int(kind == "max"), samples=n, height=h, width=w, channels=c,
                             kernel_height=kh, kernel_width=kw, stride=s, padding=p),
                        dict(x=last(x), y=last(y), dy=last(dy), dx=last(x.grad)))


def fused_norm_case(random, shape, affine, residual, relu, normalize):
    """Inputs and gradients of [relu](normalize(x) [+ residual]), no value near ReLU's kink."""
    n, h, w, c = shape
    while True:
        x = random.normal(n, c, h, w, scale=1.5) + f32(random.normal(1, c, 1, 1, scale=3.0))
        x = f32(x)
        gamma = random.normal(c, scale=0.5, mean=1.0) if affine else None
        beta = random.normal(c, scale=0.5) if affine else None
        extra = random.normal(n, c, h, w) if residual else None
        needs_grad(x, gamma, beta, extra)
        before = normalize(x, gamma, beta)
        if extra is not None:
            before = before + extra
        if not relu or float(before.detach().abs().min()) > 1e-5:
            break
    y = F.relu(before) if relu else before
    dy = random.normal(n, c, h, w)
    y.backward(dy)
    grad = lambda t: None if t is None else t.grad
    return dict(x=last(x), gamma=gamma, beta=beta, residual=None if extra is None else last(extra),
                y=last(y), dy=last(dy), dx=last(x.grad), dgamma=grad(gamma), dbeta=grad(beta),
                dresidual=None if extra is None else last(extra.grad))


FUSIONS = [(a, r, u) for a in (0, 1) for r in (0, 1) for u in (0, 1)]


def batch_norm():
    golden = Golden("batch_norm")
    shapes = [(2, 1, 1, 7), (3, 2, 3, 1), (1, 4, 3, 3), (2, 3, 2, 17), (5, 2, 2, 33), (4, 3, 3, 8)]
    eps, momentum = 1e-5, 0.1
    for i, shape in enumerate(shapes):
        for j, (affine, residual, relu) in enumerate(FUSIONS):
            random = Random(400 + 10 * i + j)
            c = shape[3]
            running_mean = random.normal(c)
            running_var = f32(random.normal(c).abs() + 0.5)
            new_mean, new_var = running_mean.clone(), running_var.clone()

            def normalize(x, gamma, beta):
                new_mean.copy_(running_mean)
                new_var.copy_(running_var)
                return F.batch_norm(x, new_mean, new_var, gamma, beta, True, momentum, eps)

            tensors = fused_norm_case(random, shape, affine, residual, relu, normalize)
            x = tensors["x"].detach().permute(0, 3, 1, 2)
            detach = lambda t: None if t is None else t.detach()
            evaluated = F.batch_norm(x, new_mean, new_var, detach(tensors["gamma"]),
                                     detach(tensors["beta"]), False, momentum, eps)
            tensors.update(running_mean=running_mean, running_var=running_var, new_mean=new_mean,
                           new_var=new_var, evaluated=last(evaluated))
            golden.case(f"{'x'.join(map(str, shape))}_a{affine}_r{residual}_u{relu}",
                        dict(samples=shape[0], pixels=shape[1] * shape[2], channels=c, eps=eps,
                             momentum=momentum, relu=relu), tensors)


def group_norm():
    golden = Golden("group_norm")
    shapes = [((2, 3, 3, 6), 3, 1e-5), ((3, 2, 2, 17), 1, 1e-5), ((1, 3, 4, 5), 5, 1e-5),
              ((2, 1, 1, 32), 8, 1e-5), ((3, 2, 3, 1), 1, 1e-3), ((1, 5, 5, 33), 11, 1e-5),
              ((2, 4, 2, 7), 7, 1e-5)]
    for i, (shape, groups, eps) in enumerate(shapes):
        for j, (affine, residual, relu) in enumerate(FUSIONS):
            random = Random(500 + 10 * i + j)
            tensors = fused_norm_case(
                random, shape, affine, residual, relu,
                lambda x, gamma, beta: F.group_norm(x, groups, gamma, beta, eps))
            golden.case(f"{'x'.join(map(str, shape))}_g{groups}_a{affine}_r{residual}_u{relu}",
                        dict(samples=shape[0], pixels=shape[1] * shape[2], channels=shape[3],
                             groups=groups, eps=eps, relu=relu), tensors)


def activations():
    golden = Golden("activations")
    functions = [F.relu, torch.sigmoid, torch.tanh, F.elu, F.selu, F.gelu, F.silu, F.hardswish]
    for kind, function in enumerate(functions):  # numbered as the enumeration in kernels/ops.h
        random = Random(600)
        x = f32(torch.cat([random.normal(80), random.normal(40, scale=6.0),
                           torch.tensor([1e-4, -1e-4, 20.0, -20.0, 1e-7, -1e-7, 5.0])]))
        needs_grad(x)
        y = function(x)
        dy = random.normal(127)
        y.backward(dy)
        golden.case(function.__name__, dict(kind=kind), dict(x=x, y=y, dy=dy, dx=x.grad))


def loss():
    golden = Golden("loss")
    for i, (n, classes, smoothing, scale, spread) in enumerate(
            [(1, 2, 0.0, 1.0, 1.0), (3, 10, 0.0, 0.25, 2.0), (7, 10, 0.1, 1.0, 2.0),
             (5, 17, 0.3, 0.125, 1.0), (4, 100, 0.1, 1.0, 5.0), (3, 10, 0.0, 1.0, 100.0)]):
        random = Random(700 + i)
        logits = random.normal(n, classes, scale=spread)
        labels = torch.randint(classes, (n,), generator=random.generator)
        if n > 3:
            labels[n - 1] = -1  # an unused slot
        needs_grad(logits)
        total = F.cross_entropy(logits, labels, ignore_index=-1, reduction="sum",
                                label_smoothing=smoothing)
        (total * scale).backward()
        correct = int((logits.argmax(1) == labels).sum())
        golden.case(f"n{n}_k{classes}_e{smoothing}",
                    dict(samples=n, classes=classes, smoothing=smoothing, scale=scale,
                         total=float(total), correct=correct),
                    dict(logits=logits, labels=labels.to(torch.float64), dlogits=logits.grad))


def updates():
    golden = Golden("updates")
    count, steps, lr = 37, 4, 0.05
    settings = []
    for momentum, nesterov, decay in [(0.0, 0, 0.0), (0.9, 0, 0.0), (0.9, 1, 0.0), (0.9, 0, 1e-2),
                                      (0.8, 1, 1e-2), (0.0, 0, 1e-2)]:
        settings.append(("sgd", dict(momentum=momentum, nesterov=nesterov, decay=decay)))
    for name in ("adam", "adamw"):
        for beta1, beta2, eps, decay in [(0.9, 0.999, 1e-8, 0.0), (0.9, 0.999, 1e-8, 1e-2),
                                         (0.8, 0.95, 1e-3, 0.1)]:
            settings.append((name, dict(beta1=beta1, beta2=beta2, eps=eps, decay=decay)))
    for i, (name, s) in enumerate(settings):
        random = Random(800 + i)
        scale = 1.0 if i % 2 else 0.5  # the clipping factor of StepState
        parameter = random.normal(count)
        gradients = random.normal(steps, count)
        tensors = dict(parameter=parameter.clone(), gradients=gradients)
        needs_grad(parameter)
        if name == "sgd":
            optimizer = torch.optim.SGD([parameter], lr=lr, momentum=s["momentum"],
                                        nesterov=bool(s["nesterov"]), weight_decay=s["decay"])
        else:
            maker = torch.optim.Adam if name == "adam" else torch.optim.AdamW
            optimizer = maker([parameter], lr=lr, betas=(s["beta1"], s["beta2"]), eps=s["eps"],
                              weight_decay=s["decay"])
        results = []
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = lr / (step + 1)
            parameter.grad = gradients[step] * scale
            optimizer.step()
            results.append(parameter.detach().clone())
        tensors["results"] = torch.stack(results)
        state = optimizer.state[parameter]
        if name != "sgd":
            tensors.update(first=state["exp_avg"], second=state["exp_avg_sq"])
        elif s["momentum"] != 0.0:
            tensors.update(velocity=state["momentum_buffer"])
        golden.case(f"{name}_{i}", dict(count=count, steps=steps, lr=lr, scale=scale, **s), tensors)


if __name__ == "__main__":
    for family in (convolution, conv_transpose, linear, pooling, upsampling, batch_norm, group_norm, activations, loss, updates):
        family()
