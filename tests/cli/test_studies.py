"""Every study of configs/studies in a smaller form: its runs, on few synthetic images, and its report."""
import os
import re
import subprocess
import sys
from pathlib import Path

import harness

ROOT = Path(__file__).resolve().parents[2]
STUDIES = sorted((ROOT / "configs" / "studies").glob("*.yaml"))
SMALL = {"data.dataset": "synthetic", "data.synthetic.height": 28, "data.synthetic.width": 28,
         "data.synthetic.train_samples": 320, "data.synthetic.test_samples": 20, "data.limit": 0,
         "data.validation": 0, "steps": 2, "evaluation.every_steps": 0, "schedule.warmup_steps": 0}
RUNS = 2  # of every study, the first and the last


class Studies(harness.TestCase):
    def small(self, path):
        """Arguments that make the study small, without what it varies itself."""
        settings = {**SMALL, "run_dir": self.folder / path.stem}
        if "probes:" in path.read_text():
            settings |= {"probes.every_steps": 1, "probes.landscape_points": 2}
        if "best_of:" in path.read_text():
            settings["data.validation"] = 32
        if "global_batch" not in path.read_text():
            settings |= {"replicas": 2, "batch_per_replica": 4}
        if "precise_samples" in path.read_text():
            settings["data.synthetic.train_samples"] = 2048
        if "fashion_scenes" in path.read_text():
            settings |= {"data.dataset": "fashion_scenes", "data.scenes.height": 32, "data.scenes.width": 32,
                         "data.scenes.train_samples": 64, "data.scenes.test_samples": 8, "model.width": 8}
        return [f"{key}={value}" for key, value in settings.items()]

    def test_every_study_says_what_it_expects(self):
        self.assertGreater(len(STUDIES), 5)
        for path in STUDIES:
            self.assertRegex(path.read_text(), r"\A(#.*\n)*#.*\bExpected", path.name)

    def test_a_smaller_form_of_every_study_runs(self):
        for path in STUDIES:
            with self.subTest(path.stem):
                small = self.small(path)
                listed = harness.run("compare", path, *small, "--dry-run")
                self.assertEqual(listed.code, 0, listed.err)
                count = int(re.search(r"(\d+) runs, no mistakes found", listed.out).group(1))
                for index in sorted({1, count}):
                    result = harness.run("compare", path, *small, "--only", f"{index}/{count}")
                    self.assertEqual(result.code, 0, result.err)
                done = list((self.folder / path.stem).glob("*/summary.json"))
                self.assertEqual(len(done), min(RUNS, count))
                report = harness.run("report", self.folder / path.stem)
                self.assertEqual(report.code, 0, report.err)

    def test_the_figure_of_segmentation(self):
        path = ROOT / "configs/studies/segmentation.yaml"
        small = [*self.small(path), "model.depth=2", "best_of.optimizer.lr=[0.1]", "compare.seed=[1]"]
        for only in ("1/16", "4/16", "9/16"):  # BN at one image and at eight, GN
            trained = harness.run("compare", path, *small, "--only", only)
            self.assertEqual(trained.code, 0, trained.err)
        figure = self.folder / "figure.svg"
        subprocess.run([ROOT / "tests/bench/segmentation", self.folder / path.stem, "--figure", figure], check=True)
        text = figure.read_text()
        for name in (">bn<", ">gn<", ">images per replica<"):
            self.assertIn(name, text)

    def test_the_tables_of_every_norm(self):
        """tests/bench/every_norm on a study of its form: norms over the batch at two batches, another one once."""
        study = self.folder / "study.yaml"
        study.write_text("""name: small
global_batch: 8
steps: 4
evaluation: {every_epochs: 0}
data: {dataset: synthetic, validation: 32, synthetic: {train_samples: 128, test_samples: 40}}
model: {architecture: resnet8}
runs:
  - {norm: bn, compare: {batch_per_replica: [2, 8]}}
  - norm: {kind: cross_iteration, synced_replicas: 1, window: 3, window_start: 0}
    compare: {batch_per_replica: [2, 8]}
  - {norm: gn, batch_per_replica: 8}
compare: {seed: [1, 2]}
best_of: {optimizer.lr: [0.001, 0.01]}
""")
        runs, costs = self.folder / "runs", self.folder / "costs.md"
        trained = harness.run("compare", study, f"run_dir={runs}")
        self.assertEqual(trained.code, 0, trained.err)
        costs.write_text("| images per replica, resnet8 | 2 | 8 |\n|---|---:|---:|\n| BN per device | 2.00 ms | 3.00 ms |\n"
                         "| GN, 8 groups | 1.30 (1.2 to 1.4) | 1.25 (1.2 to 1.4) |\n")
        made = subprocess.run([sys.executable, ROOT / "tests/bench/every_norm", runs, "--costs", costs, "--figure",
                               self.folder / "figure.svg"], stdout=subprocess.PIPE, text=True, check=True,
                              env={**os.environ, "SYNCNORM": os.path.abspath(harness.PROGRAM)})
        rows = [line.strip("| ").split(" | ") for line in made.stdout.splitlines() if line.startswith("|")]
        accuracies, differences = rows[:5], rows[5:]
        self.assertEqual(accuracies[0][:3], ["test accuracy", "2 images", "8 images, or any"])
        self.assertEqual([row[0] for row in accuracies[2:]], ["BN per device", "cross-iteration BN", "GN, 8 groups"])
        self.assertEqual(accuracies[4][1], "–")
        self.assertRegex(accuracies[2][1], r"^\d+\.\d\d% ± \d+\.\d\d$")
        self.assertEqual([row[4] for row in accuracies[2:]], ["1", "–", "1.25"])
        sent = [int(row[5].replace(",", "")) for row in accuracies[2:]]
        self.assertGreater(sent[1], sent[0])  # the slopes, too
        self.assertEqual(sent[2], 0)
        self.assertGreater(float(accuracies[3][6]), float(accuracies[2][6]))  # and keeps them
        self.assertRegex(differences[2][2], r"^\+0\.00 ± 0\.00 at 0\.0")
        self.assertIn("cross-iteration BN", (self.folder / "figure.svg").read_text())


if __name__ == "__main__":
    harness.main()
