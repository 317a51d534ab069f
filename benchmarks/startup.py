"""Seconds until mien is there: import, help, and the first reading with its model, beside an empty Python.

    python benchmarks/startup.py [RUNS] [CHECKOUT]

Whole processes, started in turn so that the machine's drift touches all alike; medians are given. The limits
are 0.15 s for the import, 0.4 s for the help and 0.6 s for the first reading. With another checkout of mien,
such as `git worktree add ../before COMMIT` makes, its processes run in the same turns, and a ratio is given.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMANDS = {
    "python -c pass": (["-c", "pass"], None),
    "import mien": (["-c", "import mien"], 0.15),
    "mien --help": (["-m", "mien", "--help"], 0.4),
    "mien read --help": (["-m", "mien", "read", "--help"], None),
    "first read": (["-c", "import mien; mien.read({photo!r})"], 0.6),
}


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    checkouts = [Path(__file__).resolve().parents[1], *map(Path, sys.argv[2:3])]
    seconds: dict[tuple[str, Path], list[float]] = {(name, at): [] for name in COMMANDS for at in checkouts}
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "astronaut.png"
        from skimage import data, io

        io.imsave(photo, data.astronaut())
        for _ in range(runs + 1):  # the first round warms the disk's cache and is not counted
            for name, (arguments, _) in COMMANDS.items():
                for at in checkouts:
                    seconds[name, at].append(
                        timed([a.format(photo=str(photo)) for a in arguments], at, folder)
                    )
    medians = {key: statistics.median(times[1:]) for key, times in seconds.items()}
    print(f"medians of {runs} runs, seconds{', in brackets the other checkout' if checkouts[1:] else ''}:")
    for name, (_, limit) in COMMANDS.items():
        median = medians[name, checkouts[0]]
        verdict = "" if limit is None else f"   limit {limit}: {'ok' if median <= limit else 'MISSED'}"
        others = "".join(
            f" ({medians[name, at]:.3f})   ratio {median / medians[name, at]:.2f}" for at in checkouts[1:]
        )
        print(f"  {name:<18}{median:6.3f}{others}{verdict}")


def timed(arguments: list[str], checkout: Path, folder: str) -> float:
    """Seconds of a process of Python that takes mien from a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve() / "src")}
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, cwd=folder, env=environment
    )
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
