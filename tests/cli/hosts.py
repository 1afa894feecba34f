"""Several hosts on one machine: network namespaces with addresses of their own on one bridge."""
import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

# mpirun calls this as AGENT HOST COMMAND; a host is a namespace of network and of host name.
AGENT = """#!/bin/sh
host=$1
shift
exec ip netns exec {prefix}-$host unshare --uts sh -c 'hostname "$0"; exec sh -c "$1"' "$host" "$*"
"""


def missing():
    """Why there can be no namespaces here, or "" if there can."""
    absent = [p for p in ("ip", "tc", "unshare") if shutil.which(p) is None]
    if absent:
        return "not installed: " + ", ".join(absent)
    name = f"sn{os.getpid()}-try"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        return "no network namespace can be made"
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return ""


class Hosts:
    """`count` hosts, 10.77.0.1, 10.77.0.2, ..., named so. A context manager. With `cable`, the delay, the jitter (in
    seconds) and the share of frames lost of cable.py, each hangs on such a cable."""

    def __init__(self, folder, count, cable=None):
        self.prefix, self.folder = f"sn{os.getpid()}", Path(folder)
        self.names = [f"10.77.0.{i + 1}" for i in range(count)]
        self.agent = self.folder / "agent"
        self.cable, self.cables = cable, []

    def __enter__(self):
        self.agent.write_text(AGENT.format(prefix=self.prefix))
        self.agent.chmod(0o755)
        with contextlib.ExitStack() as cleanup:
            cleanup.callback(self.remove)
            self.ip("netns", "add", f"{self.prefix}-switch")
            self.ip("-n", f"{self.prefix}-switch", "link", "add", "switch", "type", "bridge")
            self.ip("-n", f"{self.prefix}-switch", "link", "set", "switch", "up")
            for i, name in enumerate(self.names):
                space = f"{self.prefix}-{name}"
                self.ip("netns", "add", space)
                self.connect(space, i)
                self.ip("-n", f"{self.prefix}-switch", "link", "set", f"port{i}", "master", "switch", "up")
                self.ip("-n", space, "address", "add", f"{name}/24", "dev", "eth0")
                self.ip("-n", space, "link", "set", "eth0", "up")
                self.ip("-n", space, "link", "set", "lo", "up")
            cleanup.pop_all()
        return self

    def __exit__(self, *_):
        self.remove()

    def connect(self, space, i):
        """The host's eth0 to a port of the switch."""
        switch = f"{self.prefix}-switch"
        if self.cable is None:
            self.ip("-n", space, "link", "add", "eth0", "type", "veth", "peer", "name", f"port{i}", "netns", switch)
            return
        self.cables.append(subprocess.Popen(
            [sys.executable, Path(__file__).with_name("cable.py"), space, "eth0", switch, f"port{i}",
             *map(str, self.cable), str(i)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        if self.cables[-1].stdout.readline() != "ready\n":
            raise RuntimeError("no cable could be laid")

    def unplug(self):
        """Of every cable, how many frames it carried and lost; none carries any more."""
        counts = [json.loads(cable.communicate()[0]) for cable in self.cables]
        self.cables = []
        return counts

    @staticmethod
    def ip(*arguments):
        subprocess.run(["ip", *arguments], capture_output=True, check=True)

    def remove(self):
        for cable in self.cables:
            cable.kill()
            cable.communicate()
        for name in [*self.names, "switch"]:
            pids = subprocess.run(["ip", "netns", "pids", f"{self.prefix}-{name}"], capture_output=True,
                                  text=True, check=False).stdout.split()
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), 9)
            subprocess.run(["ip", "netns", "del", f"{self.prefix}-{name}"], capture_output=True, check=False)

    def cut(self, host):
        """Pulls the cable of a host: nothing arrives, nobody is told."""
        self.ip("-n", f"{self.prefix}-switch", "link", "set", f"port{host}", "nomaster")

    def hostfile(self, slots):
        path = self.folder / "hosts.txt"
        path.write_text("".join(f"{name} slots={n}  # {n} ranks\n" for name, n in zip(self.names, slots)))
        return path

    def environment(self):
        return {"SYNCNORM_RSH": str(self.agent), "SYNCNORM_NETWORK": "10.77.0.0/24", "SYNCNORM_BINDING": "none",
                "ASAN_OPTIONS": "detect_leaks=0"}  # Open MPI leaves memory behind

    def on_first(self, *command):
        """The command that runs `command` on the first host."""
        return [str(self.agent), self.names[0], " ".join(f"'{c}'" for c in command)]
