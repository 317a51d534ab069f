"""Many images: rows a second on one and two cores, what is lost beside the networks, memory, and kills.

    python benchmarks/bulk.py FOLDER_OF_PHOTOS [N_LINKS [KILLS]]

Makes N links (20,000 unless told) to the photos, 1,000 a folder, in a temporary folder, and reads them by
`mien read`. The limits: two processes at least 1.8 times as fast as one; at most 10 % beside opening the
images and the networks; the peak memory of the last tenth of the run within 5 % of the first tenth's; after
kills at random moments and ``--resume``, the rows of a run that was not stopped. All takes about 1.4 times as
long as `mien read -j 1` of the N links.

The first is the median over shards, a fiftieth of the links each, that one process and two read in turn, so
that a machine whose speed changes changes both; it needs two cores that nothing else uses, else it says
nothing. The others count processor time and bytes, so they hold on a busy machine too. Memory is
compared between equally many images, for the largest of ten times as many is larger by chance.
"""

import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from mien.cli.main import main
from mien.core import classifier, read_batch
from mien.core.one_stage import OneStage

PER_FOLDER = 1000
PAIRS = 5


class Run(NamedTuple):
    """One whole command: seconds on the clock and of processor, and MB of its largest process over time."""

    wall_s: float
    cpu_s: float
    largest_mb: list[float]


def make_links(photos: list[Path], n: int, folder: Path) -> Path:
    for i in range(n):
        below = folder / f"{i // PER_FOLDER:04d}"
        below.mkdir(parents=True, exist_ok=True)
        photo = photos[i % len(photos)]
        (below / f"{i:06d}{photo.suffix}").symlink_to(photo)
    return folder


def command(folder: Path, out: Path, jobs: int, *more: str) -> list[str]:
    return [sys.executable, "-m", "mien", "read", str(folder), "--out", str(out), "-j", str(jobs), *more]


def measured(arguments: list[str]) -> Run:
    start = time.perf_counter()
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
    largest = []
    while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
        largest.append(largest_mb(process.pid))
        time.sleep(0.1)
    _, status, usage = ended
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        sys.exit(f"{' '.join(arguments)} ended with exit code {process.returncode}")
    return Run(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, largest)


def largest_mb(pid: int) -> float:
    """Memory of the largest of a process and its children."""
    largest = 0
    with suppress(OSError):  # some may just have ended
        threads = Path(f"/proc/{pid}/task").glob("*/children")  # each lists the processes that it started
        for one in (str(pid), *" ".join(file.read_text() for file in threads).split()):
            pages = Path(f"/proc/{one}/statm").read_text().split()[1]
            largest = max(largest, int(pages) * os.sysconf("SC_PAGE_SIZE"))
    return largest / 2**20


def spent_in_parts(folder: Path, out: Path) -> tuple[dict[str, float], float]:
    """Seconds of processor of one `mien read -j 1` in this process: of its parts, and of all of it.

    Both are of the same run, so that a machine whose speed changes changes both alike.
    """
    spent = dict.fromkeys(("open", "find", "network"), 0.0)

    def timed(owner: Any, name: str, part: str) -> None:
        work = getattr(owner, name)

        def wrapped(*arguments: Any, **options: Any) -> Any:
            start = time.process_time()
            result = work(*arguments, **options)
            spent[part] += time.process_time() - start
            return result

        setattr(owner, name, wrapped)

    timed(read_batch, "open_image", "open")
    timed(OneStage, "find", "find")
    timed(classifier, "run", "network")
    sys.argv = command(folder, out, 1)[2:]
    start = time.process_time()
    with suppress(SystemExit):
        main()
    return spent, time.process_time() - start


def killed_and_resumed(folder: Path, out: Path, kills: int, usual_s: float) -> int:
    """Kill the run so many times at random; how often it was killed before its end."""
    chance, n_killed = random.Random(0), 0
    arguments = command(folder, out, 2, "--resume")
    for _ in range(kills):
        process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
        try:
            process.wait(chance.uniform(1, 1.5 * usual_s / max(kills, 1) + 3))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            n_killed += 1
    measured(arguments)
    return n_killed


def in_turn(links: Path, base: Path) -> list[tuple[Run, Run]]:
    """Shards of a fiftieth of the links by one process and by two, each pair one behind the other."""
    pairs = []
    for i in range(PAIRS):
        shard = ("--shard", f"{1 + 10 * i}/50")
        one = measured(command(links, base / f"one-{i}.csv", 1, *shard))
        pairs.append((one, measured(command(links, base / f"two-{i}.csv", 2, *shard))))
    return pairs


def verdict(value: float, limit: float, *, most: bool) -> str:
    return "ok" if (value <= limit if most else value >= limit) else "MISSED"


def measure() -> None:
    photos = sorted(p.resolve() for p in Path(sys.argv[1]).iterdir() if p.suffix.lower() in (".jpg", ".png"))
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 20_000
    kills = int(sys.argv[3]) if len(sys.argv) > 3 else 10
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        links = make_links(photos, n, base / "all")
        n_small = n // 10
        tenth = make_links(photos, n_small, base / "tenth")
        whole = measured(command(links, base / "whole.csv", 2))
        rows = (base / "whole.csv").read_bytes()
        n_rows = len(rows.splitlines()) - 1
        print(f"{n:,} links to {len(photos)} photos, {n_rows:,} rows, {os.cpu_count()} cores")
        print(f"  -j 2: {n / whole.wall_s:.1f} images/s, {1e3 * whole.cpu_s / n:.1f} CPU ms an image")
        pairs = in_turn(links, base)
        gains = sorted(one.wall_s / two.wall_s for one, two in pairs)
        gain, listed = statistics.median(gains), " ".join(f"{x:.2f}" for x in gains)
        print(f"  -j 2 against -j 1: x{gain:.2f} ({listed})   limit 1.8: {verdict(gain, 1.8, most=False)}")
        extra = sum(two.cpu_s for _, two in pairs) / sum(one.cpu_s for one, _ in pairs)
        print(f"    its processor time, with the start: x{extra:.3f}")
        by_one, by_two = (
            [(base / f"{jobs}-{i}.csv").read_bytes() for i in range(PAIRS)] for jobs in ("one", "two")
        )
        same = by_one == by_two
        print(f"  -j 2 writes the rows of -j 1: {'ok' if same else 'MISSED'}")
        tenth_of_run = len(whole.largest_mb) // 10
        first, last = max(whole.largest_mb[:tenth_of_run]), max(whole.largest_mb[-tenth_of_run:])
        grown = last / first
        print(f"  largest process: at most {max(whole.largest_mb):.0f} MB")
        print(f"    {first:.0f} MB in the first tenth, {last:.0f} MB in the last: x{grown:.3f}   "
              f"limit 1.05: {verdict(grown, 1.05, most=True)}")  # fmt: skip
        parts, spent = spent_in_parts(tenth, base / "parts.csv")
        listed = " + ".join(f"{part} {1e3 * seconds / n_small:.1f}" for part, seconds in parts.items())
        known = sum(parts.values())
        over = spent / known
        print(f"  {listed} = {1e3 * known / n_small:.1f} of {1e3 * spent / n_small:.1f} CPU ms an image")
        print(f"  against the parts alone: x{over:.3f}   limit 1.1: {verdict(over, 1.1, most=True)}")
        n_killed = killed_and_resumed(links, base / "killed.csv", kills, whole.wall_s)
        same = rows == (base / "killed.csv").read_bytes()
        print(f"  killed {n_killed} times at random and resumed: {'the same rows' if same else 'MISSED'}")


if __name__ == "__main__":
    measure()
