"""What Ray costs: the same images read by `-j N` and by a Ray cluster of N actors on this machine.

    python benchmarks/cluster.py FOLDER_OF_PHOTOS [N_LINKS [N [ROUNDS]]]

Makes links to the photos (2,000 unless told) and reads them both ways in turn, as many rounds (2). What the
start costs is taken from a run on N images, left out of the ratios, and printed. The limit is 15 %, on the
clock and in seconds of processor; these hold on a busy machine too, and count all processes of the cluster.
With N = 1, `taskset -c 1` gives both the same core. Needs mien[ray], and Linux.
"""

import ctypes
import os
import resource
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from bulk import make_links

LIMIT = 1.15
CHILD_SUBREAPER = 36  # prctl.h: what a command leaves behind becomes a child of this process


class Spent(NamedTuple):
    """Seconds on the clock, and of processor by all processes of a command."""

    wall_s: float
    cpu_s: float


def spent(*arguments: str) -> Spent:
    """What `mien read` takes, until the last process that it started has ended."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "mien", "read", *arguments], check=False, capture_output=True
    )
    wall_s = perf_counter() - began
    if done.returncode not in (0, 1):
        sys.exit(done.stderr.decode())
    with suppress(ChildProcessError):
        while True:
            os.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Spent(wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def less(whole: list[Spent], start: list[Spent]) -> Spent:
    """The least of each, without the least start."""
    return Spent(
        *(min(a) - min(b) for a, b in zip(zip(*whole, strict=True), zip(*start, strict=True), strict=True))
    )


def main(photos: str, n_links: str = "2000", n: str = "2", rounds: str = "2") -> None:
    ctypes.CDLL(None).prctl(CHILD_SUBREAPER, 1, 0, 0, 0)
    found = sorted(path.resolve() for path in Path(photos).iterdir() if path.suffix in (".jpg", ".png"))
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        images = str(make_links(found, int(n_links), base / "all"))
        few = [str(path) for path in found[: int(n)]]
        taken: dict[str, list[Spent]] = {"-j": [], "-j start": [], "Ray": [], "Ray start": []}
        for turn in range(int(rounds)):
            for name, inputs in {"": [images], " start": few}.items():
                plain, parts = base / f"{turn}{name}.parquet", base / f"{turn}{name}"
                taken[f"-j{name}"].append(spent(*inputs, "-j", n, "--out", str(plain)))
                taken[f"Ray{name}"].append(spent(*inputs, "-j", n, "--ray", "local", "--out", str(parts)))
        n_parts = len(list((base / "0").glob("part-*")))
    for name, times in taken.items():
        text = ", ".join(f"{one.wall_s:.1f} ({one.cpu_s:.1f})" for one in times)
        print(f"  {name:<9} {text} s on the clock (of processor)")
    plain, cluster = less(taken["-j"], taken["-j start"]), less(taken["Ray"], taken["Ray start"])
    print(f"{int(n_links):,} images, -j {n} and Ray with {n} actors, {n_parts} parts, without the start:")
    for what, one, other in zip(("clock", "processor"), plain, cluster, strict=True):
        ratio = other / one
        verdict = "ok" if ratio <= LIMIT else "MISSED"
        print(f"  {what:<9} {one:6.1f} s, Ray {other:6.1f} s: x{ratio:.3f}   limit {LIMIT}: {verdict}")


if __name__ == "__main__":
    main(*sys.argv[1:])
