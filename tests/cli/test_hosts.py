"""launch/hosts: several hosts, which are network namespaces of this machine."""
import os
import subprocess
import time
import unittest
from pathlib import Path

import cable
import harness
import hosts
from harness import full

LAUNCHER = Path(__file__).resolve().parents[2] / "launch" / "hosts"
SMALL = {"norm": "syncbn", "replicas": 8}
LONG = {**SMALL, "steps": 100000, "checkpoint.every_steps": 0, "checkpoint.every_epochs": 0,
        "evaluation.every_epochs": 0, "fault.deadline": 5}


class Hosts(harness.TestCase):
    def start(self, cluster, hostfile, *arguments, **changes):
        environment = harness.environment({**cluster.environment(),
                                           "SYNCNORM": os.path.abspath(harness.PROGRAM), **changes})
        command = cluster.on_first(LAUNCHER, hostfile, *arguments)
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
                                stdin=subprocess.DEVNULL, start_new_session=True)

    def write(self, name, settings):
        return harness.write_experiment(self.folder / f"{name}.yaml", settings, run_dir=self.folder / name)

    def trains_alike(self, slots, lossy=None):
        """The bits of one rank, whatever the network does. Returns what the cables did."""
        with hosts.Hosts(self.folder, len(slots), lossy) as cluster:
            name = "x".join(map(str, slots))
            result = harness.finish(self.start(cluster, cluster.hostfile(slots), "train",
                                               self.write(name, SMALL)))
            self.assertEqual(result.code, 0, result.err + result.out)
            cables = cluster.unplug()
        run = harness.Run(self.folder / name)
        self.assertEqual(run.of("start")[0]["ranks"], sum(slots))
        self.assert_same_bits(self.train(f"alone-{name}", SMALL), run)
        return cables

    def test_two_hosts_give_the_bits_of_one_rank(self):
        self.trains_alike([1, 1])

    @full
    def test_four_hosts_with_uneven_ranks(self):
        self.trains_alike([2, 1, 1, 1])

    @unittest.skipIf(cable.missing(), cable.missing())
    def test_a_slow_network_that_loses_packets(self):
        for carried in self.trains_alike([1, 2], lossy=(0.003, 0.001, 0.01)):
            self.assertGreater(carried["carried"], 1000)
            self.assertGreater(carried["lost"], 5)

    def test_what_is_wrong_is_said_before_anything_starts(self):
        experiment = self.write("never", SMALL)
        with hosts.Hosts(self.folder, 2) as cluster:
            good = cluster.hostfile([1, 1])

            def refused(hostfile, *messages, **changes):
                result = harness.finish(self.start(cluster, hostfile, "train", experiment, **changes))
                self.assertEqual(result.code, 2, result.err)
                for message in messages:
                    self.assertIn(message, result.err)

            odd = self.folder / "odd.txt"
            odd.write_text("10.77.0.1 slots=1\n10.77.0.2 slot=2\n10.77.0.2\n")
            refused(odd, '"10.77.0.2 slot=2": expected HOST slots=N', '"10.77.0.2": expected HOST')
            odd.write_text("# nothing\n")
            refused(odd, "no hosts in it")
            odd.write_text("10.77.0.9 slots=1\n10.77.0.1 slots=999\n")
            refused(odd, "10.77.0.9: ", "without a password", "a rank needs a core of its own")
            refused(self.folder / "missing.txt", "cannot be read")
            refused(good, "not there", SYNCNORM="/nowhere/syncnorm")
        self.assertFalse((self.folder / "never").exists())

    @full
    def test_a_cut_cable_ends_the_job_within_the_deadline(self):
        with hosts.Hosts(self.folder, 2) as cluster:
            process = self.start(cluster, cluster.hostfile([1, 1]), "train", self.write("cut", LONG))
            log = self.folder / "cut" / "metrics.jsonl"
            harness.wait_for(lambda: log.exists() and log.read_text().count('"step"') > 20, "training")
            cluster.cut(1)
            begin = time.monotonic()
            # Not finish(): what runs on the lost host still has our pipes.
            self.assertEqual(process.wait(60), 70)
            self.assertLess(time.monotonic() - begin, 30)
        self.assertIn(b"fault.deadline", process.communicate(timeout=30)[1])


if __name__ == "__main__":
    if hosts.missing():
        harness.skip_file(hosts.missing())
    harness.main()
