"""Which statistics batch norms use in an evaluation: each kind where it is shown, on any ranks."""
import json
import re

import harness
from test_exports import f32, scalars
from test_report import figure, page_data

KINDS = ["running", "precise", "batch", "test_set", "mixed"]
OTHERS = [kind for kind in KINDS if kind != "running"]
# 60 test and 24 validation images in batches of 7: the last ones have 11 and 10.
ALL = {"evaluation.statistics": KINDS, "evaluation.batch": 7, "evaluation.precise_samples": 30,
       "evaluation.mixed_weights": [0, 0.25, 0.75], "data.validation": 24, "data.synthetic.test_samples": 60,
       "steps": 4, "evaluation.every_steps": 2, "checkpoint.every_steps": 2, "model.dropout": 0.2,
       "optimizer.lr": 0.05}


def lines(run, step=None):
    """(step, split, statistics) -> (loss, accuracy) of every evaluation."""
    return {(e["step"], e["split"], e.get("statistics", "running")): (e["loss"], e["accuracy"])
            for e in run.evals if step in (None, e["step"])}


class Kinds(harness.TestCase):
    def test_same_bits_on_any_ranks(self):
        for norm in ("bn", "syncbn", {"kind": "batch", "synced_replicas": 2, "noise": True}):
            with self.subTest(norm=norm):
                name = str(norm)[:6].strip("{'")
                settings = {**ALL, "norm": norm}
                alone = self.train(name, settings)
                for ranks in (2, 3, 4):
                    self.assert_same_bits(alone, self.train(f"{name}-{ranks}", settings, ranks=ranks))
                found = lines(alone)
                self.assertEqual(set(found), {(s, split, k) for s in (2, 4) for split in ("test", "validation")
                                              for k in KINDS})
                for split in ("test", "validation"):
                    losses = [found[4, split, kind][0] for kind in KINDS if kind != "mixed"]
                    self.assertEqual(len(set(losses)), 4)

    def test_training_is_as_without_them(self):
        for norm in ("bn", "syncbn"):
            with self.subTest(norm=norm):
                plain = self.train(f"plain-{norm}", {**ALL, "norm": norm, "evaluation.statistics": ["running"]})
                run = self.train(f"all-{norm}", {**ALL, "norm": norm})
                self.assertEqual(plain.losses, run.losses)
                self.assertTrue(plain.tensor_files() == run.tensor_files())
                found = lines(run)
                for key, value in lines(plain).items():
                    self.assertEqual(found[key], value)
                self.assertNotIn("statistics", "".join(plain.lines))
                same = {k: v for k, v in run.summary.items() if k in plain.summary}
                timing = re.compile("seconds|share|samples_per|communicator")
                self.assertEqual({k: v for k, v in same.items() if not timing.search(k)},
                                 {k: v for k, v in plain.summary.items() if not timing.search(k)})

    def test_a_weight_of_nothing_is_the_running_statistics(self):
        run = self.train("run", {**ALL, "evaluation.mixed_weights": [0]})
        found = lines(run)
        for step in (2, 4):
            for split in ("test", "validation"):
                mixed, running = found[step, split, "mixed"], found[step, split, "running"]
                self.assertAlmostEqual(mixed[0], running[0], delta=1e-6 * running[0])  # convolutions of one image
                self.assertEqual(mixed[1], running[1])

    def test_the_weight_is_the_best_on_validation_images(self):
        weights = [0, 0.25, 0.75]
        results = {}
        for weight in weights:
            run = self.train(f"run-{weight}", {**ALL, "norm": "bn", "evaluation.mixed_weights": [weight]})
            results[weight] = lines(run)
        chosen = self.train("run", {**ALL, "norm": "bn"})
        for step in (2, 4):
            best = max(weights, key=lambda w: (results[w][step, "validation", "mixed"][1],
                                               -results[w][step, "validation", "mixed"][0]))
            for event in chosen.evals:
                if event["step"] == step and event["statistics"] == "mixed":
                    self.assertEqual(event["sample_weight"], best)
                    self.assertEqual((event["loss"], event["accuracy"]),
                                     results[best][step, event["split"], "mixed"])
        self.assertEqual(chosen.summary["sample_weight"], chosen.evals[-1]["sample_weight"])

    def test_one_batch_of_all_images_is_the_test_set(self):
        """With all images in one batch, its own statistics are the test set's, but for n / (n - 1)."""
        run = self.train("run", {**ALL, "evaluation.batch": 100})
        found = lines(run)
        for split in ("test", "validation"):
            batch, whole = found[4, split, "batch"], found[4, split, "test_set"]
            self.assertNotEqual(batch, whole)
            self.assertAlmostEqual(batch[0], whole[0], delta=5e-3 * whole[0])

    def test_precise_is_what_norm_precise_samples_would_give(self):
        """With one group of replicas, batches and samples are the same; the training is another one."""
        base = {**ALL, "norm": "syncbn", "evaluation.batch": 0, "data.shuffle": False, "model.dropout": 0}
        run = self.train("run", {**base, "evaluation.precise_samples": 32})
        replaced = self.train("replaced", {**base, "norm": {"kind": "batch", "precise_samples": 32}})
        self.assertEqual(run.losses, replaced.losses)
        ours, theirs = lines(run)[4, "test", "precise"], lines(replaced)[4, "test", "running"]
        self.assertAlmostEqual(ours[0], theirs[0], delta=1e-4 * theirs[0])
        # There, the key of norm determines how many images are read.
        again = lines(replaced)[4, "test", "precise"]
        self.assertAlmostEqual(again[0], theirs[0], delta=1e-4 * theirs[0])

    def test_a_resumed_run_goes_on(self):
        straight = self.train("straight", ALL)
        self.train("resumed", {**ALL, "steps": 2})
        resumed = self.train("resumed", ALL, arguments=["--resume", "auto"], ranks=2)
        self.assertEqual(lines(straight), lines(resumed))
        self.assertEqual(straight.losses, resumed.losses)
        # Another list does not keep a run from being resumed.
        more = self.train("resumed", {**ALL, "steps": 6, "evaluation.statistics": ["batch"]},
                          arguments=["--resume", "auto"])
        self.assertEqual({k for s, _, k in lines(more) if s == 6}, {"batch"})
        self.assertEqual(lines(straight), {k: v for k, v in lines(more).items() if k[0] < 6})

    def test_the_first_one_decides(self):
        run = self.train("run", {**ALL, "norm": "bn", "evaluation.statistics": ["batch", "running"]})
        found = lines(run)
        self.assertEqual(run.summary["test_loss"], found[4, "test", "batch"][0])
        self.assertEqual(run.summary["test_loss_running"], found[4, "test", "running"][0])
        best = max((2, 4), key=lambda step: found[step, "validation", "batch"][1])
        self.assertEqual((run.summary["best_step"], run.summary["best_validation_accuracy"]),
                         (best, found[best, "validation", "batch"][1]))


class Shown(harness.TestCase):
    def test_every_view_has_a_column_for_each(self):
        settings = {**ALL, "metrics.tensorboard": True, "metrics.textfile": str(self.folder / "run.prom")}
        path = harness.write_experiment(self.folder / "run.yaml", settings, run_dir=self.folder / "run")
        result = harness.run("train", path)
        self.assertEqual(result.code, 0, result.err)
        run = harness.Run(self.folder / "run")
        found = lines(run)
        weight = run.summary["sample_weight"]
        for kind in KINDS:
            loss, accuracy = found[4, "test", kind]
            suffix = "" if kind == "running" else f"_{kind}"
            self.assertEqual(run.summary[f"test_loss{suffix}"], loss)
            self.assertEqual(run.summary[f"test_accuracy{suffix}"], accuracy)
            self.assertEqual(run.summary[f"validation_accuracy{suffix}"], found[4, "validation", kind][1])
            shown = f"{kind} statistics" + (f", sample's weight {weight:g}" if kind == "mixed" else "")
            self.assertIn(f"  step 4: test accuracy {100 * accuracy:.2f}%, loss {loss:.4f} ({shown})\n", result.out)
        self.assertIn(f"  test accuracy {100 * found[4, 'test', 'running'][1]:.2f}%; also ",
                      result.out)
        self.assertNotIn("test_accuracy_running", run.summary)
        events, = (self.folder / "run").glob("events.out.tfevents.*")
        tags = scalars(events)[1]
        for (step, split, kind), (loss, accuracy) in found.items():
            suffix = "" if kind == "running" else f"_{kind}"
            self.assertEqual(tags[f"{split}/loss{suffix}", step], f32(loss))
            self.assertEqual(tags[f"{split}/accuracy{suffix}", step], f32(accuracy))
        text = (self.folder / "run.prom").read_text()
        for split in ("test", "validation"):
            self.assertRegex(text, rf'syncnorm_evaluation_loss{{[^}}]*split="{split}"}} ')
            for kind in OTHERS:
                loss, accuracy = found[4, split, kind]
                for name, value in (("loss", loss), ("accuracy_ratio", accuracy)):
                    series = re.search(rf'^syncnorm_evaluation_{name}{{.*split="{split}",statistics="{kind}"}} (\S+)$',
                                       text, re.MULTILINE)
                    self.assertTrue(series, f"{name} of {split}, {kind}")
                    self.assertAlmostEqual(float(series[1]), value, places=12)
        self.assertNotIn('statistics="running"', text)

    def test_report(self):
        run = self.train("run", ALL)
        result = harness.run("report", run.folder)
        self.assertEqual(result.code, 0, result.err)
        data = page_data((run.folder / "report.html").read_text())
        shown = {line["name"]: line for line in figure(data, "Accuracy over updates")["lines"]}
        for (_, split, kind) in lines(run):
            line = shown[split if kind == "running" else f"{split}, {kind} statistics"]
            self.assertEqual(list(zip(line["x"], line["y"])),
                             [(e["step"], e["accuracy"]) for e in run.evals
                              if e["split"] == split and e["statistics"] == kind])
        result = harness.run("report", "--csv", run.folder)
        header = result.out.splitlines()[0].split(",")
        self.assertIn("statistics", header)

    def test_a_study_has_columns_and_norms_without_batches_none(self):
        path = harness.write_experiment(
            self.folder / "study.yaml", {**ALL, "evaluation.statistics": ["running", "batch", "test_set"]},
            run_dir=self.folder / "study", compare={"norm": ["bn", "gn"], "seed": [1, 2]}, seed=None)
        result = harness.run("compare", path)
        self.assertEqual(result.code, 0, result.err)
        table = [[cell.strip() for cell in line.split("|")[1:-1]]
                 for line in (self.folder / "study" / "table.md").read_text().splitlines()]
        self.assertEqual(table[0][:4], ["setting", "test accuracy", "batch statistics", "test_set statistics"])
        rows = {row[0]: row for row in table[2:]}
        runs = [harness.Run(self.folder / "study" / f"norm=bn,seed={seed}") for seed in (1, 2)]
        for column, key in ((1, "test_accuracy"), (2, "test_accuracy_batch"), (3, "test_accuracy_test_set")):
            mean = sum(100 * run.summary[key] for run in runs) / 2
            self.assertTrue(rows["norm=bn"][column].startswith(f"{mean:.2f}% ± "), rows["norm=bn"])
        self.assertEqual(rows["norm=gn"][2:4], ["", ""])
        gn = harness.Run(self.folder / "study" / "norm=gn,seed=1")
        self.assertNotIn("statistics", "".join(gn.lines))
        harness.run("report", self.folder / "study")
        data = page_data((self.folder / "study" / "report.html").read_text())
        columns = data["every_setting"]["columns"]
        self.assertIn("test accuracy, batch statistics", columns)
        self.assertNotIn("test accuracy, precise statistics", columns)


class Eval(harness.TestCase):
    def evaluate(self, *arguments, ranks=0):
        result = harness.run("eval", self.folder / "run.yaml", *arguments, ranks=ranks)
        self.assertEqual(result.code, 0, result.err)
        return result.out

    def test_eval_gives_what_the_run_found(self):
        run = self.train("run", ALL)
        expected = ""
        for event in run.evals:
            if event["step"] != 4 or event["split"] != "test":
                continue
            weight = f" with weight {event['sample_weight']:g} of the sample's" if "sample_weight" in event else ""
            expected += (f"test accuracy {100 * event['accuracy']:.2f}%, loss {json.dumps(event['loss'])}, "
                         f"60 samples, {event['statistics']} statistics{weight}\n")
        self.assertEqual(len(expected.splitlines()), 5)
        weights = ["--weights", run.checkpoint(4)]
        for ranks in (0, 2, 4):
            self.assertEqual(self.evaluate(*weights, ranks=ranks), expected)
        self.assertEqual(self.evaluate(*weights, "--statistics", ",".join(reversed(KINDS))),
                         "".join(line + "\n" for line in reversed(expected.splitlines())))
        self.assertEqual(self.evaluate(*weights, "--statistics", "running"),
                         expected.splitlines()[0].replace(", running statistics", "") + "\n")

    def test_weights_of_a_file_and_more_ranks_than_replicas(self):
        run = self.train("run", {**ALL, "evaluation.statistics": ["running"], "replicas": 2})
        arguments = ["--weights", run.checkpoint(4) / "model.safetensors", "--statistics", ",".join(KINDS)]
        alone = self.evaluate(*arguments)
        self.assertEqual(len(alone.splitlines()), 5)
        self.assertEqual(self.evaluate(*arguments, ranks=4), alone)

    def test_mistakes(self):
        run = self.train("run", {"norm": "gn"})
        arguments = ["eval", self.folder / "run.yaml", "--weights", run.checkpoint(4), "--statistics"]
        for given, message in (("batch", "kind: group has no statistics over the batch"),
                               ("sometimes", "'sometimes'"), ("running,running", "listed twice")):
            result = harness.run(*arguments, given)
            self.assertEqual((result.code, result.out), (2, ""), result.err)
            self.assertIn(message, result.err)

    def test_a_batch_of_one_vector_is_refused(self):
        settings = {"model.architecture": "mlp", "model.hidden": [8], "evaluation.statistics": ["running", "batch"],
                    "evaluation.batch": 1}
        path = harness.write_experiment(self.folder / "run.yaml", settings, run_dir=self.folder / "run")
        for ranks in (0, 2):
            result = harness.run("train", path, ranks=ranks)
            self.assertEqual(result.code, 2)
            self.assertEqual(result.err.count("an evaluation batch of one sample of a 1x1 map has no variance"), 1)
            self.assertIn("run.yaml", result.err)
        self.assertFalse((self.folder / "run").exists())


if __name__ == "__main__":
    harness.main()
