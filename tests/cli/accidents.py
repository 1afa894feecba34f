"""Ordinary accidents, each done to a run many times: signals at random moments, a disk that is full for
a moment, closed descriptors. test_signals.py and test_output.py do a few; tests/faults/run counts many.
"""
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time

import harness

# oneDNN's products of these sizes keep the stack pointer in a heap buffer, where a handler's frame
# would do harm. A step takes about 10 ms.
LARGE = {"replicas": 2, "batch_per_replica": 32, "steps": 1000000,
         "model.architecture": "mlp", "model.hidden": [1024, 1024], "norm": "none",
         "data.synthetic.height": 28, "data.synthetic.width": 28,
         "optimizer.lr": 1e-3, "evaluation.every_epochs": 0, "checkpoint.every_epochs": 0}
# Steps that take less than 0.1 ms, so that logs grow fast.
FAST = {"model.architecture": "mlp", "model.hidden": [8], "norm": "none",
        "evaluation.every_epochs": 0, "checkpoint.every_epochs": 0}
UNLIMITED = resource.RLIM_INFINITY
CLOSED = ["<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"]


def steps_in(log):
    try:
        return log.read_bytes().count(b'"event":"step"')
    except FileNotFoundError:
        return 0


def instruction_sets():
    """What oneDNN is held to: AVX2, and what the processor has beyond it."""
    with open("/proc/cpuinfo") as file:
        return ["AVX2"] + ["ALL"] * ("avx512f" in file.read())


def stop_often(folder, times, ranks, isa, seed):
    """Stops a run of LARGE so often, at random moments, by TERM and USR2; it goes on each time, and
    ends two steps behind the last stop. Returns the exit codes of the stops, the run and one of as
    many steps that nobody stopped."""
    moments = random.Random(seed)
    env = {"ONEDNN_MAX_CPU_ISA": isa}
    run = harness.Run(folder / f"stopped-{isa}-{ranks}")
    log = run.folder / "metrics.jsonl"
    codes = []
    path = harness.write_experiment(folder / "stopped.yaml", LARGE, run_dir=run.folder)
    for stop in range(times):
        before = steps_in(log)
        process = harness.start("train", path, *(["--resume", "auto"] if stop else []), ranks=ranks, env=env)
        harness.wait_for(lambda: process.poll() is not None or steps_in(log) not in (0, before), "a step")
        if process.poll() is not None:
            raise AssertionError(harness.finish(process).err)
        time.sleep(moments.uniform(0.0, 0.2))  # the moment is what is tested
        targets = harness.ranks_of(process, ranks) if ranks else [process.pid]
        os.kill(moments.choice(targets), moments.choice([signal.SIGTERM, signal.SIGUSR2]))
        codes.append(harness.finish(process).code)
    last = run.checkpoints()[-1] + 2
    whole = harness.Run(folder / f"whole-{isa}-{ranks}")
    for each, arguments in ((run, ["--resume", "auto"]), (whole, [])):
        path = harness.write_experiment(folder / "stopped.yaml", {**LARGE, "steps": last},
                                        run_dir=each.folder)
        result = harness.run("train", path, *arguments, ranks=ranks if arguments else 0, env=env)
        if result.code != 0:
            raise AssertionError(result.err)
    return codes, run, whole


def same_end(run, other):
    """Whether two runs have the same steps and evaluations, and the same last weights, in bits."""
    last = run.checkpoints()[-1]
    return (run.exact_events() == other.exact_events() and last == other.checkpoints()[-1] and
            all(run.checkpoint(last).joinpath(name).read_bytes() ==
                other.checkpoint(last).joinpath(name).read_bytes()
                for name in ("model.safetensors", "optimizer.safetensors")))


def start_and_fill(folder, settings):
    """Starts a run whose files can grow no more from about its tenth step on: a limit on the size of
    files stands for a full disk."""
    path = harness.write_experiment(folder / "run.yaml", {**FAST, **settings}, run_dir=folder / "run")
    process = harness.start("train", path)
    log = folder / "run" / "metrics.jsonl"
    harness.wait_for(lambda: steps_in(log) > 10, "steps")
    largest = max(p.stat().st_size for p in (folder / "run").rglob("*") if p.is_file())
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (largest + 1000, UNLIMITED))
    return process


def make_room(process):
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (UNLIMITED, UNLIMITED))


def full_for_a_moment(folder):
    """One run on a disk that is full until the program says so. Returns the exit code and whether its log
    has all steps and its end."""
    steps = 20000
    process = start_and_fill(folder, {"steps": steps})
    process.stderr.readline()
    make_room(process)
    result = harness.finish(process)
    run = harness.Run(folder / "run")
    whole = [s["step"] for s in run.steps] == list(range(1, steps + 1)) and run.events[-1]["event"] == "end"
    shutil.rmtree(folder / "run")
    return result.code, whole


def shell(command, *arguments, **options):
    """Runs bash with the program and the arguments as "$@"."""
    return subprocess.run(["bash", "-c", command, "bash", harness.PROGRAM, *map(str, arguments)],
                          capture_output=True, timeout=harness.TIMEOUT, **options)


def train_with_closed(folder, closed):
    """One run with these descriptors closed. Returns its result and whether its files hold only what is
    theirs."""
    path = harness.write_experiment(folder / "run.yaml", FAST, run_dir=folder / "run")
    result = shell(f'exec "$@" {closed}', "train", path)
    run = harness.Run(folder / "run")
    clean = (all("event" in json.loads(line) for line in run.lines) and len(run.steps) == 4 and
             (folder / "run" / ".lock").read_bytes() == b"")
    shutil.rmtree(folder / "run")
    return result, clean
