"""What Ray costs: the same images read by `-j N` and by a Ray cluster of N actors on this machine.

    python benchmarks/cluster.py IMAGES [N=2]

The start, taken from a run on N images, is left out of the ratio and printed; the limit is 15 %.
Needs mien[ray]. Run it on a quiet machine.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

LIMIT = 1.15


def seconds(*arguments: str) -> float:
    """The wall time of a command of mien."""
    began = perf_counter()
    subprocess.run([sys.executable, "-m", "mien", "read", *arguments], check=False, stderr=subprocess.DEVNULL)
    return perf_counter() - began


def main(images: str, n: str = "2") -> None:
    few = sorted(str(path) for path in Path(images).iterdir())[: int(n)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        plain = seconds(images, "-j", n, "--out", str(out / "plain.parquet"))
        start_plain = seconds(*few, "-j", n, "--out", str(out / "few.parquet"))
        cluster = seconds(images, "-j", n, "--ray", "local", "--out", str(out / "ray"))
        start_cluster = seconds(*few, "-j", n, "--ray", "local", "--out", str(out / "few"))
        n_parts = len(list((out / "ray").glob("part-*")))
    print(f"-j {n}: {plain:.1f} s, of them {start_plain:.1f} s for {len(few)} images")
    print(f"Ray, {n} actors, {n_parts} parts: {cluster:.1f} s, start {start_cluster:.1f} s")
    ratio = (cluster - start_cluster) / (plain - start_plain)
    print(f"ratio without start: {ratio:.2f}, limit {LIMIT}; with it: {cluster / plain:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
