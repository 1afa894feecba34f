"""`--init-from`: what a run may begin with, what it takes over, and what it refuses."""
import harness


class StartFrom(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.first = self.train("first", {"norm": "syncbn"})
        self.weights = self.first.checkpoint(4)

    def refused(self, code, message, settings, *arguments):
        path = harness.write_experiment(self.folder / "refused.yaml", settings,
                                        run_dir=self.folder / "refused")
        for dry in ([], ["--dry-run"]):
            result = harness.run("train", path, *arguments, *dry)
            self.assertEqual(result.code, code, result.err)
            self.assertIn(message, result.err)
            self.assertFalse((self.folder / "refused" / "metrics.jsonl").exists())

    def test_a_dry_run_reads_the_checkpoint_and_changes_nothing(self):
        path = self.folder / "first.yaml"
        before = sorted((f.name, f.stat().st_mtime_ns) for f in self.first.folder.rglob("*"))
        self.assertEqual(harness.run("train", path, "--dry-run", "--resume", "auto").code, 0)
        used = harness.run("train", path, "--dry-run")
        self.assertEqual(used.code, 2)
        self.assertIn("--resume auto", used.err)
        self.assertEqual(sorted((f.name, f.stat().st_mtime_ns) for f in self.first.folder.rglob("*")), before)

    def test_a_folder_or_its_file_give_all_weights_and_statistics(self):
        before = self.first.model(4)
        for weights in (self.weights, self.weights / "model.safetensors"):
            for norm in ("syncbn", "bn", "frozen"):
                with self.subTest(weights=weights, norm=norm):
                    name = f"{norm}-{weights.name}"
                    run = self.train(name, {"norm": norm, "batch_per_replica": 2},
                                     arguments=["--init-from", weights])
                    start = run.model(0)
                    for tensor, value in before.items():
                        if "num_batches" not in tensor:
                            self.assertTrue((start[tensor] == value).all(), tensor)

    def test_what_a_norm_remembers_may_be_absent_and_a_moving_pair_unread(self):
        """Weights of batch norm start norms with a memory; those of momentum batch norm start batch norm."""
        momentum = {"kind": "momentum", "momentum_ramp": 3}
        remembered = self.train("momentum", {"norm": momentum}, arguments=["--init-from", self.weights])
        start, end = remembered.model(0), remembered.model(4)
        for tensor, value in self.first.model(4).items():
            if "num_batches" not in tensor:
                self.assertTrue((start[tensor] == value).all(), tensor)
        moving = [tensor for tensor in start if ".moving_" in tensor]
        self.assertTrue(moving)
        for tensor in moving:
            self.assertFalse(start[tensor].any(), tensor)
            self.assertTrue(end[tensor].any(), tensor)
        self.train("mabn", {"norm": {"kind": "mabn"}}, arguments=["--init-from", self.weights])
        cross = self.train("cross", {"norm": {"kind": "cross_iteration", "window": 3, "window_start": 0}},
                           arguments=["--init-from", self.weights])
        self.assertEqual(sorted(cross.model(4)), sorted(self.first.model(4)))
        self.assertEqual(cross.losses[0], self.train("bn", {"norm": "syncbn"}, arguments=[
            "--init-from", self.weights]).losses[0])  # an update without earlier ones is batch norm's
        given = remembered.checkpoint(4)
        again = self.train("again", {"norm": momentum}, arguments=["--init-from", given]).model(0)
        back = self.train("back", {"norm": "syncbn"}, arguments=["--init-from", given]).model(0)
        self.assertEqual(sorted(back), sorted(tensor for tensor in end if tensor not in moving))
        for tensor, value in end.items():
            if "num_batches" not in tensor:
                self.assertTrue((again[tensor] == value).all(), tensor)
                self.assertTrue(tensor in moving or (back[tensor] == value).all(), tensor)

    def test_frozen_statistics_have_the_same_bits_on_any_rank_count_and_resume(self):
        settings = {"norm": "frozen", "drop_last": False, "steps": 6,
                    "data.synthetic.train_samples": 37, "checkpoint.every_steps": 2}
        give = ["--init-from", self.weights]
        alone = self.train("alone", settings, arguments=give)
        for count in (3, 8):
            self.assert_same_bits(alone, self.train(f"on-{count}", settings, ranks=count,
                                                    arguments=give))
        self.train("resumed", {**settings, "steps": 3, "checkpoint.keep": 5}, arguments=give)
        again = self.train("resumed", {**settings, "checkpoint.keep": 5}, ranks=3,
                           arguments=["--resume", "auto", *give])
        self.assertEqual(again.of("resume")[0]["step"], 3)
        self.assertEqual(again.losses, alone.losses)

    def test_a_classifier_of_another_size_starts_anew(self):
        path = harness.write_experiment(self.folder / "more.yaml",
                                        {"norm": "syncbn", "data.synthetic.classes": 6},
                                        run_dir=self.folder / "more")
        result = harness.run("train", path, "--init-from", self.weights, ranks=2)
        self.assertEqual(result.code, 0, result.err)
        self.assertIn("fc.weight, fc.bias of another shape there start anew", result.err)
        start, before = harness.Run(self.folder / "more").model(0), self.first.model(4)
        self.assertEqual(start["fc.weight"].shape[0], 6)
        self.assertTrue((start["conv1.weight"] == before["conv1.weight"]).all())

    def test_a_study_begins_every_run_with_them(self):
        path = harness.write_experiment(
            self.folder / "study.yaml", {"compare": {"norm": ["syncbn", "frozen"]}, "steps": 2},
            run_dir=self.folder / "study")
        result = harness.run("compare", path, "--init-from", self.weights)
        self.assertEqual(result.code, 0, result.err)
        runs = [harness.Run(p.parent) for p in (self.folder / "study").glob("*/summary.json")]
        self.assertEqual(len(runs), 2)
        for run in runs:
            self.assertTrue((run.model(0)["conv1.weight"]
                             == self.first.model(4)["conv1.weight"]).all())

    def test_frozen_statistics_must_come_from_somewhere(self):
        self.refused(2, "norm.kind: frozen statistics must come from somewhere; start with "
                        "--init-from", {"norm": "frozen"})

    def test_other_models_and_missing_files_are_refused(self):
        self.refused(3, "is missing; the file is of another model or norm",
                     {"model.architecture": "resnet20"}, "--init-from", self.weights)
        self.refused(3, "cannot be read (No such file or directory); give a checkpoint folder or a .safetensors file",
                     {"norm": "syncbn"}, "--init-from", self.folder / "nothing.safetensors")
        (self.folder / "junk.safetensors").write_bytes(b"junk")
        self.refused(3, "junk.safetensors", {"norm": "syncbn"}, "--init-from",
                     self.folder / "junk.safetensors")


if __name__ == "__main__":
    harness.main()
