"""One experiment on any number of ranks gives the same bits: losses, evaluations, checkpoints.

The reference is always the program without mpirun. Compared are the text of every step and
evaluation, timings aside, and the bytes of every tensor file of every checkpoint.
"""
import harness
from harness import full

# Norms whose weights are computed (normalized under SyncBN, standardized under GroupNorm), and the
# variants of SyncBN: other deviations, batch renormalization with limits that open at once.
NAMED = {"wn": {"kind": "batch", "weights": "normalized"},
         "ws": {"kind": "group", "groups": 4, "weights": "standardized"},
         "lc": {"kind": "layer", "over": "channels"},
         "frn": {"kind": "frn", "tlu": True}, "s0": {"kind": "evonorm_s0", "groups": 4},
         "sn": {"kind": "switchable"}, "sn2": {"kind": "switchable", "synced_replicas": 2},
         "l1": {"kind": "batch", "deviation": "l1"},
         "linf": {"kind": "batch", "deviation": "linf"},
         "momentum": {"kind": "momentum", "momentum_images": 32, "momentum_ramp": 4},
         "momentum of two": {"kind": "momentum", "synced_replicas": 2, "momentum_images": 8,
                             "momentum_ramp": 6},
         "mabn": {"kind": "mabn", "window": 2, "window_start": 3, "renormalize_start": 4,
                  "weights": "centered"},
         "mabn of two": {"kind": "mabn", "synced_replicas": 2, "window": 3, "window_start": 0},
         "ci": {"kind": "cross_iteration", "window": 3, "window_start": 1},
         "ci of two": {"kind": "cross_iteration", "synced_replicas": 2, "window": 4, "window_start": 0},
         "b0": {"kind": "evonorm_b0"}, "b0 of two": {"kind": "evonorm_b0", "synced_replicas": 2},
         "renorm": {"kind": "batch", "renormalize": True, "r_max": 1.5, "d_max": 0.5}}
NORMS = ["bn", "syncbn", "gn", "ln", "in", "rms", "dyt", "derf", "none", *NAMED]
RANKS = [1, 2, 3, 4, 7, 8]

# An epoch is 16 + 16 + 5 samples: in its last step two replicas are full, one has a single sample
# and the others are empty. 11 samples are held out for validation.
UNEVEN = {"drop_last": False, "steps": 6, "data.synthetic.train_samples": 48,
          "data.validation": 11, "evaluation.every_steps": 3, "checkpoint.every_steps": 2,
          "checkpoint.keep": 10}
AUGMENTED = {"data.augment": ["random_crop", "horizontal_flip", "cutout"], "data.crop_padding": 2,
             "data.cutout_size": 3, "model.dropout": 0.3, "loss.label_smoothing": 0.1}
SGD = {"optimizer.clip_norm": 0.5, "optimizer.weight_decay": 0.01, "optimizer.nesterov": True,
       "schedule.kind": "cosine", "schedule.warmup_steps": 2}
ADAM = {"optimizer.kind": "adam", "optimizer.lr": 0.01, "optimizer.weight_decay": 0.01}
ADAMW = {"optimizer.kind": "adamw", "optimizer.lr": 0.01, "optimizer.weight_decay": 0.01,
         "optimizer.clip_norm": 0.5, "optimizer.decay_norm_and_bias": True}
EVERYTHING = {**UNEVEN, **AUGMENTED, **SGD}
# One value per channel and sample: per-device BatchNorm needs at least two samples, also of the last
# batch, which is one full replica of three and one of two here.
VECTORS = {"batch_per_replica": 3, "data.synthetic.train_samples": 40}
LENET = {"model.architecture": "lenet", "data.synthetic.height": 12, "data.synthetic.width": 14,
         **VECTORS}
# Depthwise, grouped and dilated convolutions.
MOBILE = {"model.layers": [{"type": "conv", "out": 8, "kernel": 3, "padding": 1, "bias": False}, "norm", "hard_swish",
                           {"type": "conv", "out": 8, "kernel": 3, "padding": 2, "dilation": 2, "groups": 8,
                            "bias": False}, "norm", "silu",
                           {"type": "conv", "out": 12, "kernel": 3, "stride": 2, "groups": 4, "bias": False}, "norm",
                           "silu", "global_pool", {"type": "linear", "out": 4}]}
# Transposed convolutions, resampling, joined channels and products.
ENLARGING = {"model.layers": [
    {"type": "conv", "out": 8, "kernel": 3, "stride": 2, "padding": 1, "bias": False}, "norm", {"type": "relu", "name": "small"},
    {"type": "conv_transpose", "out": 4, "kernel": 2, "stride": 2}, "norm", {"type": "relu", "name": "up"},
    {"type": "upsample", "input": "small", "to": "input", "mode": "bilinear", "name": "smooth"},
    {"type": "concat", "input": "input", "from": ["up", "smooth"]},
    {"type": "conv", "out": 8, "kernel": 3, "stride": 2, "padding": 1, "bias": False}, "norm", {"type": "relu", "name": "body"},
    "global_pool", {"type": "conv", "out": 8, "kernel": 1}, "sigmoid", {"type": "multiply", "from": "body"},
    {"type": "upsample", "scale": 2}, "global_pool", {"type": "linear", "out": 4}]}
MLP = {"model.architecture": "mlp", "model.hidden": [24, 17], "model.dropout_kind": "alpha",
       **VECTORS}


def normalization(norm):
    """Settings of a norm: a short form, a name above, or (replicas, synced replicas)."""
    if norm in NAMED:
        return {"norm": NAMED[norm]}
    if norm == "gn":
        return {"norm": {"kind": "group", "groups": 4}}
    if isinstance(norm, str):
        return {"norm": norm}
    replicas, synced = norm
    return {"replicas": replicas, "norm": {"kind": "batch", "synced_replicas": synced}}


class SameBits(harness.TestCase):
    def same(self, settings, ranks):
        """Trains `settings` without mpirun and on every count in `ranks`."""
        self.number = getattr(self, "number", 0) + 1
        reference = self.train(f"{self.number}-alone", settings)
        for count in ranks:
            with self.subTest(ranks=count):
                run = self.train(f"{self.number}-on-{count}", settings, ranks=count)
                self.assertEqual(run.of("start")[0]["ranks"], count)
                self.assert_same_bits(reference, run)
        return reference

    def test_norms(self):
        counts = {"bn": [2, 7], "syncbn": [1, 3, 8], "gn": [4, 7], "ln": [3], "in": [2], "rms": [3],
                  "dyt": [3], "derf": [2], "lc": [3], "frn": [2], "s0": [7], "sn": [3, 8], "sn2": [3], "none": [8], "wn": [3], "ws": [7], "l1": [2, 3], "linf": [3, 7],
                  "renorm": [3], "momentum": [3, 8], "momentum of two": [3], "mabn": [3, 8], "mabn of two": [3],
                  "ci": [3, 8], "ci of two": [3], "b0": [3, 8], "b0 of two": [3]}
        for norm in NORMS:
            with self.subTest(norm=norm):
                self.same({**EVERYTHING, **normalization(norm)}, counts[norm])

    def test_groups_inside_and_across_ranks(self):
        # 8 replicas: two ranks hold whole groups, eight split each, three and seven straddle them.
        for norm, counts in {(8, 2): [2, 3, 8], (8, 4): [2, 3, 7], (12, 3): [5, 7],
                             (12, 6): [5, 7]}.items():
            with self.subTest(replicas=norm[0], synced=norm[1]):
                size = {"data.synthetic.train_samples": 75} if norm[0] == 12 else {}
                self.same({**EVERYTHING, **size, **normalization(norm)}, counts)

    def test_optimizers(self):
        for optimizer in (ADAM, ADAMW):
            self.same({**UNEVEN, **AUGMENTED, **optimizer}, [3])

    def test_other_models(self):
        self.same({**UNEVEN, **AUGMENTED, **LENET, **ADAMW, "norm": "syncbn"}, [3, 8])
        self.same({**UNEVEN, **AUGMENTED, **MLP, "norm": "syncbn"}, [7])
        self.same({**EVERYTHING, **MOBILE, "norm": "syncbn"}, [3, 8])
        self.same({**EVERYTHING, **ENLARGING, "norm": "syncbn"}, [3, 8])
        self.same({**EVERYTHING, **ENLARGING, "norm": {"kind": "group", "groups": 2, "weights": "standardized"}}, [2])
        self.same({**EVERYTHING, **MOBILE, "norm": {"kind": "cross_iteration", "synced_replicas": 1, "window": 3,
                                                    "window_start": 1}}, [3])

    def test_bf16(self):
        for settings, counts in [({"norm": "syncbn"}, [3, 8]), ({"norm": "bn"}, [2]),
                                 ({**LENET, "norm": "syncbn"}, [3]), ({**ENLARGING, "norm": "syncbn"}, [3])]:
            self.same({**EVERYTHING, **settings, "precision": harness.bf16()}, counts)

    def test_one_sample_per_replica(self):
        self.same({"batch_per_replica": 1, "norm": "syncbn"}, [3, 8])

    def test_so_many_ranks_that_they_exchange_in_pairs(self):
        self.same({"replicas": 16, "batch_per_replica": 2, "norm": "syncbn", "steps": 3}, [16])

    def test_in_pairs_that_do_not_come_out_even(self):
        self.same({"replicas": 19, "batch_per_replica": 2, "norm": "syncbn", "steps": 3}, [19])

    def test_a_replica_count_that_is_odd(self):
        self.same({"replicas": 7, "batch_per_replica": 3, "norm": "syncbn",
                   "data.shuffle": False}, [2, 5])

    def test_number_of_threads_does_not_matter(self):
        settings = {**EVERYTHING, "norm": "syncbn"}
        reference = self.train("alone", settings)
        for threads in ("1", "4"):
            for count in (0, 2):
                run = self.train(f"{threads}-threads-{count}", settings, ranks=count,
                                 env={"OMP_NUM_THREADS": threads})
                self.assert_same_bits(reference, run)

    def resumed(self, settings, first_ranks, then_ranks, stop):
        """Trains `stop` steps on one rank count, the rest on another; returns the Run."""
        self.number = getattr(self, "number", 0) + 1
        name = f"{self.number}-resumed"
        self.train(name, {**settings, "steps": stop}, ranks=first_ranks)
        run = self.train(name, settings, ranks=then_ranks, arguments=["--resume", "auto"])
        self.assertEqual(run.of("resume")[0]["step"], stop)
        return run

    def test_resume_on_another_rank_count(self):
        # The stop falls inside an epoch, whose length is 3. A cosine would stretch with the length.
        for norm, first, then in [("syncbn", 3, 7), ("bn", 0, 3), ((8, 4), 7, 2), ("gn", 2, 0),
                                  ("momentum of two", 3, 2), ("mabn", 2, 3), ("mabn of two", 3, 0),
                                  ("ci", 3, 2), ("ci of two", 3, 0), ("b0", 3, 2)]:
            with self.subTest(norm=norm, first=first, then=then):
                settings = {**EVERYTHING, **normalization(norm), "schedule.kind": "constant",
                            "evaluation.every_steps": 1, "steps": 8}
                reference = self.train(f"whole-{norm}", settings)
                self.assert_same_bits(reference, self.resumed(settings, first, then, 4))

    def test_resume_adam(self):
        settings = {**UNEVEN, **AUGMENTED, **ADAMW, "norm": "syncbn", "evaluation.every_steps": 1}
        self.assert_same_bits(self.train("whole", settings), self.resumed(settings, 4, 3, 2))

    def test_another_seed_gives_other_bits(self):
        ours = self.train("three", EVERYTHING)
        theirs = self.train("four", {**EVERYTHING, "seed": 4})
        for a, b in zip(ours.exact_events(), theirs.exact_events()):
            self.assertNotEqual(a, b)
        a, b = ours.tensor_files(), theirs.tensor_files()
        for name in a:
            if "step-0/optimizer" not in name and "step-0/statistics" not in name:
                self.assertNotEqual(a[name], b[name], name)

    def test_fastest_agrees_to_rounding(self):
        settings = {**UNEVEN, "norm": "syncbn", "reduction": "fastest", "optimizer.lr": 0.01}
        reference = self.train("alone", settings)
        for count in (2, 4):
            run = self.train(f"on-{count}", settings, ranks=count)
            for a, b in zip(reference.steps, run.steps):
                self.assertAlmostEqual(a["loss"], b["loss"], delta=1e-3 * a["loss"])
        self.assertEqual(len(reference.steps), 6)

    @full
    def test_matrix(self):
        """Every norm and group on every rank count, for every optimizer and model."""
        settings = {"sgd": {**EVERYTHING}, "adamw": {**UNEVEN, **AUGMENTED, **ADAMW},
                    "adam": {**UNEVEN, **ADAM}, "lenet": {**EVERYTHING, **LENET},
                    "mlp": {**EVERYTHING, **MLP},
                    "bf16": {**EVERYTHING, "precision": harness.bf16()}}
        for name, base in settings.items():
            for norm in NORMS + [(8, 2), (8, 4)]:
                if norm in ("gn", "ws") and name in ("lenet", "mlp"):
                    continue  # four groups do not divide their channels
                with self.subTest(settings=name, norm=norm):
                    self.same({**base, **normalization(norm)}, RANKS)

    @full
    def test_matrix_of_groups(self):
        for replicas, synced in [(12, 2), (12, 3), (12, 4), (12, 6), (12, 12), (15, 5), (9, 3)]:
            with self.subTest(replicas=replicas, synced=synced):
                self.same({**EVERYTHING, "data.synthetic.train_samples": 4 * replicas + 16,
                           **normalization((replicas, synced))}, [2, 3, 5, 7, replicas])

    @full
    def test_matrix_of_resumes(self):
        for norm in NORMS + [(8, 2), (8, 4)]:
            settings = {**EVERYTHING, **normalization(norm), "schedule.kind": "constant",
                        "evaluation.every_steps": 1, "steps": 8}
            reference = self.train(f"whole-{norm}", settings)
            for first, then, stop in [(1, 8, 3), (8, 1, 4), (3, 4, 5), (4, 7, 2), (7, 3, 6)]:
                with self.subTest(norm=norm, first=first, then=then, stop=stop):
                    run = self.resumed(settings, first, then, stop)
                    self.assert_same_events(run, reference)
                    theirs = run.tensor_files()  # of the step where it stopped, too
                    for name, content in reference.tensor_files().items():
                        self.assertTrue(theirs[name] == content, f"{name} differs")


if __name__ == "__main__":
    harness.main()
