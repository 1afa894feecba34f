"""The moving average of the weights: its values, its evaluation, its files, on any ranks and resumed."""
import re

import harness
import numpy
from test_exports import f32, scalars
from test_report import figure, page_data

DECAY = 0.75
EMA = {"ema.decay": DECAY, "steps": 6, "evaluation.every_steps": 2, "checkpoint.every_steps": 1,
       "checkpoint.keep": 10, "data.validation": 24, "optimizer.lr": 0.05}
NORMS = {"bn": "bn", "syncbn": "syncbn", "groups": {"kind": "batch", "synced_replicas": 2}, "gn": "gn",
         "none": "none"}


def average_file(run, step):
    return harness.read_safetensors(run.checkpoint(step) / "ema.safetensors")


def results(run, weights):
    """(step, split) -> (loss, accuracy) of the model's evaluations, or of the average's."""
    return {(e["step"], e["split"]): (e["loss"], e["accuracy"]) for e in run.evals
            if e.get("weights", "") == weights}


class Average(harness.TestCase):
    def expect_average(self, run, every=1, statistics="average"):
        """Each checkpoint's average against the definition, in double, over all checkpoints' weights."""
        model = run.model(0)
        expected = {name: value.astype("f8") for name, value in model.items()}
        for step in range(7):
            model = run.model(step)
            for name, value in model.items():
                if name.endswith("num_batches_tracked") or (".running_" in name and statistics != "average"):
                    expected[name] = value
                elif step > 0 and step % every == 0:
                    expected[name] = DECAY * expected[name] + (1 - DECAY) * value
            found = average_file(run, step)
            self.assertEqual(sorted(found), sorted(model))
            for name, value in expected.items():
                scale = max(numpy.abs(value).max(), 1e-30)
                self.assertLess(numpy.abs(found[name] - value).max(), 1e-6 * scale, f"{name} at {step}")

    def test_values(self):
        for name, norm in NORMS.items():
            with self.subTest(norm=name):
                self.expect_average(self.train(name, {**EMA, "norm": norm}))

    def test_every_so_many_updates_and_with_copied_statistics(self):
        run = self.train("run", {**EMA, "ema.every": 3, "ema.statistics": "copy", "optimizer.kind": "adamw"})
        self.expect_average(run, every=3, statistics="copy")

    def test_training_is_as_without_it(self):
        for statistics in ("average", "copy", "precise"):
            with self.subTest(statistics=statistics):
                plain = self.train(f"plain-{statistics}", {**EMA, "ema.decay": 0, "norm": "bn"})
                run = self.train(statistics, {**EMA, "ema.statistics": statistics, "norm": "bn"})
                self.assertEqual(plain.losses, run.losses)
                self.assertEqual(results(plain, ""), results(run, ""))
                self.assertEqual(set(results(run, "ema")), set(results(run, "")))
                files = run.tensor_files()
                for name, content in plain.tensor_files().items():
                    self.assertTrue(files[name] == content, name)
                self.assertFalse(any("ema" in name for name in plain.tensor_files()))

    def test_same_bits_on_any_ranks(self):
        for name, norm in NORMS.items():
            for statistics in ("average", "precise") if name in ("bn", "syncbn") else ("average",):
                with self.subTest(norm=name, statistics=statistics):
                    settings = {**EMA, "norm": norm, "ema.statistics": statistics, "evaluation.precise_samples": 30}
                    alone = self.train(f"{name}-{statistics}", settings)
                    for ranks in (2, 4):
                        self.assert_same_bits(alone, self.train(f"{name}-{statistics}-{ranks}", settings, ranks=ranks))

    def test_resumed_to_the_bit(self):
        for name in ("bn", "syncbn", "groups", "gn"):
            with self.subTest(norm=name):
                settings = {**EMA, "norm": NORMS[name], "ema.every": 2}
                straight = self.train(f"{name}-straight", settings)
                self.train(name, {**settings, "steps": 3}, ranks=2)
                resumed = self.train(name, settings, arguments=["--resume", "auto"], ranks=3)
                self.assertEqual(straight.losses, resumed.losses)
                self.assertEqual([results(straight, "ema")[6, split] for split in ("test", "validation")],
                                 [results(resumed, "ema")[6, split] for split in ("test", "validation")])
                for file in ("ema.safetensors", "ema_statistics.safetensors"):
                    ours, theirs = straight.checkpoint(6) / file, resumed.checkpoint(6) / file
                    self.assertEqual(ours.exists(), theirs.exists())
                    if ours.exists():
                        self.assertTrue(ours.read_bytes() == theirs.read_bytes(), file)
                self.assertEqual((straight.checkpoint(6) / "ema_statistics.safetensors").exists(),
                                 name in ("bn", "groups"))
                self.assertNotIn("note", str(resumed.of("resume")))

    def test_a_checkpoint_without_it_begins_it(self):
        self.train("run", {**EMA, "ema.decay": 0, "steps": 3})
        path = harness.write_experiment(self.folder / "run.yaml", EMA, run_dir=self.folder / "run")
        result = harness.run("train", path, "--resume", "auto")
        self.assertEqual(result.code, 0, result.err)
        self.assertIn("ema: the checkpoint has no average for ema.statistics: average; it begins with the weights "
                      "of step 3", result.out)
        run = harness.Run(self.folder / "run")
        self.assertIn("begins with the weights of step 3", run.of("resume")[0]["note"])
        expected = {name: value.astype("f8") for name, value in run.model(3).items()}
        for step in (4, 5, 6):
            for name, value in run.model(step).items():
                expected[name] = DECAY * expected[name] + (1 - DECAY) * value
        found = average_file(run, 6)
        for name, value in expected.items():
            if not name.endswith("num_batches_tracked"):
                self.assertLess(numpy.abs(found[name] - value).max(), 1e-6 * max(numpy.abs(value).max(), 1e-30), name)
        # And a run may go on without one.
        self.train("run", {**EMA, "ema.decay": 0, "steps": 7}, arguments=["--resume", "auto"])
        self.assertFalse((self.folder / "run/checkpoints/step-7/ema.safetensors").exists())

    def test_eval_of_its_file_is_what_the_run_found(self):
        for name in ("bn", "gn"):
            for statistics, extra in (("average", []), ("copy", []), ("precise", ["--statistics", "precise"])):
                if name == "gn" and statistics == "precise":
                    continue
                with self.subTest(norm=name, statistics=statistics):
                    run = self.train("run-" + name + statistics, {**EMA, "norm": NORMS[name],
                                                                  "ema.statistics": statistics})
                    result = harness.run("eval", self.folder / f"run-{name}{statistics}.yaml", "--weights",
                                         run.checkpoint(6) / "ema.safetensors", *extra)
                    self.assertEqual(result.code, 0, result.err)
                    loss = re.search(r"loss ([^,]+),", result.out)[1]
                    self.assertEqual(float(loss), results(run, "ema")[6, "test"][0])
                    self.assertNotEqual(results(run, "ema")[6, "test"], results(run, "")[6, "test"])

    def test_it_starts_from_given_weights(self):
        run = self.train("run", EMA)
        again = self.train("again", {**EMA, "steps": 1},
                           arguments=["--init-from", run.checkpoint(6) / "ema.safetensors"])
        ours, theirs = average_file(again, 0), average_file(run, 6)
        for name, value in theirs.items():
            if not name.endswith("num_batches_tracked"):
                self.assertTrue((ours[name] == value).all(), name)


class Shown(harness.TestCase):
    def test_every_view_has_its_column(self):
        settings = {**EMA, "metrics.tensorboard": True, "metrics.textfile": str(self.folder / "run.prom"),
                    "evaluation.statistics": ["running", "batch"], "name": "tiny"}
        path = harness.write_experiment(self.folder / "run.yaml", settings, run_dir=self.folder / "run")
        result = harness.run("train", path)
        self.assertEqual(result.code, 0, result.err)
        run = harness.Run(self.folder / "run")
        loss, accuracy = results(run, "ema")[6, "test"]
        self.assertEqual((run.summary["test_loss_ema"], run.summary["test_accuracy_ema"]), (loss, accuracy))
        self.assertIn("test_accuracy_batch", run.summary)
        self.assertIn(f"  step 6: test accuracy {100 * accuracy:.2f}%, loss {loss:.4f} (ema weights)\n", result.out)
        events, = (self.folder / "run").glob("events.out.tfevents.*")
        tags = scalars(events)[1]
        for (step, split), (loss, accuracy) in results(run, "ema").items():
            self.assertEqual((tags[f"{split}/loss_ema", step], tags[f"{split}/accuracy_ema", step]),
                             (f32(loss), f32(accuracy)))
        self.assertRegex((self.folder / "run.prom").read_text(),
                         r'syncnorm_evaluation_accuracy_ratio\{[^}]*split="test",weights="ema"\} ')
        harness.run("report", run.folder)
        data = page_data((run.folder / "report.html").read_text())
        shown = {line["name"]: line for line in figure(data, "Accuracy over updates")["lines"]}
        self.assertEqual(shown["test, ema weights"]["y"],
                         [results(run, "ema")[step, "test"][1] for step in (2, 4, 6)])

    def test_a_study_has_its_column(self):
        path = harness.write_experiment(self.folder / "study.yaml", {**EMA, "steps": 3},
                                        run_dir=self.folder / "study", compare={"norm": ["bn", "gn"]})
        result = harness.run("compare", path)
        self.assertEqual(result.code, 0, result.err)
        run = harness.Run(self.folder / "study" / "norm=gn")
        header, _, *rows = (self.folder / "study" / "table.md").read_text().splitlines()
        self.assertIn("| ema weights |", header)
        self.assertIn(f"{100 * run.summary['test_accuracy_ema']:.2f}%", rows[1])


if __name__ == "__main__":
    harness.main()
