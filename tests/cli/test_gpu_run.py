"""tests/gpu: the rows of tests/gpu/run in a rehearsal without a GPU, and what holds whatever a row does."""
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import harness

ROOT = Path(__file__).resolve().parents[2]
GPU = ROOT / "tests/gpu"
sys.path.insert(0, str(GPU))
from parts import matrix, process, speed, suites  # noqa: E402  (need the path)
from parts.machine import Machine  # noqa: E402
from parts.table import Measured, Row, Skipped, Table  # noqa: E402

# Sleeps in a process group of its own beside a child that does the same; writes their ids to a file.
STUBBORN = """
import os, sys, time
if os.fork() == 0:
    os.setpgid(0, 0)
    if os.fork() == 0:
        os.setsid()
with open(sys.argv[1], "a") as file:
    file.write(f"{os.getpid()}\\n")
time.sleep(1000)
"""


def tool(name, *arguments, env=None, timeout=300):
    return subprocess.run([sys.executable, GPU / name, *map(str, arguments)], capture_output=True, text=True,
                          check=False, timeout=timeout, env={**os.environ, **(env or {})})


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


class Rows(harness.TestCase):
    def table(self, *actions, seconds=100, copies=None):
        rows = [Row("part", f"row {i}", 50, action) for i, action in enumerate(actions)]
        table = Table("# head", rows, self.folder / "deep/table.md", copies)
        table.go(process.Limit(seconds))
        return table

    def test_a_row_that_throws_anything_leaves_itself_and_the_rows_behind_it(self):
        def thrower(error):
            def action(_):
                raise error
            return action
        errors = [ValueError("x | y\nz"), KeyError("k"), process.Failed("seen"), AssertionError("a"), MemoryError(),
                  Skipped("no GPU"), subprocess.TimeoutExpired("c", 3), UnicodeDecodeError("utf-8", b"", 0, 1, "r")]
        table = self.table(*map(thrower, errors), lambda _: "fine")
        self.assertEqual([row.outcome for row in table.rows],
                         ["**FAILED**"] * 5 + ["skipped"] + ["**FAILED**"] * 2 + ["passed"])
        self.assertTrue(table.failed)
        text = table.path.read_text()
        self.assertIn("| row 0 | **FAILED** | ValueError: x / y z | 0 s |", text)
        self.assertIn("| row 2 | **FAILED** | seen | 0 s |", text)
        self.assertIn("| row 8 | passed | fine | 0 s |", text)
        self.assertIn("In all: 7 **FAILED**, 1 skipped, 1 passed.", text)

    def test_a_missed_speed_is_no_failure(self):
        table = self.table(lambda _: Measured("2 ms", True), lambda _: Measured("9 ms", False))
        self.assertEqual([row.outcome for row in table.rows], ["met", "**missed**"])
        self.assertFalse(table.failed)

    def test_the_table_is_on_disk_after_every_row_with_what_was_not_reached(self):
        seen = []

        def look(_):
            seen.append([line.split(" | ")[1] for line in (self.folder / "deep/table.md").read_text().splitlines()
                         if line.startswith("| row")])
            self.assertEqual((self.folder / "out/table.md").read_text(), (self.folder / "deep/table.md").read_text())
            return "looked"
        self.table(look, look, look, copies=self.folder / "out")
        self.assertEqual(seen, [["not reached"] * 3, ["passed"] + ["not reached"] * 2, ["passed"] * 2 + ["not reached"]])
        self.assertEqual((self.folder / "out/table.md").read_text().count("| passed |"), 3)

    def test_a_copy_that_cannot_be_written_costs_nothing(self):
        (self.folder / "file").write_text("")
        table = self.table(lambda _: "fine", copies=self.folder / "file")
        self.assertIn("| passed |", table.path.read_text())

    def test_rows_without_time_are_not_reached(self):
        def slow(_):
            time.sleep(1.2)
            return "done"
        table = self.table(slow, slow, seconds=3)
        self.assertEqual([row.outcome for row in table.rows], ["passed", "not reached"])

    def test_a_row_gets_what_is_left_of_the_time(self):
        limits = []
        self.table(lambda limit: limits.append(limit.seconds), seconds=7)
        self.assertLess(limits[0], 7)
        self.table(lambda limit: limits.append(limit.seconds), seconds=1000)
        self.assertEqual(limits[1], 50)


class Processes(harness.TestCase):
    def stubborn(self):
        return [sys.executable, "-c", STUBBORN, self.folder / "pids"]

    def pids(self):
        path = self.folder / "pids"
        harness.wait_for(lambda: path.exists() and len(path.read_text().split()) == 3, "three processes", 20)
        return path.read_text().split()

    def test_nothing_outlives_its_time_limit(self):
        begin = time.monotonic()
        with self.assertRaisesRegex(process.Failed, "not done after 2 s"):
            process.run(self.stubborn(), process.Limit(2))
        self.assertLess(time.monotonic() - begin, 10)
        self.assertEqual([pid for pid in self.pids() if is_alive(pid)], [])

    def test_what_a_command_leaves_behind_is_ended_with_it(self):
        leaves = ["sh", "-c", 'sleep 1000 & echo $!; set -m; sleep 1000 & echo $!']
        for pid in process.run(leaves, process.Limit(20)).out.split():
            self.assertFalse(is_alive(pid), pid)

    def test_ranks_are_ended_with_their_mpirun(self):
        machine = Machine(rehearse=True)
        path = harness.write_experiment(self.folder / "long.yaml", {"steps": None, "epochs": 100000},
                                        run_dir=self.folder / "long")
        job = machine.start(["syncnorm", "train", path], ranks=2, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)
        ranks = harness.ranks_of(job, 2)
        process.end_session(job.pid)
        job.wait()
        self.assertEqual([pid for pid in ranks if is_alive(pid)], [])

    def test_a_failure_is_told_in_the_programs_own_words(self):
        said = process.Result(1, "", "------\nsyncnorm: no GPU\nmpirun detected that\n------\n")
        self.assertEqual(said.says(), "syncnorm: no GPU")
        self.assertEqual(process.Result(1, "a\n", "b\n").says(), "a\nb")

    def test_output_and_exit_code(self):
        result = process.run(["sh", "-c", "echo out; echo err >&2; exit 3"], process.Limit(20), check=False)
        self.assertEqual((result.code, result.out, result.err), (3, "out\n", "err\n"))
        with self.assertRaisesRegex(process.Failed, "exit 3: out\nerr"):
            process.run(["sh", "-c", "echo out; echo err >&2; exit 3"], process.Limit(20))


class Suites(harness.TestCase):
    """The word of a test program is believed only when a test ran."""

    def suite(self, script):
        class Fake:
            def run(self, _, limit, env, **options):
                return process.run(["sh", "-c", script], limit, {**os.environ, **env}, **options)
        return suites.suite(Fake(), [], process.Limit(20))

    def test_tests_are_counted(self):
        said = "[       OK ] A/B.C/cuda (3 ms)\n[       OK ] A/B.D/cuda (3 ms)\n[  SKIPPED ] A/B.E/cuda (0 ms)\n" \
               "[  SKIPPED ] 1 test, listed below:\n[  SKIPPED ] A/B.E/cuda"
        self.assertEqual(self.suite(f"echo '{said}'"), "2 tests, 1 skipped")
        with self.assertRaisesRegex(process.Failed, "no test ran"):
            self.suite("echo '[  PASSED  ] 0 tests.'")
        with self.assertRaisesRegex(process.Failed, "exit 1; A/B.C/cuda;"):
            self.suite("echo '[  FAILED  ] A/B.C/cuda, where GetParam()'; echo '[  FAILED  ] 1 test'; exit 1")
        with self.assertRaisesRegex(process.Failed, "exit 99; no test is named"):
            self.suite("echo '[       OK ] A.B (1 ms)'; exit 99")


class Matrix(harness.TestCase):
    def words(self, kind):
        text = (ROOT / "engine/config/names.h").read_text()
        body = re.search(rf"Choice<{kind}> \w+\[\] = \{{(.*?)\}};", text, re.DOTALL).group(1)
        return set(re.findall(r'"(\w+)"', body))

    def test_every_kind_is_compared_with_the_cpu(self):
        """Every norm, model, activation, optimizer and probe of the configuration has a configuration."""
        everything = matrix.configurations()
        resolved = []
        for number, configuration in enumerate(everything):
            path = harness.write_experiment(self.folder / f"{number}.yaml", {
                **configuration.settings, **({"precision": "bf16_emulated"} if "precision" in configuration.settings else {})})
            said = harness.run("train", path, "--print-config")
            self.assertEqual(said.code, 0, f"{configuration.name}: {said.err}")
            resolved.append(said.out)

        def values(key):
            return {re.search(rf"^{key}: (\w+)", text, re.MULTILINE).group(1) for text in resolved}
        for kind, key in (("NormKind", "norm.kind"), ("Deviation", "norm.deviation"), ("WeightsKind", "norm.weights"),
                          ("Architecture", "model.architecture"), ("ActivationKind", "model.activation"),
                          ("OptimizerKind", "optimizer.kind")):
            self.assertEqual(values(key), self.words(kind), key)
        precisions = {configuration.settings.get("precision", "f32") for configuration in everything}
        self.assertEqual(precisions | {"bf16_emulated"}, self.words("Precision"))
        probed = [text for text in resolved if "\nprobes.every_steps: 0 " not in text]
        for name in ("landscape", "covariate_shift", "signal_to_noise", "replica_spread", "activations", "gradients"):
            self.assertTrue(any(f"\nprobes.{name}: true " in text for text in probed), name)
        self.assertEqual(len({configuration.name for configuration in everything}), len(everything))

    def test_a_wider_bound_has_a_reason_and_a_configuration(self):
        everything = {configuration.name: configuration for configuration in matrix.configurations()}
        self.assertLessEqual(set(matrix.WIDER), set(everything))
        for configuration in everything.values():
            self.assertEqual(configuration.bound > matrix.BOUND, bool(configuration.reason), configuration.name)

    def test_every_norm_is_asked_for_its_speed(self):
        names = {"none", *speed.NORMS}
        self.assertEqual(names, self.words("NormKind"))

    def test_a_difference_beyond_the_bound_fails_its_group(self):
        table = Table("", [], self.folder / "table.md")
        rows = matrix.rows(Machine(rehearse=True), self.folder, table)
        before, matrix.difference = matrix.difference, lambda *_: 5e-5
        self.addCleanup(setattr, matrix, "difference", before)
        table.rows = [row for row in rows if row.name.endswith("models")]
        table.go(process.Limit(60))
        self.assertRegex(table.path.read_text(), r"\| \*\*FAILED\*\* \| 1 of 1: convnet: 5.0e-05 \|")
        self.assertIn("| models: convnet | 5.0e-05 | 4e-05 |", table.path.read_text())


class Run(harness.TestCase):
    def setUp(self):
        super().setUp()
        if harness.sanitized():
            self.skipTest("programs with a sanitizer are too slow for this")
        if not (Path(harness.PROGRAM).parent / "syncnorm_test_mpi").exists():
            self.skipTest("needs the test programs, with MPI")

    def test_a_rehearsal_goes_through_every_row(self):
        out = self.folder / "out"
        said = tool("run", "--rehearse", "--result", self.folder / "table.md", env={"OUT": str(out)})
        self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
        text = (self.folder / "table.md").read_text()
        self.assertIn("**A rehearsal**", text)
        self.assertEqual((out / "table.md").read_text(), text)
        rows = [line.split(" | ") for line in text.split("In all:")[0].splitlines()[1:] if line.count(" | ") == 3]
        outcomes = {name.removeprefix("| "): outcome for name, outcome, _, _ in rows[1:]}
        self.assertGreater(len(outcomes), 35)
        for name, outcome in outcomes.items():
            if "sanitizer" in name:
                self.assertEqual(outcome, "skipped", name)
            elif name.startswith("speed") and "torch.compile" not in name and "PyTorch" not in name:
                self.assertIn(outcome, ("met", "**missed**", "passed"), name)
            elif name.startswith("speed"):  # skipped without PyTorch
                self.assertIn(outcome, ("met", "**missed**", "passed", "skipped"), name)
            else:
                self.assertEqual(outcome, "passed", name)
        for part in ("kernels: norms", "communicator tests", "same bits, SyncBN", "a lost rank", "losses as on the CPU: norms",
                     "memcheck", "racecheck", "batch 256, GroupNorm against BN", "16 replicas of 2 images, syncbn, against"):
            self.assertTrue(any(part in name for name in outcomes), part)
        self.assertIn("| norms: frozen |", text)

    def test_a_part_by_itself(self):
        said = tool("run", "--rehearse", "--only", "kernels", "--result", self.folder / "table.md")
        self.assertEqual(said.returncode, 0, said.stderr)
        self.assertEqual(said.stdout.count("| kernels: "), 3)
        self.assertNotIn("training", said.stdout)

    def test_when_it_is_stopped_the_table_is_there_and_nothing_runs_on(self):
        command = [sys.executable, GPU / "run", "--rehearse", "--only", "training,matrix", "--result",
                   self.folder / "table.md"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(self.folder)}) as job:
            self.assertIn(b"passed", job.stdout.readline())
            job.send_signal(signal.SIGTERM)
            job.wait(timeout=30)
        self.assertEqual(job.returncode, 128 + signal.SIGTERM)
        self.assertIn("| not reached |", (self.folder / "table.md").read_text())
        mine = [path for path in Path("/proc").glob("[0-9]*/cmdline")
                if str(self.folder).encode() in self.content(path)]
        self.assertEqual(mine, [])

    @staticmethod
    def content(path):
        try:
            return path.read_bytes()
        except OSError:
            return b""

    @harness.full
    def test_a_pack_runs_elsewhere(self):
        pack, there = self.folder / "pack", self.folder / "there"
        there.mkdir()
        made = subprocess.run([GPU / "pack", "--no-build", pack], capture_output=True, text=True, check=False)
        self.assertEqual(made.returncode, 0, made.stderr)
        self.assertEqual(sorted(path.name for path in pack.iterdir()), ["bundle.tar.xz", "enter"])
        env = {name: value for name, value in os.environ.items() if name != "SYNCNORM"}
        command = [pack / "enter", "tests/gpu/run", "--rehearse", "--only", "kernels,communicator,training"]
        for _ in range(2):  # it unpacks once
            said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300,
                                  env={**env, "TMPDIR": str(there), "PATH": f"/usr/bin:{env['PATH']}"})
            self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
        table = (there / "syncnorm-gpu/build/gpu-rehearsal.md").read_text()
        self.assertGreater(table.count("| passed |"), 10)
        self.assertIn("| kernels: norms | passed |", table)  # it found the goldens


class Refused(harness.TestCase):
    def test_without_a_build(self):
        said = tool("run", "--no-build", env={"SYNCNORM": str(self.folder / "syncnorm")})
        self.assertEqual(said.returncode, 2)
        self.assertIn(f"syncnorm, syncnorm_test_kernels, syncnorm_test_mpi, syncnorm_mpi.so, syncnorm_cuda.so, "
                      f"syncnorm_nccl.so not in {self.folder}; build with tests/gpu/build", said.stderr)

    def test_a_part_that_is_none(self):
        said = tool("run", "--only", "kernels,nonsense")
        self.assertEqual(said.returncode, 2)
        self.assertIn("no part nonsense; the parts are kernels, communicator", said.stderr)

    def test_a_pack_without_a_build(self):
        said = subprocess.run([GPU / "pack", "--no-build", self.folder / "pack"], capture_output=True, text=True,
                              check=False, env={**os.environ, "SYNCNORM": str(self.folder / "syncnorm")})
        self.assertEqual(said.returncode, 2)
        self.assertIn("syncnorm is not there; leave out --no-build", said.stderr)


class CudnnEngines(harness.TestCase):
    def test_what_cudnn_proposes_without_a_gpu(self):
        said = tool("cudnn_engines", "wgrad", 256, 64, 56, 64, 3, "--type", "bf16")
        if "no cuDNN 9" in said.stderr:
            self.skipTest("needs cuDNN")
        self.assertEqual(said.returncode, 0, said.stderr)
        self.assertRegex(said.stdout, r"(?m)^A +engine +\d+ +taken +workspace .* TENSOR_CORE$")
        exact = tool("cudnn_engines", "forward", 2, 64, 56, 64, 3, "--type", "f32")
        self.assertEqual(exact.returncode, 0, exact.stderr)
        taken = [line for line in exact.stdout.splitlines() if " taken " in line]
        self.assertEqual(len(taken), 1)
        self.assertNotIn("TENSOR_CORE", taken[0])  # it would compute in TF32
        bad = tool("cudnn_engines", "sideways", 1, 1, 1, 1, 1)
        self.assertEqual(bad.returncode, 2)


if __name__ == "__main__":
    harness.main()
