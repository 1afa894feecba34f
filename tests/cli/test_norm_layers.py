"""norm.layers: other norms for some layers, in a whole run."""
import harness

MIXED = {"norm": {"kind": "batch", "layers": [{"match": "layer1.*", "kind": "group", "groups": 4},
                                              {"match": "layer3.*", "frozen": "statistics",
                                               "kind": "frozen"},
                                              {"match": "*downsample.1", "kind": "frn"}]}}


class NormLayers(harness.TestCase):
    def weights(self):
        return self.train("first", {"norm": "syncbn"}).checkpoint(4)

    def test_mixed_norms_have_the_same_bits_on_any_rank_count_and_resume(self):
        weights = self.weights()
        for precise in (0, 16):
            settings = {**MIXED, "norm": {**MIXED["norm"], "precise_samples": precise},
                        "drop_last": False, "steps": 6, "data.synthetic.train_samples": 37,
                        "checkpoint.every_steps": 2}
            give = ["--init-from", weights]
            alone = self.train(f"alone-{precise}", settings, arguments=give)
            before, after = alone.model(0), alone.model(6)
            for count in (3, 8):
                self.assert_same_bits(alone, self.train(f"on-{count}-{precise}", settings,
                                                        ranks=count, arguments=give))
            name = f"resumed-{precise}"
            self.train(name, {**settings, "steps": 3, "checkpoint.keep": 5}, arguments=give)
            again = self.train(name, {**settings, "checkpoint.keep": 5}, ranks=3,
                               arguments=["--resume", "auto", *give])
            self.assertEqual(again.losses, alone.losses)
            for tensor, frozen in (("bn1.running_mean", False), ("layer3.0.bn1.running_mean", True),
                                   ("layer3.0.bn2.running_var", True),
                                   ("layer3.0.bn1.weight", False)):
                self.assertEqual((before[tensor] == after[tensor]).all(), frozen, tensor)
            self.assertFalse(any(name.startswith("layer1") and "running" in name for name in after))

    def test_other_norms_begin_with_the_weights_that_they_share(self):
        weights = self.weights()
        path = harness.write_experiment(self.folder / "gn.yaml",
                                        {"norm": {"kind": "frn", "tlu": True}},
                                        run_dir=self.folder / "gn")
        result = harness.run("train", path, "--init-from", weights, ranks=2)
        self.assertEqual(result.code, 0, result.err)
        self.assertIn("the norms differ; left out, as this model has none: running_mean of 9 layers, "
                      "running_var of 9 layers", result.err)
        self.assertIn("the norms differ; not in the file, so they start anew: bias of 9 layers, "
                      "tau of 9 layers", result.err)
        start, first = harness.Run(self.folder / "gn").model(0), harness.Run(self.folder / "first")
        before = first.model(4)
        for tensor in ("conv1.weight", "bn1.weight", "bn1.bias", "layer3.0.bn2.weight"):
            self.assertTrue((start[tensor] == before[tensor]).all(), tensor)
        self.assertEqual(abs(start["bn1.tau"]).max(), 0)
        # And back: statistics start anew, and frozen ones cannot.
        back = self.train("back", {"norm": "bn"},
                          arguments=["--init-from", harness.Run(self.folder / "gn").checkpoint(4)])
        self.assertTrue((back.model(0)["bn1.running_var"] == 1).all())
        path = harness.write_experiment(self.folder / "frozen.yaml", {"norm": "frozen"},
                                        run_dir=self.folder / "frozen")
        result = harness.run("train", path, "--init-from",
                             harness.Run(self.folder / "gn").checkpoint(4))
        self.assertEqual(result.code, 3, result.err)
        self.assertIn("has no bn1.running_mean, and norm.kind: frozen needs statistics", result.err)

    def test_plan_and_print_config_show_each_layers_norm(self):
        path = harness.write_experiment(self.folder / "mixed.yaml", MIXED)
        plan = harness.run("plan", path)
        self.assertEqual(plan.code, 0, plan.err)
        printed = harness.run("train", path, "--print-config")
        self.assertEqual(printed.code, 0, printed.err)
        for text, begin in ((plan.out, ""), (printed.out, "# ")):
            lines = [" ".join(line.split()) for line in text.splitlines()]
            for row in ("layer1.0.bn1 8x8x16 group, 4 groups of channels",
                        "layer3.0.bn2 2x2x64 frozen, statistics",
                        "layer2.0.downsample.1 4x4x32 frn"):
                self.assertIn(begin + row, lines)
            self.assertTrue(any(line.startswith(begin + "bn1 8x8x16 batch, statistics of")
                                for line in lines), text)

    def test_a_pattern_without_a_match_is_refused_with_its_place(self):
        path = harness.write_experiment(
            self.folder / "bad.yaml", {"norm": {"layers": [{"match": "layer9.*", "kind": "group"}]}})
        for arguments in (["train", path], ["train", path, "--print-config"], ["plan", path]):
            result = harness.run(*arguments)
            self.assertEqual(result.code, 2, result.err)
            self.assertRegex(result.err, r"bad.yaml:\d+:\d+: norm.layers: 'layer9.\*' matches no "
                                         r"norm layer; they are bn1, layer1.0.bn1, ")


if __name__ == "__main__":
    harness.main()
