"""What cannot be written is said, held back or lost by count, and never mixed into other files."""
import json
import shutil
import signal

import accidents
import harness
from accidents import shell

QUIET = accidents.FAST

STEPS = 20000  # so many that the disk is full before the last, on a busy machine, too


class Output(harness.TestCase):
    def experiment(self, settings, name="run"):
        return harness.write_experiment(self.folder / f"{name}.yaml", {**QUIET, **settings},
                                        run_dir=self.folder / name)

    # ---- A disk that is full, which a limit on the size of files stands for.

    def test_a_disk_that_is_full_for_a_moment(self):
        process = accidents.start_and_fill(self.folder, {"steps": 30000, "metrics.tensorboard": True})
        warnings = [process.stderr.readline().decode() for _ in range(2)]
        accidents.make_room(process)
        result = harness.finish(process)
        self.assertEqual(result.code, 0, result.err)
        said = "".join(warnings) + result.err
        log = self.folder / "run" / "metrics.jsonl"
        self.assertIn(f"syncnorm: {log}: File too large; lines are held back until there is room\n", said)
        self.assertRegex(said, rf"syncnorm: {log}: can be written again; [1-9]\d* lines were held back, "
                               "0 were lost\n")
        self.assertRegex(said, r"tfevents\S*: can be written again; [1-9]\d* records were held back, "
                               "0 were lost\n")
        run = harness.Run(self.folder / "run")
        self.assertEqual([s["step"] for s in run.steps], list(range(1, 30001)))
        self.assertEqual(run.events[-1]["event"], "end")
        self.assertNotIn("lost_lines", run.events[-1])
        [events] = (self.folder / "run").glob("events.out.tfevents.*")
        self.assertEqual(len(tensorboard_records(events)), 2 + 30000 + len(run.evals))

    def test_a_disk_that_stays_full(self):
        process = accidents.start_and_fill(self.folder, {"steps": STEPS})
        result = harness.finish(process)
        self.assertEqual(result.code, 3, result.err)
        log = self.folder / "run" / "metrics.jsonl"
        lines = log.read_text().splitlines()
        lost = STEPS - sum(json.loads(line)["event"] == "step" for line in lines)  # all are whole
        self.assertGreater(lost, 0)
        self.assertRegex(result.err, rf"{log}: \d+ lines were lost \(File too large\)\n")
        self.assertRegex(result.err, rf"syncnorm: {log}: \d+ lines were lost; the checkpoints are complete\n")
        self.assertEqual(harness.run("inspect", harness.Run(self.folder / "run").checkpoint(STEPS)).code, 0)
        told = harness.run("report", self.folder / "run")
        self.assertEqual(told.code, 0, told.err)
        self.assertIn(f"the log lacks {lost} of {STEPS} updates",
                      (self.folder / "run" / "report.html").read_text())

    def test_a_limit_on_files_does_not_kill(self):
        path = self.experiment({"steps": 20, "model.hidden": [64]})
        result = shell('ulimit -f 4; exec "$@"', "train", path)
        self.assertEqual(result.returncode, 3, result.stderr)
        self.assertIn(b"File too large", result.stderr)
        self.assertIn(b"is not saved", result.stdout + result.stderr)

    # ---- Descriptors.

    def test_closed_descriptors(self):
        for closed in accidents.CLOSED:
            with self.subTest(closed=closed):
                result, clean = accidents.train_with_closed(self.folder, closed)
                self.assertEqual(result.returncode, 0, result.stderr)
                self.assertTrue(clean)

    def test_output_that_cannot_be_written(self):
        """The result of these commands is what they print."""
        path = self.experiment({})
        run = self.train("run", {**QUIET})
        images = self.folder / "images"
        commands = [["report", "--csv", run.folder], ["report", run.folder], ["plan", path],
                    ["inspect", run.checkpoint(4)], ["trace"], ["train", path, "--print-config"],
                    ["train", path, "--dry-run", f"run_dir={images}"],
                    ["eval", path, "--weights", run.checkpoint(4)],
                    ["compare", self.study(), "--dry-run"], ["--version"], ["--help"],
                    ["bench", "reduce", "--rounds", 1, "--max-bytes", 64]]
        for command in commands:
            with self.subTest(command=command):
                result = shell('exec "$@" >/dev/full', *command)
                self.assertEqual(result.returncode, 2)
                self.assertEqual(result.stderr.decode().splitlines()[-1],
                                 "syncnorm: standard output: No space left on device; give it a place "
                                 "with room")
                closed = shell('exec "$@" >&-', *command)
                self.assertEqual(closed.returncode, 2)
                self.assertIn(b"standard output: Bad file descriptor", closed.stderr)

    def test_output_of_a_training_is_a_view(self):
        result = shell('exec "$@" >/dev/full', "train", self.experiment({}))
        self.assertEqual(result.returncode, 0)
        self.assertEqual(result.stderr.decode(), "syncnorm: standard output: No space left on device; the run "
                                                 "went on, and its folder has everything\n")
        self.assertEqual(harness.Run(self.folder / "run").events[-1]["status"], "done")

    def test_a_closed_pipe_ends_what_only_prints(self):
        process = harness.start("train", "--help")
        process.stdout.close()
        self.assertEqual(process.wait(harness.TIMEOUT), -signal.SIGPIPE)
        self.assertEqual(process.stderr.read(), b"")
        process.stderr.close()

    # ---- What the system refuses.

    def study(self):
        path = self.folder / "study.yaml"
        path.write_text(harness.yaml_text(harness.merged(harness.TINY, {**QUIET, "compare.seed": [1, 2]})))
        return path

    def test_folders_that_cannot_be_made(self):
        file = self.folder / "file"
        file.touch()
        path = self.experiment({})
        for command, code, message in [
                (["compare", self.study(), f"run_dir={file}/x"], 2,
                 "cannot create the run folder (Not a directory); choose another run_dir"),
                (["train", path, f"run_dir={file}/x"], 2,
                 "cannot create the run folder (Not a directory); choose another run_dir"),
                (["report", f"{file}/x"], 2, "holds neither a run (metrics.jsonl) nor a study; give "
                                             "the folder of one"),
                (["inspect", f"{file}/x"], 3, "there is no such checkpoint folder"),
                (["eval", path, "--weights", f"{file}/x"], 3,
                 "cannot be read (Not a directory); give a checkpoint folder or a .safetensors file")]:
            with self.subTest(command=command):
                result = harness.run(*command)
                self.assertEqual((result.code, result.err), (code, f"syncnorm: {file}/x: {message}\n"))

    def test_memory_that_is_refused(self):
        """Whatever the limit: a code of the table and one line, or the run itself."""
        if harness.sanitized():
            self.skipTest("a sanitizer's shadow memory does not fit any limit on memory")
        path = self.experiment({"model.hidden": [512, 512], "batch_per_replica": 64, "steps": 2,
                                "data.synthetic.train_samples": 512})
        codes = set()
        for limit in range(120000, 320001, 20000):  # KiB
            shutil.rmtree(self.folder / "run", ignore_errors=True)
            result = shell(f'ulimit -v {limit}; exec "$@"', "train", path)
            codes.add(result.returncode)
            if result.returncode == 0:
                continue
            self.assertEqual(result.returncode, 2, (limit, result.stderr))
            self.assertRegex(result.stderr, rb"^syncnorm: cannot (allocate .*memory|start a thread)")
        self.assertIn(2, codes)


def tensorboard_records(path):
    """The data of all records of an event file; the lengths must add up."""
    content, at, records = path.read_bytes(), 0, []
    while at < len(content):
        length = int.from_bytes(content[at:at + 8], "little")
        records.append(content[at + 12:at + 12 + length])
        at += 16 + length
    assert at == len(content), "the last record is torn"
    return records


if __name__ == "__main__":
    harness.main()
