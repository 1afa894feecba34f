"""launch/hosts: several hosts, which are network namespaces of this machine."""
import os
import signal
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


class Answers(harness.TestCase):
    """What hosts print and what stands in the file of hosts, judged before anything starts. A script takes the
    place of ssh, and this machine that of every host."""

    def setUp(self):
        super().setUp()
        self.file = harness.write_experiment(self.folder / "e.yaml", {"steps": 2, "norm": "syncbn"},
                                             run_dir=self.folder / "run")
        self.hosts = self.folder / "hosts"
        self.hosts.write_text("node1 slots=1\nnode2 slots=1\n")

    def launch(self, shell="", *arguments, file=None, **changes):
        """`shell` runs on every host before the command does."""
        # Open MPI's daemons of two hosts would make the same folder at once.
        rsh = self.folder / "rsh"
        rsh.write_text(f'#!/bin/sh\nhost=$1\nshift\nmkdir -p {self.folder}/$host\n'
                       f'export TMPDIR={self.folder}/$host\n{shell}\nexec sh -c "$*"\n')
        rsh.chmod(0o755)
        return harness.start(self.hosts, "train", file or self.file, *arguments, program=LAUNCHER, env={
            "SYNCNORM": os.path.abspath(harness.PROGRAM), "SYNCNORM_RSH": str(rsh), "SYNCNORM_BINDING": "none",
            "ASAN_OPTIONS": "detect_leaks=0", "OMPI_MCA_odls_base_sigkill_timeout": "1", **changes})

    def refused(self, *messages, shell="", **changes):
        result = harness.finish(self.launch(shell, **changes))
        self.assertEqual(result.code, 2, result.err)
        for message in messages:
            self.assertIn(message, result.err)
        self.assertNotIn("\x1b", result.out + result.err)
        self.assertFalse((self.folder / "run").exists())
        return result.err

    def test_banners_and_warnings_are_no_answer(self):
        odd = self.folder / "it's a \"test\" $(x) ü%d.yaml"
        odd.write_text(self.file.read_text())
        ran = self.folder / "ran"
        banner = (f"printf 'Welcome\\033[31m\\r\\na[$(touch {ran})]\\n'\n"
                  f"echo 'x[$(touch {ran})]'\necho 'Warning: added to the known hosts' >&2")
        result = harness.finish(self.launch(banner, file=odd))
        self.assertEqual(result.code, 0, result.err)
        self.assertNotIn("\x1b", result.out + result.err)
        self.assertEqual(harness.Run(self.folder / "run").of("start")[0]["ranks"], 2)
        self.assertFalse(ran.exists())

    def test_nothing_of_an_answer_is_evaluated(self):
        ran = self.folder / "ran"
        said = self.refused("nproc does not say how many cores", "date does not say the time", "not the same there",
                            shell="".join(f"echo 'syncnorm-look: {key} a[$(touch {ran})]'\n"
                                          for key in ("file", "cores", "time")) + "echo syncnorm-look: end; exit 0")
        self.assertIn("node2", said)
        self.assertFalse(ran.exists())

    def test_what_hosts_cannot_or_do_not_answer(self):
        self.refused("node1: sha256sum nproc date not found there; install coreutils",
                     shell="PATH=/nowhere; export PATH; exec /bin/sh -c \"$*\"")
        self.refused("node2: no answer, exit 255; it said \"$'\\E[31mdenied'\"; it must be reachable by",
                     shell="printf '\\033[31mdenied\\n' >&2; exit 255")
        self.refused("no answer, exit 0; it said \"This account is not available.\"",
                     shell="echo This account is not available.; exit 0")
        self.refused("node1: no answer in 1 s (SYNCNORM_ANSWER)", shell="exec sleep 100", SYNCNORM_ANSWER="1")
        self.refused("is no program", SYNCNORM_RSH="ssh -p 22")
        self.refused("SYNCNORM_ANSWER", SYNCNORM_ANSWER="a[0]")
        self.refused('SYNCNORM_BINDING: "cores" is not known', SYNCNORM_BINDING="cores")
        changed = self.folder / "other" / "syncnorm"
        changed.parent.mkdir()
        changed.symlink_to(os.path.abspath(harness.PROGRAM))
        self.refused("syncnorm_mpi.so: cannot be read here", SYNCNORM=str(changed))

    def test_mistakes_in_the_file_of_hosts(self):
        """All at once, each with its line and what would be right."""
        self.hosts.write_bytes(b"# ours\nnode1 slots=2  # good\n\n  node2\tslots=04 \nnode1:4\nnode3\n"
                               b"node4 slots=0\nnode5 slots=8 max_slots=8\nnode6 slots = 8\nroot@node1 slots=3\n"
                               b"-oProxyCommand=x slots=1\nnode7 slots=a[1]\nn\x1b[31m slots=1\n"
                               b"node8 slots=99999999999999999999\n")
        said = self.refused()
        lines = [line for line in said.splitlines() if line.startswith(f"launch/hosts: {self.hosts}:")]
        for number, right in ((5, "node1 slots=4"), (6, "expected HOST slots=N"), (7, "slots counts ranks"),
                              (8, "slots alone says"), (9, "node6 slots=8"), (10, "is on line 2 already; name it once, "
                              "with slots=5"), (11, "no host's name"), (12, "expected HOST"), (13, "no host's name"),
                              (14, "from 1 to 999999")):
            found = [line for line in lines if line.startswith(f"launch/hosts: {self.hosts}:{number}:")]
            self.assertEqual([right in line for line in found], [True], (number, said))
        self.assertEqual(len(lines), 10)
        self.hosts.write_bytes(b"node1 slots=1\r\nnode2 slots=1\r\n")
        self.refused(f"{self.hosts}:1: ", "CR LF", "sed -i")
        self.hosts.write_bytes(b"\xef\xbb\xbfnode1 slots=1\n")
        self.refused(f"{self.hosts}:1: ", "byte order mark")

    def test_what_mpirun_refuses(self):
        self.refused("launch/hosts: mpirun ended with", "before a rank could begin", "OMPI_MCA_rmaps",
                     OMPI_MCA_rmaps="rank_file")

    def test_another_mpi_comes_first(self):
        fake = self.folder / "mpirun"
        fake.write_text("#!/bin/sh\necho HYDRA build details:\n")
        fake.chmod(0o755)
        self.refused(f"{fake} is not Open MPI's", PATH=f"{self.folder}:{os.environ['PATH']}")

    def test_inside_a_batch_job_the_file_counts(self):
        result = harness.finish(self.launch("", SLURM_JOB_ID="1", SLURM_JOBID="1", SLURM_NODELIST="x", SLURM_NNODES="1",
                                            SLURM_TASKS_PER_NODE="1", SLURM_NTASKS="1"))
        self.assertEqual(result.code, 0, result.err)
        self.assertEqual(harness.Run(self.folder / "run").of("start")[0]["ranks"], 2)

    def test_hang_up_and_closed_pipes(self):
        process = self.launch("", "steps=100000")
        self.addCleanup(lambda: process.poll() is None and harness.kill(process))
        ranks = harness.ranks_of(process, 2)
        log = self.folder / "run" / "metrics.jsonl"
        process.stdout.close()
        process.stderr.close()
        harness.wait_for(lambda: log.exists() and log.read_text().count('"step",') > 100, "training")
        process.send_signal(signal.SIGHUP)
        self.assertEqual(process.wait(harness.TIMEOUT), 75)
        harness.wait_for(lambda: not any(os.path.exists(f"/proc/{p}") for p in ranks), "the ranks to end")
        run = harness.Run(self.folder / "run")
        self.assertEqual(run.checkpoints()[-1], run.steps[-1]["step"])


@unittest.skipIf(hosts.missing(), hosts.missing())
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
    harness.main()
