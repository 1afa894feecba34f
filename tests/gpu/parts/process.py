"""Commands with a time limit. When a command ends, or has run out of time, nothing that it started is left.

mpirun gives each rank a process group of its own, so a group is not enough: what counts is the session that
a command leads, and whatever descends from it.
"""
import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

_running = set()  # the sessions of commands that have not ended
_ended = False
_lock = threading.RLock()  # a signal may come while it is held


class Failed(Exception):
    """A check that did not hold; its text is what was seen."""


class Limit:
    """A number of seconds, from now on."""

    def __init__(self, seconds):
        self.seconds, self.end = seconds, time.monotonic() + seconds

    def left(self):
        return self.end - time.monotonic()


class Result:
    """Exit code, standard output and error of a command."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def says(self):
        """Why it failed: the program's own words, where mpirun wraps them in its own, or the end of what it printed."""
        own = [line for line in self.err.splitlines() if line.startswith(("syncnorm:", "rank "))]
        return " ".join(own)[:300] or (self.out + self.err).strip()[-300:]


def _processes():
    """Process id -> (parent, session) of everything that runs."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            state, parent, _, session = path.read_text().rsplit(")", 1)[1].split()[:4]
            if state not in "ZX":
                found[int(path.parent.name)] = (int(parent), int(session))
    return found


def left_of(sessions, ancestor=None):
    """The processes of sessions, and what descends from them, or from `ancestor`, into other sessions."""
    table = _processes()
    found = {pid for pid, (parent, session) in table.items() if session in sessions or parent == ancestor}
    while more := {pid for pid, (parent, _) in table.items() if parent in found} - found:
        found |= more
    return found


def _kill(sessions, ancestor=None):
    """Kills them; one that forks meanwhile is looked for again."""
    for _ in range(100):
        left = left_of(sessions, ancestor)
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def end_session(session):
    """Kills everything that is left of a command which start() began."""
    _kill({session})
    with _lock:
        _running.discard(session)


def end_all():
    """Kills every command, and begins no other: for a program that ends, or is told to."""
    global _ended
    with _lock:
        _ended = True
        sessions = set(_running)
    _kill(sessions, os.getpid())


def start(command, env, **options):
    """Starts a command in a session of its own, which end_session() has to end."""
    with _lock:
        if _ended:
            raise Failed("nothing is started any more")
        process = subprocess.Popen([str(c) for c in command], env=env, start_new_session=True, **options)
        _running.add(process.pid)
    return process


def run(command, limit, env=None, cwd=None, check=True):
    """Runs a command within a Limit. Failed when that is over, or with `check` when its exit code is not 0."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = start(command, env, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=cwd)
        try:
            process.wait(timeout=max(limit.left(), 0.0))
        except subprocess.TimeoutExpired:
            end_session(process.pid)
            process.wait()
            raise Failed(f"not done after {limit.seconds:.0f} s: {Path(str(command[0])).name}"
                         f" {_tail(out)} {_tail(err)}") from None
        finally:
            end_session(process.pid)
        result = Result(process.returncode, _tail(out, None), _tail(err, None))
    if check and result.code:
        raise Failed(f"exit {result.code}: {result.says()}")
    return result


def _tail(file, size=150):
    """The end of what was written to a file, or all of it."""
    length = file.seek(0, os.SEEK_END)
    file.seek(0 if size is None else max(length - size, 0))
    return file.read().decode(errors="replace")
