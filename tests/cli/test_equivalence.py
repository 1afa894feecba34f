"""What must be equal although it is computed differently, and what must not be.

SyncBN over many small replicas is BatchNorm over one large one; norms that look at one sample do not
see replicas at all; the engine's own all-reduce agrees with the fixed-order tree. Equal means up to
rounding, because the sums are taken in another order; per-device BatchNorm must differ.
"""
import numpy

import harness
from harness import full

# A residual network without a kink. In a ReLU network the sign of a value that is zero to rounding
# is decided by chance, now and then, and training amplifies the difference from 1e-7 to percents.
SMOOTH = [{"type": "conv", "out": 16, "kernel": 3, "padding": 1, "bias": False}, "norm",
          {"type": "gelu", "name": "stem"},
          {"type": "conv", "out": 16, "kernel": 3, "padding": 1, "bias": False}, "norm",
          {"type": "add", "from": "stem"}, "gelu", {"type": "average_pool", "kernel": 2},
          {"type": "conv", "out": 24, "kernel": 3, "stride": 2, "padding": 1, "bias": False}, "norm",
          "tanh", "global_pool", {"type": "linear", "out": 4}]
STEPS = {"model": {"layers": SMOOTH}, "data.synthetic.height": 12, "data.synthetic.width": 12,
         "optimizer.lr": 0.02, "data.synthetic.train_samples": 256, "steps": 50, "norm": "syncbn"}
RESNET = {"model": {"architecture": "resnet8"}, "optimizer.lr": 0.005, "steps": 5}
SPLIT = {"replicas": 8, "batch_per_replica": 2}
WHOLE = {"replicas": 1, "batch_per_replica": 16}


def largest_difference(a, b):
    """Largest distance of two tensors, relative to the largest value of the second."""
    return float(numpy.abs(a - b).max() / max(numpy.abs(b).max(), 1e-30))


class Equivalence(harness.TestCase):
    def gradients(self, name, settings):
        """The first step's gradients: momentum SGD's state after one step is the gradient itself."""
        run = self.train(name, {**STEPS, **settings, "steps": 1, "checkpoint.every_steps": 1})
        state = harness.read_safetensors(run.checkpoint(1) / "optimizer.safetensors")
        self.assertTrue(all(key.startswith("momentum.") for key in state))
        self.assertGreater(len(state), 2)
        return state

    def losses_differ(self, a, b):
        """Largest relative difference of two runs' losses."""
        self.assertEqual(len(a.losses), len(b.losses))
        return max(abs(x - y) / y for x, y in zip(a.losses, b.losses))

    def gradients_differ(self, a, b):
        self.assertEqual(sorted(a), sorted(b))
        self.assertTrue(all(numpy.abs(b[key]).max() > 0 for key in b))
        return max(largest_difference(a[key], b[key]) for key in b)

    def test_syncbn_is_batchnorm_over_the_global_batch(self):
        split, whole = (self.train(n, {**STEPS, **s}) for n, s in (("split", SPLIT),
                                                                   ("whole", WHOLE)))
        self.assertEqual(len(split.losses), 50)
        self.assertLess(self.losses_differ(split, whole), 1e-4)
        self.assertLess(whole.losses[-1], 0.7 * whole.losses[0])  # 50 steps that learn something
        self.assertLess(self.gradients_differ(self.gradients("g-split", SPLIT),
                                              self.gradients("g-whole", WHOLE)), 1e-5)

    def test_syncbn_in_a_resnet(self):
        split, whole = (self.train(n, {**STEPS, **RESNET, **s})
                        for n, s in (("split", SPLIT), ("whole", WHOLE)))
        self.assertLess(self.losses_differ(split, whole), 1e-4)
        bn = self.train("device", {**STEPS, **RESNET, **SPLIT, "norm": "bn"})
        self.assertGreater(self.losses_differ(bn, whole), 1e-2)

    def test_running_statistics_are_those_of_the_global_batch(self):
        split = self.train("split", {**STEPS, **SPLIT, "steps": 3}).model(3)
        whole = self.train("whole", {**STEPS, **WHOLE, "steps": 3}).model(3)
        names = [name for name in whole if ".running_" in name]
        self.assertEqual(len(names), 6)
        for name in names:
            self.assertLess(largest_difference(split[name], whole[name]), 1e-5, name)

    def test_per_device_batchnorm_differs(self):
        per_device = {**SPLIT, "norm": "bn"}
        ours, whole = (self.train(n, {**STEPS, **s, "steps": 10})
                       for n, s in (("device", per_device), ("whole", WHOLE)))
        self.assertGreater(self.losses_differ(ours, whole), 1e-2)
        self.assertGreater(self.gradients_differ(self.gradients("g-device", per_device),
                                                 self.gradients("g-whole", WHOLE)), 1e-2)

    def test_groups_of_replicas_are_batchnorm_over_fewer_larger_replicas(self):
        # Four groups of two replicas of two: BatchNorm per device over four replicas of four.
        grouped = {**SPLIT, "norm": {"kind": "batch", "synced_replicas": 2}}
        larger = {"replicas": 4, "batch_per_replica": 4, "norm": "bn"}
        a, b = (self.train(n, {**STEPS, **s}) for n, s in (("grouped", grouped), ("larger", larger)))
        self.assertLess(self.losses_differ(a, b), 1e-4)
        self.assertLess(self.gradients_differ(self.gradients("g-grouped", grouped),
                                              self.gradients("g-larger", larger)), 1e-5)
        other = self.train("other", {**STEPS, **SPLIT, "steps": 50})
        self.assertGreater(self.losses_differ(other, b), 1e-2)

    def test_norms_of_one_sample_do_not_see_replicas(self):
        kinds = {kind: {} for kind in ("group", "layer", "instance", "rms", "dyt", "derf", "none")}
        kinds["frn"] = {"kind": "frn", "tlu": True}
        kinds["evonorm_s0"] = {"kind": "evonorm_s0"}
        kinds["layer-channels"] = {"kind": "layer", "over": "channels"}
        for kind, of in kinds.items():
            with self.subTest(norm=kind):
                norm = {**STEPS, "norm": {"kind": kind, "groups": 4, **of}, "steps": 10,
                        "optimizer.lr": 0.02}
                pair = {f"{kind}-split": {**norm, **SPLIT}, f"{kind}-whole": {**norm, **WHOLE}}
                a, b = (self.train(n, s) for n, s in pair.items())
                self.assertLess(self.losses_differ(a, b), 1e-4)
                a, b = (self.gradients(f"{n}-g", s) for n, s in pair.items())
                self.assertLess(self.gradients_differ(a, b), 1e-5)

    def test_an_uneven_last_batch_is_exact(self):
        # An epoch is 16 samples, then 5: two replicas of two, one of one and five empty ones.
        uneven = {"data.synthetic.train_samples": 21, "drop_last": False, "steps": 4}
        a, b = (self.train(n, {**STEPS, **s, **uneven})
                for n, s in (("split", SPLIT), ("whole", WHOLE)))
        self.assertEqual([e["samples"] for e in a.steps], [16, 5, 16, 5])
        self.assertLess(self.losses_differ(a, b), 1e-4)
        for name, value in b.model(4).items():
            self.assertLess(largest_difference(a.model(4)[name], value), 1e-3, name)

    def test_fastest_is_close_to_reproducible(self):
        for norm in ("syncbn", "bn", "gn"):
            with self.subTest(norm=norm):
                settings = {**STEPS, **SPLIT, "steps": 10, "norm": norm}
                exact = self.train(f"{norm}-exact", settings)
                for ranks in (0, 3):
                    fast = self.train(f"{norm}-fast-{ranks}", {**settings, "reduction": "fastest"},
                                      ranks=ranks)
                    self.assertLess(self.losses_differ(fast, exact), 1e-4)

    @full
    def test_syncbn_over_other_splits(self):
        whole = self.train("whole", {**STEPS, **WHOLE})
        for replicas in (2, 4, 16):
            for reduction in ("reproducible", "fastest"):
                with self.subTest(replicas=replicas, reduction=reduction):
                    split = self.train(f"{reduction}-{replicas}",
                                       {**STEPS, "replicas": replicas, "reduction": reduction,
                                        "batch_per_replica": 16 // replicas})
                    self.assertLess(self.losses_differ(split, whole), 1e-4)


if __name__ == "__main__":
    harness.main()
