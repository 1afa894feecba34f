"""Stopping, losing and going on: damaged checkpoints, signals, killed ranks, diverged training."""
import json
import os
import re
import shutil
import signal
import time

import harness

# Long enough to be interrupted: it would take minutes.
LONG = {"steps": 100000, "checkpoint.every_epochs": 0, "evaluation.every_epochs": 0,
        "norm": "syncbn", "data.augment": ["random_crop", "horizontal_flip"]}


class Checkpoints(harness.TestCase):
    def trained(self, **settings):
        """A run of six steps with checkpoints at 0, 2, 4, 6; returns (its experiment, the Run)."""
        settings = {"steps": 6, "checkpoint.every_steps": 2, "checkpoint.keep": 9, "norm": "bn",
                    **settings}
        run = self.train("run", settings)
        self.assertEqual(run.checkpoints(), [0, 2, 4, 6])
        return self.folder / "run.yaml", run

    def resume(self, experiment, resume, *overrides, ranks=0):
        return harness.run("train", experiment, *overrides, "--resume", resume, ranks=ranks)

    ANOTHER = "; give another checkpoint, or --resume auto for the newest usable one"

    def refused(self, result, message):
        """Exit 3 with a message that `message` matches from end to end."""
        self.assertEqual(result.code, 3, result.out + result.err)
        self.assertRegex(result.err, "^syncnorm: " + message + "\n$")
        self.assertEqual(result.out, "")

    def test_a_missing_checkpoint(self):
        experiment, run = self.trained()
        path = self.folder / "step-5"
        self.refused(self.resume(experiment, path),
                     re.escape(f"{path}: there is no such checkpoint folder{self.ANOTHER}"))

    def test_damage_is_found(self):
        experiment, run = self.trained()
        folder, whole = run.checkpoint(4), self.folder / "whole"
        shutil.copytree(folder, whole)
        events = (run.folder / "metrics.jsonl").read_bytes()
        names = sorted(p.name for p in folder.iterdir())
        self.assertEqual(names, ["manifest.json", "model.safetensors", "optimizer.safetensors",
                                 "statistics.safetensors"])
        size = "[0-9]+ bytes instead of [0-9]+; the file is damaged"
        manifest = "not a usable manifest \\(.*\\)"
        for name in names:
            content = (whole / name).read_bytes()
            half = len(content) // 2
            flipped = content[:half] + bytes([content[half] ^ 0x10]) + content[half + 1:]
            damages = [(None, "the file is missing")]
            if name == "manifest.json":
                damages += [(b"", manifest), (content[:half], manifest), (b"[]", manifest),
                            (content.replace(b'"last"', b'"lost"'), manifest),
                            (content.replace(b'"format_version": 1', b'"format_version": 2'),
                             "format version 2 is not 1; use the version of syncnorm that wrote it")]
            else:
                damages += [(b"", size), (content[:-1], size), (content + b"\0", size),
                            (flipped, "checksum .{8} instead of .{8}; the file is damaged")]
            for damaged, said in damages:
                with self.subTest(file=name, said=said):
                    (folder / name).unlink(missing_ok=True)
                    if damaged is not None:
                        (folder / name).write_bytes(damaged)
                    where = re.escape(str(folder / name)) + ": " + said
                    self.refused(harness.run("inspect", folder), where)
                    self.refused(self.resume(experiment, folder), where + self.ANOTHER)
                    self.refused(harness.run("eval", experiment, "--weights", folder),
                                 where + "; give another checkpoint or a .safetensors file")
                    shutil.copy(whole / name, folder / name)
        self.assertEqual(harness.run("inspect", folder).code, 0)  # put back, it is usable again
        self.assertEqual((run.folder / "metrics.jsonl").read_bytes(), events)

    def test_every_byte_of_a_tensor_file_counts(self):
        experiment, run = self.trained()
        path = run.checkpoint(6) / "model.safetensors"
        content = path.read_bytes()
        for place in (0, 9, 200, len(content) // 3, len(content) - 1):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1:])
            self.refused(self.resume(experiment, run.checkpoint(6)),
                         re.escape(str(path)) + ": checksum .{8} instead of .{8}; the file is "
                         "damaged" + self.ANOTHER)

    def test_a_checkpoint_that_cannot_be_read_is_not_passed_over(self):
        """Nothing is known of it: older ones are no replacement, and it is not pruned."""
        experiment, run = self.trained()
        for path in [run.folder, *run.folder.rglob("*")]:
            path.chmod(0o777 if path.is_dir() else 0o666)
        weights = run.checkpoint(6) / "model.safetensors"
        weights.chmod(0)
        for resume, hint in [
                ("auto", "; mend that, or name an older checkpoint with --resume FOLDER"),
                (run.checkpoint(6), self.ANOTHER)]:
            result = harness.run_without_rights(self.folder, "train", experiment, "steps=8", "--resume", resume)
            self.assertEqual((result.code, result.err),
                             (3, f"syncnorm: {weights}: cannot be read (Permission denied){hint}\n"))
        weights.chmod(0o666)
        self.assertEqual(
            harness.run_without_rights(self.folder, "train", experiment, "steps=8", "--resume", "auto").code, 0)

    def test_auto_passes_over_a_damaged_checkpoint(self):
        experiment, run = self.trained()
        shutil.copytree(run.folder, self.folder / "whole")
        (run.checkpoint(6) / "model.safetensors").write_bytes(b"")
        (run.checkpoint(4) / "manifest.json").unlink()
        result = self.resume(experiment, "auto")
        self.assertEqual(result.code, 0, result.err)
        passed_over = result.err.splitlines()
        self.assertEqual(len(passed_over), 2, result.err)
        self.assertRegex(passed_over[0], "^syncnorm: passed over a checkpoint: .*/step-6/model")
        self.assertRegex(passed_over[1], "^syncnorm: passed over a checkpoint: .*/step-4/manifest")
        again = harness.Run(run.folder)
        self.assertEqual(again.of("resume")[0]["step"], 2)
        self.assert_same_bits(harness.Run(self.folder / "whole"), again)

    def test_auto_without_any_usable_checkpoint(self):
        experiment, run = self.trained()
        for step in run.checkpoints():
            (run.checkpoint(step) / "manifest.json").write_text("{}")
        result = self.resume(experiment, "auto")
        self.assertEqual(result.code, 3)
        self.assertIn(f"{run.folder}/checkpoints: none of its checkpoints is usable", result.err)

    def test_auto_in_an_empty_folder_starts_fresh(self):
        run = self.train("fresh", {}, arguments=["--resume", "auto"])
        self.assertEqual(len(run.steps), 4)
        self.assertFalse(run.of("resume"))

    def test_a_changed_key_is_named(self):
        experiment, run = self.trained()
        folder = run.checkpoint(4)
        for override, said in [
                ("optimizer.lr=0.5", "optimizer.lr: 0.05, but now it is 0.5"),
                ("seed=4", "seed: 3, but now it is 4"),
                ("norm.synced_replicas=2", "norm.synced_replicas: 1, but now it is 2"),
                ("replicas=4", "replicas: 8, but now it is 4"),
                ("data.augment=[cutout]", "data.augment: [], but now it is [cutout]")]:
            self.refused(self.resume(experiment, folder, override),
                         re.escape(f"{folder}: was trained with {said}; set it back, or start a new "
                                   "run in another run_dir"))

    def test_a_stretching_schedule_keeps_its_length(self):
        experiment, run = self.trained(**{"schedule.kind": "cosine"})
        self.refused(self.resume(experiment, run.checkpoint(4), "steps=9"),
                     re.escape(f"{run.checkpoint(4)}: was trained with steps: 6, but now it is 9; "
                               "set it back, or start a new run in another run_dir"))

    def test_a_rise_of_momentum_over_the_whole_run_keeps_its_length(self):
        experiment, run = self.trained(norm={"kind": "momentum"})
        self.refused(self.resume(experiment, run.checkpoint(4), "steps=9"),
                     re.escape(f"{run.checkpoint(4)}: was trained with steps: 6, but now it is 9; "
                               "set it back, or start a new run in another run_dir"))
        self.assertEqual(self.resume(experiment, run.checkpoint(4)).code, 0)

    def test_weights_that_do_not_fit(self):
        experiment, run = self.trained()
        weights = run.checkpoint(6) / "model.safetensors"
        for override, said in [
                ("model.architecture=resnet20",
                 "tensor 'layer1.1.conv1.weight' is missing; the file is of another model or norm"),
                ("norm=none", "tensor 'conv1.bias' is missing; the file is of another model or "
                              "norm"),
                ("data.synthetic.classes=5",
                 "tensor 'fc.weight' is F32 [4, 64], but the model needs F32 [5, 64]"),
                ("norm=gn", "tensor 'bn1.running_mean' is not part of the model; the file is of "
                            "another model or norm")]:
            self.refused(harness.run("eval", experiment, override, "--weights", weights),
                         re.escape(f"{weights}: {said}"))
        none = self.folder / "none"
        self.refused(harness.run("eval", experiment, "--weights", none), re.escape(
            f"{none}: cannot be read (No such file or directory); give a checkpoint folder or a .safetensors file"))
        self.refused(harness.run("eval", experiment, "--weights", experiment),
                     re.escape(str(experiment)) + r": this is a text that begins with 'name: .*', not the weights; "
                     "download or export the file again")
        self.refused(harness.run("eval", experiment, "--weights", weights.parent.parent.parent),
                     ".*: this is the folder of a run; give one of those in its folder checkpoints; .*")

    def test_diverged_training(self):
        for ranks in (0, 3):
            result = harness.run("train", harness.write_experiment(
                self.folder / "huge.yaml", {"optimizer.lr": 1e30, "norm": "none"},
                run_dir=self.folder / f"huge-{ranks}"), ranks=ranks)
            self.assertEqual(result.code, 4, result.err)
            self.assertRegex(result.err, "syncnorm: training diverged: the loss of step [23] is "
                                         "(nan|inf); it began in layer '[a-z0-9.]+' \\(.*\\): "
                                         "([0-9]+ of|all) [0-9]+ values.*; lower optimizer.lr, add warm-up or clip the gradient\n")
            self.assertEqual(result.err.count("syncnorm: "), 1)
            run = harness.Run(self.folder / f"huge-{ranks}")
            self.assertEqual(run.summary["status"], "diverged")
            self.assertIn("layer '", run.summary["message"])
            self.assertEqual(run.checkpoints(), [0])

    # ---- Signals.

    def start_long(self, ranks, **settings):
        """Starts LONG and waits until it trains; returns (process, process ids of its ranks)."""
        path = harness.write_experiment(self.folder / "long.yaml", {**LONG, **settings},
                                        run_dir=self.folder / "long")
        process = harness.start("train", path, ranks=ranks)
        self.addCleanup(lambda: process.poll() is None and harness.kill(process))
        log = self.folder / "long" / "metrics.jsonl"
        pids = harness.ranks_of(process, ranks) if ranks else [process.pid]
        harness.wait_for(lambda: process.poll() is not None or
                         (log.exists() and log.read_text().count('"step",') > 40), "training")
        self.assertIsNone(process.poll(), "it ended by itself")
        return process, pids

    def test_a_signal_to_one_rank_stops_all(self):
        for ranks, number, to in [(3, signal.SIGTERM, 1), (4, signal.SIGUSR2, 3),
                                  (0, signal.SIGTERM, 0)]:
            with self.subTest(ranks=ranks, signal=number.name):
                shutil.rmtree(self.folder / "long", ignore_errors=True)
                process, pids = self.start_long(ranks)
                os.kill(pids[to], number)
                result = harness.finish(process, 30)
                self.assertEqual(result.code, 75, result.err)
                self.assertEqual(result.err.count("syncnorm: stopped on a signal after step "), 1)
                run = harness.Run(self.folder / "long")
                step = run.steps[-1]["step"]
                self.assertEqual(run.checkpoints(), [0, step])
                self.assertEqual(run.summary["status"], "stopped")
                manifest = json.loads((run.checkpoint(step) / "manifest.json").read_text())
                self.assertFalse(manifest["last"])
                # It goes on, on another rank count, to the bits of a run that was left alone.
                end = {"steps": step + 5, "evaluation.every_steps": step + 5}
                path = harness.write_experiment(self.folder / "on.yaml", {**LONG, **end},
                                                run_dir=run.folder)
                result = self.resume(path, "auto", ranks=2)
                self.assertEqual(result.code, 0, result.err)
                again = harness.Run(run.folder)
                whole = self.train(f"whole-{ranks}", {**LONG, **end})
                self.assert_same_events(again, whole)
                for name in (f"step-{step + 5}/model.safetensors",
                             f"step-{step + 5}/optimizer.safetensors"):
                    self.assertTrue(again.tensor_files()[name] == whole.tensor_files()[name], name)

    def test_a_killed_rank_ends_the_job(self):
        process, pids = self.start_long(3, **{"fault.deadline": 10})
        os.kill(pids[2], signal.SIGKILL)
        begin = time.monotonic()
        result = harness.finish(process, 40)
        self.assertNotEqual(result.code, 0)
        self.assertLess(time.monotonic() - begin, 30)
        harness.wait_for(lambda: not any(os.path.exists(f"/proc/{p}") for p in pids),
                         "the other ranks to end")

    def test_a_stopped_rank_ends_the_job_at_the_deadline(self):
        """A rank that is alive but silent: the others give up after fault.deadline."""
        process, pids = self.start_long(3, **{"fault.deadline": 3})
        os.kill(pids[1], signal.SIGSTOP)
        result = harness.finish(process, 60)
        self.assertEqual(result.code, 70, result.err)
        self.assertIn("syncnorm: ", result.err)

    def test_killed_between_checkpoints_goes_on_to_the_same_bits(self):
        settings = {**LONG, "checkpoint.every_steps": 7, "steps": 60}
        whole = self.train("whole", settings)
        process, pids = self.start_long(2, **{"checkpoint.every_steps": 7})
        os.kill(pids[0], signal.SIGKILL)
        self.assertNotEqual(harness.finish(process, 60).code, 0)
        killed = harness.Run(self.folder / "long")
        newest = max(killed.checkpoints())
        self.assertGreater(newest, 0)
        end = {"steps": max(60, newest + 5)}
        if end["steps"] != 60:
            whole = self.train("longer", {**settings, **end})
        path = harness.write_experiment(self.folder / "on.yaml", {**settings, **end},
                                        run_dir=killed.folder)
        result = self.resume(path, "auto", ranks=3)
        self.assertEqual(result.code, 0, result.err)
        self.assert_same_bits(whole, harness.Run(killed.folder))


if __name__ == "__main__":
    harness.main()
