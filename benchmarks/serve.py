"""The service under load against the library in one process, on loopback, same photograph, same run.

    python benchmarks/serve.py photo.jpg [clients=32] [seconds=60]

First the library reads the photograph again and again in a process of its own. Then so many clients post it
to `mien serve`, each its next request when the last is answered; every twentieth request must be refused: too
many bytes, too many pixels, no picture. Prints both rates and their ratio, the time of requests, the memory
of the service after a warm-up and at the end, and the size of batches. Exits with 1 where a claim fails.

Measured on two busy x86-64 cores, 32 clients: 1.4 times the library's rate, memory 202 MiB and then 201;
without the setting of `mien.web.decode_worker.give_memory_back` 394 MiB and, half a minute later, 434.
"""

import asyncio
import io
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

LEAST_RATIO, MOST_GROWTH = 0.8, 1.05
MAX_BYTES = 4 * 2**20
EVERY = 20

LIBRARY = """
import sys, time
import mien
analyzer, data = mien.Analyzer(), open(sys.argv[1], "rb").read()
analyzer.read(data)
n, start = 0, time.perf_counter()
while time.perf_counter() - start < float(sys.argv[2]):
    analyzer.read(data)
    n += 1
print(n / (time.perf_counter() - start))
"""


def library_rate(photo: Path, seconds: float) -> float:
    """Photographs a second that one process reads."""
    command = [sys.executable, "-c", LIBRARY, str(photo), str(seconds)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def bad_requests() -> list[tuple[int, bytes]]:
    """Bodies that must be refused, and the status that each must get."""
    bomb = io.BytesIO()
    Image.new("1", (9000, 9000)).save(bomb, "PNG", compress_level=1)
    return [(413, bytes(MAX_BYTES + 1)), (413, bomb.getvalue()), (422, b"no picture")]


class Load:
    """Counts what the clients see."""

    def __init__(self, photo: bytes) -> None:
        self.photo, self.bad = photo, bad_requests()
        self.times_s: list[float] = []
        self.wrong: Counter[str] = Counter()
        self.n_sent = self.n_refused = 0

    async def client(self, http: httpx.AsyncClient, until: float) -> None:
        while time.perf_counter() < until:
            self.n_sent += 1
            wanted, body = 200, self.photo
            if self.n_sent % EVERY == 0:
                wanted, body = self.bad[self.n_sent // EVERY % len(self.bad)]
            start = time.perf_counter()
            try:
                status = (await http.post("/v1/read", content=body)).status_code
            except httpx.HTTPError as error:
                self.wrong[f"wanted {wanted}, got {error!r}"] += 1
                continue
            if status != wanted:
                self.wrong[f"wanted {wanted}, got {status}"] += 1
            elif wanted == 200:
                self.times_s.append(time.perf_counter() - start)
            else:
                self.n_refused += 1

    async def run(self, http: httpx.AsyncClient, n_clients: int, seconds: float) -> float:
        """Photographs a second."""
        start = time.perf_counter()
        await asyncio.gather(*(self.client(http, start + seconds) for _ in range(n_clients)))
        return len(self.times_s) / (time.perf_counter() - start)


async def figure(http: httpx.AsyncClient, name: str) -> float:
    text = (await http.get("/metrics")).text
    return float(re.search(rf"^{name} (\S+)$", text, re.MULTILINE)[1])


async def under_load(
    address: str, photo: bytes, n_clients: int, seconds: float
) -> tuple[Load, float, list[float]]:
    limits = httpx.Limits(max_connections=n_clients)
    async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as http:
        await Load(photo).run(http, n_clients, min(10, seconds / 2))
        before = await figure(http, "process_resident_memory_bytes")
        load = Load(photo)
        rate = await load.run(http, n_clients, seconds)
        after = await figure(http, "process_resident_memory_bytes")
        faces = await figure(http, "mien_batch_faces_sum") / await figure(http, "mien_batch_faces_count")
    return load, rate, [before, after, faces]


def main(photo: Path, n_clients: int = 32, seconds: float = 60) -> int:
    alone = library_rate(photo, min(20, seconds))
    command = [sys.executable, "-m", "mien", "serve", "--port", "0", "--max-bytes", str(MAX_BYTES)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ})
    try:
        address = re.search(r"http://\S+", server.stdout.readline())[0]
        run = under_load(address, photo.read_bytes(), n_clients, seconds)
        load, rate, (before, after, faces) = asyncio.run(run)
    finally:
        server.terminate()
        server.wait()
    p50, p99 = np.percentile(load.times_s, [50, 99])
    ratio, growth = rate / alone, after / before
    print(f"library, one process   {alone:6.1f} photographs/s")
    print(f"service, {n_clients} clients    {rate:6.1f} photographs/s, ratio {ratio:.2f} (>= {LEAST_RATIO})")
    print(f"request                {p50:6.3f} s median, {p99:.3f} s 99th percentile")
    print(f"memory                 {before / 2**20:6.0f} MiB, then {after / 2**20:.0f} MiB, x {growth:.3f}")
    print(f"batch                  {faces:6.1f} faces on average")
    print(f"refused as they must   {load.n_refused:6d}; wrong answers: {dict(load.wrong) or 'none'}")
    return int(ratio < LEAST_RATIO or growth > MOST_GROWTH or bool(load.wrong))


if __name__ == "__main__":
    given = dict(argument.split("=") for argument in sys.argv[2:])
    sys.exit(main(Path(sys.argv[1]), int(given.get("clients", 32)), float(given.get("seconds", 60))))
