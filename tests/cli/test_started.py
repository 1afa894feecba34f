"""Started as several, running as one: what the launchers' variables say, and what is said of it."""

import harness

SLURM = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "4"}


class Started(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.file = harness.write_experiment(self.folder / "e.yaml", {"steps": 2}, run_dir=self.folder / "run")

    def test_several_that_nothing_connects(self):
        """Rank 0 says what was seen and what would be right, for all; the others say nothing."""
        for env, ranks, seen, right in (
                ({**SLURM, "SLURM_PROCID": "0"}, 4, "SLURM_STEP_NUM_TASKS=4, SLURM_PROCID=0", "srun --mpi=pmix"),
                ({**SLURM, "SLURM_PROCID": "0", "PMI_RANK": "0", "PMI_SIZE": "4"}, 4, "PMI_SIZE=4", "srun --mpi=pmix"),
                ({"PMI_SIZE": "2", "PMI_RANK": "0"}, 2, "PMI_SIZE=2, PMI_RANK=0", "the mpirun of Open MPI 4."),
                ({"MPI_LOCALNRANKS": "3", "MPI_LOCALRANKID": "0"}, 3, "MPI_LOCALNRANKS=3", "launch/run"),
                ({"MV2_COMM_WORLD_SIZE": "2", "MV2_COMM_WORLD_RANK": "0"}, 2, "MV2_COMM_WORLD_SIZE=2", "launch/run"),
                ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}, 2, "OMPI_COMM_WORLD_SIZE=2",
                 "launch/run")):
            with self.subTest(seen=seen):
                result = harness.run("train", self.file, env=env)
                self.assertEqual((result.code, result.out), (2, ""), result.err)
                self.assertEqual(result.err.count("\n"), 1)
                for part in (f"one of {ranks} ranks", seen, right):
                    self.assertIn(part, result.err)
        self.assertFalse((self.folder / "run").exists())

    def test_only_one_of_them_says_it(self):
        processes = [harness.start("train", self.file, env={**SLURM, "SLURM_PROCID": str(rank)}) for rank in range(3)]
        results = [harness.finish(process) for process in processes]
        self.assertEqual([r.code for r in results], [2, 2, 2])
        self.assertIn("one of 4 ranks", results[0].err)
        self.assertEqual([r.out + r.err for r in results[1:]], ["", ""])

    def test_one_alone(self):
        """A batch script's own shell, a step of one task, and ranks of mpirun inside a step of several."""
        for env in ({"SLURM_NTASKS": "4", "SLURM_NPROCS": "4", "SLURM_PROCID": "0"},
                    {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"},
                    {"PMI_SIZE": "1", "PMI_RANK": "0", "SLURM_STEP_NUM_TASKS": "x"}):
            with self.subTest(env=env):
                # Open MPI leaves memory behind where it is started.
                result = harness.run("train", self.file, "--dry-run", env={**env, "ASAN_OPTIONS": "detect_leaks=0"})
                self.assertEqual(result.code, 0, result.err)
                self.assertIn("on 1 rank\n", result.out)
        result = harness.run("train", self.file, "--dry-run", ranks=2, env={**SLURM, "SLURM_PROCID": "0"})
        self.assertIn("on 2 ranks\n", result.out + result.err)

    def test_commands_of_one_rank_are_not_refused(self):
        env = {**SLURM, "SLURM_PROCID": "1"}
        for command in (("plan", self.file), ("trace",), ("--version",), ("train", "--help")):
            result = harness.run(*command, env=env)
            self.assertEqual(result.code, 0, result.err)
            self.assertTrue(result.out)


class Print(harness.TestCase):
    def value(self, file, key, command="train", code=0):
        result = harness.run(command, file, "--print", key)
        self.assertEqual(result.code, code, result.err)
        return result.out if code == 0 else result.err

    def test_a_value_as_it_is(self):
        file = self.folder / "e.yaml"
        for text in ("my runs", "2024/x", "Läufe/x", "a 'b\" # c: d", "-x", "007", "null"):
            with self.subTest(text=text):
                harness.write_experiment(file, run_dir=str(self.folder / text))
                self.assertEqual(self.value(file, "run_dir"), f"{self.folder / text}\n")
        harness.write_experiment(file, {"optimizer.lr": 0.25, "norm.kind": "group"}, name="my-name")
        self.assertEqual([self.value(file, key) for key in ("optimizer.lr", "norm.kind", "steps", "name")],
                         ["0.25\n", "group\n", "4\n", "my-name\n"])

    def test_what_has_no_value(self):
        file = harness.write_experiment(self.folder / "e.yaml")
        self.assertIn("did you mean run_dir?", self.value(file, "rundir", code=2))
        self.assertIn("did you mean optimizer.lr?", self.value(file, "lr", code=2))
        self.assertIn("a section; its keys are ", self.value(file, "optimizer", code=2))
        self.assertIn("another key replaces it (steps)", self.value(file, "epochs", code=2))

    def test_a_study_has_a_folder(self):
        study = self.folder / "study.yaml"
        harness.write_experiment(study, run_dir=self.folder / "my study")
        study.write_text(study.read_text() + "compare: {seed: [1, 2]}\n")
        self.assertEqual(self.value(study, "run_dir", "compare"), f"{self.folder}/my study\n")
        self.assertIn("name or run_dir", self.value(study, "seed", "compare", 2))


if __name__ == "__main__":
    harness.main()
