"""What probes measure of a small network, against PyTorch in double precision."""
import harness
from test_torch import BATCH, images_and_labels, load, nn, numpy, torch, write_data

LR, WIDTH = 0.5, 20


class Sigmoids(nn.Module):
    """The MLP of the zoo with two hidden layers."""

    def __init__(self, norm):
        super().__init__()
        for layer, inputs in ((1, 784), (2, WIDTH)):
            setattr(self, f"fc{layer}", nn.Linear(inputs, WIDTH, bias=not norm))
            setattr(self, f"bn{layer}", nn.BatchNorm1d(WIDTH) if norm else nn.Identity())
        self.fc = nn.Linear(WIDTH, 10)

    def forward(self, x):
        self.seen = []
        x = x.flatten(1)
        for fc, bn in ((self.fc1, self.bn1), (self.fc2, self.bn2)):
            x = torch.sigmoid(bn(fc(x)))
            self.seen.append(x.detach().numpy())
        return self.fc(x)


LAYERS = {"fc1": ("fc1", "bn1"), "fc2": ("fc2", "bn2"), "fc": ("fc",)}


class AgainstTorch(harness.TestCase):
    def setUp(self):
        super().setUp()
        write_data(self.folder / "data")

    def loss_and_gradient(self, model, parameters, step):
        """At `parameters`, a map by name, on the batch of update `step`."""
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(parameters[name])
        images, labels = images_and_labels("train", (step - 1) * BATCH, BATCH)
        model.zero_grad()
        loss = nn.functional.cross_entropy(model.train()(images), labels)
        loss.backward()
        return loss.item(), {n: p.grad.clone() for n, p in model.named_parameters()}

    def parameters(self, model, run, step):
        load(model, run.checkpoint(step) / "model.safetensors")
        return {n: p.detach().clone() for n, p in model.named_parameters()}

    def close(self, ours, theirs, what, relative=1e-4):
        self.assertAlmostEqual(ours, theirs, delta=relative * abs(theirs) + 1e-9, msg=what)

    def compare(self, norm, ranks=0):
        run = self.train("run", {
            "data": {"dataset": "fashion_mnist", "shuffle": False, "limit": 1024,
                     "path": str(self.folder / "data")},
            "model": {"architecture": "mlp", "hidden": [WIDTH, WIDTH], "activation": "sigmoid"},
            "norm": norm, "replicas": 8, "batch_per_replica": BATCH // 8, "steps": 2,
            "optimizer.lr": LR, "checkpoint.every_steps": 1, "checkpoint.keep": 9,
            "probes": {"every_steps": 1, "landscape": True, "landscape_points": 3,
                       "covariate_shift": True}}, ranks=ranks)
        model = Sigmoids(norm != "none").double()
        for event in run.of("probe"):
            step = event["step"]
            before = self.parameters(model, run, step - 1)
            after = self.parameters(model, run, step)
            loss, gradient = self.loss_and_gradient(model, before, step)
            self.activations(event, model, before, after, step)
            self.gradients(event, before, after, gradient)
            self.landscape(event, model, before, loss, gradient, step)
            self.covariate_shift(event, model, before, after, gradient, step)

    def activations(self, event, model, before, after, step):
        self.loss_and_gradient(model, after, step)
        later = model.seen
        self.loss_and_gradient(model, before, step)
        for layer, values, behind in zip(("fc2", "fc"), model.seen, later):
            found = event["activations"][layer]
            self.close(found["mean"], values.mean(), "mean")
            self.close(found["deviation"], values.std(), "deviation")
            for percent in (15, 50, 85):
                exact = numpy.percentile(values, percent, method="inverted_cdf")
                self.close(found[f"p{percent}"], exact, f"p{percent}", relative=0.016)  # one bin
            self.assertEqual(sum(found["histogram"]), values.size)
            self.assertAlmostEqual(found["saturated"],
                                   numpy.mean((values < 0.05) | (values > 0.95)), delta=2e-3)
            self.assertLess(0.0, found["histogram_divergence"])
            ratio = values.std() / behind.std()
            shift = (values.mean() - behind.mean()) / behind.std()
            exact = -numpy.log(ratio) + (ratio ** 2 + shift ** 2 - 1) / 2
            self.assertAlmostEqual(found["gaussian_divergence"], exact, delta=1e-3 * exact + 1e-6)
            self.close(found["deviation_ratio"], 1 / ratio, "ratio")

    def of_layer(self, layer, values):
        return torch.cat([v.flatten() for name, v in values.items()
                          if name.split(".")[0] in LAYERS[layer]])

    def gradients(self, event, before, after, gradient):
        for layer in LAYERS:
            found = event["gradients"][layer]
            old, new = self.of_layer(layer, before), self.of_layer(layer, after)
            self.close(found["gradient_norm"], self.of_layer(layer, gradient).norm().item(), layer)
            self.close(found["update_ratio"], ((new - old).norm() / old.norm()).item(), layer)

    def landscape(self, event, model, before, loss, gradient, step):
        found = event["landscape"]
        length = sum(g.square().sum() for g in gradient.values()).sqrt().item()
        losses, smoothness, lipschitz = [loss], [], []
        for i, alpha in enumerate(found["alpha"]):
            moved = {n: v - alpha * gradient[n] for n, v in before.items()}
            there, change = self.loss_and_gradient(model, moved, step)
            distance = sum((gradient[n] - change[n]).square().sum() for n in gradient).sqrt().item()
            self.close(found["loss"][i], there, f"loss at {alpha}")
            self.close(found["predictiveness"][i], distance, f"at {alpha}", relative=1e-3)
            losses.append(there)
            smoothness.append(distance / (alpha * length))
            lipschitz.append(abs(there - loss) / (alpha * length))
        self.close(found["loss_low"], min(losses), "low")
        self.close(found["loss_high"], max(losses), "high")
        self.close(found["smoothness"], max(smoothness), "smoothness", relative=1e-3)
        self.close(found["lipschitz"], max(lipschitz), "lipschitz", relative=1e-3)

    def covariate_shift(self, event, model, before, after, gradient, step):
        mixed = dict(before)
        for layer in LAYERS:
            _, there = self.loss_and_gradient(model, mixed, step)
            g, h = self.of_layer(layer, gradient), self.of_layer(layer, there)
            found = event["covariate_shift"][layer]
            self.assertAlmostEqual(found["distance"], (g - h).norm().item(),
                                   delta=1e-5 * g.norm().item())
            self.close(found["cosine"], (g @ h / (g.norm() * h.norm())).item(), layer, 1e-5)
            for name in before:
                if name.split(".")[0] in LAYERS[layer]:
                    mixed[name] = after[name]

    def test_with_synchronized_batch_normalization(self):
        self.compare("syncbn", ranks=3)

    def test_without_normalization(self):
        self.compare("none")


if __name__ == "__main__":
    harness.main()
