"""Probes leave training as it is, do not depend on the number of ranks, and say what they cost."""
import json

import harness

ALL = {"probes.every_steps": 2, "probes.landscape": True, "probes.landscape_points": 3,
       "probes.covariate_shift": True, "probes.signal_to_noise": True,
       "probes.replica_spread": True}
NETWORKS = {
    "bn in a resnet": {"norm": "bn"},
    "syncbn with dropout": {"norm": "syncbn", "model.dropout": 0.3, "data.augment": ["cutout"]},
    "sigmoid, renormalized": {"model.architecture": "mlp", "model.hidden": [12, 9],
                              "model.activation": "sigmoid",
                              "norm": {"kind": "batch", "renormalize": True}},
    "lenet in bf16": {"model.architecture": "lenet", "data.synthetic.height": 12,
                      "data.synthetic.width": 14, "precision": harness.bf16(),
                      "norm": {"kind": "group", "groups": 2}},
    "syncbn with noise": {"norm": {"kind": "batch", "noise": True}},
    "momentum batch norm": {"norm": {"kind": "momentum", "momentum_ramp": 3}},
    "moving average batch norm": {"norm": {"kind": "mabn", "window": 2, "window_start": 0, "renormalize_start": 2}},
    "cross-iteration batch norm": {"norm": {"kind": "cross_iteration", "window": 2, "window_start": 0}},
    "evonorm b0": {"norm": {"kind": "evonorm_b0"}},
    "uneven": {"drop_last": False, "steps": 6, "data.synthetic.train_samples": 37,
               "norm": {"kind": "batch", "synced_replicas": 4}},
}


def probes(run):
    """The probe events as they were written, without what they took."""
    return [json.dumps({**event, "seconds": 0}) for event in run.of("probe")]


class Probes(harness.TestCase):
    def test_same_bits_with_and_without_and_on_any_ranks(self):
        for number, (name, settings) in enumerate(NETWORKS.items()):
            with self.subTest(name):
                alone = self.train(f"{number}-alone", {**ALL, **settings})
                self.assertGreater(len(alone.of("probe")), 0)
                without = self.train(f"{number}-without",
                                     {**ALL, **settings, "probes.every_steps": 0})
                self.assertEqual(without.of("probe"), [])
                self.assert_same_bits(alone, without)
                three = self.train(f"{number}-on-3", {**ALL, **settings}, ranks=3)
                self.assert_same_bits(alone, three)
                self.assertEqual(probes(alone), probes(three))

    def test_what_is_asked_for_is_measured_when_it_is_due(self):
        run = self.train("run", {**ALL, "steps": 5, "norm": "syncbn"})
        self.assertEqual([e["step"] for e in run.of("probe")], [2, 4])
        names = [e["event"] for e in run.events]
        self.assertEqual(names[names.index("probe") - 1], "step")  # behind its own
        for event in run.of("probe"):
            self.assertGreater(event["seconds"], 0.0)
            layers = list(event["gradients"])
            self.assertEqual(layers[:2] + layers[-1:], ["conv1", "layer1.0.conv1", "fc"])
            # The image is no activation: the first convolution's input is not looked at.
            self.assertEqual(sorted(event["activations"]), sorted(layers[1:]))
            self.assertEqual(list(event["covariate_shift"]), layers)
            self.assertEqual([round(a, 12) for a in event["landscape"]["alpha"]],
                             [0.05, 0.225, 0.4])
            for found in event["activations"].values():
                self.assertLessEqual(found["p15"], found["p50"])
                self.assertLessEqual(found["p50"], found["p85"])
                self.assertIn("dead", found)  # all behind a ReLU
                self.assertNotIn("saturated", found)
                self.assertEqual(len(found["histogram"]), 32)
            first = event["covariate_shift"]["conv1"]
            self.assertEqual(first["distance"], 0.0)  # nothing before it was updated
            self.assertGreater(event["covariate_shift"]["fc"]["distance"], 0.0)
            self.assertEqual(list(event["signal_to_noise"]), layers)
            for found in event["signal_to_noise"].values():
                self.assertGreater(found["noise"], 0.0)
            self.assertEqual(sorted(event["replica_spread"])[:3],
                             ["bn1", "layer1.0.bn1", "layer1.0.bn2"])
            for found in event["replica_spread"].values():
                self.assertGreater(found["mean"], 0.0)
                self.assertGreater(found["variance"], 0.0)
            self.assertAlmostEqual(
                sum(g["gradient_norm"] ** 2 for g in event["gradients"].values()),
                sum(g["gradient_norm"] ** 2 for g in event["covariate_shift"].values()), places=9)
        only = self.train("only", {"probes.every_steps": 4, "probes.activations": False})
        (event,) = only.of("probe")
        self.assertEqual(sorted(event), ["event", "gradients", "seconds", "step"])
        only = self.train("other", {"probes.every_steps": 4, "probes.gradients": False})
        self.assertEqual(sorted(only.of("probe")[0]), ["activations", "event", "seconds", "step"])

    def test_one_replica_has_no_spread_and_one_image_no_halves(self):
        run = self.train("run", {**ALL, "replicas": 1, "norm": "gn"})
        self.assertTrue(run.of("probe"))
        for event in run.of("probe"):
            for found in event["replica_spread"].values():
                self.assertAlmostEqual(found["mean"], 0.0, places=6)
                self.assertAlmostEqual(found["variance"], 0.0, places=6)
        run = self.train("one", {**ALL, "replicas": 1, "batch_per_replica": 1, "norm": "gn"})
        self.assertTrue(run.of("probe"))
        for event in run.of("probe"):
            self.assertNotIn("signal_to_noise", event)
        only = self.train("only", {"probes.every_steps": 4, "probes.activations": False,
                                   "probes.replica_spread": True, "norm": "none"})
        self.assertNotIn("replica_spread", only.of("probe")[0])

    def test_a_resumed_run_may_have_other_probes(self):
        settings = {"steps": 6, "checkpoint.every_steps": 3, "checkpoint.every_epochs": 0,
                    **ALL}
        run = self.train("run", settings)
        before = probes(run)
        harness.shutil.rmtree(run.checkpoint(6))
        again = self.train("run", {**settings, "probes.every_steps": 3},
                           arguments=["--resume", "auto"])
        self.assertEqual([e["step"] for e in again.of("probe")], [2, 6])
        self.assertEqual([probes(again)[0], probes(again)[1]], [before[0], before[2]])

    def test_an_update_of_nothing_shifts_nothing(self):
        run = self.train("run", {**ALL, "norm": "syncbn", "optimizer.lr": 0})
        for event in run.of("probe"):
            for found in event["activations"].values():
                self.assertEqual([found["gaussian_divergence"], found["histogram_divergence"],
                                  found["mean_shift"], found["deviation_ratio"]], [0, 0, 0, 1])
            for found in event["gradients"].values():
                self.assertEqual(found["update_ratio"], 0)
                self.assertGreater(found["gradient_norm"], 0)
            for found in event["covariate_shift"].values():
                self.assertEqual(found["distance"], 0)
                self.assertAlmostEqual(found["cosine"], 1, places=12)


if __name__ == "__main__":
    harness.main()
