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
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from itertools import islice
from pathlib import Path
from types import ModuleType

import psutil
from campaign import WARM_UP, Tally, run

from mien.core.images import open_image
from mien.errors import MienError

TESTS = Path(__file__).resolve().parents[1] / "tests"
ENDLESS_S = 60.0


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
    n_damaged = WHAT[what][2] * n
    total = n_damaged + (len(module("core/bombs").BOMBS) if bombs and what == "images" else 0)
    worker = [sys.executable, __file__, "--work", what, str(n), str(seed)]
    return run(lambda start: [*worker, str(start), str(total)], total, min(WARM_UP, n), n_damaged)


def main() -> None:
    arguments = sys.argv[1:]
    what = arguments.pop(0) if arguments and arguments[0] in WHAT else "images"
    n = int(arguments[0]) if arguments else {"images": 2000, "videos": 500}[what]
    seed = int(arguments[1]) if len(arguments) > 1 else 0
    tally = campaign(n, seed, what=what)
    print(
        f"{what} tried {tally.n_tried:,}, seed {seed}: {tally.n_opened:,} opened, {tally.n_refused:,} refused"
    )
    print(*tally.lines(), sep="\n")
    print(f"most at once {tally.peak_mib[0]:.0f} MiB: {tally.peak_mib[1]}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2], *map(int, sys.argv[3:]))
    else:
        main()
