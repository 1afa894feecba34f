"""Signals end a run with a checkpoint, at any moment, and never with a ruined heap."""
import os
import random
import signal
import subprocess

import accidents
import harness

LONG = {**accidents.LARGE, "model.hidden": [16]}


class Signals(harness.TestCase):
    def start(self, settings, *arguments, ranks=0, name="run", **options):
        path = harness.write_experiment(self.folder / f"{name}.yaml", settings,
                                        run_dir=self.folder / name)
        return harness.start("train", path, *arguments, ranks=ranks, **options)

    def wait_for_steps(self, process, name="run"):
        log = self.folder / name / "metrics.jsonl"
        harness.wait_for(lambda: process.poll() is not None or accidents.steps_in(log) > 0, "a step")

    def stop_often(self, times, ranks):
        for isa in accidents.instruction_sets():
            seed = random.randrange(1 << 30)
            with self.subTest(isa=isa, ranks=ranks, seed=seed):
                codes, run, whole = accidents.stop_often(self.folder, times, ranks, isa, seed)
                self.assertEqual(codes, [75] * times)
                self.assertTrue(accidents.same_end(run, whole))

    def test_stops_at_random_moments(self):
        self.stop_often(6, 0)
        self.stop_often(3, 2)

    @harness.full
    def test_a_hundred_stops_at_random_moments(self):
        self.stop_often(100, 0)

    @harness.full
    def test_a_hundred_stops_of_two_ranks(self):
        self.stop_often(100, 2)

    def test_each_stops_with_a_checkpoint(self):
        for which in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR2, signal.SIGXCPU, signal.SIGPWR,
                      signal.SIGALRM):
            with self.subTest(which=which.name):
                process = self.start(LONG, name=which.name)
                self.wait_for_steps(process, name=which.name)
                process.send_signal(which)
                result = harness.finish(process)
                self.assertEqual(result.code, 75, result.err)
                self.assertIn("stopped on a signal after step", result.err)
                run = harness.Run(self.folder / which.name)
                self.assertEqual(run.events[-1]["status"], "stopped")
                self.assertEqual(run.checkpoints()[-1], run.steps[-1]["step"])

    def test_ignored_signals_stay_ignored(self):
        """As nohup and a shell's background jobs ask for."""
        for which in (signal.SIGHUP, signal.SIGINT):
            with self.subTest(which=which.name):
                path = harness.write_experiment(
                    self.folder / "ignored.yaml", {**LONG, "steps": 3000},
                    run_dir=self.folder / which.name)
                process = subprocess.Popen(
                    ["sh", "-c", f'trap "" {which.name[3:]}; exec "$@"', "sh", harness.PROGRAM, "train",
                     str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                self.wait_for_steps(process, name=which.name)
                process.send_signal(which)
                self.assertEqual(harness.finish(process).code, 0)

    def test_other_commands_die_of_signals(self):
        """What has nothing to save ends as any program does."""
        path = harness.write_experiment(self.folder / "bench.yaml", accidents.LARGE)
        process = harness.start("bench", "step", path, "--rounds", "10000")
        harness.wait_for(lambda: len(os.listdir(f"/proc/{process.pid}/task")) > 1, "its threads")
        process.send_signal(signal.SIGINT)
        self.assertEqual(harness.finish(process).code, -signal.SIGINT)

    def test_a_closed_pipe_does_not_end_a_run(self):
        process = self.start({**LONG, "steps": 3000})
        self.assertTrue(process.stdout.readline())
        process.stdout.close()
        code = process.wait(harness.TIMEOUT)
        self.assertEqual((code, process.stderr.read()), (0, b""))
        process.stderr.close()
        run = harness.Run(self.folder / "run")
        self.assertEqual((len(run.steps), run.events[-1]["event"]), (3000, "end"))


if __name__ == "__main__":
    harness.main()
