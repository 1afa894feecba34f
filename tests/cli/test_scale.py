"""syncnorm plan --ranks: predicted steps; and the same messages under SimGrid."""
import json
import shutil
import subprocess
import unittest
from pathlib import Path

import harness

SIMGRID = Path(__file__).resolve().parents[1] / "simgrid/run"


class Scale(harness.TestCase):
    def plan(self, *arguments, settings=None):
        experiment = harness.write_experiment(self.folder / "x.yaml", settings or {}, run_dir=self.folder / "x")
        return harness.run("plan", experiment, "--steps", "3", *arguments)

    def predictions(self, *arguments, **options):
        result = self.plan("--json", *arguments, **options)
        self.assertEqual(result.code, 0, result.err)
        return json.loads(result.out)

    def test_more_ranks_and_slower_networks_take_longer(self):
        answer = self.predictions("--ranks", "100", "--network", "ethernet25", settings={"norm": "syncbn"})
        rows = answer["predictions"]
        self.assertEqual([r["ranks"] for r in rows], [2, 4, 8, 16, 32, 64, 100])
        for r in rows:
            self.assertGreater(r["alone"]["step_seconds"], answer["computing_seconds"])
            self.assertGreater(r["together"]["step_seconds"], r["alone"]["step_seconds"])
            self.assertEqual(r["alone"]["statistics_seconds"], 0.0)
            self.assertEqual(r["ranks"] % r["share_within_5_percent"], 0)
        self.assertGreater(rows[5]["together"]["statistics_seconds"], rows[0]["together"]["statistics_seconds"])
        # A second a message: as many as there are statistics reductions, and more for the rest.
        slow = self.predictions("--ranks", "2", "--network", "ethernet25,latency_us=1e6", settings={"norm": "syncbn"})
        sums = [r for r in slow["schedule"]["reductions"] if r["kind"].endswith("statistics")]
        step = slow["predictions"][0]["together"]["step_seconds"]
        self.assertGreater(step, len(sums))
        self.assertLess(step, len(slow["schedule"]["reductions"]) + 2)

    def test_a_norm_without_a_batch_has_nothing_to_share(self):
        result = self.plan("--ranks", "4", settings={"norm": {"kind": "group", "groups": 4}})
        self.assertEqual(result.code, 0, result.err)
        self.assertNotIn("SyncBN", result.out)
        self.assertIn("| ranks | step, ms | exposed gradients, ms |", result.out)

    def test_replicas_and_faster_ranks(self):
        kinds = [i["kind"] for i in self.predictions("--ranks", "2")["schedule"]["items"]]
        self.assertLess(kinds.index("start"), kinds.index("wait"))
        text = self.plan("--ranks", "2", "--replicas-per-rank", "4", "--speed-up", "1000").out
        self.assertIn("4 replicas of 2 a rank, 1000 times as fast", text)
        self.assertIn("largest norm.synced_replicas", text)

    def test_a_study_gets_a_column(self):
        study = harness.write_experiment(self.folder / "study.yaml", {"steps": 1}, run_dir=self.folder / "study")
        lines = [line for line in study.read_text().splitlines() if not line.startswith("seed:")]
        before_norm = [line for line in lines if not line.startswith(("norm:", "  groups:"))]
        compare = ["compare:", "  norm: [bn, syncbn, {kind: batch, synced_replicas: 2}]", "  seed: [1, 2]", ""]
        study.write_text("\n".join(before_norm + compare))
        result = harness.run("compare", study, "--ranks", "63", "--network", "ethernet25,latency_us=1e4", "--steps", "3")
        self.assertEqual(result.code, 0, result.err)
        rows = [line.split("|") for line in result.out.splitlines() if line.startswith("|")]
        self.assertIn("predicted step, ms", rows[0][-2])
        alone, together, none = (row[-2].strip() for row in rows[2:])
        self.assertGreater(float(together), 3 * float(alone))
        self.assertEqual(none, "")  # two do not divide 63
        self.assertIn("Predicted: 63 ranks of 1 replica(s), ethernet25,latency_us=1e4: 10000 us", result.out)

    def test_what_is_refused(self):
        for arguments, message in [(["--ranks", "1"], "--ranks"), (["--ranks", "2", "--network", "modem"], "there is no"),
                                   (["--ranks", "2", "device=cuda"], "device=cpu"),
                                   (["--ranks", "2", "replica=3"], "replica")]:
            result = self.plan(*arguments)
            self.assertEqual(result.code, 2, arguments)
            self.assertIn(message, result.err)

    def test_what_needs_a_number_of_ranks(self):
        experiment = harness.write_experiment(self.folder / "x.yaml", {}, run_dir=self.folder / "x")
        for option in (["--network", "ethernet25"], ["--json"], ["--speed-up", "2"], ["--steps", "3"],
                       ["--replicas-per-rank", "2"]):
            result = harness.run("plan", experiment, *option)
            self.assertEqual(result.code, 2, option)
            self.assertIn(f"{option[0]} requires --ranks", result.err)

    def test_simgrid_agrees(self):
        if shutil.which("smpirun") is None:
            raise unittest.SkipTest("smpirun is not there (package libsimgrid-dev)")
        experiment = harness.write_experiment(self.folder / "z.yaml", {"norm": "syncbn"}, run_dir=self.folder / "z")
        result = subprocess.run([SIMGRID, "--config", experiment, "--networks", "ethernet25;nvlink_infiniband",
                                 "--ranks", "8,24,32"], capture_output=True, text=True, check=False,
                                env=harness.environment({"SYNCNORM": harness.PROGRAM}))
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertEqual(result.stdout.count("%"), 12 + 2)


if __name__ == "__main__":
    harness.main()
