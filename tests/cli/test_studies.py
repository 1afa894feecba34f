"""Every study of configs/studies in a smaller form: its runs, on few synthetic images, and its report."""
import re
from pathlib import Path

import harness

STUDIES = sorted((Path(__file__).resolve().parents[2] / "configs" / "studies").glob("*.yaml"))
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


if __name__ == "__main__":
    harness.main()
