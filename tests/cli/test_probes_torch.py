"""What probes measure of a small network, against PyTorch in double precision."""
import harness
from test_torch import BATCH, images_and_labels, load, nn, numpy, torch, write_data

LR, WIDTH, REPLICAS = 0.5, 20, 8


class Sigmoids(nn.Module):
    """The MLP of the zoo with two hidden layers."""

    SETTINGS = {"architecture": "mlp", "hidden": [WIDTH, WIDTH], "activation": "sigmoid"}
    LAYERS = {"fc1": ("fc1", "bn1"), "fc2": ("fc2", "bn2"), "fc": ("fc",)}

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


class Convolutions(nn.Module):
    """Two convolutions, smooth, so that f32 and f64 take the same way."""

    SETTINGS = {"layers": [
        {"type": "conv", "name": "conv1", "out": 4, "kernel": 3, "stride": 2, "bias": False},
        {"type": "norm", "name": "bn1"}, "tanh",
        {"type": "conv", "name": "conv2", "out": 6, "kernel": 3, "stride": 2, "bias": False},
        {"type": "norm", "name": "bn2"}, "tanh", "flatten",
        {"type": "linear", "name": "fc", "out": 10}]}
    LAYERS = {"conv1": ("conv1", "bn1"), "conv2": ("conv2", "bn2"), "fc": ("fc",)}

    def __init__(self, norm):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 4, 3, 2, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 6, 3, 2, bias=False), nn.BatchNorm2d(6)
        self.fc = nn.Linear(6 * 6 * 6, 10)

    def forward(self, x):
        x = torch.tanh(self.bn1(self.conv1(x)))
        x = torch.tanh(self.bn2(self.conv2(x)))
        return self.fc(x.flatten(1))


class AgainstTorch(harness.TestCase):
    def setUp(self):
        super().setUp()
        write_data(self.folder / "data")

    def loss_and_gradient(self, model, parameters, step, rows=slice(None)):
        """At `parameters`, a map by name: the loss over `rows` of the batch of update `step`, all of
        which goes through the network."""
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(parameters[name])
        images, labels = images_and_labels("train", (step - 1) * BATCH, BATCH)
        model.zero_grad()
        loss = nn.functional.cross_entropy(model.train()(images)[rows], labels[rows])
        loss.backward()
        return loss.item(), {n: p.grad.clone() for n, p in model.named_parameters()}

    def parameters(self, model, run, step):
        load(model, run.checkpoint(step) / "model.safetensors")
        return {n: p.detach().clone() for n, p in model.named_parameters()}

    def close(self, ours, theirs, what, relative=1e-4):
        self.assertAlmostEqual(ours, theirs, delta=relative * abs(theirs) + 1e-9, msg=what)

    def compare(self, norm, ranks=0, network=Sigmoids):
        run = self.train("run", {
            "data": {"dataset": "fashion_mnist", "shuffle": False, "limit": 1024,
                     "path": str(self.folder / "data")},
            "model": network.SETTINGS, "norm": norm, "steps": 2,
            "replicas": REPLICAS, "batch_per_replica": BATCH // REPLICAS,
            "optimizer.lr": LR, "checkpoint.every_steps": 1, "checkpoint.keep": 9,
            "probes": {"every_steps": 1, "landscape": True, "landscape_points": 3,
                       "covariate_shift": True, "signal_to_noise": True,
                       "replica_spread": True}}, ranks=ranks)
        model = network(norm != "none").double()
        for event in run.of("probe"):
            step = event["step"]
            before = self.parameters(model, run, step - 1)
            after = self.parameters(model, run, step)
            loss, gradient = self.loss_and_gradient(model, before, step)
            if network is Sigmoids:
                self.activations(event, model, before, after, step)
            self.gradients(event, model, before, after, gradient)
            self.landscape(event, model, before, loss, gradient, step)
            self.covariate_shift(event, model, before, after, gradient, step)
            self.signal_to_noise(event, model, before, step)
            self.replica_spread(event, model, before, step)

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

    def of_layer(self, model, layer, values):
        return torch.cat([v.flatten() for name, v in values.items()
                          if name.split(".")[0] in model.LAYERS[layer]])

    def gradients(self, event, model, before, after, gradient):
        for layer in model.LAYERS:
            found = event["gradients"][layer]
            old, new = self.of_layer(model, layer, before), self.of_layer(model, layer, after)
            exact = self.of_layer(model, layer, gradient).norm().item()
            self.close(found["gradient_norm"], exact, layer)
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
        for layer in model.LAYERS:
            _, there = self.loss_and_gradient(model, mixed, step)
            g, h = self.of_layer(model, layer, gradient), self.of_layer(model, layer, there)
            found = event["covariate_shift"][layer]
            self.assertAlmostEqual(found["distance"], (g - h).norm().item(),
                                   delta=1e-5 * g.norm().item())
            self.close(found["cosine"], (g @ h / (g.norm() * h.norm())).item(), layer, 1e-5)
            for name in before:
                if name.split(".")[0] in model.LAYERS[layer]:
                    mixed[name] = after[name]

    def signal_to_noise(self, event, model, before, step):
        halves = [self.loss_and_gradient(model, before, step, slice(first, None, 2))[1]
                  for first in (0, 1)]
        for layer in model.LAYERS:
            a, b = (self.of_layer(model, layer, half) for half in halves)
            found, scale = event["signal_to_noise"][layer], (a.norm() * b.norm()).item()
            self.assertAlmostEqual(found["signal"], (a @ b).item(), delta=1e-4 * scale)
            self.close(found["noise"], (a - b).square().sum().item() * BATCH / 4, layer, 1e-3)
            self.close(found["ratio"], found["signal"] / (found["noise"] / BATCH), layer)

    def replica_spread(self, event, model, before, step):
        norms = {name: module for name, module in model.named_modules()
                 if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))}
        self.assertEqual(sorted(event.get("replica_spread", {})), sorted(norms))
        inputs = {}
        hooks = [module.register_forward_hook(
            lambda module, seen, out, name=name: inputs.update({name: seen[0].detach()}))
            for name, module in norms.items()]
        self.loss_and_gradient(model, before, step)
        for hook in hooks:
            hook.remove()
        for name, x in inputs.items():
            x = x.reshape(REPLICAS, BATCH // REPLICAS, x.shape[1], -1)
            means, variances = x.mean((1, 3)), x.var((1, 3), unbiased=False)
            mean, variance = x.mean((0, 1, 3)), x.var((0, 1, 3), unbiased=False)
            found = event["replica_spread"][name]
            exact = ((means - mean).square() / variance).mean().sqrt().item()
            self.close(found["mean"], exact, name, 1e-4)
            exact = ((variances - variance) / variance).square().mean().sqrt().item()
            self.close(found["variance"], exact, name, 1e-4)

    def test_a_convolutional_network(self):
        self.compare("syncbn", network=Convolutions)

    def test_with_synchronized_batch_normalization(self):
        self.compare("syncbn", ranks=3)

    def test_without_normalization(self):
        self.compare("none")


if __name__ == "__main__":
    harness.main()
