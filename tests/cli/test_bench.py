"""`syncnorm bench`: what it reports, not how fast anything is."""
import json

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
        self.assertEqual((report["ranks"], report["samples"]), (1, 16))
        self.assertGreater(report["step_seconds"], report["limit_seconds"])
        self.assertGreater(report["limit_seconds"], 0.0)
        self.assertIn("nothing is reduced between ranks", self.bench())

    def test_the_budget_adds_up_to_the_step(self):
        report = json.loads(self.bench("--json", "--instructions"))
        operations = {(o["pass"], o["operation"]): o["instructions"] for o in report["operations"]}
        self.assertEqual(operations["forward", "conv"], 9)
        self.assertEqual(operations["backward", "conv wgrad"], 9)
        self.assertEqual(operations["backward", "conv dgrad"], 8)
        total = sum(o["seconds"] for o in report["operations"])
        self.assertGreater(total, 0.5 * report["step_seconds"])
        self.assertIn("| backward | conv wgrad | 9 |", self.bench("--instructions"))

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
        self.assertEqual(kinds["loss"], [32])
        self.assertNotIn("limit_seconds", report)
        self.assertEqual([t["kind"] for t in report["totals"]],
                         ["forward statistics", "backward statistics", "gradient", "loss"])

    def test_an_injected_delay_is_in_flight_and_unhidden_without_overlap(self):
        report = json.loads(self.bench("--json", "--delay", "3000", ranks=2))
        self.assertEqual(report["delay_seconds"], 0.003)
        for reduction in report["reductions"]:
            self.assertGreaterEqual(reduction["in_flight_seconds"], 0.003)
            self.assertGreaterEqual(reduction["unoverlapped_seconds"], 0.003)
        self.assertGreater(report["unoverlapped_step_seconds"], report["step_seconds"])

    def test_the_table_names_reductions(self):
        out = self.bench("--delay", "100", ranks=3)
        for text in ("images/s", "| layer2.0.bn2 and layer2.0.downsample.1 statistics |",
                     "**all backward statistics**", "every message takes 100 us at least"):
            self.assertIn(text, out)

    def test_bad_usage(self):
        path = harness.write_experiment(self.folder / "tiny.yaml")
        for arguments in (["bench"], ["bench", "walk", path], ["bench", "step"],
                          ["bench", "step", path, "--delay", "-1"],
                          ["bench", "step", path, "--rounds", "0"]):
            self.assertEqual(harness.run(*arguments).code, 2, arguments)


if __name__ == "__main__":
    harness.main()
