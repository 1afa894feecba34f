"""The machine that is tried: its programs, the environment they need, and its device."""
import os
import re
import site
import subprocess
import sys
import time
from pathlib import Path

from parts import process

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/cli"))
import harness  # noqa: E402  (needs the path)

PROGRAMS = ["syncnorm", "syncnorm_test_kernels", "syncnorm_test_mpi"]
MODULES = ["syncnorm_mpi.so", "syncnorm_cuda.so", "syncnorm_nccl.so"]
# For several ranks on one machine that may be a container, as launch/run and the tests have it.
MPI = {"OMPI_MCA_plm": "isolated", "OMPI_MCA_hwloc_base_binding_policy": "none",
       "OMPI_MCA_btl_vader_single_copy_mechanism": "none", "NCCL_IB_DISABLE": "1"}
# The device of a rehearsal: the CPU with other instructions, so that sums have another order.
OTHER_INSTRUCTIONS = {"SYNCNORM_ISA": "baseline", "ONEDNN_MAX_CPU_ISA": "SSE41"}


def programs_of(root):
    """The folder of the programs: of SYNCNORM, of an unpacked bundle, or of tests/gpu/build."""
    if os.environ.get("SYNCNORM"):
        return Path(os.environ["SYNCNORM"]).resolve().parent
    return root / "bin" if (root / "environment").exists() else root / "build/gpu/bin"


def bundled_environment(root):
    """The variables that a bundle's starters set."""
    if not (root / "environment").exists():
        return {}
    lines = subprocess.run(["sh", "-c", '. "$bundle/environment"; env -0'], capture_output=True, text=True, check=True,
                           env={**os.environ, "bundle": str(root)}).stdout.split("\0")
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    return {name: value for name, value in found.items()
            if os.environ.get(name) != value and name not in ("_", "bundle")}


def libraries_of_python():
    """Folders of the libraries that PyTorch's packages bring: cuDNN, cuBLASLt, NCCL."""
    folders = [Path(folder) for folder in (*site.getsitepackages(), site.getusersitepackages())]
    return [str(found) for folder in folders for found in sorted(folder.glob("nvidia/*/lib"))]


class Machine:
    """`rehearse`: the CPU stands for the device, and everything is small."""

    def __init__(self, rehearse=False, root=ROOT):
        self.rehearse, self.root = rehearse, root
        self.bin = programs_of(root)
        self.device = "cpu" if rehearse else "cuda"
        changes = {"SYNCNORM_SOURCE_DIR": str(root), **bundled_environment(root)}  # where the goldens are
        if not rehearse:
            paths = [changes.get("LD_LIBRARY_PATH") or os.environ.get("LD_LIBRARY_PATH", ""),
                     *libraries_of_python(), "/usr/local/cuda/lib64"]
            changes["LD_LIBRARY_PATH"] = ":".join(filter(None, paths))
        self.environment = harness.environment({**changes, **MPI})

    def missing(self):
        """Files without which nothing can be tried."""
        needed = [*PROGRAMS, *(MODULES[:1] if self.rehearse else MODULES)]
        return [name for name in needed if not (self.bin / name).exists()]

    def command(self, command, ranks=0, under=()):
        """One of the programs with its arguments: on several ranks under mpirun, or under another tool."""
        name, *arguments = command
        return [*(harness.mpirun(ranks) if ranks else []), *under, self.bin / name, *arguments]

    def run(self, command, limit, ranks=0, under=(), env=None, **options):
        """Runs one of the programs, with the libraries that it needs."""
        return process.run(self.command(command, ranks, under), limit, {**self.environment, **(env or {})}, **options)

    def start(self, command, ranks=0, **options):
        """The same for a command that process.end_session() ends."""
        return process.start(self.command(command, ranks), self.environment, **options)

    def title(self):
        """The name of the device, for a heading and a file's name."""
        if self.rehearse:
            return "no GPU"
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        return process.run(query, process.Limit(30)).out.splitlines()[0].strip()

    def versions(self):
        """One line: driver, program, revision and day."""
        said = self.run(["syncnorm", "--version"], process.Limit(60), check=False).out.strip()
        parts = [", ".join(said.splitlines())]
        if not self.rehearse:
            query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
            parts.insert(0, "Driver " + process.run(query, process.Limit(30)).out.splitlines()[0].strip())
        return "; ".join([*parts, time.strftime("%F", time.gmtime())]) + "."


def file_name(title):
    """NVIDIA H200 -> nvidia-h200"""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
