"""launch/run: exit codes, restarts from the newest checkpoint, and signals."""
import fcntl
import os
import pty
import shutil
import signal
import subprocess
import termios
import time
from pathlib import Path

import harness
from harness import full

RUN = Path(__file__).parents[2] / "launch" / "run"
SETTINGS = {"steps": 6, "norm": "syncbn", "checkpoint.every_steps": 2, "checkpoint.every_epochs": 0,
            "evaluation.every_epochs": 0}


class LaunchRun(harness.TestCase):
    def launch(self, *arguments, program=harness.PROGRAM, env=None, before=(), **options):
        # mpirun sleeps twice its grace whenever a rank was lost; the ranks here end at once.
        return harness.start(*[*before, RUN, *arguments][1:], program=[*before, RUN][0], env={
            "SYNCNORM": str(program), "OMPI_MCA_odls_base_sigkill_timeout": "1",
            "ASAN_OPTIONS": "detect_leaks=0", **(env or {})}, **options)  # as under mpirun

    def experiment(self, name, **settings):
        return harness.write_experiment(self.folder / f"{name}.yaml", {**SETTINGS, **settings},
                                        run_dir=self.folder / name)

    def stand_in(self, text):
        """A program that counts its starts, each with its number of ranks."""
        path = self.folder / "program"
        path.write_text('#!/bin/sh\ncase "$*" in *--print*|*--dry-run*|--version) exit 0 ;; esac\n'
                        '[ "$OMPI_COMM_WORLD_RANK" = 0 ] || exec sleep 60\n'
                        f'echo "$OMPI_COMM_WORLD_SIZE $*" >>{self.folder}/starts\n{text}\n')
        path.chmod(0o755)
        return path

    def assert_same_bits_at(self, step, run, other):
        def tensors(of):
            return {p.name: p.read_bytes() for p in of.checkpoint(step).glob("*.safetensors")}
        self.assertTrue(tensors(run))
        self.assertTrue(tensors(run) == tensors(other))

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

    @full
    def test_a_rank_that_stays_gone_is_done_without(self):
        """A rank is lost, and its node does not come back: every start that counts on it fails, until
        --min-ranks lets the job do without it."""
        gone = self.folder / "gone"
        node = self.folder / "node"  # what starts a rank: on a node that is gone, nothing
        node.write_text(f'#!/bin/sh\n[ -e {gone} ] && [ "$OMPI_COMM_WORLD_RANK" = 1 ] && exit 1\n'
                        f'[ "$OMPI_COMM_WORLD_RANK" = 1 ] && touch {gone}\nexec {harness.PROGRAM} "$@"\n')
        node.chmod(0o755)
        result = harness.finish(self.launch("--restarts", 5, "--min-ranks", 1, 2, "train",
                                            self.experiment("run"), "--fault", "kill@1:5", program=node))
        self.assertEqual(result.code, 0, result.err)
        self.assertIn("on 1 ranks in", result.err)
        run = harness.Run(self.folder / "run")
        self.assertEqual([e["ranks"] for e in run.of("start")], [2, 1])
        self.assert_same_bits(run, self.train("whole", SETTINGS))

    def test_a_second_signal_does_not_wait_but_loses_nothing(self):
        """The second one takes the ranks down, perhaps while they save: a checkpoint is there whole or
        not at all, and the run goes on to its bits."""
        process = self.launch(2, "train", self.experiment("long", steps=100000), "--fault",
                              "slow@0:20:save.5", env={"OMPI_MCA_odls_base_sigkill_timeout": ""})
        self.addCleanup(lambda: process.poll() is None and harness.kill(process))
        checkpoints = self.folder / "long" / "checkpoints"
        harness.wait_for((checkpoints / ".step-20.tmp").exists, "a save")
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        result = harness.finish(process)
        self.assertIn(result.code, (70, 75), result.err)
        end = max(harness.Run(self.folder / "long").checkpoints()) + 3
        more = {"steps": end, "checkpoint.every_steps": end}
        again = self.train("long", {**SETTINGS, **more}, 2, ("--resume", "auto"))
        self.assert_same_bits_at(end, again, self.train("whole", {**SETTINGS, **more}))

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

    def training(self, *arguments, start=None, **settings):
        """A long run of two ranks by launch/run that has begun to train; its ranks."""
        process = (start or self.launch)(2, "train", self.experiment("long", steps=100000, **settings), *arguments)
        self.addCleanup(lambda: process.poll() is None and harness.kill(process))
        ranks = harness.ranks_of(process, 2)
        log = self.folder / "long" / "metrics.jsonl"
        harness.wait_for(lambda: log.exists() and '"step",' in log.read_text(), "training")
        return process, ranks

    def assert_stopped(self, ranks):
        """With a checkpoint of the last step, and nothing left running."""
        harness.wait_for(lambda: not any(os.path.exists(f"/proc/{p}") for p in ranks), "the ranks to end")
        run = harness.Run(self.folder / "long")
        self.assertEqual(run.checkpoints()[-1], run.steps[-1]["step"])

    def test_a_terminal_that_closes_stops_the_job(self):
        """The kernel sends HUP, and everything written to the terminal from then on fails."""
        ours, theirs = pty.openpty()

        def start(*arguments):
            env = harness.environment({"SYNCNORM": harness.PROGRAM, "ASAN_OPTIONS": "detect_leaks=0",
                                       "OMPI_MCA_odls_base_sigkill_timeout": "1"})
            script = 'exec </dev/tty >/dev/tty 2>&1; exec "$0" "$@"'
            return subprocess.Popen(
                ["bash", "-c", script, RUN, *map(str, arguments)], stdin=theirs, env=env, start_new_session=True,
                preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0))
        process, ranks = self.training(start=start)
        os.close(theirs)
        os.close(ours)
        self.assertEqual(process.wait(harness.TIMEOUT), 75)
        self.assert_stopped(ranks)

    def test_a_signal_that_was_ignored_stays_ignored(self):
        process, ranks = self.training(start=lambda *arguments: self.launch(*arguments, before=["nohup"]))
        log = self.folder / "long" / "metrics.jsonl"
        process.send_signal(signal.SIGHUP)
        before = log.read_text().count('"step",')
        harness.wait_for(lambda: log.read_text().count('"step",') > before + 100, "more steps")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(harness.finish(process).code, 75)
        self.assert_stopped(ranks)

    def test_killed_it_leaves_no_ranks_behind(self):
        process, ranks = self.training()
        process.kill()
        self.assert_stopped(ranks)
        process.communicate()

    def test_a_closed_pipe_ends_the_console_not_the_run(self):
        end = self.folder / "end"
        program = self.stand_in(f"i=0; while [ $i -lt 60 ]; do echo $((i += 1)); sleep 0.02; done; echo whole >{end}")
        process = self.launch(1, "train", "a.yaml", program=program)
        self.assertEqual(process.stdout.readline(), b"1\n")
        process.stdout.close()
        process.stderr.close()
        self.assertEqual(process.wait(harness.TIMEOUT), 0)
        self.assertEqual(end.read_text(), "whole\n")

    def test_as_many_ranks_as_asked_for_whatever_counts_cores(self):
        """What a rank may run on is in the file that it writes."""
        program = self.stand_in(":")
        program.write_text(f'#!/bin/sh\n[ "$1" = --version ] || [ "$4" ] || grep Cpus_allowed_list /proc/self/status'
                           f' >{self.folder}/cpus-$OMPI_COMM_WORLD_RANK\n')
        hosts = self.folder / "hosts"
        hosts.write_text("elsewhere slots=1\n")
        slurm = {"SLURM_JOB_ID": "1", "SLURM_JOBID": "1", "SLURM_NODELIST": "elsewhere", "SLURM_NNODES": "1",
                 "SLURM_JOB_NODELIST": "elsewhere", "SLURM_TASKS_PER_NODE": "1", "SLURM_NTASKS": "1"}
        processors = len(os.sched_getaffinity(0))
        cases = [("OMP_NUM_THREADS", processors + 2, {"OMP_NUM_THREADS": "99"}, ()),
                 ("OMP_THREAD_LIMIT", 1, {"OMP_THREAD_LIMIT": "1"}, ()),
                 ("Slurm", 2, slurm, ()),
                 ("PBS", 2, {"PBS_NODEFILE": str(hosts), "PBS_JOBID": "1", "PBS_ENVIRONMENT": "PBS_BATCH"}, ()),
                 ("a file of hosts", 2, {"OMPI_MCA_orte_default_hostfile": str(hosts)}, ()),
                 ("hardware threads", 2, {"HWLOC_SYNTHETIC": "pack:1 core:1 pu:2", "HWLOC_THISSYSTEM": "1"}, ()),
                 ("taskset", 2, {}, ("taskset", "-c", str(max(os.sched_getaffinity(0)))))]
        for name, ranks, env, before in cases:
            with self.subTest(name):
                result = harness.finish(self.launch(ranks, "eval", "a.yaml", program=program, env=env, before=before))
                self.assertEqual((result.code, result.err), (0, ""))
                files = sorted(self.folder.glob("cpus-*"))
                self.assertEqual(len(files), ranks)
                if before:
                    self.assertEqual({f.read_text().split()[1] for f in files}, {before[-1]})
                for file in files:
                    file.unlink()

    def test_what_mpirun_refuses_is_said_once(self):
        program = self.stand_in("exit 0")
        result = harness.finish(self.launch("--restarts", 3, 2, "train", "a.yaml", program=program,
                                            env={"OMPI_MCA_rmaps_ppr_n_pernode": "1"}))
        self.assertEqual(result.code, 2, result.err)
        self.assertIn("launch/run: mpirun ended with 1 before a rank could begin", result.err)
        self.assertIn("OMPI_MCA_rmaps_ppr_n_pernode: change or remove", result.err)
        self.assertNotIn("restart", result.err)
        self.assertFalse((self.folder / "starts").exists())

    def test_whose_mpirun_it_is(self):
        file = self.experiment("run")
        fake = self.folder / "mpirun"
        path = {"PATH": f"{self.folder}:{os.environ['PATH']}"}
        for says, right in (("HYDRA build details:", "is not Open MPI's (it says \"HYDRA build details:\")"),
                            ("Intel(R) MPI Library for Linux* OS", "is not Open MPI's"),
                            ("mpirun (Open MPI) 5.0.3", "is Open MPI 5, but the program was built with Open MPI 4")):
            with self.subTest(says=says):
                fake.write_text(f'#!/bin/sh\necho "{says}"\necho >{self.folder}/started-$1\n')
                fake.chmod(0o755)
                result = harness.finish(self.launch(2, "train", file, env=path))
                self.assertEqual(result.code, 2, result.err)
                self.assertIn(f"launch/run: {fake} {right}", result.err)
                self.assertEqual([p.name for p in self.folder.glob("started-*")], ["started---version"])
        fake.write_text(f'#!/bin/sh\n[ "$1" != --version ] || exec {shutil.which("mpirun")} --version\n'
                        f'echo x >>{self.folder}/asked\necho "unrecognized argument mca" >&2\nexit 255\n')
        result = harness.finish(self.launch("--restarts", 3, 2, "train", file, env=path))
        self.assertEqual(result.code, 2, result.err)
        self.assertEqual((self.folder / "asked").read_text(), "x\n")

    def test_checkpoints_count_wherever_they_are(self):
        """A start that came to a newer checkpoint is none that a rank less would help."""
        processes = {}
        for command, name in (("train", "my runs"), ("train", "2024/x"), ("train", "Läufe/x"), ("train", "-a'b"),
                              ("compare", "a study")):
            base = self.folder / f"case{len(processes)}"
            base.mkdir()
            folder = base / name
            harness.write_experiment(base / "e.yaml", SETTINGS, run_dir=str(folder))
            if command == "compare":
                (base / "e.yaml").write_text((base / "e.yaml").read_text() + "compare: {seed: [1]}\n")
                folder = folder / "seed=1"
            program = base / "program"
            (base / "program.folder").write_text(str(folder))
            program.write_text(
                f'#!/bin/sh\ncase "$*" in *--print*|*--dry-run*|--version) exec {harness.PROGRAM} "$@" ;; esac\n'
                '[ "$OMPI_COMM_WORLD_RANK" = 0 ] || exit 0\n'
                f'echo "$OMPI_COMM_WORLD_SIZE" >>"$0.starts"\nfolder=$(cat "$0.folder")\n'
                'mkdir -p "$folder/checkpoints/step-$(wc -l <"$0.starts")"\nexit 70\n')
            program.chmod(0o755)
            processes[base] = self.launch("--restarts", 2, "--min-ranks", 1, 2, command, base / "e.yaml",
                                          program=program)
        for base, process in processes.items():
            result = harness.finish(process)
            self.assertEqual(result.code, 70, result.err)
            self.assertEqual((base / "program.starts").read_text(), "2\n2\n2\n", result.err)

    def test_closed_descriptors(self):
        path = harness.write_experiment(self.folder / "closed.yaml", run_dir=self.folder / "closed")
        result = subprocess.run(["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash", str(RUN), "2", "train", str(path)],
                                env=harness.environment({"SYNCNORM": harness.PROGRAM,
                                                         "ASAN_OPTIONS": "detect_leaks=0"}), timeout=60)
        self.assertEqual(result.returncode, 0)
        self.assertEqual(harness.Run(self.folder / "closed").events[-1]["event"], "end")

    def test_more_ranks_than_replicas_are_not_started(self):
        path = harness.write_experiment(self.folder / "few.yaml", run_dir=self.folder / "few")
        result = harness.finish(self.launch(1000, "train", path))
        self.assertEqual(result.code, 2)
        self.assertEqual(result.err, "launch/run: 8 replicas cannot be spread over 1000 ranks; start at most "
                                     "8, or raise replicas\n")
        self.assertFalse((self.folder / "few").exists())

    def test_commands_that_ranks_do_not_share(self):
        for command in (["pack", "a", "b"], ["report", "x"], ["bench", "norm"], ["nonsense"], ["inspect", "c"]):
            result = harness.finish(self.launch(2, *command))
            self.assertEqual((result.code, result.out), (2, ""))
            self.assertEqual(result.err, "launch/run: ranks together run train, compare, eval, bench step and bench "
                                         "reduce; for anything else start the program alone: "
                                         f"{harness.PROGRAM} {' '.join(command)} \n")
        result = harness.finish(self.launch(2, "eval", "--help"))
        self.assertEqual((result.code, result.err), (0, ""))
        self.assertEqual(result.out.count("Evaluate weights on the test set"), 1)

    def test_ranks_that_mpi_does_not_let_begin(self):
        """Trying again would not help: exit 2, and mpirun, which may wait for ever, is ended."""
        file = self.experiment("run")
        for before, env, said in [((), {"OMPI_MCA_btl": "nosuch"}, "it also follows OMPI_MCA_btl"),
                                  (("bash", "-c", 'ulimit -f 4; exec "$@"', "-"), {}, "ulimit -f 4")]:
            with self.subTest(said=said):
                result = harness.finish(self.launch("--restarts", 3, 2, "train", file, before=before, env=env))
                self.assertEqual(result.code, 2, result.err)
                self.assertIn(said, result.err)
                self.assertNotIn("restart", result.err)

    def test_a_result_that_cannot_be_written(self):
        program = self.stand_in("exec seq 100000")
        for place, code in (("/dev/full", 2), ("/dev/null", 0)):
            with open(place, "w") as out:
                result = subprocess.run([RUN, "1", "bench", "reduce"], stdout=out, stderr=subprocess.PIPE, text=True,
                                        env=harness.environment({"SYNCNORM": str(program)}), timeout=60)
            self.assertEqual(result.returncode, code, result.stderr)
            self.assertEqual("the output could not be written" in result.stderr, code == 2)

    def with_mpirun(self, script):
        """A training started with a stand-in for mpirun."""
        fake = self.folder / "mpirun"
        fake.write_text(f'#!/bin/sh\n[ "$1" != --version ] || exec {shutil.which("mpirun")} --version\n{script}\n')
        fake.chmod(0o755)
        return harness.finish(self.launch(2, "train", self.experiment("run"),
                                          env={"PATH": f"{self.folder}:{os.environ['PATH']}"}))

    def test_messages_that_open_mpi_loses(self):
        """Ranks whose shell began and whose program did not: MPI refused them, whatever is said of it."""
        lost = "Data unpack would read past end of buffer in file show_help.c"
        for ready, code in (("", 2), ("echo syncnorm-rank-ready >&2", 70)):
            result = self.with_mpirun(f"echo syncnorm-rank-started >&2\n{ready}\necho {lost} >&2\nexit 1")
            self.assertEqual(result.code, code, result.err)
            self.assertEqual("before a rank could begin" in result.err, code == 2, result.err)
            self.assertNotIn("syncnorm-rank", result.err)

    def test_mpirun_outlives_a_late_signal(self):
        result = self.with_mpirun(f"echo MPI_ABORT was invoked >&2; echo here >{self.folder}/here; sleep 1; "
                                  "kill -USR2 $$; exit 75")
        self.assertEqual(result.code, 75, result.err)
        self.assertTrue((self.folder / "here").exists())

    def test_usage(self):
        for arguments in ([], ["2"], ["x", "train"], ["--restarts", "x", "2", "train", "a.yaml"],
                          ["0", "train", "a.yaml"]):
            result = harness.finish(self.launch(*arguments))
            self.assertEqual(result.code, 2)
            self.assertIn("usage: launch/run", result.err)


if __name__ == "__main__":
    harness.main()
