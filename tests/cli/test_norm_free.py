"""Networks without norms: normalizer-free ResNets, SkipInit and adaptive clipping, against PyTorch in
double precision, and their bits on any number of ranks."""
import harness
from harness import full

try:
    import numpy
    import torch
    from torch import nn
    import test_torch as oracle
except ImportError as error:
    harness.skip_file(f"needs Debian's python3-torch and python3-numpy ({error})")

ALPHA, RATIO, STEPS, LR = 0.3, 0.05, 6, 0.1
NORM_FREE = {"model.architecture": "resnet8", "model.residual": {"kind": "normalizer_free",
                                                                 "alpha": ALPHA},
             "norm": {"kind": "none", "weights": "scaled_standardized", "weights_eps": 1e-4}}
TANH_GAIN = 1.5925374197229154  # 1 over the deviation of tanh(z), z ~ N(0, 1)


class ScaledConv2d(nn.Conv2d):
    """Brock et al. 2021: filters of mean 0 and variance 1/fan_in, times a learned gain."""
    factor = 1.0

    def __init__(self, *arguments, factor=1.0, **options):
        super().__init__(*arguments, **options)
        self.factor = factor
        self.gain = nn.Parameter(torch.ones(self.out_channels))

    def forward(self, x):
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), unbiased=False, keepdim=True)
        fan_in = self.weight[0].numel()
        scale = (variance * fan_in).clamp(min=1e-4).rsqrt() * self.gain[:, None, None, None]
        return self._conv_forward(x, (self.weight - mean) * scale * self.factor, self.bias)


class Sum(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(1))


class NormFreeBlock(nn.Module):
    def __init__(self, inputs, width, stride, deviation):
        super().__init__()
        first = TANH_GAIN / deviation
        self.conv1 = ScaledConv2d(inputs, width, 3, stride, 1, factor=first)
        self.conv2 = ScaledConv2d(width, width, 3, 1, 1, factor=TANH_GAIN)
        self.downsample = None
        if stride != 1 or inputs != width:
            self.downsample = nn.Sequential(ScaledConv2d(inputs, width, 1, stride, factor=first))
        self.add = Sum()

    def forward(self, x):
        active = torch.tanh(x)
        y = self.conv2(torch.tanh(self.conv1(active)))
        skip = x if self.downsample is None else self.downsample(active)
        return skip + ALPHA * self.add.gain * y


class NormFreeResNet8(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = ScaledConv2d(1, 16, 3, 1, 1)
        # The input of the second stage has gained one branch's variance, and so has the third's.
        grown = (1 + ALPHA ** 2) ** 0.5
        self.layer1 = nn.Sequential(NormFreeBlock(16, 16, 1, 1.0))
        self.layer2 = nn.Sequential(NormFreeBlock(16, 32, 2, grown))
        self.layer3 = nn.Sequential(NormFreeBlock(32, 64, 2, grown))
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.fc(torch.tanh(x).mean((2, 3)))


class SkipInitBlock(oracle.BasicBlock):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.add = Sum()

    def forward(self, x):
        y = self.conv2(torch.relu(self.conv1(x)))
        return torch.relu(self.add.gain * y + (x if self.downsample is None else self.downsample(x)))


def no_norm(_):
    return nn.Identity()


no_norm.keeps_bias = True


def clip_units(model, classifier="fc."):
    """Adaptive gradient clipping of Brock et al. 2021, in place."""
    for name, p in model.named_parameters():
        if name.startswith(classifier):
            continue
        axes = tuple(range(1, p.dim())) if p.dim() > 1 else None

        def norm(x):
            return x.square().sum(axes, keepdim=True).sqrt() if axes else x.norm()
        largest = RATIO * norm(p.detach()).clamp(min=1e-3)
        own = norm(p.grad)
        p.grad *= torch.where(own < largest, torch.ones_like(own), largest / own.clamp(min=1e-6))


class NormFree(harness.TestCase):
    def setUp(self):
        super().setUp()
        oracle.write_data(self.folder / "data")

    def begin(self, name, changes, ranks=0):
        return self.train(name, {**oracle.settings("resnet8", "gn"), "optimizer.weight_decay": 0.0,
                                 "data.path": str(self.folder / "data"), "steps": STEPS,
                                 "optimizer.lr": LR, **changes}, ranks=ranks)

    def compare(self, run, model, clips=False):
        oracle.load(model, run.checkpoint(0) / "model.safetensors")
        optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=oracle.MOMENTUM)
        losses = []
        for step in range(STEPS):
            images, labels = oracle.images_and_labels("train", step * oracle.BATCH, oracle.BATCH)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            if clips:
                clip_units(model)
            optimizer.step()
            losses.append(loss.item())
        for step, (ours, theirs) in enumerate(zip(run.losses, losses), 1):
            self.assertAlmostEqual(ours, theirs, delta=1e-4 * theirs, msg=f"loss of step {step}")
        start, end = run.model(0), run.model(STEPS)
        self.assertEqual(sorted(end), sorted(model.state_dict()))
        for name, value in model.state_dict().items():
            moved = numpy.linalg.norm(value.numpy() - start[name])
            self.assertGreater(moved, 0.0, name)
            self.assertLess(numpy.linalg.norm(end[name] - value.numpy()), 0.02 * moved + 1e-6, name)

    def test_a_normalizer_free_resnet_is_that_of_its_authors(self):
        changes = {**NORM_FREE, "model.activation": "tanh"}
        run = self.begin("tanh", changes)
        self.compare(run, NormFreeResNet8())
        for ranks in (3, 8):
            self.assert_same_bits(run, self.begin(f"tanh-{ranks}", changes, ranks=ranks))

    def test_adaptive_clipping_is_that_of_its_authors(self):
        changes = {**NORM_FREE, "model.activation": "tanh", "optimizer.clip": "adaptive",
                   "optimizer.clip_ratio": RATIO}
        run = self.begin("clipped", changes)
        self.compare(run, NormFreeResNet8(), clips=True)
        self.assertNotEqual(run.losses, self.begin("free", {**changes, "optimizer.clip": "norm"}).losses)
        self.assert_same_bits(run, self.begin("clipped-3", changes, ranks=3))

    def test_skipinit_is_that_of_its_authors(self):
        model = oracle.ResNet([1, 1, 1], no_norm, block=SkipInitBlock)
        for word in ("skipinit", "rezero"):
            run = self.begin(word, {"model.residual": {"kind": word}, "norm": "none",
                                    "optimizer.lr": LR})
            self.compare(run, model)

    @full
    def test_it_learns_where_plain_blocks_without_norms_do_not(self):
        changes = {"model.architecture": "resnet20", "norm": "none", "optimizer.lr": 0.1, "steps": 160}
        plain = harness.write_experiment(self.folder / "plain.yaml",
                                         {**oracle.settings("resnet20", "gn"), **changes,
                                          "data.path": str(self.folder / "data")},
                                         run_dir=self.folder / "plain")
        result = harness.run("train", plain)
        diverged = result.code == 4
        if not diverged:
            self.assertEqual(result.code, 0, result.err)
            diverged = numpy.mean(harness.Run(self.folder / "plain").losses[-10:]) > 2.0
        self.assertTrue(diverged)
        free = self.begin("free", {**NORM_FREE, **changes, "norm": NORM_FREE["norm"]})
        self.assertLess(numpy.mean(free.losses[-20:]), 1.7)

    def test_impossible_combinations_are_refused(self):
        for changes, words in (
                ({**NORM_FREE, "model.architecture": "lenet"}, "is for the ResNets of the zoo"),
                ({**NORM_FREE, "norm": "gn"}, "normalizer_free blocks have no norms"),
                ({**NORM_FREE, "norm": "none"}, "scaled_standardized"),
                ({"optimizer.clip": "adaptive", "optimizer.clip_norm": 1.0},
                 "optimizer.clip_norm: clips the gradient of all parameters")):
            path = harness.write_experiment(self.folder / "bad.yaml", changes)
            result = harness.run("train", path)
            self.assertEqual(result.code, 2, result.err)
            self.assertRegex(result.err, r"bad.yaml:\d+:\d+: ")
            self.assertIn(words, result.err)

    @full
    def test_resnet50_without_norms_trains_and_resumes(self):
        changes = {**NORM_FREE, "model.architecture": "resnet50", "optimizer.clip": "adaptive",
                   "steps": 4, "checkpoint.every_steps": 2, "checkpoint.keep": 5}
        whole = self.begin("whole", changes)
        self.begin("part", {**changes, "steps": 2})
        part = self.train("part", {**oracle.settings("resnet8", "gn"), "optimizer.weight_decay": 0.0,
                                   "data.path": str(self.folder / "data"), "optimizer.lr": LR,
                                   **changes}, arguments=["--resume", "auto"], ranks=2)
        self.assertEqual(whole.losses, part.losses)


if __name__ == "__main__":
    harness.main()
