"""The runs of the studies: which are left, training them within a time, and keeping their folders small.

A run is complete when its folder has a result.json, which holds what the pages need. Its log and its checkpoints are
then removed: `syncnorm compare` takes a run for done by its config.yaml and summary.json. A run that is stopped keeps
its checkpoint where there is room for it, and otherwise begins again.
"""
import json
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tarfile
import time
from pathlib import Path

from parts import process
from parts.machine import harness

MOST_BYTES = 16 * 2**20  # of all run folders together, between two pieces
POINTS = 60  # of a curve
PATIENCE = 30  # seconds for the checkpoint of a run that is stopped


def say(text):
    print(text, flush=True)


def unpack(path, folder):
    with tarfile.open(path) as archive:
        archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))


# ---- The data: a folder of images, an archive of one, or a pack.


def prepare_data(machine, data, work, limit):
    """Makes `work`/cifar10-packed. Studies name it so: a run goes on only with the same settings."""
    pack = work / "cifar10-packed"
    if not pack.exists():
        make_pack(machine, data, pack, limit)
    (work / "runs").mkdir(exist_ok=True)
    (work / "runs/data.json").write_text(json.dumps({"format": format_of(pack)}))


def make_pack(machine, data, pack, limit):
    if (data / "pack.index").exists():
        pack.symlink_to(data.resolve(), target_is_directory=True)
        return
    images = data
    if data.is_file():
        images = pack.with_name("images")
        unpack(data, images)
        while not (images / "train").exists():
            inside = [path for path in images.iterdir() if path.is_dir()]
            if len(inside) != 1:
                raise process.Failed(f"{data} holds no train/ and test/")
            images = inside[0]
    machine.run(["syncnorm", "pack", images, pack], limit)


def format_of(pack):
    """JPEG, PNG, or both: JPEG images are not quite CIFAR-10's."""
    with tarfile.open(next(pack.glob("test-*.tar"))) as shard:
        suffixes = {Path(name).suffix for name in shard.getnames()} - {".cls"}
    return " and ".join(sorted({"PNG" if suffix == ".png" else "JPEG" for suffix in suffixes}))


# ---- What a complete run is boiled down to.


def thinned(values):
    """Up to POINTS means of neighbours: of (step, loss, accuracy)."""
    width = max(1, -(-len(values) // POINTS))
    chunks = [values[i:i + width] for i in range(0, len(values), width)]
    return [[chunk[-1][0], *(rounded(statistics.fmean(column)) for column in list(zip(*chunk))[1:])]
            for chunk in chunks]


def rounded(value):
    return float(f"{value:.5g}") if isinstance(value, float) else value


def boiled_probe(event):
    """The numbers of a probe that are shown: of the landscape, and of each layer."""
    landscape = event.get("landscape", {})
    probe = {"step": event["step"], **{key: rounded(landscape[key]) for key in (
        "loss_low", "loss_high", "smoothness", "lipschitz") if key in landscape}}
    if "predictiveness" in landscape:
        probe["predictiveness"] = [rounded(value) for value in landscape["predictiveness"]]
    for kind, keys in (("covariate_shift", ("gradient_norm", "distance", "cosine")), ("signal_to_noise", ("ratio",))):
        if kind in event:
            probe[kind] = {layer: [rounded(values[key]) for key in keys] for layer, values in event[kind].items()}
    return probe


def boil_down(folder, settings):
    """result.json of a run that is done or diverged."""
    run = harness.Run(folder)
    steps = [(e["step"], e["loss"], e["accuracy"]) for e in run.steps if isinstance(e["loss"], float)]
    start = run.of("start")[-1]
    last = steps[-max(1, len(steps) // 10):]
    summary = run.summary
    return {"settings": settings, "status": summary["status"], "step": summary.get("step"),
            "seconds": summary.get("seconds", 0.0), "test_accuracy": summary.get("test_accuracy"),
            "validation_accuracy": summary.get("validation_accuracy"),
            "train_accuracy": statistics.fmean(accuracy for *_, accuracy in last) if last else None,
            "curve": thinned(steps), "probes": [boiled_probe(event) for event in run.of("probe")],
            "evals": [[e["step"], e["split"], e["accuracy"]] for e in run.evals],
            "checkpoint_bytes": max((e["bytes"] for e in run.of("checkpoint")), default=0),
            **{key: start[key] for key in ("device", "version", "dataset", "train_samples", "test_samples",
                                           "steps_per_epoch", "total_steps", "parameters")}}


def bytes_below(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# ---- A study.


class Study:
    """A file of configs/studies, with overrides; its runs are folders below work/runs/NAME."""

    def __init__(self, machine, work, path, overrides):
        self.machine, self.work, self.path, self.name = machine, work, path, path.stem
        self.folder = work / "runs" / self.name
        self.arguments = ["compare", path, f"run_dir=runs/{self.name}", *overrides]
        self.names = []  # of the runs, in order
        self.chosen = []  # those that are wanted

    def load(self, limit):
        said = self.machine.run(["syncnorm", *self.arguments, "--dry-run"], limit, cwd=self.work).out
        self.names = [line.rsplit(" -> ", 1)[1].removeprefix(f"runs/{self.name}/")
                      for line in said.splitlines() if " -> " in line]
        self.chosen = list(self.names)

    def result(self, name):
        """The results of a run, or None while it is not complete."""
        path = self.folder / name / "result.json"
        return json.loads(path.read_text()) if path.exists() else None

    def results(self):
        return [result for result in map(self.result, self.chosen) if result]

    def expected_seconds(self):
        """How long a run takes, by those that are complete."""
        return max((result["seconds"] for result in self.results()), default=0.0)

    def begins_again(self):
        """A run that is stopped would lose its checkpoint: it has no room."""
        return any(2 * result["checkpoint_bytes"] > MOST_BYTES for result in self.results())

    def start(self, name):
        command = ["syncnorm", *self.arguments, "--only", f"{self.names.index(name) + 1}/{len(self.names)}"]
        with open(self.work / f"{self.name}.log", "ab") as log:
            return self.machine.start(command, cwd=self.work, stdin=subprocess.DEVNULL, stdout=log,
                                      stderr=subprocess.STDOUT)

    def finish(self, name):
        """After its process ended: boils a complete run down. Returns "complete", or why it is not."""
        folder = self.folder / name
        summary = folder / "summary.json"
        status = json.loads(summary.read_text()).get("status") if summary.exists() else "not begun"
        if status not in ("done", "diverged"):
            return status
        study = json.loads((self.folder / "study.json").read_text())
        settings = next(run["settings"] for run in study["runs"] if run["folder"] == name)
        new = folder / "result.new"
        new.write_text(json.dumps(boil_down(folder, settings)))
        new.replace(folder / "result.json")
        self.shrink(name)
        return "complete"

    def shrink(self, name):
        """Leaves a complete run's configuration, summary and result."""
        folder = self.folder / name
        for path in ("checkpoints", "flight"):
            shutil.rmtree(folder / path, ignore_errors=True)
        for path in ("metrics.jsonl", "result.new"):
            (folder / path).unlink(missing_ok=True)


def seed_of(name):
    return int(re.search(r"(?:^|,)seed=(\d+)", name).group(1))


def order(studies):
    """All runs of a seed before those of the next one, so that there is a whole table as early as possible."""
    runs = [(study, name) for study in studies for name in study.chosen]
    return sorted(runs, key=lambda run: seed_of(run[1]))  # stable


# ---- A piece: as many runs as the time allows.


class Piece:
    def __init__(self, studies, jobs, limit):
        self.studies, self.jobs, self.limit = studies, jobs, limit
        self.running = {}  # process -> (study, name)
        self.failed = {}  # name -> how its process ended

    def go(self):
        """Returns True when every run is complete."""
        for study, name in self.left():  # of a piece that was killed
            study.finish(name)
        waiting = self.left()
        reserve = min(PATIENCE, 0.1 * self.limit.seconds)  # for stopping, and for what comes behind
        while (waiting or self.running) and self.limit.left() > reserve:
            while waiting and len(self.running) < self.jobs:
                study, name = waiting.pop(0)
                if study.begins_again() and study.expected_seconds() > self.limit.left():
                    continue  # it would be lost
                self.running[study.start(name)] = (study, name)
            if not self.running:
                break
            self.collect()
            time.sleep(0.05)
        self.stop()
        self.make_room()
        return not self.left()

    def left(self):
        return [(study, name) for study, name in order(self.studies) if not study.result(name)]

    def collect(self):
        for job in [job for job in self.running if job.poll() is not None]:
            study, name = self.running.pop(job)
            process.end_session(job.pid)
            status = study.finish(name)
            say(f"{study.name} {name}: {status}")
            if status != "complete" and job.returncode != 75:
                self.failed[f"{study.name} {name}"] = f"exit {job.returncode}"

    def stop(self):
        """Stops what runs; each writes a checkpoint."""
        for job in self.running:
            job.send_signal(signal.SIGTERM)
        patience = process.Limit(PATIENCE)
        while self.running and patience.left() > 0:
            self.collect()
            time.sleep(0.05)
        for job in list(self.running):
            process.end_session(job.pid)
            job.wait()
        self.collect()

    def make_room(self):
        """Drops checkpoints of runs that are not complete, the largest first, until all folders are small enough."""
        def folders():
            begun = [study.folder / name for study, name in self.left() if (study.folder / name).exists()]
            return sorted(begun, key=bytes_below, reverse=True)
        for folder in folders():
            keep_newest(folder / "checkpoints")
        for folder in folders():
            if sum(bytes_below(study.folder) for study in self.studies if study.folder.exists()) <= MOST_BYTES:
                return
            say(f"{folder.parent.name} {folder.name}: no room for its checkpoint, it will begin again")
            shutil.rmtree(folder)


def keep_newest(checkpoints):
    """The checkpoints before the last one are of no use to a run that goes on."""
    steps = sorted(checkpoints.glob("step-*"), key=lambda path: int(path.name[5:]))
    for path in steps[:-1]:
        shutil.rmtree(path)


# ---- Between two machines.


def save_state(work, path):
    """Everything that the next piece needs, as one file."""
    new = path.with_name(path.name + ".new")
    with tarfile.open(new, "w:xz", preset=1) as archive:
        archive.add(work / "runs", "runs")
    new.replace(path)


def load_state(work, path):
    if (work / "runs").exists():
        sys.exit(f"{work / 'runs'} is there already; give --state only where a piece of another machine goes on")
    unpack(path, work)
