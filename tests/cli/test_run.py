"""launch/run: exit codes, restarts from the newest checkpoint, and signals."""
import os
import shutil
import signal
from pathlib import Path

import harness

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
