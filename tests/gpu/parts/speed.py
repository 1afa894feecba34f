"""Rows of speed: training steps beside PyTorch's in the same run, SyncBN, many replicas, and norm kernels.

PyTorch's processes are started at the beginning, compile while the checks run, and wait with everything on the
device until they are asked: torch.compile needs a minute for a ResNet-50. Whoever measures is alone then.
"""
import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

from parts import process
from parts.machine import harness
from parts.process import Failed
from parts.table import Measured, Row, Skipped
from parts.training import BASE

PEER = Path(__file__).resolve().parents[1] / "peer.py"
NORMS = ["batch", "momentum", "mabn", "cross_iteration", "evonorm_b0", "switchable", "group", "layer", "instance", "rms", "frn", "evonorm_s0", "dyt", "derf", "frozen"]  # each has rows of `bench norm`
SMALLEST = 256e6  # bytes of a tensor that no cache of a GPU holds
SHARE = 0.93  # of a device copy, asked of norms


@dataclasses.dataclass(frozen=True)
class Step:
    """A training step in bf16, ours or PyTorch's."""

    model: str
    batch: int
    replicas: int = 1
    norm: str = "bn"
    force: bool = False  # reductions, though there is one rank
    milliseconds: float = 0.0  # asked; the factors are asked against PyTorch
    eager: float = 0.0
    compiled: float = 0.0

    @property
    def name(self):
        model = {"resnet20": "ResNet-20", "resnet50": "ResNet-50"}[self.model]
        return f"{model}, batch {self.batch}"


STEPS = [Step("resnet50", 256, milliseconds=31, eager=1.75, compiled=1.2), Step("resnet50", 16, compiled=1.5),
         Step("resnet50", 2, milliseconds=2.2, eager=10, compiled=2.2),
         Step("resnet20", 128, milliseconds=1.6, eager=5, compiled=1.7)]
WHOLE = STEPS[0]


class Bench:
    """Our steps, each measured once."""

    def __init__(self, machine, folder):
        self.machine, self.folder, self.seconds = machine, Path(folder), {}

    def step(self, step, limit):
        """Seconds of a step of `replicas` replicas with `batch` images together."""
        step = dataclasses.replace(step, milliseconds=0, eager=0, compiled=0)
        if step not in self.seconds:
            self.seconds[step] = self.measure(step, limit)
        return self.seconds[step]

    def measure(self, step, limit):
        size, classes = (224, 1000) if step.model == "resnet50" else (32, 10)
        settings = {"precision": "bf16", "replicas": step.replicas, "batch_per_replica": step.batch // step.replicas,
                    "norm": step.norm, "model.architecture": step.model, "data.augment": [],
                    "data.synthetic.classes": classes, "data.synthetic.height": size, "data.synthetic.width": size,
                    "data.synthetic.train_samples": max(512, step.batch), "data.synthetic.test_samples": 10}
        rounds, steps = 5, 10 if step.batch > 64 else 50
        flags = ["--force-reductions"] if step.force else []
        if self.machine.rehearse:
            settings |= {"precision": "bf16_emulated", "model.architecture": "resnet8", "data.synthetic.height": 8,
                         "data.synthetic.width": 8, "batch_per_replica": 2, "replicas": min(step.replicas, 2)}
            rounds, steps, flags = 1, 1, []
        path = harness.write_experiment(self.folder / "step.yaml", settings, base=BASE, device=self.machine.device,
                                        run_dir=self.folder / "run")
        said = self.machine.run(["syncnorm", "bench", "step", path, "--json", "--rounds", rounds, "--steps", steps,
                                 *flags], limit)
        return json.loads(said.out)["step_seconds"]

    def norms(self, storage, limit):
        """The report of `bench norm`."""
        size = ["--samples", 4, "--height", 8, "--width", 8, "--channels", 16, "--rounds", 1]
        arguments = size if self.machine.rehearse else ["--cuda", "--rounds", 7]
        flags = ["--bf16"] if storage == "bf16" else []
        return json.loads(self.machine.run(["syncnorm", "bench", "norm", "--json", *arguments, *flags], limit).out)


class Peers:
    """PyTorch's processes: each prepares its step, says so, and measures when it is told to."""

    def __init__(self, machine, folder):
        self.machine, self.folder, self.running, self.reasons = machine, Path(folder), {}, {}

    def start(self):
        for compiled in (True, False):  # what takes longest first
            for step in STEPS:
                if self.machine.rehearse and compiled and step != WHOLE:
                    self.reasons[step, compiled] = "one is enough in a rehearsal"
                elif step.compiled if compiled else step.eager:
                    self.running[step, compiled] = self.one(step, compiled)

    def one(self, step, compiled):
        output = open(self.folder / f"peer-{step.model}-{step.batch}-{compiled}.txt", "w+b")
        command = [sys.executable, PEER, "--model", step.model, "--batch", step.batch,
                   "--steps", 10 if step.batch > 64 else 50, *(["--compile"] if compiled else [])]
        if self.machine.rehearse:
            command = [sys.executable, PEER, "--model", "resnet20", "--batch", 2, "--steps", 1, "--device", "cpu"]
        # Not with the libraries of a bundle: PyTorch has its own.
        peer = process.start(command, None, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT)
        peer.output = output
        return peer

    def lines(self, peer):
        peer.output.seek(0)
        return peer.output.read().decode(errors="replace").splitlines()

    def wait_for(self, peer, wanted, limit):
        """The first line of its output that begins so."""
        while True:
            found = [line for line in self.lines(peer) if line.startswith(wanted)]
            if found:
                return found[0]
            if peer.poll() is not None:
                raise Failed(f"PyTorch ended with {peer.returncode}: {(self.lines(peer) or ['no word'])[-1][-200:]}")
            if limit.left() <= 0:
                raise Failed(f"PyTorch was not ready within {limit.seconds:.0f} s")
            time.sleep(0.1)

    def ready(self, limit):
        """Waits until all are ready, and ends those that are not: nothing else runs while something is measured."""
        for key, peer in list(self.running.items()):
            try:
                self.wait_for(peer, "ready", limit)
            except Failed as error:
                self.reasons[key] = str(error)
                self.end(key)
        if not self.running:
            if all("no GPU" in reason or "No module" in reason for reason in self.reasons.values()):
                raise Skipped("no PyTorch with a GPU is here")
            raise Failed("; ".join(sorted(set(self.reasons.values()))))
        return f"{len(self.running)} of {len(self.running) + len(self.reasons)} are ready and wait"

    def seconds(self, step, compiled, limit):
        """Seconds of PyTorch's step; the process ends."""
        peer = self.running.get((step, compiled))
        if peer is None:
            raise Skipped(self.reasons.get((step, compiled), "PyTorch was not started"))
        try:
            peer.stdin.write(b"measure\n")
            peer.stdin.flush()
            return json.loads(self.wait_for(peer, "{", limit))["step_seconds"]
        finally:
            self.end((step, compiled))

    def end(self, key):
        peer = self.running.pop(key)
        process.end_session(peer.pid)
        peer.wait()
        peer.stdin.close()
        peer.output.close()

    def end_all(self):
        for key in list(self.running):
            self.end(key)


def ours(bench, step, limit):
    seconds = bench.step(step, limit)
    seen = f"{1e3 * seconds:.3f} ms, {step.batch / seconds:.0f} images/s"
    if not step.milliseconds:
        return seen
    return Measured(f"{seen}; asked: {step.milliseconds} ms", 1e3 * seconds <= step.milliseconds)


def against_pytorch(bench, peers, step, compiled, limit):
    theirs, own = peers.seconds(step, compiled, limit), bench.step(step, limit)
    asked = step.compiled if compiled else step.eager
    return Measured(f"{1e3 * own:.3f} ms, PyTorch {1e3 * theirs:.3f} ms: {theirs / own:.2f}x, asked: {asked}x",
                    theirs >= asked * own)


def against_own(bench, step, other, most, limit):
    """One of our steps against another one, which may take less."""
    seconds, reference = bench.step(step, limit), bench.step(other, limit)
    return Measured(f"{1e3 * seconds:.3f} ms against {1e3 * reference:.3f} ms: {seconds / reference:.3f}x, "
                    f"asked: at most {most}x", seconds <= most * reference)


def norm_kernels(bench, storage, limit):
    """Every norm, forward and backward, on tensors that no cache holds, as a share of the device's copy."""
    report = bench.norms(storage, limit)
    tensors = [t for t in report["tensors"] if bench.machine.rehearse or t["bytes"] >= SMALLEST]
    shares = {}
    for tensor in tensors:
        for kernel in tensor["kernels"]:
            if "forward" in kernel["name"] or "backward" in kernel["name"]:
                shares.setdefault(kernel["name"], []).append(kernel["share_of_copy"])
    absent = [norm for norm in NORMS if not any(name.startswith(norm) for name in shares)]
    if not shares:
        raise Failed(f"bench norm measured no tensor of {SMALLEST / 1e6:.0f} MB")
    worst = sorted((min(values), name) for name, values in shares.items())
    slow = [f"{name} {share:.0%}" for share, name in worst if share < SHARE]
    copy = tensors[0]["copy"]["gb_per_second"]
    seen = f"{worst[0][0]:.0%} of the copy ({copy:.0f} GB/s) at least, asked: {SHARE:.0%}"
    seen += f"; below: {', '.join(slow[:6])}" if slow else ""
    seen += f" and {len(slow) - 6} more" if slow[6:] else ""
    seen += f"; not measured: {', '.join(absent)}" if absent else ""
    return Measured(seen, not slow and not absent)


def rows(machine, folder, peers):
    bench = Bench(machine, folder)

    def row(name, seconds, action, *arguments):
        return Row("speed", f"speed: {name}", seconds, lambda limit: action(*arguments, limit))

    def against(step, compiled):
        kind = "torch.compile" if compiled else "PyTorch"
        return row(f"{step.name}, against {kind}", 60, against_pytorch, bench, peers, step, compiled)
    synced = [row(f"ResNet-50, 16 replicas of 2 images, {norm}, against one of 32", 90, against_own, bench,
                  Step("resnet50", 32, 16, norm), Step("resnet50", 32), 1.3) for norm in ("bn", "syncbn")]
    return [
        row("PyTorch is compiled and waits", 120, peers.ready),
        *(row(step.name, 60, ours, bench, step) for step in STEPS),
        row(f"{WHOLE.name}, SyncBN with its reductions, against BN", 60, against_own, bench,
            dataclasses.replace(WHOLE, norm="syncbn", force=True), WHOLE, 1.02),
        row(f"{WHOLE.name}, GroupNorm against BN", 60, against_own, bench, dataclasses.replace(WHOLE, norm="gn"), WHOLE,
            1.03),
        *synced,
        *(row(f"norms in {storage}, forward and backward", 60, norm_kernels, bench, storage)
          for storage in ("f32", "bf16")),
        *(against(step, False) for step in STEPS if step.eager),
        *(against(step, True) for step in STEPS if step.compiled)]
