"""Runs that are broken on purpose: what each fault ends in, and that the run goes on to its bits."""
import harness

SETTINGS = {"steps": 6, "norm": "syncbn", "checkpoint.every_steps": 2, "checkpoint.every_epochs": 0,
            "evaluation.every_epochs": 0}


class Faults(harness.TestCase):
    def broken(self, fault, ranks, **settings):
        """A run with a fault in run folder `broken`; returns its Result."""
        path = harness.write_experiment(self.folder / "broken.yaml", {**SETTINGS, **settings},
                                        run_dir=self.folder / "broken")
        return harness.run("train", path, "--fault", fault, ranks=ranks)

    def goes_on(self, ranks, **settings):
        """Resumes it, and asks for the bits of a run that met no fault."""
        again = self.train("broken", {**SETTINGS, **settings}, ranks, ("--resume", "auto"))
        self.assert_same_bits(again, self.train("whole", {**SETTINGS, **settings}))

    def test_a_rank_that_dies(self):
        for fault, code in [("kill@1:3", 137), ("segv@0:3:gradient", 139), ("exit@1:3", 1),
                            ("exception@1:3:statistics", 1), ("kill@0:6:shutdown", 137)]:
            with self.subTest(fault=fault):
                result = self.broken(fault, 2)
                self.assertIn(f"syncnorm: fault {fault}\n", result.err)
                self.assertEqual(result.code, code, result.err)
                self.goes_on(3)
                self.setUp()

    def test_faults_are_read_strictly(self):
        result = self.broken("melt@0:1", 2)
        self.assertEqual(result.code, 2)
        self.assertRegex(result.err, "syncnorm: --fault melt@0:1: no such kind; give kind@rank:step")


if __name__ == "__main__":
    harness.main()
