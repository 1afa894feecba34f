"""launch/run: exit codes, restarts from the newest checkpoint, and signals."""
import os
import shutil
import signal
import time
from pathlib import Path

import harness
from harness import full

RUN = Path(__file__).parents[2] / "launch" / "run"
SETTINGS = {"steps": 6, "norm": "syncbn", "checkpoint.every_steps": 2, "checkpoint.every_epochs": 0,
            "evaluation.every_epochs": 0}


class LaunchRun(harness.TestCase):
    def launch(self, *arguments, program=harness.PROGRAM):
        return harness.start(*arguments, program=RUN, env={
            "SYNCNORM": str(program), "ASAN_OPTIONS": "detect_leaks=0"})  # as under mpirun

    def experiment(self, name, **settings):
        return harness.write_experiment(self.folder / f"{name}.yaml", {**SETTINGS, **settings},
                                        run_dir=self.folder / name)

    def stand_in(self, text):
        """A program that counts its starts, each with its number of ranks."""
        path = self.folder / "program"
        path.write_text('#!/bin/sh\ncase "$*" in *--print-config*) exit 0 ;; esac\n'
                        '[ "$OMPI_COMM_WORLD_RANK" = 0 ] || exec sleep 60\n'
                        f'echo "$OMPI_COMM_WORLD_SIZE $*" >>{self.folder}/starts\n{text}\n')
        path.chmod(0o755)
        return path

    def assert_same_bits_at(self, step, run, other):
        def tensors(of):
            return {p.name: p.read_bytes() for p in of.checkpoint(step).glob("*.safetensors")}
        self.assertTrue(tensors(run))
        self.assertTrue(tensors(run) == tensors(other))

    def starts(self):
        return (self.folder / "starts").read_text().splitlines()

    def test_exit_codes(self):
        """What ends for a reason that trying again does not change is not tried again."""
        for ends, code, starts in [("exit 0", 0, 1), ("exit 4", 4, 1), ("exit 75", 75, 2),
                                   ("kill -9 $$", 70, 2)]:
            with self.subTest(ends=ends):
                program = self.stand_in(ends)
                result = harness.finish(self.launch("--restarts", 1, 1, "train", "a.yaml",
                                                    program=program))
                self.assertEqual(result.code, code, result.err)
                self.assertEqual(len(self.starts()), starts)
                (self.folder / "starts").unlink()

    def test_a_mistake_in_the_file_starts_no_job(self):
        for command in ("train", "compare"):
            result = harness.finish(self.launch(2, command, self.experiment("odd", **{"optimizer.rl": 1})))
            self.assertEqual(result.code, 2, result.err)
            self.assertIn("odd.yaml", result.err)
            self.assertNotIn("mpirun", result.err)
            self.assertNotIn("Primary job", result.err)
        self.assertFalse((self.folder / "odd").exists())

    def test_restarts_go_on_and_drop_what_the_first_start_was_for(self):
        program = self.stand_in("exit 70")
        result = harness.finish(self.launch(
            "--restarts", 2, "--min-ranks", 1, 2, "train", "a.yaml", "--fault", "kill@1:3",
            "--init-from", "w", "--resume", "x", "steps=3", program=program))
        self.assertEqual(result.code, 70, result.err)
        again = "train a.yaml --init-from w steps=3 --resume auto"
        self.assertEqual(self.starts(), [
            "2 train a.yaml --fault kill@1:3 --init-from w --resume x steps=3", "2 " + again,
            "1 " + again])
        self.assertIn("launch/run: exit 70; restart 2 of 2 on 1 ranks in 2 s\n", result.err)

    def test_a_lost_rank_costs_nothing_but_time(self):
        result = harness.finish(self.launch("--restarts", 2, 2, "train", self.experiment("run"),
                                            "--fault", "kill@1:5"))
        self.assertEqual(result.code, 0, result.err)
        self.assertEqual(result.err.count("launch/run: exit 70; restart 1 of 2 on 2 ranks"), 1)
        run = harness.Run(self.folder / "run")
        self.assertEqual(len(run.of("resume")), 1)
        self.assert_same_bits(run, self.train("whole", SETTINGS))

    @full
    def test_a_rank_that_stays_gone_is_done_without(self):
        """A rank is lost, and its node does not come back: every start that counts on it fails, until
        --min-ranks lets the job do without it."""
        gone = self.folder / "gone"
        node = self.folder / "node"  # what starts a rank: on a node that is gone, nothing
        node.write_text(f'#!/bin/sh\n[ -e {gone} ] && [ "$OMPI_COMM_WORLD_RANK" = 1 ] && exit 1\n'
                        f'[ "$OMPI_COMM_WORLD_RANK" = 1 ] && touch {gone}\nexec {harness.PROGRAM} "$@"\n')
        node.chmod(0o755)
        result = harness.finish(self.launch("--restarts", 5, "--min-ranks", 1, 2, "train",
                                            self.experiment("run"), "--fault", "kill@1:5", program=node))
        self.assertEqual(result.code, 0, result.err)
        self.assertIn("on 1 ranks in", result.err)
        run = harness.Run(self.folder / "run")
        self.assertEqual([e["ranks"] for e in run.of("start")], [2, 1])
        self.assert_same_bits(run, self.train("whole", SETTINGS))

    def test_a_second_signal_does_not_wait_but_loses_nothing(self):
        """The second one takes the ranks down, perhaps while they save: a checkpoint is there whole or
        not at all, and the run goes on to its bits."""
        process = self.launch(2, "train", self.experiment("long", steps=100000), "--fault",
                              "slow@0:20:save.5")
        self.addCleanup(lambda: process.poll() is None and harness.kill(process))
        checkpoints = self.folder / "long" / "checkpoints"
        harness.wait_for((checkpoints / ".step-20.tmp").exists, "a save")
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        result = harness.finish(process)
        self.assertIn(result.code, (70, 75), result.err)
        end = max(harness.Run(self.folder / "long").checkpoints()) + 3
        more = {"steps": end, "checkpoint.every_steps": end}
        again = self.train("long", {**SETTINGS, **more}, 2, ("--resume", "auto"))
        self.assert_same_bits_at(end, again, self.train("whole", {**SETTINGS, **more}))

    def test_a_signal_stops_the_whole_job(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(signal=number.name):
                shutil.rmtree(self.folder / "long", ignore_errors=True)
                process = self.launch("--restarts", 5, 2, "train",
                                      self.experiment("long", steps=100000))
                self.addCleanup(lambda p=process: p.poll() is None and harness.kill(p))
                ranks = harness.ranks_of(process, 2)
                log = self.folder / "long" / "metrics.jsonl"
                harness.wait_for(lambda: log.exists() and '"step",' in log.read_text(), "training")
                process.send_signal(number)
                result = harness.finish(process)
                self.assertEqual(result.code, 75, result.err)
                harness.wait_for(lambda r=ranks: not any(os.path.exists(f"/proc/{p}") for p in r),
                                 "the ranks to end")
                run = harness.Run(self.folder / "long")
                self.assertEqual(run.checkpoints()[-1], run.steps[-1]["step"])

    def test_usage(self):
        for arguments in ([], ["2"], ["x", "train"], ["--restarts", "x", "2", "train", "a.yaml"]):
            result = harness.finish(self.launch(*arguments))
            self.assertEqual(result.code, 2)
            self.assertIn("usage: launch/run", result.err)


if __name__ == "__main__":
    harness.main()
