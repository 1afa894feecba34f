"""`syncnorm bench`: what it reports, not how fast anything is."""
import json
import pathlib

import harness

QUICK = ["--rounds", "2", "--steps", "2"]


class BenchStep(harness.TestCase):
    def bench(self, *arguments, settings=None, ranks=0):
        path = harness.write_experiment(self.folder / "tiny.yaml", settings,
                                        run_dir=self.folder / "run")
        result = harness.run("bench", "step", path, *QUICK, *arguments, ranks=ranks)
        self.assertEqual(result.code, 0, result.err)
        self.assertFalse((self.folder / "run").exists(), "a bench writes nothing")
        return result.out

    def test_one_rank_reduces_nothing(self):
        report = json.loads(self.bench("--json", "--limit"))
        self.assertEqual(report["reductions"], [])
        self.assertEqual((report["ranks"], report["samples"], report["communicator"]), (1, 16, "self"))
        self.assertGreater(report["step_seconds"], 0.0)
        self.assertGreater(report["limit_seconds"], 0.0)
        self.assertIn("nothing is reduced between ranks", self.bench())

    def test_reductions_are_forced_on_a_gpu_alone(self):
        path = harness.write_experiment(self.folder / "tiny.yaml", run_dir=self.folder / "run")
        result = harness.run("bench", "step", path, *QUICK, "--force-reductions")
        self.assertEqual(result.code, 2)
        self.assertIn("--force-reductions is for device: cuda; on CPUs start 2 ranks", result.err)

    def test_every_instruction_is_in_the_budget(self):
        report = json.loads(self.bench("--json", "--instructions"))
        operations = {(o["pass"], o["operation"]): o["instructions"] for o in report["operations"]}
        self.assertEqual(operations["forward", "conv"], 9)
        self.assertEqual(operations["backward", "conv wgrad"], 9)
        self.assertEqual(operations["backward", "conv dgrad"], 8)
        for operation in report["operations"]:
            self.assertGreater(operation["seconds"], 0.0, operation)
        self.assertEqual(report["operations"][-1]["pass"], "update")
        self.assertIs(report["operations_waited_for"], False)  # on the CPU nothing is queued
        text = self.bench("--instructions")
        self.assertIn("| backward | conv wgrad | 9 |", text)
        self.assertNotIn("waited for on the device", text)

    def test_every_reduction_is_listed_with_its_bytes(self):
        report = json.loads(self.bench("--json", ranks=2))
        kinds = {}
        for reduction in report["reductions"]:
            kinds.setdefault(reduction["kind"], []).append(reduction["bytes"])
            self.assertLessEqual(reduction["hidden_share"], 1.0)
        # ResNet-8: five norms alone, two with their projections; f64.
        self.assertEqual(sorted(kinds["forward statistics"]),
                         sorted(8 * n for n in (33, 33, 33, 65, 129, 130, 258)))
        self.assertEqual(sorted(kinds["backward statistics"]),
                         sorted(8 * n for n in (32, 32, 32, 64, 128, 128, 256)))
        self.assertEqual(kinds["loss"], [40])
        self.assertNotIn("limit_seconds", report)
        self.assertEqual([t["kind"] for t in report["totals"]],
                         ["forward statistics", "backward statistics", "gradient", "loss"])

    def test_an_injected_delay_is_in_flight_and_unhidden_without_overlap(self):
        report = json.loads(self.bench("--json", "--delay", "3000", ranks=2))
        self.assertEqual(report["delay_seconds"], 0.003)
        for reduction in report["reductions"]:
            self.assertGreaterEqual(reduction["in_flight_seconds"], 0.003)
            self.assertGreaterEqual(reduction["unoverlapped_seconds"], 0.003)
        # One after another: whatever else the machine does, that many delays are in every step.
        self.assertGreaterEqual(report["unoverlapped_step_seconds"],
                                0.003 * len(report["reductions"]))

    def test_the_table_names_reductions(self):
        out = self.bench("--delay", "100", ranks=3)
        for text in ("images/s", "| layer2.0.bn2 and layer2.0.downsample.1 statistics |",
                     "**all backward statistics**", "every message takes 100 us at least"):
            self.assertIn(text, out)

    def test_bad_usage(self):
        path = harness.write_experiment(self.folder / "tiny.yaml")
        for arguments in (["bench"], ["bench", "walk", path], ["bench", "step"],
                          ["bench", "norm", path], ["bench", "norm", "--channels", "0"],
                          ["bench", "reduce", "--leaves", "0"],
                          ["bench", "reduce", "--max-bytes", "8"],
                          ["bench", "step", path, "--delay", "-1"],
                          ["bench", "step", path, "--rounds", "0"]):
            self.assertEqual(harness.run(*arguments).code, 2, arguments)


class BenchNorm(harness.TestCase):
    TINY = ["--rounds", "2", "--samples", "2", "--height", "4", "--width", "3", "--channels", "12"]

    def bench(self, *arguments):
        result = harness.run("bench", "norm", *self.TINY, *arguments)
        self.assertEqual(result.code, 0, result.err)
        return result.out

    def test_bytes_are_passes_over_the_tensor(self):
        report = json.loads(self.bench("--json"))
        (tensor,) = report["tensors"]
        self.assertEqual([tensor[k] for k in ("samples", "height", "width", "channels", "bytes")],
                         [2, 4, 3, 12, 1152])
        for copy in ("copy", "non_temporal_copy"):
            self.assertAlmostEqual(tensor[copy]["gb_per_second"] * tensor[copy]["seconds"] * 1e9,
                                   2 * 1152, places=6)
        kernels = {k["name"]: k for k in tensor["kernels"]}
        passes = {"batch statistics": 1, "batch forward": 3, "batch forward, relu": 3,
                  "batch forward, add, relu": 4, "batch backward, relu": 5,
                  "batch backward, add, relu": 8, "group forward": 3, "layer backward": 5,
                  "rms backward, relu": 5, "instance backward": 5, "layer over channels forward": 2,
                  "layer over channels backward, relu": 3, "dyt forward": 2, "derf backward": 3,
                  "momentum forward": 3, "momentum backward": 5, "cross_iteration forward": 3,
                  "cross_iteration backward": 5, "mabn forward": 3,
                  "mabn backward": 5, "evonorm_b0 forward": 3, "evonorm_b0 backward": 5, "switchable forward": 3, "switchable backward": 5, "frn forward": 3, "evonorm_s0 backward": 5, "frozen forward, relu": 2, "frozen backward": 2, "frozen backward, relu": 3}
        for name, count in passes.items():
            self.assertEqual((kernels[name]["passes"], kernels[name]["bytes"]),
                             (count, count * 1152), name)
        for kernel in kernels.values():
            self.assertGreater(kernel["share_of_copy"], 0.0)
        self.assertEqual([k for k in kernels if "times_onednn" in kernels[k]],
                         ["batch forward", "batch forward, relu", "batch backward",
                          "batch backward, relu"])

    def test_bf16_moves_half_the_bytes_and_knows_no_onednn(self):
        (tensor,) = json.loads(self.bench("--json", "--bf16"))["tensors"]
        self.assertEqual((tensor["storage"], tensor["bytes"], tensor["onednn"]), ("bf16", 576, ""))
        self.assertNotIn("times_onednn", str(tensor["kernels"]))

    def test_a_gpu_that_is_not_there(self):
        if list(pathlib.Path("/dev").glob("nvidia[0-9]*")):
            self.skipTest("there is a GPU")
        result = harness.run("bench", "norm", *self.TINY, "--cuda")
        self.assertEqual(result.code, 2)
        self.assertIn("device: cuda: ", result.err)

    def test_the_table_says_what_it_compares_with(self):
        out = self.bench()
        for text in ("2 x 4 x 3 x 12", "non-temporal", "oneDNN: ",
                     "| batch input gradient, relu |"):
            self.assertIn(text, out)


class BenchReduce(harness.TestCase):
    def bench(self, *arguments, ranks):
        result = harness.run("bench", "reduce", "--rounds", "2", "--max-bytes", "4096", *arguments,
                             ranks=ranks)
        self.assertEqual(result.code, 0, result.err)
        return result.out

    def test_one_rank_sends_nothing(self):
        for ranks in (0, 1):
            self.assertEqual(self.bench(ranks=ranks), "one rank: nothing is sent\n")
        self.assertEqual(json.loads(self.bench("--json", ranks=0))["reductions"], [])

    def test_every_size_type_and_number_of_leaves(self):
        report = json.loads(self.bench("--json", "--leaves", "1", "3", ranks=2))
        self.assertEqual((report["ranks"], report["rounds"]), (2, 2))
        found = [(r["type"], r["leaves_per_rank"], r["bytes"]) for r in report["reductions"]]
        self.assertEqual(found, [(t, leaves, size) for t in ("f64", "f32") for leaves in (1, 3)
                                 for size in (64, 256, 1024, 4096)])
        for reduction in report["reductions"]:
            # Three leaves at the start of a tree are two whole subtrees.
            self.assertEqual(reduction["subtrees_of_rank_0"],
                             {1: 1, 3: 2}[reduction["leaves_per_rank"]])
            self.assertEqual(reduction["chosen"], "gathered")
            for way in ("gathered", "sliced", "paired", "engine"):
                self.assertGreater(reduction[way + "_seconds"], 0.0)

    def test_the_table_judges_the_threshold(self):
        out = self.bench("--leaves", "4", ranks=3)
        for text in ("| f32 | 4 KiB | 4 | 1 |", "f64, leaves a rank 4: slicing is not slower",
                     "messages of more than 64 KiB are sliced; where that is worst"):
            self.assertIn(text, out)


if __name__ == "__main__":
    harness.main()
