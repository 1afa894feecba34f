"""A real Slurm of one node on the loopback interface: munged, slurmctld and slurmd in a folder of their own."""
import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "scancel", "squeue")
PATIENCE = 60  # seconds that a daemon has to come up


def missing():
    """Why there can be no Slurm here, or "" if there can."""
    path = os.environ.get("PATH", "") + ":/usr/sbin"
    absent = [p for p in PROGRAMS if shutil.which(p, path=path) is None]
    if absent:
        return "not installed: " + ", ".join(absent)
    if os.geteuid() != 0:
        return "slurmd and munged are started as root"
    return ""


def free_ports(count):
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in found]


CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
MpiDefault=pmix
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
TmpFS={folder}/tmp
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
SlurmdTimeout=10
InactiveLimit=0
KillWait=30
MinJobAge=600
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Cluster:
    """Use as a context manager; `env` is the environment in which Slurm's commands find it."""

    def __init__(self, folder, cpus):
        self.folder, self.cpus = Path(folder), cpus
        self.processes = {}
        self.env = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin",
                    "SLURM_CONF": str(self.folder / "slurm.conf"),
                    "ASAN_OPTIONS": "detect_leaks=0"}  # Open MPI leaves memory behind
        for name in [n for n in self.env if n.startswith(("OMPI_", "PMI"))]:
            del self.env[name]

    def __enter__(self):
        self.folder.mkdir(parents=True)
        os.chmod(self.folder, 0o755)
        for name in ("state", "spool", "tmp"):
            (self.folder / name).mkdir()
        controller_port, node_port = free_ports(2)
        (self.folder / "slurm.conf").write_text(CONFIGURATION.format(
            folder=self.folder, host=socket.gethostname(), cpus=self.cpus,
            controller_port=controller_port, node_port=node_port))
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        os.chmod(key, 0o600)
        try:
            self.start("munged", "--foreground", "--force", f"--key-file={key}",
                       f"--socket={self.folder}/munge.socket", f"--pid-file={self.folder}/munged.pid",
                       f"--log-file={self.folder}/munged.log", f"--seed-file={self.folder}/munged.seed")
            self.wait_for(lambda: (self.folder / "munge.socket").exists(), "munged")
            self.start("slurmctld", "-D")
            self.start_node()
            self.wait_for(lambda: "idle" in self.command("sinfo", "-h", "-o", "%T"), "the node")
        except Exception:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self, name, *arguments):
        log = open(self.folder / f"{name}.out", "ab")  # pylint: disable=consider-using-with
        self.processes[name] = subprocess.Popen([name, *arguments], env=self.env, stdout=log, stderr=log)
        log.close()

    def start_node(self):
        self.start("slurmd", "-D")

    def kill_node(self, clean):
        """What a loss of power does to jobs: nothing says goodbye, and /tmp is empty afterwards. Unless
        `clean`, the job's PMIx files are left behind, over which Slurm 22.05 stumbles on this node."""
        slurmd = self.processes.pop("slurmd")
        slurmd.kill()
        slurmd.wait()
        for pid in self.pids_of_steps():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        shutil.rmtree(self.folder / "tmp")
        (self.folder / "tmp").mkdir()
        if clean:
            for stale in (self.folder / "spool").glob("stepd.slurm.pmix.*"):
                stale.unlink()
            for stale in (self.folder / "spool").glob("pmix.*"):
                shutil.rmtree(stale)

    def pids_of_steps(self):
        """slurmstepd and what it started: all processes that know this cluster's configuration, but us."""
        mark = f"SLURM_CONF={self.env['SLURM_CONF']}".encode()
        daemons = {p.pid for p in self.processes.values()} | {os.getpid()}
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) in daemons:
                continue
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found

    def stop(self):
        for name in ("slurmd", "slurmctld", "munged"):
            process = self.processes.pop(name, None)
            if process is not None:
                process.terminate()
                try:
                    process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    process.kill()
        for pid in self.pids_of_steps():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)

    def logs(self):
        return "\n".join(f"== {p.name}\n{p.read_text(errors='replace')[-3000:]}"
                         for p in sorted(self.folder.glob("*.log")) + sorted(self.folder.glob("*.out")))

    def wait_for(self, condition, what, seconds=PATIENCE):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"{what}: not there after {seconds} s\n{self.logs()}")
            time.sleep(0.1)

    def command(self, *arguments, cwd=None, check=False):
        result = subprocess.run([str(a) for a in arguments], env=self.env, cwd=cwd, text=True,
                                capture_output=True, check=False, timeout=PATIENCE)
        if check and result.returncode:
            raise RuntimeError(f"{arguments}: exit {result.returncode}: {result.stderr}")
        return result.stdout

    def submit(self, *arguments, cwd):
        """The number of the job."""
        return self.command("sbatch", "--parsable", *arguments, cwd=cwd, check=True).strip()

    def job(self, number):
        """The fields of `scontrol show job`, by name; of an array, those of its first job."""
        text = self.command("scontrol", "--oneliner", "show", "job", number)
        return dict(f.split("=", 1) for f in text.splitlines()[0].split() if "=" in f) if text else {}

    def wait_for_state(self, number, *states, seconds=240):
        self.wait_for(lambda: self.job(number).get("JobState") in states,
                      f"job {number} in state {'/'.join(states)}", seconds)
        return self.job(number)
