"""What the tests of the program share: write an experiment, run it, read what it left behind.

Every test file is a script. SYNCNORM is the path of the program; SYNCNORM_TEST_SIZE is quick
(default) or full. Tests marked @full run only in the full size, all others only in the quick one.
"""
import contextlib
import functools
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import zlib
from pathlib import Path

PROGRAM = os.environ.get("SYNCNORM", "")
SIZE = os.environ.get("SYNCNORM_TEST_SIZE", "quick")
SKIPPED = 77  # the exit status that CTest takes for "not run"
TIMEOUT = 120  # seconds for one run of the program; a hang is a failure


# ---- The test files themselves.

def full(test):
    """Marks a test of the full size."""
    test.full = True
    return test


def bf16():
    """The precision that computes on bf16 here: what the processor has instructions for, or not.

    Where oneDNN is held to an instruction set (tests/instruction_sets) it is one without bf16.
    """
    if os.environ.get("ONEDNN_MAX_CPU_ISA"):
        return "bf16_emulated"
    with open("/proc/cpuinfo") as file:
        return "bf16" if "avx512_bf16" in file.read() else "bf16_emulated"


def sanitized():
    """True when a sanitizer is part of the program: it needs more address space than any limit leaves."""
    libraries = subprocess.run(["ldd", PROGRAM], stdout=subprocess.PIPE, text=True, check=False).stdout
    return "libasan" in libraries or "libtsan" in libraries


def skip_file(reason):
    print("skipped:", reason)
    sys.exit(SKIPPED)


def tests_of(suite):
    for entry in suite:
        if isinstance(entry, unittest.TestSuite):
            yield from tests_of(entry)
        else:
            yield entry


def main():
    """Runs the tests of this script that belong to the wanted size."""
    if not PROGRAM or not os.access(PROGRAM, os.X_OK):
        sys.exit("set SYNCNORM to the path of the program")

    class Loader(unittest.TestLoader):
        def loadTestsFromModule(self, module, *args, **kwargs):
            return self.wanted(super().loadTestsFromModule(module, *args, **kwargs))

        def loadTestsFromNames(self, names, module=None):
            return self.wanted(super().loadTestsFromNames(names, module))

        @staticmethod
        def wanted(suite):
            def is_full(test):
                return getattr(getattr(test, getattr(test, "_testMethodName", ""), None), "full",
                               False)
            chosen = unittest.TestSuite(
                t for t in tests_of(suite) if is_full(t) == (SIZE == "full"))
            if chosen.countTestCases() == 0:
                skip_file(f"this file has no tests of the size {SIZE}")
            return chosen

    unittest.main(testLoader=Loader())


class TestCase(unittest.TestCase):
    """A test with a folder of its own, `self.folder`."""

    maxDiff = 4000

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="syncnorm-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def train(self, name, settings, ranks=0, arguments=(), **options):
        """Trains `settings` into folder/name and returns the Run; any exit but 0 is a failure."""
        result = run("train", write_experiment(self.folder / f"{name}.yaml", settings,
                                               run_dir=self.folder / name),
                     *arguments, ranks=ranks, **options)
        self.assertEqual(result.code, 0, f"{name}: {result.err}\n{result.out}")
        return Run(self.folder / name)

    def assert_same_events(self, run, other):
        """Equal text of all steps and evaluations; of many differences, the first is shown."""
        ours, theirs = run.exact_events(), other.exact_events()
        for a, b in zip(ours, theirs):
            self.assertEqual(a, b)
        self.assertEqual(len(ours), len(theirs))

    def assert_same_bits(self, run, other):
        """Equal text of all steps and evaluations, equal bytes of all tensors of all checkpoints."""
        self.assert_same_events(run, other)
        ours, theirs = run.tensor_files(), other.tensor_files()
        self.assertTrue(run.steps and run.evals and ours)
        self.assertEqual(sorted(ours), sorted(theirs))
        for name, content in ours.items():
            self.assertTrue(content == theirs[name], f"{name} differs")


# ---- Running the program.

class Result:
    """Exit code, standard output and error, and seconds of a finished run."""

    def __init__(self, code, out, err, seconds):
        self.code, self.out, self.err, self.seconds = code, out, err, seconds


def mpirun(ranks):
    """The mpirun command with as many ranks, on however few cores."""
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    # Open MPI leaves memory behind in components that it unloads, where no suppression finds it; the
    # runs without mpirun look for leaks.
    quiet = ["-x", "ASAN_OPTIONS=detect_leaks=0"]
    return ["mpirun", *root, "--oversubscribe", *quiet, "-n", str(ranks)]


def environment(changes):
    # A test that itself runs under mpirun or srun must not make the program think that it does.
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_", "PMI", "SLURM_"))}
    clean.update({"OMPI_MCA_btl_vader_single_copy_mechanism": "none"}, **(changes or {}))
    return clean


def start(*arguments, ranks=0, program=None, env=None, cwd=None):
    """Starts the program, under mpirun when `ranks` is not 0, in a process group of its own."""
    command = (mpirun(ranks) if ranks else []) + [str(a) for a in (program or PROGRAM, *arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd,
                            stdin=subprocess.DEVNULL, env=environment(env), start_new_session=True)


def finish(process, timeout=TIMEOUT):
    """Waits for a started program. One that runs past the timeout is killed: an error."""
    begin = time.monotonic()
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        kill(process)
        out, err = process.communicate()
        raise AssertionError(f"still running after {timeout} s: {process.args}\n"
                             f"{out.decode()}\n{err.decode()}") from None
    return Result(process.returncode, out.decode(), err.decode(), time.monotonic() - begin)


def kill(process):
    for pid in [*children(process.pid), process.pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def run(*arguments, timeout=TIMEOUT, **options):
    return finish(start(*arguments, **options), timeout)


def run_without_rights(folder, *arguments, ranks=0):
    """As another user where this one is root, who may read everything; `folder` is opened to that user."""
    folder.chmod(0o777)
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    command = [*(user if os.geteuid() == 0 else ["env"]), *(mpirun(ranks) if ranks else []),
               PROGRAM, *arguments]
    return run(*command[1:], program=command[0], env={"HOME": str(folder)})


def children(pid):
    """The process ids below `pid`: the ranks that an mpirun started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            if int(path.read_text().rsplit(")", 1)[1].split()[1]) == pid:
                found.append(int(path.parent.name))
    return [p for child in sorted(found) for p in (child, *children(child))]


def ranks_of(process, count, timeout=30):
    """The process ids of the ranks of a started mpirun, in rank order, once all are there."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        ranks = {}
        for pid in children(process.pid):
            with contextlib.suppress(OSError):
                variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                for variable in variables:
                    if variable.startswith(b"OMPI_COMM_WORLD_RANK="):
                        ranks[int(variable.split(b"=")[1])] = pid
        if len(ranks) == count:
            return [ranks[r] for r in range(count)]
        time.sleep(0.02)
    raise AssertionError(f"mpirun did not start {count} ranks in {timeout} s")


def wait_for(condition, what, timeout=60):
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout} s for {what}")
        time.sleep(0.01)


# ---- Experiments.

# About a tenth of a second on one core. `settings` of the tests are changes to this.
TINY = {
    "name": "tiny",
    "seed": 3,
    "replicas": 8,
    "batch_per_replica": 2,
    "steps": 4,
    "data": {"dataset": "synthetic",
             "synthetic": {"classes": 4, "height": 8, "width": 8, "channels": 1,
                           "train_samples": 64, "test_samples": 60}},
    "model": {"architecture": "resnet8"},
    "norm": {"groups": 4},
    "optimizer": {"lr": 0.05},
}


def merged(tree, changes):
    """A copy of `tree` with `changes`: key paths ("norm.groups") to values, None removes a key."""
    copy = json.loads(json.dumps(tree))
    for path, value in changes.items():
        *sections, leaf = path.split(".")
        place = copy
        for section in sections:
            place = place.setdefault(section, {})
        if value is None:
            place.pop(leaf, None)
        else:
            place[leaf] = value
    return copy


def yaml_text(tree, indent=""):
    """Maps as lines, everything else as JSON, which is YAML."""
    lines = []
    for key, value in tree.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:\n", yaml_text(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {json.dumps(value)}\n")
    return "".join(lines)


def write_experiment(path, settings=None, base=TINY, **top):
    """Writes TINY with `settings` (key paths) and `top` (top-level keys); returns the path."""
    tree = merged(base, {**(settings or {}), **{k: str(v) if isinstance(v, Path) else v
                                                 for k, v in top.items()}})
    path.write_text(yaml_text(tree))
    return path


# ---- Images.

GREY, RGB = 0, 2  # color types of PNG


def png(height, width, values, color=RGB):
    """The bytes of an 8-bit PNG with these values, row by row."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    size = len(values) // height
    rows = b"".join(b"\0" + values[y * size:(y + 1) * size] for y in range(height))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


# ---- What a run leaves behind.

class Run:
    """A run folder."""

    def __init__(self, folder):
        self.folder = Path(folder)

    @functools.cached_property
    def lines(self):
        return (self.folder / "metrics.jsonl").read_text().splitlines()

    @functools.cached_property
    def events(self):
        return [json.loads(line) for line in self.lines]

    def of(self, event):
        return [e for e in self.events if e["event"] == event]

    @property
    def steps(self):
        return self.of("step")

    @property
    def evals(self):
        return self.of("eval")

    @property
    def losses(self):
        return [e["loss"] for e in self.steps]

    @property
    def summary(self):
        return json.loads((self.folder / "summary.json").read_text())

    def checkpoint(self, step):
        return self.folder / "checkpoints" / f"step-{step}"

    def checkpoints(self):
        """Steps of the checkpoints present, ascending."""
        return sorted(int(p.name[5:]) for p in (self.folder / "checkpoints").glob("step-*"))

    def model(self, step):
        return read_safetensors(self.checkpoint(step) / "model.safetensors")

    def exact_events(self):
        """Steps and evaluations as they were written, without their timings."""
        timing = re.compile(r'"(data_|reduction_)?seconds":[^,}]*,?')
        return [timing.sub("", line).replace(",}", "}") for line in self.lines
                if line.startswith(('{"event":"step"', '{"event":"eval"'))]

    def tensor_files(self):
        root = self.folder / "checkpoints"
        return {str(p.relative_to(root)): p.read_bytes()
                for p in sorted(root.glob("step-*/*.safetensors"))}


DTYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8"}


def read_safetensors(path):
    """Name -> numpy array. The format: a length, a JSON header, the bytes of the tensors."""
    import numpy
    data = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        values = numpy.frombuffer(data[8 + length + begin:8 + length + end], DTYPES[entry["dtype"]])
        tensors[name] = values.reshape(entry["shape"]).copy()
    return tensors


def write_safetensors(path, tensors):
    """Writes name -> numpy array; uint16 stands for the bits of bf16."""
    header, body = {}, b""
    types = {"f2": "F16", "f4": "F32", "f8": "F64", "i4": "I32", "i8": "I64", "u2": "BF16"}
    for name, array in tensors.items():
        content = array.tobytes()
        header[name] = {"dtype": types[array.dtype.str[1:]],
                        "shape": list(array.shape),
                        "data_offsets": [len(body), len(body) + len(content)]}
        body += content
    text = json.dumps(header).encode()
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + body)
