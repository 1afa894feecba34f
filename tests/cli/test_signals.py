"""Signals end a run with a checkpoint, at any moment, and never with a ruined heap."""
import os
import random
import signal
import subprocess
import time

import harness

# oneDNN's products of these sizes keep the stack pointer in a heap buffer, where a handler's frame
# would do harm. A step takes about 10 ms.
LARGE = {"replicas": 2, "batch_per_replica": 32, "steps": 1000000,
         "model.architecture": "mlp", "model.hidden": [1024, 1024], "norm": "none",
         "data.synthetic.height": 28, "data.synthetic.width": 28,
         "optimizer.lr": 1e-3, "evaluation.every_epochs": 0, "checkpoint.every_epochs": 0}
LONG = {**LARGE, "model.hidden": [16]}


def steps_in(log):
    try:
        return log.read_bytes().count(b'"event":"step"')
    except FileNotFoundError:
        return 0


def instruction_sets():
    """What oneDNN is held to: AVX2, and what the processor has beyond it."""
    with open("/proc/cpuinfo") as file:
        return ["AVX2"] + ["ALL"] * ("avx512f" in file.read())


class Signals(harness.TestCase):
    def start(self, settings, *arguments, ranks=0, name="run", **options):
        path = harness.write_experiment(self.folder / f"{name}.yaml", settings,
                                        run_dir=self.folder / name)
        return harness.start("train", path, *arguments, ranks=ranks, **options)

    def wait_for_steps(self, process, count=1, name="run"):
        log = self.folder / name / "metrics.jsonl"
        harness.wait_for(lambda: process.poll() is not None or steps_in(log) >= count, "a step")

    def stop_often(self, times, ranks):
        """Stops a run so often, each time going on, and asks for the bits of one that was not."""
        seed = random.randrange(1 << 30)
        moments = random.Random(seed)
        for isa in instruction_sets():
            name = f"stopped-{isa}-{ranks}"
            env = {"ONEDNN_MAX_CPU_ISA": isa}
            with self.subTest(isa=isa, ranks=ranks, seed=seed):
                log = self.folder / name / "metrics.jsonl"
                for stop in range(times):
                    before = steps_in(log)
                    process = self.start(LARGE, *(["--resume", "auto"] if stop else []),
                                         ranks=ranks, name=name, env=env)
                    harness.wait_for(lambda: process.poll() is not None or
                                     steps_in(log) not in (0, before), "a step")
                    time.sleep(moments.uniform(0.0, 0.2))  # the moment is what is tested
                    which = moments.choice([signal.SIGTERM, signal.SIGUSR2])
                    if process.poll() is not None:
                        self.fail(harness.finish(process).err)
                    targets = harness.ranks_of(process, ranks) if ranks else [process.pid]
                    os.kill(moments.choice(targets), which)
                    result = harness.finish(process)
                    self.assertEqual(result.code, 75, f"stop {stop + 1}: {result.err}")
                last = harness.Run(self.folder / name).checkpoints()[-1]
                ended = {**LARGE, "steps": last + 2}
                again = self.train(name, ended, ranks, ["--resume", "auto"], env=env)
                whole = self.train(f"whole-{isa}-{ranks}", ended, env=env)
                self.assert_same_events(again, whole)
                self.assertEqual(again.checkpoint(last + 2).joinpath("model.safetensors").read_bytes(),
                                 whole.checkpoint(last + 2).joinpath("model.safetensors").read_bytes())

    def test_stops_at_random_moments(self):
        self.stop_often(6, 0)
        self.stop_often(3, 2)

    @harness.full
    def test_a_hundred_stops_at_random_moments(self):
        self.stop_often(100, 0)

    @harness.full
    def test_a_hundred_stops_of_two_ranks(self):
        self.stop_often(100, 2)

    def test_hup_and_int_stop_with_a_checkpoint(self):
        for which in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
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
        path = harness.write_experiment(self.folder / "bench.yaml", LARGE)
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
