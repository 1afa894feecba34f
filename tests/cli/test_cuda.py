"""Commands with `device: cuda`, on a GPU that is emulated on the CPU: the program's copy finds the
module of tests/engine/emulated_gpu_module.cpp beside itself, and no NCCL."""
import json
import shutil
import tempfile
import unittest
from pathlib import Path

import harness

GPU = {"device": "cuda", "replicas": 2, "norm": "syncbn"}
QUICK = ["--rounds", "1", "--steps", "2"]


class OnTheEmulatedGpu(harness.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.real = harness.PROGRAM
        bin_folder = Path(cls.real).resolve().parent
        if not (bin_folder / "syncnorm_cuda.so").exists():
            raise unittest.SkipTest("this build has no CUDA")
        cls.beside = Path(tempfile.mkdtemp(prefix="syncnorm-test-"))
        shutil.copy2(cls.real, cls.beside / "syncnorm")
        shutil.copy2(bin_folder / "emulated/syncnorm_cuda.so", cls.beside)
        harness.PROGRAM = str(cls.beside / "syncnorm")

    @classmethod
    def tearDownClass(cls):
        harness.PROGRAM = cls.real
        shutil.rmtree(cls.beside)

    def test_version_names_what_was_built_and_what_is_found(self):
        lines = harness.run("--version").out.splitlines()
        self.assertRegex(lines[-2], r"^cuda: built with CUDA [\d.]+, cuDNN [\d.]+, (NCCL [\d.]+|no NCCL)$")
        self.assertRegex(lines[-1], r"^cuda: found no driver, no libraries, 1 GPU \(.*\); "
                                    r"no NCCL \(syncnorm_nccl.so is missing\)$")

    def test_version_where_nothing_can_be_loaded(self):
        alone = self.folder / "syncnorm"
        shutil.copy2(harness.PROGRAM, alone)
        result = harness.run("--version", program=alone)
        self.assertEqual((result.code, result.err), (0, ""))
        self.assertIn("\ncuda: found no CUDA back end (syncnorm_cuda.so is missing); no NCCL (", result.out)
        (self.folder / "syncnorm_cuda.so").write_text("no module")
        (self.folder / "syncnorm_nccl.so").write_text("no module")
        result = harness.run("--version", program=alone)
        self.assertEqual((result.code, result.err), (0, ""))
        self.assertRegex(result.out, r"\ncuda: found no CUDA back end \(.*syncnorm_cuda.so: .*\); "
                                     r"no NCCL \(.*syncnorm_nccl.so: .*\)\n")

    def test_version_with_the_real_modules(self):
        """Whatever this machine has; without a GPU and its driver, both are said to be missing."""
        result = harness.run("--version", program=self.real, env={"CUDA_VISIBLE_DEVICES": ""})
        self.assertEqual((result.code, result.err), (0, ""))
        self.assertRegex(result.out.splitlines()[-1], r"^cuda: found (no driver|driver for CUDA [\d.]+), "
                                                      r"cuDNN [\d.]+, cuBLASLt [\d.]+, no GPU\b.*; NCCL [\d.]+$")

    def bench(self, *arguments, **settings):
        path = harness.write_experiment(self.folder / "tiny.yaml", {**GPU, **settings},
                                        run_dir=self.folder / "run")
        result = harness.run("bench", "step", path, *QUICK, *arguments)
        self.assertEqual(result.code, 0, result.err)
        return result.out

    def test_instructions_are_waited_for_and_the_output_says_so(self):
        text = self.bench("--instructions")
        self.assertIn("| backward | conv wgrad | 9 |", text)
        self.assertIn("Each instruction was waited for on the device", text)
        report = json.loads(self.bench("--instructions", "--json"))
        self.assertIs(report["operations_waited_for"], True)
        self.assertIs(report["queued_on_device"], True)
        for operation in report["operations"]:
            self.assertGreater(operation["seconds"], 0.0, operation)

    def test_forced_reductions_send_the_statistics_of_one_replica(self):
        self.assertIn("nothing is reduced between ranks", self.bench(replicas=1))
        report = json.loads(self.bench("--force-reductions", "--json", replicas=1))
        self.assertEqual(report["communicator"], "self")  # for want of NCCL
        kinds = [r["kind"] for r in report["reductions"]]
        self.assertEqual((kinds.count("forward statistics"), kinds.count("backward statistics"),
                          kinds.count("loss")), (7, 7, 1))
        self.assertEqual({frozenset(r) for r in report["reductions"]},
                         {frozenset({"kind", "bytes", "name"})})
        text = self.bench("--force-reductions", replicas=1)
        self.assertIn("every reduction is forced through the communicator self\n", text)
        self.assertIn("times of single reductions are not measured", text)
        self.assertIn("\n| layer1.0.bn1 statistics | 264 |\n", text)

    def test_a_run_goes_from_the_cpu_to_the_gpu_and_back(self):
        path = harness.write_experiment(self.folder / "run.yaml", {"norm": "syncbn"},
                                        run_dir=self.folder / "run")
        outputs = []
        for device, steps in (("cpu", 2), ("cuda", 4), ("cpu", 6)):
            result = harness.run("train", path, f"device={device}", f"steps={steps}", "--resume", "auto")
            self.assertEqual(result.code, 0, result.err)
            outputs.append(result.out)
        run = harness.Run(self.folder / "run")
        self.assertEqual([s["step"] for s in run.steps], [1, 2, 3, 4, 5, 6])
        notes = ["device: cpu until step 2, cuda from there on; the bits follow the device",
                 "device: cuda until step 4, cpu from there on; the bits follow the device"]
        self.assertEqual([e["note"] for e in run.of("resume")], notes)
        self.assertNotIn("the bits follow the device", outputs[0])
        for note, output in zip(notes, outputs[1:]):
            self.assertIn(f"\n  {note}\n", output)
        refused = harness.run("train", path, "device=cuda", "steps=8", "seed=4", "--resume", "auto")
        self.assertEqual(refused.code, 3)
        self.assertIn("was trained with seed: 3, but now it is 4", refused.err)


if __name__ == "__main__":
    harness.main()
