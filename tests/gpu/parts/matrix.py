"""The matrix: every norm, model, activation, optimizer, probe and precision, its losses compared with the CPU's.

A configuration is BASE with some settings. Its losses may differ by BOUND, relative, or by a bound of its own,
which has a reason. Bounds were found between two orders of summation on the CPU.
"""
import concurrent.futures
import dataclasses
import os
import random
from pathlib import Path

from parts.machine import harness
from parts.process import Failed
from parts.table import Row
from parts.training import Trainings, difference

STEPS = 8
BOUND = 4e-5
SHAPE = {"model.architecture": "resnet8", "data.synthetic.height": 16, "data.synthetic.width": 16,
         "data.synthetic.train_samples": 320, "steps": STEPS}
VECTORS = {"data.synthetic.height": 12, "data.synthetic.width": 14}
PROBES = {"probes.every_steps": 4,
          **{f"probes.{name}": True for name in ("landscape", "covariate_shift", "signal_to_noise", "replica_spread")}}
BATCH = {"kind": "batch"}

NORMS = {
    "none": "none", "bn": "bn", "syncbn": "syncbn", "gn": "gn", "ln": "ln", "in": "in", "rms": "rms", "dyt": "dyt",
    "derf": "derf", "frn": {"kind": "frn", "tlu": True}, "evonorm s0": {"kind": "evonorm_s0"},
    "switchable": {"kind": "switchable"}, "mixed norms": {**BATCH, "layers": [{"match": "layer1.*", "kind": "group"},
                                                                              {"match": "*.bn2", "kind": "layer"}]},
    "ln over channels": {"kind": "layer", "over": "channels"}, "frozen": "frozen",
    "4 channels per group": {"kind": "group", "channels_per_group": 4},
    "statistics over 2 replicas": {**BATCH, "synced_replicas": 2},
    "no affine": {**BATCH, "affine": False}, "l1": {**BATCH, "deviation": "l1"},
    "linf": {**BATCH, "deviation": "linf"},
    "renormalization": {**BATCH, "renormalize": True, "r_max": 1.5, "d_max": 0.5, "renormalize_ramp": 3},
    "momentum": {"kind": "momentum", "momentum_ramp": 4},
    "momentum over 2 replicas": {"kind": "momentum", "synced_replicas": 2, "momentum_images": 8},
    "mabn": {"kind": "mabn", "window": 3, "window_start": 2, "renormalize_start": 5, "weights": "centered"},
    "cross-iteration": {"kind": "cross_iteration", "window": 3, "window_start": 1},
    "cross-iteration over 2 replicas": {"kind": "cross_iteration", "synced_replicas": 2, "window": 4},
    "evonorm b0": {"kind": "evonorm_b0"},
    "evonorm b0 over 2 replicas": {"kind": "evonorm_b0", "synced_replicas": 2},
    "precise statistics": {**BATCH, "precise_samples": 64}, "noise": {**BATCH, "noise": True},
    "gn, noise": {"kind": "group", "noise": True}, "weight norm": {"kind": "none", "weights": "normalized"},
    "bn, weight norm": {**BATCH, "weights": "normalized"},
    "gn, weight standardization": {"kind": "group", "weights": "standardized"}}
# Residual branches that begin at 0: otherwise two orders of summation differ by 1% after 8 steps of a deep ResNet.
RESIDUAL = {"model.zero_gamma": True}
# A lower rate, for the same reason: its last layers normalize one pixel per image.
VGG = {"data.synthetic.height": 32, "data.synthetic.width": 32, "optimizer.lr": 3e-5}
MODELS = {
    "mlp": {**VECTORS, "model.norm_position": "after_activation"}, "lenet": VECTORS, "convnet": {},
    "vgg11": {**VGG, "model.dropout": 0.5}, "vgg13": VGG, "vgg16": VGG, "resnet20": {}, "resnet32": RESIDUAL,
    "resnet56": RESIDUAL, "resnet18": RESIDUAL, "resnet34": RESIDUAL, "resnet50": RESIDUAL}
# They give a class for each pixel, and train on pairs that make_pairs() writes.
OF_PIXELS = {
    "unet": {"model.width": 8, "model.depth": 3, "loss.dice": 0.5},
    "deeplabv3": {"model.backbone": "resnet20", "loss.class_weights": [1, 0.5, 2, 1]},
    "linknet": {**RESIDUAL, "loss.label_smoothing": 0.1},
    "unet, gn, bf16": {"model.architecture": "unet", "model.width": 8, "model.depth": 3, "norm": "gn",
                       "precision": "bf16", "loss.dice": 0.5}}
ACTIVATIONS = ["identity", "sigmoid", "tanh", "elu", "selu", "gelu", "silu", "hard_swish"]
OPTIMIZERS = {
    "nesterov, decay": {"optimizer.nesterov": True, "optimizer.weight_decay": 1e-2},
    "no momentum, clipped": {"optimizer.momentum": 0.0, "optimizer.clip_norm": 0.5},
    "adam": {"optimizer.kind": "adam"},
    "adamw": {"optimizer.kind": "adamw", "optimizer.weight_decay": 0.1, "optimizer.decay_norm_and_bias": True},
    "cosine, label smoothing": {"schedule.kind": "cosine", "schedule.warmup_steps": 2, "loss.label_smoothing": 0.1}}
GROUPED = [{"type": "conv", "out": 16, "kernel": 3, "padding": 1, "bias": False}, "norm", "hard_swish",
           {"type": "conv", "out": 16, "kernel": 3, "padding": 1, "groups": 16, "bias": False}, "norm", "silu",
           {"type": "conv", "out": 32, "kernel": 3, "padding": 2, "dilation": 2, "groups": 4, "bias": False}, "norm",
           "silu", "global_pool", {"type": "linear", "out": 10}]
# Transposed convolutions, resampling, joined channels, and products with one pixel or one channel.
ENLARGING = [{"type": "conv", "out": 16, "kernel": 3, "stride": 2, "padding": 1, "bias": False}, "norm",
             {"type": "relu", "name": "small"},
             {"type": "conv_transpose", "out": 16, "kernel": 2, "stride": 2}, "norm", {"type": "relu", "name": "up"},
             {"type": "conv_transpose", "input": "small", "out": 8, "kernel": 3, "stride": 2, "padding": 1,
              "output_padding": 1, "groups": 2, "bias": False, "name": "grouped"},
             {"type": "upsample", "input": "small", "to": "input", "mode": "bilinear", "name": "smooth"},
             {"type": "upsample", "input": "small", "scale": 2, "name": "near"},
             {"type": "concat", "input": "input", "from": ["up", "grouped", "smooth", "near"]},
             {"type": "conv", "out": 16, "kernel": 3, "padding": 1, "bias": False}, "norm", {"type": "relu", "name": "body"},
             "global_pool", {"type": "conv", "out": 16, "kernel": 1}, "sigmoid",
             {"type": "multiply", "from": "body", "name": "excited"}, {"type": "conv", "out": 1, "kernel": 1}, "sigmoid",
             {"type": "multiply", "from": "excited"}, "global_pool", {"type": "linear", "out": 10}]
OTHERS = {
    "normalizer-free": {"model.residual": {"kind": "normalizer_free"}, "optimizer.clip": "adaptive",
                        "norm": {"kind": "none", "weights": "scaled_standardized"}},
    "skipinit, gn": {"model.residual": {"kind": "skipinit"}, "norm": "gn"},
    "probes": PROBES, "probes, gn": {**PROBES, "norm": "gn"},
    "augmented": {"data.augment": ["random_crop", "horizontal_flip", "cutout"], "data.cutout_size": 3},
    "last batch smaller": {"drop_last": False, "data.synthetic.train_samples": 40},
    "sums in any order": {"reduction": "fastest"},
    "all statistics of evaluations": {
        "norm": "bn", "evaluation.statistics": ["running", "precise", "batch", "test_set", "mixed"],
        "evaluation.precise_samples": 32, "evaluation.mixed_weights": [0.3]},
    "averaged weights": {"norm": "bn", "ema.decay": 0.8, "ema.every": 2},
    "depthwise, grouped, dilated": {"norm": "syncbn", "model.layers": GROUPED},
    "depthwise, grouped, dilated, cross-iteration": {
        "norm": {"kind": "cross_iteration", "window": 3, "window_start": 1}, "model.layers": GROUPED},
    "bf16, depthwise, grouped, dilated": {"precision": "bf16", "norm": "syncbn", "model.layers": GROUPED},
    "transposed, resampled, joined": {"norm": "syncbn", "model.layers": ENLARGING},
    "bf16, transposed, resampled, joined": {"precision": "bf16", "norm": "syncbn", "model.layers": ENLARGING},
    "bf16, syncbn": {"precision": "bf16"}, "bf16, gn": {"precision": "bf16", "norm": "gn"},
    "bf16, resnet20": {"precision": "bf16", "model.architecture": "resnet20"}}
# Bounds of their own, with the reason.
DEEP = "two orders of summation on the CPU differ by up to 8e-05"
ROUNDED = "two orders of summation on the CPU differ by up to 9e-04 where values are rounded to bf16"
WIDER = {"vgg11": (3e-4, DEEP), "vgg13": (3e-4, DEEP), "vgg16": (3e-4, DEEP), "bf16, syncbn": (3e-3, ROUNDED),
         "bf16, gn": (3e-3, ROUNDED), "unet, gn, bf16": (3e-3, ROUNDED),
         "bf16, transposed, resampled, joined": (3e-3, ROUNDED),
         "bf16, depthwise, grouped, dilated": (3e-3, ROUNDED), "bf16, resnet20": (3e-3, ROUNDED)}


@dataclasses.dataclass
class Configuration:
    group: str
    name: str
    settings: dict
    bound: float = BOUND
    reason: str = ""
    outcome: str = "not reached"  # "1.0e-06", or why it failed
    failed: bool = False

    def line(self):
        asked = f"{self.bound:.0e}" + (f": {self.reason}" if self.reason else "")
        return f"| {self.group}: {self.name} | {self.outcome} | {asked} |"


def make_pairs(folder):
    """Noise of 32x32 pixels with masks of four classes that follow it, and ignored pixels."""
    generator = random.Random(1)
    for split, count in (("train", 64), ("test", 4)):
        for i in range(count):
            image = bytes(generator.randrange(256) for _ in range(3 * 32 * 32))
            mask = bytes(255 if generator.random() < 0.05 * (i % 4) else image[3 * p] // 64 for p in range(32 * 32))
            for kind, values, color in (("images", image, harness.RGB), ("masks", mask, harness.GREY)):
                path = folder / split / kind / f"{i:03}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(harness.png(32, 32, values, color))
    return folder


def configurations(pairs="pairs"):
    """`pairs`: the folder that make_pairs() has filled."""
    pixels = {"data.dataset": "segmentation_folder", "data.path": str(pairs), "data.synthetic": None,
              "data.masks": {"classes": 4}, "data.images": {"height": 32, "width": 32}, "steps": STEPS}
    groups = {
        "norms": {name: {"norm": norm} for name, norm in NORMS.items()},
        "models": {name: {**settings, "model.architecture": name} for name, settings in MODELS.items()},
        "pixels": {name: {"model.architecture": name.split(",")[0], **pixels, **settings}
                   for name, settings in OF_PIXELS.items()},
        "activations": {name: {"model.architecture": "convnet", "model.activation": name,
                               "model.initialization": "lecun" if name == "selu" else "xavier"}
                        for name in ACTIVATIONS},
        "optimizers": OPTIMIZERS, "probes, data, precisions": OTHERS}
    return [Configuration(group, name, settings if group == "pixels" else {**SHAPE, **settings}, *WIDER.get(name, ()))
            for group, named in groups.items() for name, settings in named.items()]


def compare(trainings, limit, configuration):
    """Trains a configuration on both and sets its outcome."""
    settings, name = dict(configuration.settings), configuration.name.replace(" ", "-").replace(",", "")
    name = f"{configuration.group[:5]}-{name}"
    before = []
    if settings.get("norm") == "frozen":  # its statistics are those of a run before
        run = trainings.train(limit, f"{name}-before", "cpu", **{**settings, "norm": "bn", "steps": 4})
        before = ["--init-from", run.checkpoint(4)]
    runs = []
    for device in ("cpu", "cuda"):
        if settings.get("precision") == "bf16":
            emulated = device == "cpu" or trainings.machine.rehearse
            settings["precision"] = "bf16_emulated" if emulated else "bf16"
        runs.append(trainings.train(limit, f"{name}-{device}", device, *before, **settings))
        settings = dict(configuration.settings)
    compare_probes(*runs, asked=settings.get("probes.every_steps"))
    worst = difference(*runs, STEPS)
    configuration.outcome, configuration.failed = f"{worst:.1e}", not worst <= configuration.bound


def compare_probes(one, other, asked):
    """Both measured the same things at the same steps."""
    def shape(value):
        if isinstance(value, dict):
            return {key: shape(inner) for key, inner in value.items()}
        return len(value) if isinstance(value, list) else None
    a, b = ([(probe["step"], shape(probe)) for probe in run.of("probe")] for run in (one, other))
    if a != b or bool(asked) != bool(a):
        raise Failed("the probes measured different things")


def rows(machine, folder, table):
    """One row for each group; the configurations stand below the table."""
    trainings, everything = Trainings(machine, folder), configurations(make_pairs(Path(folder) / "pairs"))
    if machine.rehearse:  # one of each group, and what has a branch of its own in compare()
        chosen = {"frozen", "dyt", "convnet", "unet", "gelu", "adamw", "probes", "bf16, gn"}
        everything = [configuration for configuration in everything if configuration.name in chosen]
    jobs = 1 if machine.rehearse else min(8, os.cpu_count() or 1)

    def attempt(limit, configuration):
        try:
            compare(trainings, limit, configuration)
        except Exception as error:  # counted where the row is judged
            configuration.outcome, configuration.failed = f"**FAILED**: {str(error)[-200:]}", True

    def group(limit, name):
        members = [configuration for configuration in everything if configuration.group == name]
        pool = concurrent.futures.ThreadPoolExecutor(jobs)
        try:
            list(pool.map(lambda configuration: attempt(limit, configuration), members))
        finally:  # also when this program is told to stop
            pool.shutdown(wait=False, cancel_futures=True)
        table.details = details(everything)
        if failed := [f"{c.name}: {c.outcome}" for c in members if c.failed]:
            raise Failed(f"{len(failed)} of {len(members)}: {'; '.join(failed)}")
        worst = max(members, key=lambda c: float(c.outcome) / c.bound)
        return f"{len(members)} configurations, {STEPS} steps each; nearest to its bound: {worst.name}, " \
               f"{worst.outcome} of {worst.bound:.0e}"
    return [Row("matrix", f"losses as on the CPU: {name}", 120, lambda limit, name=name: group(limit, name))
            for name in dict.fromkeys(c.group for c in everything)]


def details(everything):
    """The lines below the table."""
    return ["", f"The largest relative difference of a loss from the CPU's, over {STEPS} steps:", "",
            "| configuration | difference | asked |", "|---|---:|---|", *(c.line() for c in everything)]
