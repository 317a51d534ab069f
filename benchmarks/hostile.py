"""Hostile images and videos: what their readers raise, what they cost, whether they end the process.

    python benchmarks/hostile.py [images|videos] [N] [SEED]

Images: N files (2,000) whose bytes are damaged, N whose structure is wrong with sound checksums, over every
format that mien opens, and the bombs of tests/core/bombs.py. Videos: N files (500) over 16 containers and
codecs, two of three damaged or with lying headers, the others with odd clocks, joined parts or huge frames
(tests/workflows/video/mutations.py), each read to its end.

They are the same for the same seed, and read in a process of their own, so that one that ends it is counted
and the rest goes on. The limits: no signal, no exception but `MienError`, no warning, 2 s of computing for a
damaged file, 4 s for a bomb (an honest image of 89 million pixels takes 1 to 3), memory that does not grow.
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import module_from_spec, spec_from_file_location
from itertools import islice
from pathlib import Path
from types import ModuleType

import psutil

from mien.core.images import open_image
from mien.errors import MienError

TESTS = Path(__file__).resolve().parents[1] / "tests"
SLOW_S, SLOW_BOMB_S, ENDLESS_S = 2.0, 4.0, 60.0
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


def module(name: str) -> ModuleType:
    spec = spec_from_file_location(Path(name).stem, TESTS / f"{name}.py")
    loaded = module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def images(n: int, seed: int, start: int) -> Iterator[tuple[str, bytes]]:
    """All from the one numbered ``start`` on."""
    mutations, structures, bombs = map(module, ("core/mutations", "core/structures", "core/bombs"))
    if start < n:
        for i, (name, data) in enumerate(mutations.mutants(n, seed)):
            if i >= start:
                yield f"damaged {name}", data
    sound = structures.sound_files()
    for i in range(max(start - n, 0), n):
        name, data = structures.mutant(i, seed, sound)
        yield f"structure {name}", data
    for name, make in list(bombs.BOMBS.items())[max(start - 2 * n, 0) :]:
        yield f"bomb {name}", make()


def videos(n: int, seed: int, start: int) -> Iterator[tuple[str, bytes]]:
    """All from the one numbered ``start`` on."""
    mutations = module("workflows/video/mutations")
    sounds = mutations.sound_files()
    for i in range(start, n):
        yield mutations.mutant(i, seed, sounds)


def open_video(data: bytes) -> None:
    """Read a video to its end."""
    from mien.workflows.video.frames import Video

    with tempfile.NamedTemporaryFile(suffix=".video") as file:
        file.write(data)
        file.flush()
        with Video(file.name) as video:
            for _ in video.frames():
                pass


Source = Callable[[int, int, int], Iterator[tuple[str, bytes]]]
WHAT: dict[str, tuple[Source, Callable[[bytes], object], int]] = {
    "images": (images, open_image, 2),
    "videos": (videos, open_video, 1),
}
"""Where files come from, what opens them, and how many there are for each of N."""


def work(what: str, n: int, seed: int, start: int, end: int) -> None:
    """Open the files from one number to another, and write a line before and after each."""
    process, (files, reader, _) = psutil.Process(), WHAT[what]
    for name, data in islice(files(n, seed, start), end - start):
        print(json.dumps({"name": name}), flush=True)
        signal.setitimer(signal.ITIMER_PROF, ENDLESS_S)
        before = time.process_time()
        try:
            with warnings.catch_warnings(record=True) as heard:
                warnings.simplefilter("always")
                reader(data)
            outcome = "opened"
        except MienError:
            outcome = "refused"
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}"[:200]
        outcome = f"{heard[0].category.__name__}: {heard[0].message}"[:200] if heard else outcome
        seconds, mib = time.process_time() - before, process.memory_info().rss / 2**20
        print(
            json.dumps({"outcome": outcome, "seconds": seconds, "mib": mib, "peak": peak_mib()}), flush=True
        )


def peak_mib() -> float:
    """The most memory since the last call; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0.0
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def campaign(n: int, seed: int, *, bombs: bool = True, what: str = "images") -> Tally:
    """Have all files opened, by as many processes as it takes."""
    tally, first, steady = Tally(), 0.0, 0.0
    n_damaged = WHAT[what][2] * n
    total = n_damaged + (len(module("core/bombs").BOMBS) if bombs and what == "images" else 0)
    while tally.n_tried < total:
        command = [sys.executable, __file__, "--work", what, *map(str, (n, seed, tally.n_tried, total))]
        errors = subprocess.DEVNULL  # libtiff's own, in its own words
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
            name = ""
            for line in process.stdout:
                told = json.loads(line)
                if "name" in told:
                    name = told["name"]
                    continue
                tally.n_tried += 1
                count(tally, name, told)
                first = told["mib"] if tally.n_tried == min(WARM_UP, n) else first
                steady = told["mib"] if tally.n_tried <= n_damaged else steady
                name = ""
            if process.wait():
                tally.n_tried += 1
                tally.signals.append(f"{name}: exit {process.returncode}")
    tally.grown_mib = steady - first
    return tally


def count(tally: Tally, name: str, told: dict) -> None:
    tally.n_opened += told["outcome"] == "opened"
    tally.n_refused += told["outcome"] == "refused"
    if told["outcome"] not in ("opened", "refused"):
        tally.foreign.append(f"{name}: {told['outcome']}")
    if told["seconds"] > (SLOW_BOMB_S if name.startswith("bomb") else SLOW_S):
        tally.slow.append(f"{name}: {told['seconds']:.1f} s")
    tally.slowest = max(tally.slowest, (told["seconds"], name))
    tally.peak_mib = max(tally.peak_mib, (told["peak"], name))


def main() -> None:
    arguments = sys.argv[1:]
    what = arguments.pop(0) if arguments and arguments[0] in WHAT else "images"
    n = int(arguments[0]) if arguments else {"images": 2000, "videos": 500}[what]
    seed = int(arguments[1]) if len(arguments) > 1 else 0
    tally = campaign(n, seed, what=what)
    print(
        f"{what} tried {tally.n_tried:,}, seed {seed}: {tally.n_opened:,} opened, {tally.n_refused:,} refused"
    )
    print(f"signals: {len(tally.signals)}", *tally.signals, sep="\n  ")
    print(f"foreign exceptions and warnings: {len(tally.foreign)}", *tally.foreign, sep="\n  ")
    print(f"over {SLOW_S:g} CPU s, bombs over {SLOW_BOMB_S:g}: {len(tally.slow)}", *tally.slow, sep="\n  ")
    print(f"slowest {tally.slowest[0]:.2f} CPU s: {tally.slowest[1]}")
    print(f"memory grew by {tally.grown_mib:.0f} MiB after the first {WARM_UP} files")
    print(f"most at once {tally.peak_mib[0]:.0f} MiB: {tally.peak_mib[1]}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2], *map(int, sys.argv[3:]))
    else:
        main()
