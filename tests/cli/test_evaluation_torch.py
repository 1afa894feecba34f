"""Evaluation with each kind of statistics against PyTorch in double precision, by its definition."""
import re

import harness
from test_torch import (MODELS, TEST_IMAGES, ResNet, images_and_labels, load, nn, settings,
                        torch, write_data)

SIZE = 24  # of a batch of the evaluation: 1000 test images are 40 of 24, and one of 40
TRAINING, WEIGHT = 100, 0.3


class Mixed(nn.BatchNorm2d):
    """Summers & Dinneen 2020: mean and second moment are mixed, the variance follows."""

    def forward(self, x):
        mean = WEIGHT * x.mean((2, 3)) + (1 - WEIGHT) * self.running_mean
        square = (WEIGHT * x.square().mean((2, 3))
                  + (1 - WEIGHT) * (self.running_var + self.running_mean.square()))
        y = (x - mean[:, :, None, None]) / (square - mean.square() + self.eps).sqrt()[:, :, None, None]
        return y * self.weight[:, None, None] + self.bias[:, None, None]


def norms(model):
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def batches(count):
    """Bounds of batches of SIZE; what remains belongs to the last one."""
    starts = list(range(0, count - SIZE + 1, SIZE))
    return list(zip(starts, starts[1:] + [count]))


def by_batch(model, images):
    """Scores with the statistics of each batch; running statistics stay."""
    model.train()
    for norm in norms(model):
        norm.momentum = 0.0
    return torch.cat([model(images[begin:end]) for begin, end in batches(len(images))])


def take_statistics(model, images):
    """Sets the running pairs to mean and unbiased variance of all that the norms see in `images`."""
    seen = {norm: [] for norm in norms(model)}
    hooks = [norm.register_forward_hook(lambda norm, x, _: seen[norm].append(x[0])) for norm in seen]
    by_batch(model, images)
    for hook in hooks:
        hook.remove()
    for norm, parts in seen.items():
        variance, mean = torch.var_mean(torch.cat(parts), (0, 2, 3), unbiased=True)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)


class EvaluationTorch(harness.TestCase):
    def expected(self, path, kind):
        """Loss and accuracy on the test images."""
        model = load(ResNet(norm=nn.BatchNorm2d, **MODELS["resnet8"]), path)
        images, labels = images_and_labels("t10k", 0, TEST_IMAGES)
        with torch.no_grad():
            if kind == "precise":
                take_statistics(model, images_and_labels("train", 0, TRAINING)[0])
            if kind == "test_set":
                take_statistics(model, images)
            if kind == "mixed":
                for norm in norms(model):
                    norm.__class__ = Mixed
            scores = by_batch(model, images) if kind == "batch" else model.eval()(images)
            loss = nn.functional.cross_entropy(scores, labels).item()
            return loss, (scores.argmax(1) == labels).double().mean().item()

    def test_each_kind_is_as_defined(self):
        write_data(self.folder / "data")
        kinds = ["running", "precise", "batch", "test_set", "mixed"]
        run = self.train("run", {**settings("resnet8", "syncbn"), "data.path": str(self.folder / "data"),
                                 "optimizer.lr": 0.02, "optimizer.weight_decay": 0, "steps": 30,
                                 "evaluation.statistics": kinds, "evaluation.batch": SIZE,
                                 "evaluation.precise_samples": TRAINING, "evaluation.mixed_weights": [WEIGHT]},
                         ranks=2)
        found = {e["statistics"]: e for e in run.evals if e["step"] == 30}
        self.assertEqual(list(found), kinds)
        weights = run.checkpoint(30) / "model.safetensors"
        evaluated = harness.run("eval", self.folder / "run.yaml", "--weights", weights)
        self.assertEqual(evaluated.code, 0, evaluated.err)
        printed = dict(re.findall(r"loss (\S+), 1000 samples, (\w+) statistics", evaluated.out)[i][::-1]
                       for i in range(len(kinds)))
        losses = set()
        for kind in kinds:
            with self.subTest(kind=kind):
                loss, accuracy = self.expected(weights, kind)
                self.assertAlmostEqual(found[kind]["loss"], loss, delta=1e-4 * loss)
                self.assertAlmostEqual(found[kind]["accuracy"], accuracy, delta=0.0021)  # two at the edge
                self.assertEqual(float(printed[kind]), found[kind]["loss"])
                losses.add(round(loss, 3))
        self.assertEqual(len(losses), len(kinds))  # a confusion of two would be seen
        self.assertGreater(max(e["accuracy"] for e in found.values()), 0.3)


if __name__ == "__main__":
    harness.main()
