"""The table of tests/gpu/run: one row after another, on disk after each, whatever happens in a row."""
import dataclasses
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from parts.process import Failed, Limit

LEAST = 2.0  # seconds left with which a row is still begun


class Skipped(Exception):
    """A row that cannot be tried here; its text is the reason."""


@dataclasses.dataclass
class Measured:
    """What a speed row saw, and whether that is what is asked for."""

    seen: str
    met: bool


@dataclasses.dataclass
class Row:
    """`action(limit)` returns what was seen as text or Measured, or raises Failed or Skipped."""

    part: str
    name: str
    seconds: float  # its own time limit
    action: Callable[[Limit], "str | Measured"]
    outcome: str = "not reached"
    seen: str = ""
    took: float = 0.0

    def go(self, limit):
        begin = time.monotonic()
        try:
            seen = self.action(limit)
            self.outcome = "passed"
            if isinstance(seen, Measured):
                seen, self.outcome = seen.seen, "met" if seen.met else "**missed**"
        except Failed as error:
            seen, self.outcome = error, "**FAILED**"
        except Skipped as error:
            seen, self.outcome = error, "skipped"
        except Exception as error:  # a mistake in a row must not cost the rows behind it
            seen, self.outcome = f"{type(error).__name__}: {error}", "**FAILED**"
        self.seen, self.took = str(seen), time.monotonic() - begin

    def line(self):
        seen = " ".join(self.seen.split()).replace("|", "/")[:400]
        return f"| {self.name} | {self.outcome} | {seen} | {self.took:.0f} s |"


class Table:
    """Goes through rows within a time limit. `head`: what stands above the table; `path`: where it is written;
    `copies`: a folder for a copy, or None."""

    def __init__(self, head, rows, path, copies=None):
        self.head, self.rows, self.path, self.copies = head, rows, Path(path), copies
        self.details = []  # lines below the table

    @property
    def failed(self):
        return any(row.outcome == "**FAILED**" for row in self.rows)

    def go(self, limit):
        self.write()
        for row in self.rows:
            if limit.left() > LEAST:
                row.go(Limit(min(row.seconds, limit.left())))
            print(row.line(), flush=True)
            self.write()

    def text(self):
        counts = {}
        for row in self.rows:
            counts[row.outcome] = counts.get(row.outcome, 0) + 1
        total = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        return "\n".join([self.head, "", "| what | outcome | seen | time |", "|---|---|---|---:|",
                          *(row.line() for row in self.rows), "", f"In all: {total}.", *self.details, ""])

    def write(self):
        """Replaces the file at once, so that there is always a whole one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_name(self.path.name + ".new")
        new.write_text(self.text())
        new.replace(self.path)
        if self.copies:
            try:
                Path(self.copies).mkdir(parents=True, exist_ok=True)
                shutil.copy(self.path, self.copies)
            except OSError as error:
                print(f"no copy of the table: {error}", file=sys.stderr, flush=True)
