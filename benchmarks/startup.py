"""Seconds until mien is there: import, help, and the first reading with its model, beside an empty Python.

    python benchmarks/startup.py [RUNS]

Whole processes, started in turn so that the machine's drift touches all alike; medians are given. The limits
are 0.15 s for the import, 0.4 s for the help and 0.6 s for the first reading.
"""

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
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "astronaut.png"
        from skimage import data, io

        io.imsave(photo, data.astronaut())
        for _ in range(runs + 1):  # the first round warms the disk's cache and is not counted
            for name, (arguments, _) in COMMANDS.items():
                command = [sys.executable, *(a.format(photo=str(photo)) for a in arguments)]
                start = time.perf_counter()
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                seconds[name].append(time.perf_counter() - start)
    print(f"medians of {runs} runs, seconds:")
    for name, (_, limit) in COMMANDS.items():
        median = statistics.median(seconds[name][1:])
        verdict = "" if limit is None else f"   limit {limit}: {'ok' if median <= limit else 'MISSED'}"
        print(f"  {name:<18}{median:6.3f}{verdict}")


if __name__ == "__main__":
    main()
