"""Runs that are broken on purpose: what each fault ends in, and that the run goes on to its bits."""
import contextlib
import json
import os
import pickle
import shutil
import signal
import struct
import time

import harness

SETTINGS = {"steps": 6, "norm": "syncbn", "checkpoint.every_steps": 2, "checkpoint.every_epochs": 0,
            "evaluation.every_epochs": 0}


class Faults(harness.TestCase):
    def broken(self, *faults, ranks=2, **settings):
        """A run with faults in run folder `broken`; returns its Result."""
        shutil.rmtree(self.folder / "broken", ignore_errors=True)
        path = harness.write_experiment(self.folder / "broken.yaml", {**SETTINGS, **settings},
                                        run_dir=self.folder / "broken")
        arguments = [a for fault in faults for a in ("--fault", fault)]
        result = harness.run("train", path, *arguments, ranks=ranks)
        for fault in faults:
            self.assertIn(f"syncnorm: fault {fault}\n", result.err)
        return result

    def whole(self, **settings):
        """The run that met no fault."""
        if not (self.folder / "whole").exists():
            self.train("whole", {**SETTINGS, **settings})
        return harness.Run(self.folder / "whole")

    def goes_on(self, ranks, **settings):
        """Resumes `broken`, and asks for the bits of the run that met no fault."""
        again = self.train("broken", {**SETTINGS, **settings}, ranks, ("--resume", "auto"))
        self.assert_same_bits(again, self.whole(**settings))
        self.assertEqual(list((self.folder / "broken" / "checkpoints").glob(".*")), [])

    # ---- Ranks.

    def test_a_rank_that_dies(self):
        """mpirun's code is that of the rank that it saw first: the dead one, or one that saw it die. A
        sanitizer turns the signal of a bad access into an exit with 1."""
        for fault, code in [("kill@1:3", 137), ("segv@0:3:gradient", 139), ("exit@1:3", 1),
                            ("exception@1:3:statistics", 1), ("kill@0:6:evaluation", 137),
                            ("kill@0:6:shutdown", 137)]:
            with self.subTest(fault=fault):
                result = self.broken(fault)
                caught = ("AddressSanitizer" in result.err) * (1,)
                self.assertIn(result.code, (code, 70, *caught))
                self.goes_on(3)

    def test_a_rank_that_is_silent(self):
        """Every rank that can still speak leaves a flight record; together they name the silent one."""
        late = {"fault.deadline": 10}
        said = "syncnorm: rank 0: no progress for 10 s (fault.deadline); it is in "
        for fault, culprit in [
                ("stop@1:3:statistics", "rank 1 left no record: stopped, or gone; the others wait for "
                                        "reduction of bn1 statistics, step 3, instruction "),
                ("stop@1:6:shutdown", "rank 1 left no record"),
                ("skip@1:3:gradient", "rank 1 is missing from reduction of gradient bucket ")]:
            with self.subTest(fault=fault):
                result = self.broken(fault, **late)
                self.assertEqual(result.code, 70, result.err)
                self.assertIn(said, result.err)
                self.assertIn(culprit, result.err)
                folder = self.folder / "broken" / "flight"
                lines = [json.loads(l) for l in (folder / "rank-0.jsonl").read_text().splitlines()]
                self.assertTrue(any(l["event"] == "stack" for l in lines))
                self.assertGreater(sum("step" in l for l in lines), 100)
                told = harness.run("inspect", "--flight", folder)
                self.assertEqual(told.code, 0, told.err)
                self.assertIn("rank 1", told.out)
                self.goes_on(1, **late)

    def test_slow_but_alive_is_not_dead(self):
        self.assertEqual(self.broken("slow@1:3:gradient", **{"fault.deadline": 20}).code, 0)

    # ---- Numbers.

    def test_a_wrong_value_is_not_divergence(self):
        for fault in ("nan@1:3", "nan@0:3:statistics", "nan@1:3:gradient"):
            with self.subTest(fault=fault):
                result = self.broken(fault)
                self.assertEqual(result.code, 70, result.err)
                what = "gradient of step 3 is not finite" if "grad" in fault else "loss of step 3 is nan"
                self.assertIn(f"syncnorm: the {what}, but not when the step is repeated: a device or "
                              "its memory gave a wrong value; go on from the newest checkpoint with "
                              "--resume auto\n", result.err)
                self.goes_on(1)

    def test_a_rank_that_adds_up_other_things(self):
        """Without statistics to wait for, ranks that leave out a gradient do not hang at once."""
        result = self.broken("skip@1:3:gradient", norm="gn",
                             **{"fault.deadline": 10, "fault.check_every_steps": 1})
        self.assertEqual(result.code, 70, result.err)
        self.goes_on(3, norm="gn", **{"fault.deadline": 10, "fault.check_every_steps": 1})

    def test_a_rank_whose_parameters_have_another_bit(self):
        """One bit of one rank, which reductions do not show: found at the next comparison, by itself
        or before a checkpoint; of three ranks, the odd one is named."""
        said = "syncnorm: after step {} the parameters of {}; go on from the newest checkpoint with " \
               "--resume auto\n"
        odd = "rank 2 have other bits than those of the others"
        for ranks, rank, every, step, who in [(3, 2, 1, 3, odd), (3, 2, 0, 4, odd),
                                              (2, 0, 1, 3, "the ranks have different bits")]:
            with self.subTest(ranks=ranks, every=every):
                result = self.broken(f"flip@{rank}:3:update", ranks=ranks, norm="gn",
                                     **{"fault.check_every_steps": every})
                self.assertEqual(result.code, 70, result.err)
                self.assertIn(said.format(step, who), result.err)
                self.assertEqual(harness.Run(self.folder / "broken").checkpoints(), [0, 2])
                self.goes_on(1, norm="gn")

    def test_an_evaluation_is_watched(self):
        """`eval` has the same watchdog: a silent rank is named, a dead one ends the job at once."""
        self.whole()
        path, weights = self.folder / "whole.yaml", self.folder / "whole" / "checkpoints" / "step-6"
        for fault, said in [("stop@1:0:evaluation", "no progress for 8 s (fault.deadline); it is in "
                             "reduction of the evaluation's sums, step 0; rank 1 left no record"),
                            ("exit@1:0:evaluation", "rank 0: rank 1 has ended; it is in ")]:
            with self.subTest(fault=fault):
                result = harness.run("eval", path, "fault.deadline=8", "--weights", weights, "--fault",
                                     fault, ranks=2)
                self.assertIn(result.code, (70, 1) if fault.startswith("exit") else (70,), result.err)
                self.assertIn(said, result.err)
                shutil.rmtree(self.folder / "whole" / "flight", ignore_errors=True)

    # ---- Data.

    def idx_folder(self, name, label=1):
        """Eight images of 4x4 in IDX files; `label` is that of the first."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        for part in ("train", "t10k"):
            images = bytes(i % 251 for i in range(8 * 16))
            (folder / f"{part}-images-idx3-ubyte").write_bytes(
                struct.pack(">BBBBIII", 0, 0, 8, 3, 8, 4, 4) + images)
            (folder / f"{part}-labels-idx1-ubyte").write_bytes(
                struct.pack(">BBBBI", 0, 0, 8, 1, 8) + bytes([label] + [0, 1] * 3 + [2]))
        return folder

    def on_files(self, name, data):
        return harness.write_experiment(
            self.folder / f"{name}.yaml", {**SETTINGS, "data.synthetic": None, "steps": 2, "replicas": 2,
                                           "data.dataset": "mnist", "data.path": str(data),
                                           "model.architecture": "mlp", "model.hidden": [4]},
            run_dir=self.folder / "broken")

    def test_other_data_than_the_checkpoint_s_is_refused(self):
        path = self.on_files("run", self.idx_folder("data"))
        self.assertEqual(harness.run("train", path).code, 0)
        again = harness.run("train", path, "steps=4", "--resume", "auto", ranks=2)
        self.assertEqual(again.code, 0, again.err)
        self.idx_folder("data", label=2)
        result = harness.run("train", path, "steps=6", "--resume", "auto", ranks=2)
        self.assertEqual(result.code, 3, result.err)
        self.assertRegex(result.err, "step-4: was trained on other data \\(fingerprint [0-9a-f]{16}, now "
                                     "[0-9a-f]{16}\\); put the data back, or start a new run in another")

    def test_other_data_on_another_rank_is_refused(self):
        first = self.on_files("first", self.idx_folder("data"))
        second = self.on_files("second", self.idx_folder("other", label=2))
        result = harness.run("train", first, ":", "-n", 1, harness.PROGRAM, "train", second, ranks=1)
        self.assertEqual(result.code, 2, result.err)
        self.assertRegex(result.err, "syncnorm: ranks disagree on the data: '[0-9a-f]{16}' on rank 0, "
                                     "'[0-9a-f]{16}' on rank 1; start all ranks with the same program")
        self.assertFalse((self.folder / "broken").exists())

    # ---- Signals.

    def test_signals_while_saving(self):
        """A signal while a slow save is written, and then one after the other until the end: one
        checkpoint of one step on all ranks, exit 75, and the run goes on to its bits."""
        slow = {"steps": 100000, "checkpoint.every_steps": 10}
        path = harness.write_experiment(self.folder / "broken.yaml", {**SETTINGS, **slow},
                                        run_dir=self.folder / "broken")
        process = harness.start("train", path, "--fault", "slow@0:20:save.4", ranks=2)
        self.addCleanup(lambda: process.poll() is None and harness.kill(process))
        pids = harness.ranks_of(process, 2)
        saving = self.folder / "broken" / "checkpoints" / ".step-20.tmp"
        harness.wait_for(saving.exists, "a save")
        sent = 0
        while process.poll() is None and any(os.path.exists(f"/proc/{p}") for p in pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pids[sent % 2], (signal.SIGTERM, signal.SIGUSR2)[sent // 2 % 2])
                sent += 1
            time.sleep(0.02)
        result = harness.finish(process, 30)
        self.assertEqual(result.code, 75, result.err)
        self.assertGreater(sent, 10)  # many of them while it saved
        run = harness.Run(self.folder / "broken")
        step = run.steps[-1]["step"]
        self.assertEqual(run.checkpoints()[-1], step)
        self.assertEqual(list((run.folder / "checkpoints").glob(".*")), [])
        end = {"steps": step + 4, "checkpoint.every_steps": step + 2}
        self.goes_on(3, **end)

    # ---- Checkpoints.

    def test_a_disk_that_refuses_costs_a_checkpoint(self):
        for fault, message in [("enospc@0:4:save.2", "cannot create the folder: No space left on device"),
                               ("eio@0:4:save.3", "cannot create the file: Input/output error"),
                               ("enospc@0:4:save.4", "cannot write the file: No space left on device"),
                               ("eio@0:4:save.5", "cannot sync the file: Input/output error")]:
            with self.subTest(fault=fault):
                result = self.broken(fault)
                self.assertEqual(result.code, 0, result.err)
                run = harness.Run(self.folder / "broken")
                failures = run.of("checkpoint_failed")
                self.assertEqual([e["step"] for e in failures], [4])
                self.assertIn(message, failures[0]["message"])
                self.assertIn("warning: step 4 is not saved; training continues: ", result.out)
                self.assertEqual(run.checkpoints(), [0, 2, 6])
                self.assertEqual(list((run.folder / "checkpoints").glob(".*")), [])
                self.assert_same_events(run, self.whole())

    def test_the_last_checkpoint_is_tried_twice(self):
        result = self.broken("eio@0:6:save.3")
        self.assertEqual(result.code, 0, result.err)
        self.assert_same_bits(harness.Run(self.folder / "broken"), self.whole())

    def test_without_its_last_checkpoint_a_run_fails(self):
        result = self.broken("eio@0:6:save.3", "enospc@0:6:save.4", ranks=0)
        self.assertEqual(result.code, 3, result.err)
        self.assertIn("No space left on device; the last step is not saved: make room, and go on",
                      result.err)
        self.goes_on(2)

    def test_a_write_that_lies_is_found(self):
        for fault, said in [("flip@0:4:save.4", "checksum"), ("torn@0:4:save.4", "bytes instead of")]:
            with self.subTest(fault=fault):
                self.broken(fault, "kill@0:6:save.1")  # when step 4 is written
                path = self.folder / "broken.yaml"
                result = harness.run("train", path, "--resume", "auto", ranks=3)
                self.assertEqual(result.code, 0, result.err)
                self.assertRegex(result.err, "passed over a checkpoint: .*step-4/model.safetensors: .*"
                                 + said)
                self.assert_same_bits(harness.Run(self.folder / "broken"), self.whole())

    def test_killed_while_saving(self):
        for boundary in (1, 4, 9, 13, 14):
            with self.subTest(boundary=boundary):
                self.broken(f"kill@0:4:save.{boundary}")
                self.goes_on(1)

    def test_two_live_runs_cannot_share_a_folder(self):
        path = harness.write_experiment(self.folder / "broken.yaml",
                                        {**SETTINGS, "steps": 100000},
                                        run_dir=self.folder / "broken")
        process = harness.start("train", path)
        self.addCleanup(lambda: process.poll() is None and harness.kill(process))
        harness.wait_for(lambda: (self.folder / "broken" / "metrics.jsonl").exists(), "training")
        for arguments in ((), ("--resume", "auto")):
            result = harness.run("train", path, *arguments)
            self.assertEqual(result.code, 2, result.err)
            self.assertIn(f"another run is training here (process {process.pid}); wait for its end",
                          result.err)
        process.terminate()
        self.assertEqual(harness.finish(process).code, 75)

    def test_a_pickle_is_refused(self):
        path = harness.write_experiment(self.folder / "tiny.yaml", SETTINGS)
        weights = self.folder / "weights.pt"
        for content in (pickle.dumps({}, protocol=2), b"PK\x03\x04" + bytes(100)):
            weights.write_bytes(content)
            result = harness.run("eval", path, "--weights", weights)
            self.assertEqual(result.code, 3)
            self.assertIn("this is a pickle, which can run code when it is read, and is not; in "
                          "Python, write the weights with safetensors.torch.save_file", result.err)

    def test_faults_are_read_strictly(self):
        path = harness.write_experiment(self.folder / "tiny.yaml", SETTINGS)
        result = harness.run("train", path, "--fault", "melt@0:1", ranks=2)
        self.assertEqual(result.code, 2)
        self.assertRegex(result.err, "syncnorm: --fault melt@0:1: no such kind; give kind@rank:step")


if __name__ == "__main__":
    harness.main()
