"""`compare` and what a run shows: the table, the run folder, the console, the other commands."""
import json
import math
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import termios
import time

import harness

STUDY = {"compare": {"norm": ["bn", "syncbn"], "seed": [1, 2]}}
COLUMNS = ["setting", "test accuracy", "final loss", "images/s", "exposed reductions"]


def mean(values):
    return sum(values) / len(values)


class Compare(harness.TestCase):
    def study(self, settings=None, **top):
        return harness.write_experiment(
            self.folder / "study.yaml", {"seed": None, "steps": 3, **(settings or {})},
            run_dir=self.folder / "out", **{**STUDY, **top})

    def compare(self, *arguments, ranks=0, code=0):
        result = harness.run("compare", self.folder / "study.yaml", *arguments, ranks=ranks)
        self.assertEqual(result.code, code, result.err + result.out)
        return result

    def table(self, result):
        """setting -> column -> cell, of the table that ends the output."""
        lines = [line for line in result.out.splitlines() if line.startswith("|")]
        self.assertEqual(len({len(line) for line in lines}), 1, result.out)  # it is aligned
        header, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
        # The difference to the first setting is there when two seeds of both are done.
        self.assertEqual([name for name in header if name != "difference, 95%"], COLUMNS)
        return {row[0]: dict(zip(header, row)) for row in rows}

    def runs(self, *names):
        return [harness.Run(self.folder / "out" / name) for name in names]

    def test_table_of_means_over_seeds(self):
        self.study()
        result = self.compare()
        table = self.table(result)
        self.assertEqual(list(table), ["norm=bn", "norm=syncbn"])
        self.assertEqual(table["norm=bn"]["difference, 95%"], "")
        self.assertRegex(table["norm=syncbn"]["difference, 95%"], r"^[+-]\d+\.\d\d ± \d+\.\d\d$")
        for norm in ("bn", "syncbn"):
            runs = self.runs(f"norm={norm},seed=1", f"norm={norm},seed=2")
            accuracy = [100 * run.evals[-1]["accuracy"] for run in runs]
            deviation = abs(accuracy[0] - accuracy[1]) / math.sqrt(2)  # of a sample of two
            self.assertEqual(table[f"norm={norm}"]["test accuracy"],
                             f"{mean(accuracy):.2f}% ± {deviation:.2f}")
            self.assertEqual(table[f"norm={norm}"]["final loss"],
                             f"{mean([mean(run.losses) for run in runs]):.4f}")
            self.assertEqual(table[f"norm={norm}"]["images/s"],
                             f"{mean([r.summary['samples_per_second'] for r in runs]):.0f}")
            self.assertEqual(table[f"norm={norm}"]["exposed reductions"],
                             f"{100 * mean([r.summary['reduction_share'] for r in runs]):.1f}%")
        self.assertEqual((self.folder / "out" / "table.md").read_text(),
                         result.out[result.out.index("| setting"):])
        for number, run in enumerate(["norm=bn,seed=1", "norm=bn,seed=2", "norm=syncbn,seed=1",
                                      "norm=syncbn,seed=2"], 1):
            self.assertIn(f"[{number}/4] tiny/{run}\n", result.out)

    def test_runs_are_those_of_train(self):
        self.study()
        self.compare(ranks=3)
        alone = self.train("alone", {"seed": 2, "steps": 3, "norm": "bn"})
        self.assert_same_bits(alone, self.runs("norm=bn,seed=2")[0])

    def test_done_runs_are_skipped(self):
        self.study()
        first = self.compare()
        logs = {p: p.read_bytes() for p in (self.folder / "out").rglob("metrics.jsonl")}
        again = self.compare()
        self.assertEqual(again.out.count("done before, skipped"), 4)
        self.assertEqual(self.table(first), self.table(again))
        self.assertEqual(logs, {p: p.read_bytes() for p in logs})
        self.assertEqual(len(logs), 4)

    def test_parts(self):
        self.study()
        first = self.compare("--only", "1/3")  # runs 1 and 4
        self.assertEqual(re.findall(r"^\[(.)/4\]", first.out, re.M), ["1", "4"])
        row = self.table(first)["norm=bn"]["test accuracy"]
        self.assertRegex(row, r"^\d+\.\d\d% 1 not run$")
        for part, runs in (("2/3", ["2"]), ("3/3", ["3"])):
            result = self.compare("--only", part)
            self.assertEqual(re.findall(r"^\[(.)/4\]", result.out, re.M), runs)
        self.assertNotIn("not run", result.out)
        for wrong in ("0/3", "4/3", "1", "a/b", "1/", "1/2/3"):
            result = self.compare("--only", wrong, code=2)
            self.assertEqual(result.err, f"syncnorm: --only {wrong}: expected I/N with "
                                         "1 <= I <= N, such as 2/4\n")

    def test_dry_run(self):
        self.study()
        result = self.compare("--dry-run")
        self.assertFalse((self.folder / "out").exists())
        lines = result.out.splitlines()
        self.assertEqual(lines[0], f"tiny/norm=bn,seed=1 -> {self.folder}/out/norm=bn,seed=1")
        self.assertEqual(lines[-1], "4 runs, no mistakes found")
        self.assertEqual(len(lines), 5)

    def test_a_diverged_run_is_a_result(self):
        self.study(compare={"optimizer.lr": [1e30, 0.01]}, settings={"norm": "none"})
        result = self.compare()
        self.assertIn("training diverged: the loss of step", result.out)
        table = self.table(result)
        rows = list(table.values())
        self.assertEqual(rows[0]["test accuracy"], "1 diverged")
        self.assertEqual(rows[0]["final loss"], "-")
        self.assertRegex(rows[1]["test accuracy"], r"^\d+\.\d\d%$")
        again = self.compare()  # and is not tried again
        self.assertEqual(again.out.count("done before, skipped"), 2)

    def test_the_best_rate_is_chosen_on_the_validation_split(self):
        grid = [0.0, 0.05]
        self.study(compare={"norm": ["bn", "gn"], "seed": [1, 2]}, best_of={"optimizer.lr": grid},
                   target_accuracy=0.05,
                   settings={"data.validation": 32, "steps": 8})
        result = self.compare()
        described = json.loads((self.folder / "out" / "study.json").read_text())
        self.assertEqual(described["best_of"], ["optimizer.lr"])
        self.assertEqual(described["target_accuracy"], 0.05)
        tests = {}
        for norm, variant in zip(("bn", "gn"), described["variants"]):
            runs = {rate: self.runs(*[f"norm={norm},seed={seed},optimizer.lr={rate}"
                                      for seed in (1, 2)]) for rate in grid}
            scores = {rate: mean([r.summary["validation_accuracy"] for r in runs[rate]])
                      for rate in grid}
            for run in runs[0.05]:
                self.assertEqual(run.summary["validation_accuracy"], [
                    e["accuracy"] for e in run.evals if e["split"] == "validation"][-1])
            best = max(grid, key=scores.get)  # of equal ones the first
            self.assertEqual(variant["chosen"], {"optimizer.lr": str(best)})
            tests[norm] = [run.summary["test_accuracy"] for run in runs[best]]
            self.assertRegex(result.out, rf"norm={norm} +\| optimizer.lr={best} +\| "
                                         rf"{100 * mean(tests[norm]):.2f}% ± ")
        self.assertNotIn("test_accuracy_difference", described["variants"][0])
        found = described["variants"][1]["test_accuracy_difference"]
        differences = [b - a for a, b in zip(tests["bn"], tests["gn"])]
        self.assertAlmostEqual(found["mean"], mean(differences), places=12)
        # Student's t of one degree of freedom, and the deviation of two values over √2.
        width = 12.7062047 * abs(differences[0] - differences[1]) / 2
        self.assertAlmostEqual(found["high"] - found["mean"], width, places=6)
        self.assertEqual((described["variants"][1]["against"], found["pairs"]), ({"norm": "bn"}, 2))
        report = harness.run("report", self.folder / "out")
        self.assertEqual(report.code, 0, report.err)
        page = (self.folder / "out" / "report.html").read_text()
        data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL).group(1))
        rows = data["every_setting"]["rows"]
        self.assertEqual(data["every_setting"]["columns"][2:6],
                         ["chosen", "test accuracy", "difference, 95%", "against"])
        self.assertEqual([row[0] for row in rows], ["bn", "gn"])
        self.assertEqual([row[1] for row in rows], ["2 of 2", "2 of 2"])
        self.assertEqual(rows[1][4], f"{100 * mean(differences):+.2f} ± {100 * width:.2f}")
        self.assertEqual([row[5] for row in rows], ["", "bn"])
        self.assertEqual([row[:2] for row in data["to_target"]["rows"]],
                         [["bn", "2 of 2"], ["gn", "2 of 2"]])

    def test_it_goes_on_after_an_interruption(self):
        settings = {"steps": 400, "checkpoint.every_steps": 50, "checkpoint.every_epochs": 0,
                    "evaluation.every_epochs": 0}
        path = self.study(settings)
        process = harness.start("compare", path)
        second = self.folder / "out" / "norm=bn,seed=2"
        harness.wait_for(lambda: (second / "checkpoints/step-50/manifest.json").exists(), "run 2")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(harness.finish(process).code, 75)
        self.assertEqual(harness.Run(second).summary["status"], "stopped")
        self.assertFalse((self.folder / "out" / "norm=syncbn,seed=1").exists())
        result = self.compare(ranks=2)
        self.assertIn("[1/4] tiny/norm=bn,seed=1: done before, skipped\n", result.out)
        self.assertIn("[2/4] tiny/norm=bn,seed=2: goes on\n", result.out)
        self.assertNotIn("not run", result.out)
        whole = self.train("alone", {**settings, "seed": 2, "norm": "bn"})
        self.assert_same_events(harness.Run(second), whole)

    def test_a_folder_of_another_study_is_refused(self):
        self.study()
        self.compare()
        result = self.compare("optimizer.lr=0.2", code=2)
        self.assertRegex(result.err, r"^syncnorm: .*/out/norm=bn,seed=1: holds a run with other settings "
                                     r"\(optimizer.lr: 0.05 there, 0.2 here\); move it away, or choose another "
                                     r"run_dir\n$")

    def test_a_study_that_was_moved_goes_on(self):
        """Where it lay when it began is no setting: what is done is not done again."""
        self.study(compare={"norm": ["bn", "gn"]})
        self.compare()
        (self.folder / "out").rename(self.folder / "moved")
        result = self.compare(f"run_dir={self.folder}/moved")
        self.assertEqual(result.out.count("done before, skipped"), 2)

    def test_mistakes_in_a_study(self):
        path = harness.write_experiment(self.folder / "plain.yaml")
        result = harness.run("compare", path)
        self.assertEqual((result.code, result.err), (2, f"syncnorm: {path}:1:1: this file is no "
                                                     "study, it has neither `compare` nor `runs`; "
                                                     "use `syncnorm train`\n"))
        self.study()
        result = self.compare("seed=3", code=2)
        self.assertRegex(result.err, r"^syncnorm: command line: seed: the study varies seed \(at "
                                     r".*study.yaml:\d+:\d+\); change it there\n$")
        self.assertFalse((self.folder / "out").exists())

    def test_norms_that_the_model_cannot_take_are_named_before_the_first_run(self):
        self.study({"batch_per_replica": 1, "data.synthetic.height": 4, "data.synthetic.width": 4,
                    "norm.groups": 3}, compare={"norm": ["ln", "gn", "bn", "frozen"]})
        for arguments in ([], ["--dry-run"]):
            result = self.compare(*arguments, code=2)
            self.assertRegex(
                result.err,
                r"(?s)^syncnorm: 3 of 4 runs cannot be trained; nothing was started:\n"
                r"\S*/norm=gn: \S*study.yaml:\d+:\d+: norm.groups: 3 does not divide the 16 channels of "
                r"layer 'bn1'; [^\n]*\n"
                r"\S*/norm=bn: \S*study.yaml:\d+:\d+: norm: layer 'layer3.0.bn1': batch normalization over "
                r"1 replica sees one value [^\n]*\n"
                r"\S*/norm=frozen: \S*study.yaml:\d+:\d+: norm.kind: frozen statistics must come from "
                r"somewhere; [^\n]*\n$")
            self.assertFalse((self.folder / "out").exists())


class RunFolder(harness.TestCase):
    def test_events(self):
        run = self.train("run", {"epochs": 3, "steps": None, "data.validation": 16,
                                 "optimizer.clip_norm": 1.0, "checkpoint.keep": 2}, ranks=2)
        start, end = run.events[0], run.events[-1]
        self.assertEqual((start["event"], end["event"]), ("start", "end"))
        self.assertEqual({k: start[k] for k in ("ranks", "replicas", "batch_per_replica",
                                                "first_step", "total_steps", "steps_per_epoch",
                                                "train_samples", "model")},
                         {"ranks": 2, "replicas": 8, "batch_per_replica": 2, "first_step": 0,
                          "total_steps": 9, "steps_per_epoch": 3, "train_samples": 48,
                          "model": "resnet8"})
        self.assertEqual([e["step"] for e in run.steps], list(range(1, 10)))
        self.assertEqual([e["epoch"] for e in run.steps], [1, 1, 1, 2, 2, 2, 3, 3, 3])
        for event in run.steps:
            self.assertEqual(event["samples"], 16)
            self.assertEqual(event["lr"], 0.05)
            self.assertGreater(event["seconds"], 0)
            self.assertGreaterEqual(event["seconds"], event["data_seconds"])
            self.assertGreater(event["gradient_norm"], 0)
            self.assertEqual(event["accuracy"] * 16 % 1, 0)
        self.assertEqual([(e["step"], e["epoch"], e["split"]) for e in run.evals],
                         [(s, s // 3, split) for s in (3, 6, 9) for split in ("validation", "test")])
        for event in run.evals:
            self.assertTrue(0 <= event["accuracy"] <= 1 and math.isfinite(event["loss"]))
        self.assertEqual([e["step"] for e in run.of("checkpoint")], [0, 3, 6, 9])
        summary = run.summary
        self.assertEqual(summary["status"], "done")
        self.assertEqual(summary["test_accuracy"], run.evals[-1]["accuracy"])
        self.assertEqual(summary["test_loss"], run.evals[-1]["loss"])
        self.assertAlmostEqual(summary["final_loss"], mean(run.losses), places=12)
        self.assertEqual(summary["best_validation_accuracy"],
                         max(e["accuracy"] for e in run.evals if e["split"] == "validation"))

    def test_losses_read_back_to_the_same_bits(self):
        run = self.train("run", {"steps": 12})
        texts = [re.search(r'"loss":([^,]+)', line)[1] for line in run.lines if '"step",' in line]
        self.assertEqual(len(texts), 12)
        # The shortest text that reads back to the same bits is unique.
        self.assertEqual(texts, [repr(float(text)) for text in texts])
        self.assertGreater(max(len(text) for text in texts), 14)

    def test_the_resolved_config_runs_again(self):
        run = self.train("run", {"norm": "gn", "model.hidden": [3, 4]})
        text = (run.folder / "config.yaml").read_text()
        copy = self.folder / "copy.yaml"
        copy.write_text(text.replace(str(run.folder), str(self.folder / "again")))
        self.assertEqual(harness.run("train", copy).code, 0)
        self.assert_same_bits(run, harness.Run(self.folder / "again"))

    def test_pruning(self):
        for keep, expected in ((2, [0, 7, 8]), (3, [0, 6, 7, 8])):
            run = self.train(f"keep-{keep}", {"steps": 8, "checkpoint.every_steps": 1,
                                              "checkpoint.keep": keep})
            self.assertEqual(run.checkpoints(), expected)
        # The end of a first launch stays when a second one goes on.
        self.train("on", {"checkpoint.every_steps": 1, "checkpoint.keep": 2})
        run = self.train("on", {"steps": 8, "checkpoint.every_steps": 1, "checkpoint.keep": 2},
                         arguments=["--resume", "auto"])
        self.assertEqual(run.checkpoints(), [0, 4, 7, 8])

    def test_best_validation_checkpoint_is_kept(self):
        """An easy problem: all held-out images are right long before the end, on any processor."""
        run = self.train("run", {"steps": 40, "data.validation": 4, "checkpoint.keep": 2,
                                 "data.synthetic.train_samples": 240, "data.synthetic.classes": 2,
                                 "model.architecture": "mlp", "model.hidden": [32], "norm": "none",
                                 "optimizer.lr": 0.1, "evaluation.every_steps": 2,
                                 "evaluation.every_epochs": 0, "checkpoint.every_steps": 1})
        scores = {e["step"]: e["accuracy"] for e in run.evals if e["split"] == "validation"}
        best = min(s for s in scores if scores[s] == 1.0)
        self.assertLess(best, 30)
        self.assertEqual(run.checkpoints(), [0, best, 39, 40])
        self.assertEqual(run.summary["best_step"], best)
        self.assertEqual(run.summary["best_validation_accuracy"], scores[best])
        result = harness.run("inspect", run.checkpoint(40))
        self.assertIn(f"best validation accuracy {100 * scores[best]:.2f}% at step {best}\n",
                      result.out)


class OtherCommands(harness.TestCase):
    def test_inspect(self):
        run = self.train("run", {"norm": "syncbn"})
        result = harness.run("inspect", run.checkpoint(4))
        self.assertEqual(result.code, 0)
        first, second = result.out.splitlines()[:2]
        self.assertEqual(first, f"{run.checkpoint(4)}: step 4, epoch 1, 0 samples into the next "
                                "epoch, the last of its run")
        self.assertRegex(second, "^data fingerprint [0-9a-f]{16}; all checksums match$")
        for text in ("  layer3.0.downsample.0.weight ", "F32 [64, 32, 1, 1]  mean ",
                     "  bn1.num_batches_tracked ", "I64 []  4", "\nconfiguration\nname: tiny\n"):
            self.assertIn(text, result.out)
        manifest = run.checkpoint(4) / "manifest.json"
        manifest.write_text(manifest.read_text().replace("name: tiny", "name: \\u001b[2J\\u009b1m"))
        result = harness.run("inspect", run.checkpoint(4))
        self.assertIn("\nname: \\x1b[2J\\x9b1m\n", result.out)
        self.assertNotIn("\x1b", result.out)

    def test_plan(self):
        path = harness.write_experiment(self.folder / "plan.yaml", {"norm": "syncbn"})
        text = harness.run("plan", path).out
        lines = text.splitlines()
        # A SyncBN backward reduction is under way while the convolution above it computes its wgrad.
        place = {key: next(i for i, line in enumerate(lines) if part in line)
                 for key, part in {"start": ">> layer3.0.bn1 gradient sums",
                                   "wgrad": "layer3.0.conv2: conv wgrad",
                                   "wait": "<< layer3.0.bn1 gradient sums"}.items()}
        self.assertLess(place["start"], place["wgrad"])
        self.assertLess(place["wgrad"], place["wait"])
        self.assertTrue(lines[place["wgrad"]].endswith("layer3.0.bn1 gradient sums"))
        self.assertRegex(text, r"(?m)^parameters +302 KiB  77364 values$")
        self.assertRegex(text, r"(?m)^optimizer state +309456 B$")
        other = harness.run("plan", path, "norm=gn").out
        self.assertNotIn("gradient sums", other)
        self.assertIn("gradient bucket 1", other)

    def test_version_and_help(self):
        result = harness.run("--version")
        self.assertEqual(result.code, 0)
        self.assertRegex(result.out, r"^syncnorm \d+\.\d+\.\d+\S* \(\w+, \w+ [\d.]+\)\nback ends: ")
        if os.path.exists(os.path.join(os.path.dirname(harness.PROGRAM), "syncnorm_mpi.so")):
            self.assertIn(", mpi,", result.out)
        has_cuda = os.path.exists(os.path.join(os.path.dirname(harness.PROGRAM), "syncnorm_cuda.so"))
        self.assertIn(", cuda\n" if has_cuda else ", no cuda in this build\n", result.out)
        self.assertEqual("\ncuda: built with CUDA " in result.out, has_cuda)
        text = harness.run("train", "--help").out
        path = harness.write_experiment(self.folder / "empty.yaml")
        values = harness.run("train", path, "--print-config").out.splitlines()
        keys = [value.split(":")[0] for value in values]
        self.assertGreater(len(keys), 50)
        for key in [*keys, "epochs", "global_batch"]:
            self.assertRegex(text, rf"(?m)^\s*{re.escape(key)}\b")

    def test_origins(self):
        (self.folder / "base.yaml").write_text("optimizer:\n  lr: 0.5\n  momentum: 0.8\nseed: 9\n")
        path = self.folder / "derived.yaml"
        path.write_text("_base_: base.yaml\nseed: 10\n")
        result = harness.run("train", path, "--print-config", "optimizer.momentum=0.7")
        lines = [line.split("#") for line in result.out.splitlines()]
        origins = {a.strip(): b.strip() for a, b in lines}
        self.assertEqual(origins["optimizer.lr: 0.5"], f"{self.folder}/base.yaml:2:7")
        self.assertEqual(origins["optimizer.momentum: 0.7"], "command line")
        self.assertEqual(origins["seed: 10"], f"{path}:2:7")
        self.assertEqual(origins["replicas: 8"], "default")

    def test_dry_run(self):
        path = harness.write_experiment(self.folder / "a.yaml", {"epochs": 2, "steps": None},
                                        run_dir=self.folder / "a")
        result = harness.run("train", path, "--dry-run", ranks=2)
        self.assertEqual(result.out, "synthetic: 64 training and 60 test images of 4 classes\n"
                                     f"{path}: no mistakes found; 8 steps of 16 samples on 2 "
                                     "ranks\n")
        self.assertFalse((self.folder / "a").exists())


class Console(harness.TestCase):
    def test_plain_lines(self):
        path = harness.write_experiment(self.folder / "a.yaml", {}, run_dir=self.folder / "a")
        result = harness.run("train", path)
        self.assertNotIn("\033", result.out)
        self.assertNotIn("\r", result.out)
        self.assertRegex(result.out, r"(?m)^tiny: resnet8 with 77364 parameters, 8 replicas of 2 on "
                                     r"1 rank, 4 steps$")
        self.assertRegex(result.out, r"(?m)^  step 4/4  epoch 1  loss [\d.]+  lr 0.05  \d+ images/s"
                                     r"  0:00 left$")
        self.assertRegex(result.out, r"(?m)^  step 4: test accuracy [\d.]+%, loss [\d.]+$")
        self.assertRegex(result.out, r"(?m)^  done in 0:00: \d+ images/s, [\d.]+% of the time in "
                                     r"exposed reductions$")

    def on_a_terminal(self, *arguments, columns=0, **env):
        """What a run shows on a terminal of its own; of so many columns, 0: unknown."""
        main, terminal = pty.openpty()
        if columns:
            termios.tcsetwinsize(terminal, (24, columns))
        env = {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **env}
        process = subprocess.Popen([harness.PROGRAM, *map(str, arguments)], stdout=terminal,
                                   stderr=terminal, stdin=terminal, env=harness.environment(env))
        os.close(terminal)
        shown, end = b"", time.monotonic() + 60
        while time.monotonic() < end:
            if select.select([main], [], [], 1)[0]:
                try:
                    part = os.read(main, 65536)
                except OSError:  # the terminal was closed at the other end
                    break
                if not part:
                    break
                shown += part
        os.close(main)
        return process.wait(10), shown.decode()

    def train_on_a_terminal(self, **options):
        path = harness.write_experiment(self.folder / "a.yaml", {"steps": 60},
                                        run_dir=self.folder / "a")
        code, text = self.on_a_terminal("train", path, **options)
        self.assertEqual(code, 0, text)
        shutil.rmtree(self.folder / "a")
        return text

    def test_progress_bar_on_a_terminal(self):
        text = self.train_on_a_terminal()
        bars = re.findall(r"\r\033\[K  ([█░]{24}) step (\d+)/60  epoch \d+  loss [\d.]+  lr 0.05  "
                          r"\d+ images/s  \d+:\d\d left", text)
        self.assertGreaterEqual(len(bars), 2, text)
        self.assertEqual(bars[-1], ("█" * 24, "60"))
        for bar, step in bars:
            self.assertEqual(bar.count("█"), 24 * int(step) // 60)
        self.assertRegex(text, r"\r\033\[K  step 60: test accuracy")

    def test_the_terminal_decides_what_is_drawn(self):
        for env in ({"TERM": "dumb"}, {"TERM": ""}):
            with self.subTest(env=env):
                text = self.train_on_a_terminal(**env)
                self.assertNotRegex(text, "[\033█░]|\r(?!\n)")
                self.assertIn("  step 60/60  epoch 15  loss ", text)
        for env in ({"LC_ALL": "C"}, {"LC_ALL": "", "LC_CTYPE": "", "LANG": "en_US.ISO-8859-1"}):
            with self.subTest(env=env):
                text = self.train_on_a_terminal(**env)
                self.assertTrue(text.isascii(), text)
                self.assertRegex(text, r"\r\033\[K  #{24} step 60/60")
        for size in ({"columns": 20}, {"COLUMNS": "20"}, {"columns": 200, "COLUMNS": "20"},
                     {"columns": 20, "COLUMNS": "200"}):
            with self.subTest(size=size):
                text = self.train_on_a_terminal(**size)
                drawn = re.findall(r"\r\033\[K(step [^\r\033]*)", text)
                self.assertGreaterEqual(len(drawn), 2, text)
                self.assertLess(max(map(len, drawn)), 20)
        self.assertRegex(self.train_on_a_terminal(columns=85), r"\r\033\[K  █+ step 60/60 .* left\r")

    def test_messages_in_ascii(self):
        path = harness.write_experiment(self.folder / "a.yaml", {"optimizer.lr": -1})
        for env, sign in (({}, "≥"), ({"LC_ALL": "C"}, ">=")):
            code, text = self.on_a_terminal("train", path, **env)
            self.assertEqual(code, 2)
            self.assertTrue(text.endswith(f"'-1' is out of range; give a number {sign} 0\r\n"), text)


if __name__ == "__main__":
    harness.main()
