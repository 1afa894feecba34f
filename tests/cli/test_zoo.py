"""Every model of the zoo trains, has the size that it should have and can learn one batch by heart.

The sizes are computed here from the published architectures; with `norm: none` a convolution has a
bias, else a norm with gamma and beta follows it.
"""
import math

import harness
from harness import full

RESNETS = {"resnet8": 1, "resnet20": 3, "resnet32": 5, "resnet56": 9}
IMAGENET = {"resnet18": ([2, 2, 2, 2], False), "resnet34": ([3, 4, 6, 3], False),
            "resnet50": ([3, 4, 6, 3], True)}
VGGS = {"vgg11": [1, 1, 2, 2, 2], "vgg13": [2, 2, 2, 2, 2], "vgg16": [2, 2, 3, 3, 3]}
# torchvision's counts for 1000 classes and three channels.
TORCHVISION = {"resnet18": 11689512, "resnet34": 21797672, "resnet50": 25557032}


def conv(inputs, outputs, kernel, norm):
    """Weights of a convolution, with the norm (gamma, beta) or the bias that follows it."""
    return inputs * outputs * kernel * kernel + (2 if norm else 1) * outputs


def resnet_size(stages, width, stem, channels, classes, norm, bottleneck=False):
    size, inputs = conv(channels, width, stem, norm), width
    for stage, blocks in enumerate(stages):
        inner = width << stage
        outputs = 4 * inner if bottleneck else inner
        for block in range(blocks):
            kernels = [(inputs, inner, 1), (inner, inner, 3), (inner, outputs, 1)] if bottleneck \
                else [(inputs, inner, 3), (inner, inner, 3)]
            size += sum(conv(*k, norm) for k in kernels)
            projected = block == 0 and (stage > 0 or inputs != outputs)
            size += conv(inputs, outputs, 1, norm) if projected else 0
            inputs = outputs
    return size + (inputs + 1) * classes


def vgg_size(stages, side, channels, classes, norm):
    size, inputs = 0, channels
    for stage, convolutions in enumerate(stages):
        for _ in range(convolutions):
            outputs = min(512, 64 << stage)
            size += conv(inputs, outputs, 3, norm)
            inputs = outputs
        side = max(1, side // 2)
    return size + (512 * side * side + 1) * classes


def lenet_size(side, channels, classes, norm):
    vector = 16 * ((side // 2 - 4) // 2) ** 2
    return (conv(channels, 6, 5, norm) + conv(6, 16, 5, norm) + conv(vector, 120, 1, norm) +
            conv(120, 84, 1, norm) + (84 + 1) * classes)


def convnet_size(channels, classes, norm):
    widths = [channels, 16, 32, 64]
    return (sum(conv(a, b, 3, norm) for a, b in zip(widths, widths[1:])) +
            (widths[-1] + 1) * classes)


def mlp_size(hidden, side, channels, classes, norm):
    widths = [side * side * channels, *hidden]
    return (sum(conv(a, b, 1, norm) for a, b in zip(widths, widths[1:])) +
            (widths[-1] + 1) * classes)


def expected_size(model, side, channels, classes, norm):
    if model in RESNETS:
        return resnet_size([RESNETS[model]] * 3, 16, 3, channels, classes, norm)
    if model in IMAGENET:
        stages, bottleneck = IMAGENET[model]
        return resnet_size(stages, 64, 7, channels, classes, norm, bottleneck)
    if model in VGGS:
        return vgg_size(VGGS[model], side, channels, classes, norm)
    if model == "lenet":
        return lenet_size(side, channels, classes, norm)
    if model == "convnet":
        return convnet_size(channels, classes, norm)
    return mlp_size([256, 128, 64], side, channels, classes, norm)


ALL = ["mlp", "convnet", "lenet", *VGGS, *RESNETS, *IMAGENET]
HEAVY = ["vgg13", "vgg16", "resnet34", "resnet50"]
LAYERS = [{"type": "conv", "out": 8, "kernel": 3, "padding": 1, "bias": False}, "norm",
          {"type": "relu", "name": "stem"}, {"type": "max_pool", "kernel": 2, "name": "half"},
          {"type": "conv", "out": 8, "kernel": 3, "padding": 1, "bias": False}, "norm",
          {"type": "add", "from": "half"}, "selu", {"type": "dropout", "p": 0.1},
          {"type": "average_pool", "kernel": 2}, "flatten", {"type": "linear", "out": 12}, "elu",
          {"type": "linear", "out": 4}]


def batch(architecture, side=16, classes=4, **changes):
    """One global batch of eight images, trained on again and again."""
    return {"replicas": 2, "batch_per_replica": 4, "norm": "syncbn", "steps": 12,
            "data.synthetic": {"classes": classes, "height": side, "width": side, "channels": 3,
                               "train_samples": 8, "test_samples": 8},
            "model": {"architecture": architecture}, "optimizer.lr": 0.01,
            "checkpoint.every_epochs": 0, "evaluation.every_epochs": 0, **changes}


class Zoo(harness.TestCase):
    def learns(self, name, settings, size=None, ranks=0):
        run = self.train(name, settings, ranks=ranks, timeout=300)
        self.assertTrue(all(math.isfinite(loss) for loss in run.losses), run.losses)
        self.assertLess(run.losses[-1], 0.7 * run.losses[0], run.losses)
        self.assertTrue(math.isfinite(run.evals[-1]["loss"]))
        if size is not None:
            self.assertEqual(run.of("start")[0]["parameters"], size)
        return run

    def test_the_counts_here_are_torchvisions(self):
        for model, count in TORCHVISION.items():
            self.assertEqual(expected_size(model, 224, 3, 1000, True), count)

    def test_every_model_learns_a_batch_by_heart(self):
        for model in ALL:
            if model in HEAVY:
                continue
            with self.subTest(model=model):
                size = expected_size(model, 16, 3, 4, True)
                run = self.learns(model, batch(model), size)
                self.assertEqual(run.of("start")[0]["model"], model)

    def test_heavy_models_train(self):
        for model in HEAVY:
            with self.subTest(model=model):
                run = self.train(model, batch(model, steps=2))
                self.assertTrue(all(math.isfinite(loss) for loss in run.losses), run.losses)
                self.assertEqual(run.of("start")[0]["parameters"],
                                 expected_size(model, 16, 3, 4, True))

    def test_a_model_written_layer_by_layer(self):
        size = 3 * 8 * 9 + 16 + 8 * 8 * 9 + 16 + (8 * 16 + 1) * 12 + (12 + 1) * 4
        run = self.learns("layers", batch("mlp", **{"model": {"layers": LAYERS}, "steps": 20,
                                                    "optimizer.lr": 0.03}), size, ranks=2)
        self.assertEqual(run.of("start")[0]["model"], "layers")
        # Names are the type and the number in the list; PyTorch's shapes.
        shapes = {name: value.shape for name, value in run.model(0).items()}
        self.assertEqual(shapes["conv1.weight"], (8, 3, 3, 3))
        self.assertEqual(shapes["linear12.weight"], (12, 128))

    def test_sizes_without_norm(self):
        for model in ("mlp", "lenet", "vgg11", "resnet8", "resnet18"):
            with self.subTest(model=model):
                run = self.train(model, batch(model, steps=1, norm="none", side=20))
                self.assertEqual(run.of("start")[0]["parameters"],
                                 expected_size(model, 20, 3, 4, False))

    def test_sizes_at_imagenets_shape(self):
        """The program plans a step for 224x224 images and 1000 classes; nothing is trained."""
        path = harness.write_experiment(self.folder / "large.yaml", batch(
            "resnet18", side=224, classes=1000, replicas=1, batch_per_replica=1,
            norm="gn"))
        result = harness.run("plan", path)
        self.assertEqual(result.code, 0, result.err)
        self.assertRegex(result.out, r"conv1: conv \[1\] 224x224x3 -> 112x112x64 k7 s2 p3")
        self.assertRegex(result.out, r"layer4.1.conv2: conv \[1\] 7x7x512 -> 7x7x512 k3 s1 p1")

    def test_activations_and_norm_positions(self):
        for activation in ("identity", "relu", "sigmoid", "tanh", "elu", "selu", "gelu", "silu", "hard_swish"):
            for position in ("before_activation", "after_activation"):
                with self.subTest(activation=activation, position=position):
                    self.learns(f"{activation}-{position}", batch("mlp", **{
                        "model": {"architecture": "mlp", "hidden": [32, 16],
                                  "activation": activation, "norm_position": position},
                        "optimizer.lr": 0.1, "steps": 25}))

    def test_initializations_and_zero_gamma(self):
        for kind in ("he", "lecun", "xavier", "gaussian"):
            with self.subTest(initialization=kind):
                run = self.train(kind, batch("resnet8", steps=1, **{
                    "model": {"architecture": "resnet8", "initialization": kind,
                              "initialization_std": 0.02}}))
                weight = run.model(0)["layer3.0.conv2.weight"]  # 64 channels in and out, 3x3
                fan = 64 * 9
                expected = {"he": math.sqrt(2 / fan), "lecun": math.sqrt(1 / fan),
                            "xavier": math.sqrt(2 / (2 * fan)), "gaussian": 0.02}[kind]
                self.assertAlmostEqual(float(weight.std()), expected, delta=0.02 * expected)
                self.assertLess(abs(float(weight.mean())), 0.02 * expected)
        run = self.train("zero", batch("resnet8", steps=1, **{
            "model": {"architecture": "resnet8", "zero_gamma": True}}))
        model = run.model(0)
        self.assertFalse(model["layer2.0.bn2.weight"].any())
        self.assertTrue((model["layer2.0.bn1.weight"] == 1).all())
        self.assertTrue((model["layer2.0.downsample.1.weight"] == 1).all())

    @full
    def test_heavy_models_learn_a_batch_by_heart(self):
        for model in HEAVY:
            with self.subTest(model=model):
                self.learns(model, batch(model, steps=30, side=32),
                            expected_size(model, 32, 3, 4, True))

    @full
    def test_every_model_with_every_norm(self):
        for model in ALL:
            for norm in ("bn", "syncbn", "gn", "ln", "in", "rms", "dyt", "derf", "none", "lc", "frn", "s0",
                         "momentum", "mabn", "ci", "b0", "sn"):
                if norm in ("gn", "s0") and model == "lenet":
                    continue  # four groups do not divide six channels
                if norm == "in" and model in ("mlp", "lenet", *VGGS, *IMAGENET):
                    continue  # a feature map of one value has no variance
                with self.subTest(model=model, norm=norm):
                    norms = {"gn": {"kind": "group", "groups": 4},
                             "frn": {"kind": "frn", "tlu": True}, "sn": {"kind": "switchable"},
                             "s0": {"kind": "evonorm_s0", "groups": 4},
                             "momentum": {"kind": "momentum", "momentum_ramp": 2},
                             "mabn": {"kind": "mabn"},
                             "ci": {"kind": "cross_iteration", "window": 3, "window_start": 0}, "b0": {"kind": "evonorm_b0"},
                             "lc": {"kind": "layer", "over": "channels"}}.get(norm, norm)
                    # Without a norm the deep ones begin with a loss of thousands.
                    rate = {"optimizer.lr": 1e-9 if norm == "none" else 0.001}
                    run = self.train(f"{model}-{norm}",
                                     batch(model, steps=3, norm=norms, **rate), timeout=300)
                    self.assertTrue(all(math.isfinite(loss) for loss in run.losses), run.losses)


if __name__ == "__main__":
    harness.main()
