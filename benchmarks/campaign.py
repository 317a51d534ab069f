"""What the campaigns of hostile files share: workers that may die, what became of each file, and the figures.

A worker prints a line of JSON with the file's name before it reads it, and one with the outcome after. One
that ends early is counted as a signal, and another goes on behind that file.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

SLOW_S, SLOW_BOMB_S = 2.0, 4.0
WARM_UP = 300  # files, after which memory should stay


@dataclass
class Tally:
    """What became of the files."""

    n_tried: int = 0
    n_opened: int = 0
    n_refused: int = 0
    signals: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")
    grown_mib: float = 0.0
    peak_mib: tuple[float, str] = (0.0, "")

    @property
    def is_clean(self) -> bool:
        return not (self.signals or self.foreign or self.slow)

    def count(self, name: str, told: dict) -> None:
        """Add the outcome of one file."""
        self.n_tried += 1
        self.n_opened += told["outcome"] == "opened"
        self.n_refused += told["outcome"] == "refused"
        if told["outcome"] not in ("opened", "refused"):
            self.foreign.append(f"{name}: {told['outcome']}")
        if told["seconds"] > (SLOW_BOMB_S if name.startswith("bomb") else SLOW_S):
            self.slow.append(f"{name}: {told['seconds']:.1f} s")
        self.slowest = max(self.slowest, (told["seconds"], name))
        self.peak_mib = max(self.peak_mib, (told.get("peak", 0.0), name))

    def lines(self) -> list[str]:
        """The figures, a line each, and below a figure what it counts."""
        return [
            "\n  ".join([f"signals: {len(self.signals)}", *self.signals]),
            "\n  ".join([f"foreign exceptions and warnings: {len(self.foreign)}", *self.foreign]),
            "\n  ".join([f"over {SLOW_S:g} CPU s, bombs over {SLOW_BOMB_S:g}: {len(self.slow)}", *self.slow]),
            f"slowest {self.slowest[0]:.2f} CPU s: {self.slowest[1]}",
            f"memory grew by {self.grown_mib:.0f} MiB after the first {WARM_UP} files",
        ]


def run(command: Callable[[int], Sequence[str]], total: int, warm_up: int, steady: int) -> Tally:
    """Have ``total`` files read, by as many workers as it takes.

    Args:
        command: What starts a worker that reads from the file of a number on.
        total: Files.
        warm_up: Memory is first taken after so many.
        steady: And last after so many: what follows, such as bombs, may take more.

    Raises:
        SystemExit: a worker ends without having read anything.
    """
    tally, first, last = Tally(), 0.0, 0.0
    while tally.n_tried < total:
        begun = tally.n_tried
        with (
            tempfile.TemporaryFile("w+") as errors,
            subprocess.Popen(
                command(tally.n_tried), stdout=subprocess.PIPE, stderr=errors, text=True
            ) as process,
        ):
            name = ""
            for line in process.stdout:
                told = json.loads(line)
                if "name" in told:
                    name = told["name"]
                    continue
                tally.count(name, told)
                first = told["mib"] if tally.n_tried == warm_up else first
                last = told["mib"] if tally.n_tried <= steady else last
                name = ""
            if process.wait():
                if not name and tally.n_tried == begun:
                    errors.seek(0)
                    raise SystemExit(errors.read())
                tally.n_tried += 1
                tally.signals.append(f"{name or 'between two files'}: exit {process.returncode}")
    tally.grown_mib = last - first if first else 0.0
    return tally


def command_line(campaign: Callable[[int, int], Tally], work: Callable[..., None]) -> None:
    """The command ``SCRIPT [N [SEED]]``; ``SCRIPT --work ...`` is one of its workers."""
    if sys.argv[1:2] == ["--work"]:
        work(*map(int, sys.argv[2:]))
        return
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    tally = campaign(n, seed)
    print(f"tried {tally.n_tried:,}, seed {seed}: {tally.n_opened:,} read, {tally.n_refused:,} refused")
    print(*tally.lines(), sep="\n")
    sys.exit(not tally.is_clean)
