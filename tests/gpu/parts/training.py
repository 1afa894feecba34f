"""Rows of whole trainings: the CPU's losses, the same bits on any number of ranks, a change of device, a lost rank."""
import hashlib
import os
import signal
import subprocess
import time
from pathlib import Path

from parts import process
from parts.machine import OTHER_INSTRUCTIONS, file_name, harness
from parts.process import Failed
from parts.table import Row

# A rate at which rounding does not grow: at 0.01 two CPUs drift apart by 4% within 20 steps.
RATE = 3e-4
BASE = {"name": "gpu", "seed": 1, "replicas": 4, "batch_per_replica": 8, "norm": "syncbn",
        "model": {"architecture": "resnet20"}, "optimizer": {"lr": RATE},
        "evaluation": {"every_epochs": 0}, "checkpoint": {"every_epochs": 0},
        "data": {"dataset": "synthetic", "augment": ["random_crop", "horizontal_flip"],
                 "synthetic": {"classes": 10, "height": 32, "width": 32, "channels": 3, "train_samples": 640,
                               "test_samples": 64}}}
SMALL = {"model.architecture": "resnet8", "replicas": 4, "batch_per_replica": 2, "data.synthetic.height": 8,
         "data.synthetic.width": 8, "data.synthetic.test_samples": 8}  # in a rehearsal


class Trainings:
    """Trains on the CPU and on the device, which in a rehearsal is the CPU with other instructions."""

    def __init__(self, machine, folder):
        self.machine, self.folder = machine, Path(folder)

    def write(self, name, device, settings):
        small = SMALL if self.machine.rehearse and "data.dataset" not in settings else {}
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return harness.write_experiment(folder / "experiment.yaml", {**settings, **small}, base=BASE,
                                        device="cpu" if device == "cpu" else self.machine.device,
                                        run_dir=folder / "run")

    def train(self, limit, name, device, *arguments, ranks=0, **settings):
        """Trains into a folder of that name; `device` is "cpu" or "cuda"; settings are key paths with values."""
        path = self.write(name, device, settings)
        env = OTHER_INSTRUCTIONS if self.machine.rehearse and device == "cuda" else {}
        self.machine.run(["syncnorm", "train", path, *arguments], limit, ranks=ranks, env=env)
        return harness.Run(path.parent / "run")


def difference(one, other, steps):
    """The largest relative difference of two runs' losses."""
    a, b = one.losses, other.losses
    if len(a) != steps or len(b) != steps:
        raise Failed(f"{len(a)} and {len(b)} steps instead of {steps}")
    if not all(isinstance(loss, float) for loss in a + b):
        raise Failed("a loss is not finite")
    return max(abs(x - y) / abs(x) for x, y in zip(a, b))


def within(worst, bound, what):
    if not worst <= bound:
        raise Failed(f"{what} differ by {worst:.1e}, more than {bound:.0e}")
    return f"{what} within {worst:.1e}, asked {bound:.0e}"


def curves(trainings, limit, norm, steps=20, bound=1e-4):
    """The losses of the CPU."""
    runs = [trainings.train(limit, f"curves-{norm}-{device}", device, steps=steps, norm=norm)
            for device in ("cpu", "cuda")]
    return within(difference(*runs, steps), bound, f"losses of {steps} steps")


def crossing(trainings, limit, bound=1e-4):
    """A run that goes on from its checkpoint on the other device, and back."""
    whole = trainings.train(limit, "whole", "cpu", steps=30)
    for steps, device in ((10, "cpu"), (20, "cuda"), (30, "cpu")):
        crossed = trainings.train(limit, "crossed", device, "--resume", "auto", steps=steps)
    return within(difference(whole, crossed, 30), bound, "losses of 30 steps")


def bits(run):
    """A hash of all steps and evaluations, timings aside, and of all tensors of all checkpoints."""
    digest = hashlib.sha256("\n".join(run.exact_events()).encode())
    for name, content in run.tensor_files().items():
        digest.update(name.encode() + content)
    return digest.hexdigest()[:16]


def same_bits(trainings, limit, name, ranks, settings):
    """The same bits, however many ranks compute the replicas."""
    seen = {}
    for count in ranks:
        run = trainings.train(limit, f"{name}-{count}", "cuda", ranks=count, allow_shared_gpu=True,
                              **{"steps": 20, **settings})
        seen[count] = bits(run)
    if len(set(seen.values())) != 1:
        raise Failed(f"not the same bits: {seen}")
    return f"{', '.join(map(str, ranks))} ranks: {seen[ranks[0]]}"


def resumed_bits(trainings, limit):
    """A run that was stopped half way has the bits of a whole one."""
    settings = {"checkpoint.every_steps": 10}
    whole = trainings.train(limit, "unbroken", "cuda", steps=20, **settings)
    for steps in (10, 20):
        resumed = trainings.train(limit, "resumed", "cuda", "--resume", "auto", steps=steps, **settings)
    newest = [run.checkpoint(20) / "model.safetensors" for run in (whole, resumed)]
    if newest[0].read_bytes() != newest[1].read_bytes():
        raise Failed("the parameters after 20 steps differ")
    return "the parameters after 20 steps are those of a run without a stop"


def lost_peer(trainings, limit):
    """A rank that is killed ends the job at once."""
    path = trainings.write("lost", "cuda", {"epochs": 1000, "allow_shared_gpu": True, "fault.deadline": 10})
    log = path.parent / "run/metrics.jsonl"
    errors = path.parent / "errors.txt"
    with open(errors, "w") as file:
        job = trainings.machine.start(["syncnorm", "train", path], ranks=2, stdin=subprocess.DEVNULL,
                                      stdout=subprocess.DEVNULL, stderr=file)
    try:
        while not log.exists() or len(log.read_text().splitlines()) < 20:
            if job.poll() is not None:
                raise Failed(f"ended with {job.returncode} before it began: {errors.read_text()[-200:]}")
            if limit.left() < 1:
                raise Failed("no 20 steps within the time")
            time.sleep(0.1)
        last = harness.ranks_of(job, 2)[-1]
        begin = time.monotonic()
        os.kill(last, signal.SIGKILL)
        try:
            job.wait(timeout=max(min(limit.left(), 30), 1))
        except subprocess.TimeoutExpired:
            raise Failed("the job was still there 30 s after it lost a rank") from None
    finally:
        process.end_session(job.pid)
        job.wait()
    if job.returncode == 0:
        raise Failed("a job that lost a rank ended as if nothing had happened")
    return f"a killed rank ended the job after {time.monotonic() - begin:.1f} s, exit {job.returncode}"


def rows(machine, folder):
    trainings = Trainings(machine, folder)
    ranks = (1, 2) if machine.rehearse else (1, 2, 4)
    bf16 = "bf16_emulated" if machine.rehearse else "bf16"
    resnet50 = {"model.architecture": "resnet50", "replicas": 16, "batch_per_replica": 2, "precision": bf16, "steps": 3,
                "data.augment": [], "data.synthetic.height": 224, "data.synthetic.width": 224,
                "data.synthetic.train_samples": 128}

    def row(name, seconds, action):
        return Row("training", f"training: {name}", seconds, lambda limit: action(trainings, limit))

    def same(name, **settings):
        return row(f"same bits, {name}", 90,
                   lambda trainings, limit: same_bits(trainings, limit, file_name(name), ranks, settings))
    return [
        row("losses as on the CPU, SyncBN", 60, lambda *on: curves(*on, "syncbn")),
        row("losses as on the CPU, GroupNorm", 60, lambda *on: curves(*on, "gn")),
        same("SyncBN"),
        same("bf16, statistics over 2 replicas, dropout", **{
            "precision": bf16, "model.dropout": 0.2, "norm": {"kind": "batch", "synced_replicas": 2}}),
        same("ResNet-50, 16 replicas of 2 images, BN", **resnet50, norm="bn"),
        same("ResNet-50, 16 replicas of 2 images, SyncBN", **resnet50, norm="syncbn"),
        row("same bits after a stop", 60, resumed_bits),
        row("from the CPU to the device and back", 60, crossing),
        row("a lost rank", 60, lost_peer)]
