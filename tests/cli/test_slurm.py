"""launch/slurm.sbatch and launch/slurm-study.sbatch on a real Slurm of one node."""
import os
import re
import shutil
import signal
import tempfile
import unittest
from pathlib import Path

import harness
import slurm
from harness import full

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"norm": "syncbn"}
# Some tens of seconds, with a checkpoint every second or so.
LONG = {**SMALL, "steps": 6000, "checkpoint.every_steps": 200, "checkpoint.every_epochs": 0,
        "evaluation.every_epochs": 0}


class Job(harness.TestCase):
    """launch/slurm_job alone: scripts take the place of srun and scontrol."""

    def job(self, srun, state="JobState=RUNNING Reason=None", **changes):
        """`srun` is what the tasks do. Returns the started job; `asked` is what scontrol was asked."""
        self.asked = self.folder / "asked"
        for name, text in (("srun", srun), ("scontrol", f"""echo "$1" >>{self.asked}
                [ "$1" = show ] || exit 1
                printf 'JobId=7 JobName=JobState=TIMEOUT Reason=TimeLimit\\n   {state} Dependency=(null)\\n'""")):
            (self.folder / name).write_text(f"#!/bin/bash\n{text}\n")
            (self.folder / name).chmod(0o755)
        return harness.start("train", "a.yaml", program=ROOT / "launch" / "slurm_job", env={
            "SYNCNORM": "/bin/true", "PATH": f"{self.folder}:{os.environ['PATH']}", "SLURM_JOB_ID": "7",
            "SLURM_NTASKS": "2", "SLURM_JOB_NODELIST": "n", **changes})

    def test_what_is_requeued(self):
        """A stop with a checkpoint; after TERM only where the job's state, not its name, says time limit."""
        for state, requeued in (("JobState=CANCELLED Reason=None", False), ("JobState=TIMEOUT Reason=None", True),
                                ("JobState=RUNNING Reason=TimeLimit", True)):
            with self.subTest(state=state):
                (self.folder / "up").unlink(missing_ok=True)
                process = self.job(f"echo $$ >{self.folder}/pid; trap 'exit 75' USR1; touch {self.folder}/up; "
                                   "while :; do sleep 0.05; done", state)
                self.addCleanup(lambda p=process: p.poll() is None and harness.kill(p))
                harness.wait_for((self.folder / "up").exists, "the ranks")
                process.send_signal(signal.SIGTERM)
                os.kill(int((self.folder / "pid").read_text()), signal.SIGUSR1)
                result = harness.finish(process)
                self.assertEqual(result.code, 75, result.err)
                self.assertEqual("requeue" in self.asked.read_text(), requeued)
                self.asked.unlink()

    def test_numbers_are_looked_at_before_they_count(self):
        ran = self.folder / "ran"
        result = harness.finish(self.job("exit 4", SLURM_RESTART_COUNT=f"a[$(touch {ran})]"))
        self.assertEqual((result.code, ran.exists()), (4, False), result.err)
        result = harness.finish(self.job("exit 75", SYNCNORM_REQUEUES="many"))
        self.assertEqual(result.code, 2)
        self.assertIn("SYNCNORM_REQUEUES=many: expected a whole number", result.err)
        result = harness.finish(self.job("echo the model: launch failed >&2"))
        self.assertEqual(result.code, 0, result.err)
        result = harness.finish(self.job("echo 'srun: error: Application launch failed: x' >&2"))
        self.assertEqual(result.code, 70, result.err)


@unittest.skipIf(slurm.missing(), slurm.missing())
class Slurm(harness.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.base = Path(tempfile.mkdtemp(prefix="syncnorm-slurm-"))
        cls.addClassCleanup(shutil.rmtree, cls.base, ignore_errors=True)
        os.chmod(cls.base, 0o755)
        cls.cluster = cls.enterClassContext(slurm.Cluster(cls.base / "slurm", cpus=2))

    def submit(self, script, *arguments, options=()):
        return self.cluster.submit(f"--chdir={self.folder}", "--output=job-%j.log", *options,
                                   "--export=ALL,SYNCNORM=" + os.path.abspath(harness.PROGRAM),
                                   ROOT / "launch" / script, *arguments, cwd=ROOT)

    def log(self, number):
        return (self.folder / f"job-{number}.log").read_text()

    def write(self, name, settings):
        return harness.write_experiment(self.folder / f"{name}.yaml", settings,
                                        run_dir=self.folder / name)

    def ends(self, number, code, state):
        job = self.cluster.wait_for_state(number, "COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL",
                                          "TIMEOUT", seconds=600)
        self.assertEqual((job["JobState"], job["ExitCode"]), (state, code), self.log(number))

    def test_two_tasks_give_the_bits_of_one_rank(self):
        job = self.submit("slurm.sbatch", self.write("job", SMALL))
        self.ends(job, "0:0", "COMPLETED")
        self.assertIn("2 tasks on", self.log(job))
        self.assert_same_bits(self.train("alone", SMALL), harness.Run(self.folder / "job"))
        self.assertEqual(harness.Run(self.folder / "job").of("start")[0]["ranks"], 2)

    def test_a_bad_request_ends_the_job_with_2_and_says_why(self):
        for arguments, message in (((), "usage: sbatch"),
                                   ((self.write("few", {**SMALL, "replicas": 1}),), "cannot be spread over 2 ranks"),
                                   ((self.write("odd", {**SMALL, "norm": "batchnorm"}),), "norm"),
                                   ((self.folder / "missing.yaml",), "missing.yaml")):
            job = self.submit("slurm.sbatch", *arguments)
            self.ends(job, "2:0", "FAILED")
            self.assertIn(message, self.log(job))
        job = self.submit("slurm-study.sbatch", "study.yaml", options=["--array=2-3"])
        self.ends(job, "2:0", "FAILED")

    @full
    def test_an_array_shares_a_study(self):
        study = self.folder / "study.yaml"
        study.write_text((self.write("base", SMALL)).read_text() + "compare: {seed: [1, 2, 3]}\n")
        job = self.submit("slurm-study.sbatch", study, options=["--array=1-2", "--output=job-%A_%a.log"])
        for part in (1, 2):
            self.ends(f"{job}_{part}", "0:0", "COMPLETED")
        self.assertIn("[1/3]", self.log(f"{job}_1"))
        self.assertIn("[2/3]", self.log(f"{job}_2"))
        self.assertIn("[3/3]", self.log(f"{job}_1"))
        table = harness.run("compare", study)
        self.assertEqual(table.out.count("done before, skipped"), 3)

    def same_as_alone(self, name, job, settings):
        """Nothing but resuming tells the run from one that was never stopped."""
        alone, run = self.train("alone", settings, timeout=600), harness.Run(self.folder / name)
        self.assertTrue(run.of("resume"), self.log(job))
        self.assertEqual(alone.losses, run.losses)
        last = f"step-{settings['steps']}/model.safetensors"
        self.assertEqual(alone.tensor_files()[last], run.tensor_files()[last])

    @full
    def test_a_time_limit_is_a_checkpoint_and_another_start(self):
        """Slurm looks at limits every half minute: the signal of the first start comes early; a later start got none
        (Slurm 22.05) and ended with its limit."""
        longer = {**LONG, "steps": 80000}
        job = self.submit("slurm.sbatch", self.write("limit", longer),
                          options=["--time=1", "--signal=USR2@90"])
        self.cluster.wait_for_state(job, "COMPLETED", "FAILED", "CANCELLED", seconds=900)
        self.ends(job, "0:0", "COMPLETED")
        self.assertIn("stopped with a checkpoint; requeued", self.log(job))
        self.assertIn("DUE TO TIME LIMIT", self.log(job))
        self.assertIn("start 3", self.log(job))
        self.assertNotIn("submit it again", self.log(job))
        self.same_as_alone("limit", job, longer)

    @full
    def test_a_cancelled_job_leaves_a_checkpoint_and_is_not_requeued(self):
        job = self.submit("slurm.sbatch", self.write("cancelled", LONG))
        self.cluster.wait_for(lambda: "step" in self.log_so_far(job), "the first steps", 120)
        self.cluster.command("scancel", job)
        job_state = self.cluster.wait_for_state(job, "CANCELLED")
        self.assertEqual(job_state["JobState"], "CANCELLED")
        self.cluster.wait_for(lambda: "stopped on a signal after" in self.log_so_far(job), "the checkpoint", 60)
        self.assertNotIn("requeued", self.log(job))
        self.assertTrue(re.search(r"step-[1-9]", " ".join(harness.Run(self.folder / "cancelled").tensor_files())))

    def log_so_far(self, number):
        path = self.folder / f"job-{number}.log"
        return path.read_text() if path.exists() else ""

    def loses_its_node(self, name, clean):
        job = self.submit("slurm.sbatch", self.write(name, LONG))
        self.cluster.wait_for(lambda: list((self.folder / name).glob("checkpoints/step-*00")),
                              "a checkpoint", 120)
        self.cluster.kill_node(clean)
        self.cluster.wait_for_state(job, "PENDING", seconds=120)
        self.cluster.start_node()
        return job

    @full
    def test_a_lost_node_is_another_start(self):
        job = self.loses_its_node("lost", clean=True)
        self.ends(job, "0:0", "COMPLETED")
        self.same_as_alone("lost", job, LONG)

    @full
    def test_tasks_that_cannot_be_started_are_no_success(self):
        """srun says "launch failed" then, and exits with 0."""
        self.ends(self.loses_its_node("stumbles", clean=False), "70:0", "FAILED")


if __name__ == "__main__":
    harness.main()
