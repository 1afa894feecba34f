"""tests/gpu/studies: a rehearsal of the whole script, going on where a piece ended, and the pages it writes."""
import importlib.util
import json
import math
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from xml.etree import ElementTree

import harness

ROOT = Path(__file__).resolve().parents[2]
GPU = ROOT / "tests/gpu"
sys.path.insert(0, str(GPU))
from papers import pages, runs  # noqa: E402  (need the path)
from papers.pages import chart  # noqa: E402
from parts import process  # noqa: E402
from parts.machine import Machine  # noqa: E402

TINY = "cifar10_tiny_batches"


def write_images(folder, train=20, test=3):
    """Ten classes of noise, each of another brightness."""
    import numpy
    from PIL import Image
    random = numpy.random.default_rng(1)
    for split, count in (("train", train), ("test", test)):
        for label in range(10):
            place = folder / split / f"class{label}"
            place.mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(20 * label, 20 * label + 60, (32, 32, 3)).astype("uint8")
                Image.fromarray(pixels).save(place / f"{i:04}.jpg")


def files_below(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())
TINY_BATCHES = 11  # runs of cifar10_tiny_batches in a rehearsal


class Studies(harness.TestCase):
    def setUp(self):
        super().setUp()
        if harness.sanitized():
            self.skipTest("programs with a sanitizer are too slow for this")
        if importlib.util.find_spec("PIL") is None:
            self.skipTest("needs python3-pil")
        self.data = self.folder / "data"
        write_images(self.data)

    def studies(self, *arguments, work="work", out=None, timeout=300):
        env = {**os.environ, **({"OUT": str(out)} if out else {})}
        return subprocess.run([sys.executable, GPU / "studies", "--rehearse", "--work", self.folder / work,
                               *map(str, arguments)], capture_output=True, text=True, check=False, timeout=timeout,
                              env=env)

    def results(self, work="work"):
        return sorted((self.folder / work / "runs").glob("*/*/result.json"))

    @harness.full
    def test_a_rehearsal_goes_through_the_whole_script(self):
        folder = self.folder / "pages"
        (folder / "studies").mkdir(parents=True)
        shutil.copy(ROOT / "docs/results/studies.md", folder)
        (folder / "studies/rates-old.svg").write_text("")
        (folder / "studies/rates_sigmoid-old.svg").write_text("")
        said = self.studies(self.data, "--pages", folder)
        self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
        self.assertEqual(len(self.results()), 6 + 5 + TINY_BATCHES)
        for name in ("rates", "landscape", "tiny_batches"):
            text = (folder / f"{name}.md").read_text()
            self.assertIn("on CIFAR-10 (JPEG): ", " ".join(text.split()))
            for link in [part.split(")")[0] for part in text.split("](studies/")[1:]]:
                self.assertIn("</svg>", (folder / "studies" / link).read_text())
            self.assertIn(f"| [cifar10_{name}]({name}.md) | CIFAR-10 (JPEG), ", (folder / "studies.md").read_text())
        self.assertEqual(len(list((folder / "studies").glob("rates-*.svg"))), 2)
        self.assertTrue((folder / "studies/rates_sigmoid-old.svg").exists())
        self.assertIn("| effective β-smoothness | ", (folder / "landscape.md").read_text())
        self.assertIn("\n| 9 | ", (folder / "landscape.md").read_text())
        # The page of what has run can be written at any time.
        again = self.studies("--write-pages", "--pages", self.folder / "again")
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertEqual((self.folder / "again/rates.md").read_text(), (folder / "rates.md").read_text())

    def test_pieces_go_on_on_another_machine(self):
        """The first piece ends after a few seconds; the second one has nothing but the file that it left."""
        out = self.folder / "out"
        arguments = [self.data, "--only", TINY, "steps=100"]
        first = self.studies(*arguments, "--minutes", "0.05", out=out)
        self.assertEqual(first.returncode, 75, first.stdout + first.stderr)
        done = {path.parent.name: path.read_bytes() for path in self.results()}
        self.assertIn(f"{TINY_BATCHES - len(done)} runs are left", first.stdout)
        self.assertEqual(files_below(out), ["studies.tar.xz"])
        second = self.studies(*arguments, "--state", out / "studies.tar.xz", work="other")
        self.assertEqual(second.returncode, 0, second.stdout + second.stderr)
        self.assertEqual(len(self.results("other")), TINY_BATCHES)
        for name, content in done.items():  # as they were: not run again
            self.assertEqual((self.folder / "other/runs" / TINY / name / "result.json").read_bytes(), content)
            self.assertNotIn(f"{TINY} {name}:", second.stdout)
        self.assertIn(f"**{252 - TINY_BATCHES} runs of the study were not run.**", (self.folder / "other/pages/tiny_batches.md").read_text())

    def test_a_run_that_is_stopped_goes_on(self):
        machine, work = Machine(rehearse=True), self.folder / "work"
        work.mkdir()
        runs.prepare_data(machine, self.data, work, process.Limit(60))
        study = runs.Study(machine, work, ROOT / f"configs/studies/{TINY}.yaml", [
            "device=cpu", "steps=150", "schedule.warmup_steps=0", "data.images.height=8", "data.images.width=8",
            "data.images.resize=8"])
        study.load(process.Limit(60))
        study.chosen = study.names[:1]
        folder = study.folder / study.chosen[0]

        class UntilAStep:
            """A limit that is over once the run has trained."""
            seconds = 0

            @staticmethod
            def left():
                log = folder / "metrics.jsonl"
                return 0.0 if log.exists() and '"event":"step"' in log.read_text() else 100.0
        piece = runs.Piece([study], 1, UntilAStep)
        self.assertFalse(piece.go())
        self.assertEqual(piece.failed, {})
        checkpoints = harness.Run(folder).checkpoints()
        self.assertEqual(len(checkpoints), 1)
        self.assertTrue(0 < checkpoints[0] < 150, checkpoints)
        self.assertTrue(runs.Piece([study], 1, process.Limit(100)).go())
        log = (work / f"{TINY}.log").read_text()
        self.assertIn("goes on", log)
        result = study.result(study.chosen[0])
        self.assertEqual((result["step"], result["curve"][-1][0]), (150, 150))
        self.assertEqual(len(result["curve"]), 50)  # means of three steps, the first ones included

    def test_complete_runs_are_small(self):
        said = self.studies(self.data, "--only", TINY)
        self.assertEqual(said.returncode, 0, said.stderr)
        work = self.folder / "work"
        for path in self.results():
            self.assertEqual(files_below(path.parent), [".lock", "config.yaml", "result.json", "summary.json"])
            result = json.loads(path.read_text())
            self.assertEqual((result["status"], result["step"], len(result["curve"])), ("done", 2, 2))
            self.assertLess(path.stat().st_size, 10000)
        self.assertLess(runs.bytes_below(work / "runs"), 2**20)
        # Nothing is left: no run is begun again.
        again = self.studies(self.data, "--only", TINY)
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertNotIn("complete", again.stdout)

    def test_an_archive_and_a_pack_are_data_as_a_folder_is(self):
        machine, limit = Machine(rehearse=True), process.Limit(60)
        with tarfile.open(self.folder / "data.tar.gz", "w:gz") as archive:
            archive.add(self.data, "cifar10")
        for name, data in (("a", self.data), ("b", self.folder / "data.tar.gz"), ("c", self.folder / "a/cifar10-packed")):
            work = self.folder / name
            work.mkdir()
            runs.prepare_data(machine, data, work, limit)
            self.assertEqual((work / "cifar10-packed/pack.index").read_bytes(),
                             (self.folder / "a/cifar10-packed/pack.index").read_bytes())
            self.assertEqual(json.loads((work / "runs/data.json").read_text()), {"format": "JPEG"})
        (self.folder / "empty").mkdir()
        with tarfile.open(self.folder / "empty.tar.gz", "w:gz") as archive:
            archive.add(self.folder / "empty", "empty")
        bad = self.studies(self.folder / "empty.tar.gz", work="bad")
        self.assertEqual(bad.returncode, 2)
        self.assertIn("holds no train/ and test/", bad.stderr)

    def test_a_run_that_fails_is_named_and_costs_no_other(self):
        for path in (self.data / "train/class0").glob("*.jpg"):
            path.write_bytes(path.read_bytes()[:300])
        said = self.studies(self.data, "--only", TINY, "data.images.corrupt=skip")
        self.assertEqual(said.returncode, 0, said.stderr)
        said = self.studies(self.data, "--only", TINY, work="other")
        self.assertEqual(said.returncode, 1)
        self.assertIn(f"{TINY_BATCHES} runs are left", said.stdout)
        self.assertRegex(said.stderr, rf"{TINY} seed=1,norm=none,batch_per_replica=16: exit 2; see its study's log")

    def test_what_is_refused(self):
        for arguments, text in (((self.folder / "nowhere",), "nowhere is not there; give CIFAR-10's images"),
                                ((), "DATA is not there"), ((self.data, "--only", "rates"), "no study rates; the studies"),
                                ((self.data, "norm.kinds=gn"), "norm.kinds")):
            said = self.studies(*arguments)
            self.assertEqual(said.returncode, 2, arguments)
            self.assertIn(text, said.stderr)


class Room(harness.TestCase):
    def test_checkpoints_that_do_not_fit_are_dropped_the_largest_first(self):
        class Fake:
            name, chosen = "study", ["seed=1,large", "seed=1,small", "seed=1,new", "seed=1,done"]
            folder = self.folder

            @staticmethod
            def result(name):
                return name.endswith("done")
        for name, sizes in (("large", [1, 15]), ("small", [2, 3])):
            for step, size in enumerate(sizes):
                place = self.folder / f"seed=1,{name}/checkpoints/step-{10 * step}"
                place.mkdir(parents=True)
                (place / "model.safetensors").write_bytes(bytes(size << 20))
        (self.folder / "seed=1,done").mkdir()
        piece = runs.Piece([Fake()], 1, process.Limit(1))
        piece.make_room()
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["seed=1,done", "seed=1,small"])
        self.assertEqual([path.name for path in (self.folder / "seed=1,small/checkpoints").iterdir()], ["step-10"])
        piece.make_room()
        self.assertTrue((self.folder / "seed=1,small/checkpoints/step-10").exists())


def result(accuracy, status="done", validation=None, curve=(), probes=(), **settings):
    return {"settings": {"seed": "1", **{key.replace("__", "."): value for key, value in settings.items()}},
            "status": status, "test_accuracy": accuracy, "validation_accuracy": validation or accuracy,
            "curve": list(curve) or [[5, 1.0, 0.5]], "probes": list(probes), "evals": [[10, "test", accuracy]],
            "device": "a device", "version": "1", "train_samples": 45000, "test_samples": 10000, "steps_per_epoch": 5,
            "total_steps": 10, "parameters": 123}


class Pages(harness.TestCase):
    def test_the_rate_is_chosen_on_held_out_images(self):
        results = []
        for norm, accuracies in (("none", [0.80, 0.70, 0.1]), ("bn", [0.81, 0.83, 0.79])):
            for rate, accuracy in zip(("0.005", "0.05", "0.5"), accuracies):
                diverged = norm == "none" and rate == "0.5"
                # 0.005 is best on held-out images for both, though not on the test set.
                results.append(result(None if diverged else accuracy, "diverged" if diverged else "done",
                                      0.9 if rate == "0.005" else 0.5, norm=norm, optimizer__lr=rate))
        title, text, figures = pages.rates_page(results)
        self.assertEqual(title, "VGG-11 on CIFAR-10: 81.0% with BatchNorm, 80.0% without, each at its best rate")
        self.assertIn("| none | 80.00% | 70.00% | 1 of 1 diverged | 0.005 |", text)
        self.assertIn("- **Held**: at its best rate, BatchNorm reaches 81.00%, the network without it 80.00%.", text)
        self.assertIn("- **Held**: with BatchNorm, all seeds learn (more than 20% of the test set) at 0.005, 0.05, 0.5.",
                      text)
        self.assertIn("- **Held**: without it, all seeds learn at 0.005, 0.05.", text)
        self.assertEqual(len(figures["accuracy-over-updates"][0].lines), 5)

    def test_what_does_not_hold_is_said(self):
        results = [result(a, norm=norm, optimizer__lr="0.1") for norm, a in (("none", 0.8), ("bn", 0.15))]
        text = pages.rates_page(results)[1]
        self.assertEqual(text.count("**Did not hold**"), 3)

    def test_the_landscape_of_a_plain_network_is_compared(self):
        def probe(scale):
            return {"step": 10, "loss_low": 1.0, "loss_high": 1.0 + scale, "smoothness": scale, "lipschitz": scale,
                    "predictiveness": [scale, 3 * scale],
                    "covariate_shift": {"a": [0.0, 0.0, "nan"], "b": [2.0, scale, 0.9]}}
        norms = {"none": (4.0, 0.6), "bn": (1.0, 0.8), "{kind: batch, synced_replicas: 1, noise: true}": (2.0, 0.79),
                 "{kind: batch, synced_replicas: 1, deviation: linf}": (8.0, 0.7)}
        results = [result(accuracy, norm=norm, probes=[probe(scale)]) for norm, (scale, accuracy) in norms.items()]
        text = pages.landscape_page(results)[1]
        self.assertIn("| predictiveness, mean over the steps | 8 | 2 | 4 | 16 |", text)
        self.assertIn("| 2 | 2.000, 0.9000 | 0.500, 0.9000 | 1.000, 0.9000 | 4.000, 0.9000 |", text)
        self.assertEqual(text.count("**Did not hold**"), 3)  # for L∞
        self.assertIn("- **Held**: with noise the network reaches 79.00%, with BatchNorm alone 80.00%", text)
        self.assertIn("larger with BatchNorm than without in 0 of 1 layers", text)

    def test_tiny_batches_are_judged_where_there_are_several(self):
        found = {("bn", "1"): 0.2, ("bn", "16"): 0.9, ("syncbn", "1"): 0.9, ("syncbn", "16"): 0.93, ("gn", "16"): 0.8}
        results = [result(a, norm=norm, batch_per_replica=batch) for (norm, batch), a in found.items()]
        title, text, _ = pages.tiny_batches_page(results)
        self.assertTrue(title.endswith("per-device BatchNorm loses 70 points from 16 images to 1"), title)
        self.assertIn("| BN per device | 20.00% | 90.00% |", text)
        self.assertIn("| GN, 8 groups | – | 80.00% |", text)
        self.assertIn("- **Held**: per-device BN loses 70.0 points from 16 images per replica to 1.", text)
        self.assertIn("- **Did not hold**: SyncBN lies within 3.0 points", text)
        self.assertNotIn("norms without a batch are flat", text)

    def test_a_figure_is_an_svg_with_every_point_inside(self):
        lines = {"a < b": [(1, 2.0), (10, 2000.0), (16, math.nan)], "none": [(2, 0.5), (4, 4.0)], "zero": [(3, 0.0)]}
        for panel in (chart.Panel(lines, "title & more", "x", y_log=True), chart.Panel(lines, "t", "x", x_log=True),
                      chart.Panel({"one": [(5, 0.0)]}, "t", "x"), chart.Panel({"none": []}, "t", "x"), chart.Panel({}, "t", "x")):
            root = ElementTree.fromstring(chart.svg([panel, panel]))
            width, height = map(float, root.get("viewBox").split()[2:])
            polylines = root.findall("{*}polyline")
            self.assertEqual(len(polylines), 2 * len(panel.lines))
            for x, y in (point.split(",") for line in polylines for point in line.get("points").split()):
                self.assertTrue(60 <= float(x) <= width and 40 <= float(y) <= height, (x, y))

    def test_seeds_are_averaged(self):
        results = [result(a, seed=seed, norm="bn", batch_per_replica="2") for seed, a in (("1", 0.5), ("2", 0.6))]
        self.assertIn("| 55.00% ± 7.07 |", pages.tiny_batches_page(results)[1])


if __name__ == "__main__":
    harness.main()
