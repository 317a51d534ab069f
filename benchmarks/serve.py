"""The service under load against the library in one process, on loopback, same photograph, same run.

    python benchmarks/serve.py photo.jpg [clients=32] [seconds=60]
    python benchmarks/serve.py photo.jpg slow=64 [clients=16] [seconds=60]

First the library reads the photograph again and again in a process of its own. Then so many clients post it
to `mien serve`, each its next request when the last is answered; every twentieth request must be refused: too
many bytes, too many pixels, no image. Prints both rates and their ratio, the time of requests, the memory
of the service after a warm-up and at the end, and the size of batches. Exits with 1 where a claim fails.

With `slow`, so many further clients send bodies of 30 MB at 18 KiB a second, half of them images and half
videos, and begin again when they are cut off. Clients alone and beside them take turns for a quarter of the
time each, so that both see the same machine. Prints how much longer requests take, the memory of the service
and its processes, and whether each answer is the one that the photograph got first.

Measured on two busy x86-64 cores, 32 clients: 1.4 times the library's rate, memory 202 MiB and then 201;
without the setting of `mien.core.bounds.give_memory_back` 394 MiB and, half a minute later, 434.
16 clients beside 64 slow ones: 99th percentile 1.1 and 1.2 times that alone, memory 251 MiB and then 259 to
279, no wrong answer.
"""

import asyncio
import io
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import numpy as np
import psutil
from PIL import Image

LEAST_RATIO, MOST_GROWTH = 0.8, 1.05
MAX_BYTES = 4 * 2**20
EVERY = 20
MOST_SLOWER, MOST_GROWTH_BESIDE = 2.0, 1.25
SLOW_BYTES, SLOW_PACE = 30_000_000, 18 * 1024

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
    return [(413, bytes(MAX_BYTES + 1)), (413, bomb.getvalue()), (422, b"no image")]


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


class Slow:
    """Clients that send as slowly as they may."""

    def __init__(self, address: str, n_clients: int) -> None:
        self.place = re.search(r"//(.*):(\d+)", address).groups()
        self.paths = [("/v1/read", "/v1/watch")[i % 2] for i in range(n_clients)]
        self.n_cut = 0

    async def client(self, path: str) -> None:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {SLOW_BYTES}\r\n\r\n"
        while True:
            _, sink = await asyncio.open_connection(*self.place)
            try:
                sink.write(head.encode())
                while True:
                    sink.write(bytes(SLOW_PACE))
                    await sink.drain()
                    await asyncio.sleep(1)
            except OSError:
                self.n_cut += 1
            finally:
                sink.close()

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.client(path)) for path in self.paths]
        await asyncio.sleep(1)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class Honest:
    """Clients that compare each answer with the first."""

    def __init__(self, photo: bytes) -> None:
        self.photo, self.first, self.n_wrong = photo, "", 0

    async def client(self, http: httpx.AsyncClient, until: float, times_s: list[float]) -> None:
        while time.perf_counter() < until:
            start = time.perf_counter()
            answer = await http.post("/v1/read", content=self.photo)
            times_s.append(time.perf_counter() - start)
            self.first = self.first or answer.text
            self.n_wrong += answer.status_code != 200 or answer.text != self.first

    async def run(self, address: str, n_clients: int, seconds: float) -> list[float]:
        """Seconds that each request took."""
        times_s: list[float] = []
        limits = httpx.Limits(max_connections=n_clients)
        async with httpx.AsyncClient(base_url=address, timeout=300, limits=limits) as http:
            until = time.perf_counter() + seconds
            await asyncio.gather(*(self.client(http, until, times_s) for _ in range(n_clients)))
        return times_s


def memory(process_id: int) -> int:
    """Resident bytes of a process and those that it started."""
    process = psutil.Process(process_id)
    return sum(one.memory_info().rss for one in (process, *process.children()))


async def beside_slow(server: int, address: str, photo: bytes, n: tuple[int, int], seconds: float) -> int:
    n_clients, n_slow = n
    honest, slow = Honest(photo), Slow(address, n_slow)
    alone, beside, held = [], [], []
    await honest.run(address, n_clients, min(10, seconds / 4))
    for _ in range(2):
        alone += await honest.run(address, n_clients, seconds / 4)
        held.append(memory(server))
        async with slow.at_work():
            beside += await honest.run(address, n_clients, seconds / 4)
            held.append(memory(server))
    p99 = [float(np.percentile(times_s, 99)) for times_s in (alone, beside)]
    ratio, growth = p99[1] / p99[0], held[-1] / held[0]
    for name, times_s, one in zip(("alone", f"beside {n_slow} slow"), (alone, beside), p99, strict=True):
        print(f"{name:22} {len(times_s):6d} requests, 99th percentile {one:.3f} s")
    print(f"ratio                  {ratio:6.2f} (<= {MOST_SLOWER})")
    print(f"memory                 {', '.join(f'{n / 2**20:.0f}' for n in held)} MiB, x {growth:.3f}")
    print(f"wrong answers          {honest.n_wrong:5d}; slow clients cut off {slow.n_cut} times")
    return int(ratio > MOST_SLOWER or growth > MOST_GROWTH_BESIDE or honest.n_wrong > 0)


def main_slow(photo: Path, n_slow: int, n_clients: int = 16, seconds: float = 60) -> int:
    server, address = start(["--client-timeout", "5", "--upload-timeout", "10"])
    try:
        work = beside_slow(server.pid, address, photo.read_bytes(), (n_clients, n_slow), seconds)
        return asyncio.run(work)
    finally:
        server.terminate()
        server.wait()


def start(arguments: list[str]) -> tuple[subprocess.Popen[str], str]:
    """A service and its address."""
    command = [sys.executable, "-m", "mien", "serve", "--port", "0", *arguments]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ})
    return server, re.search(r"http://\S+", server.stdout.readline())[0]


def main(photo: Path, n_clients: int = 32, seconds: float = 60) -> int:
    alone = library_rate(photo, min(20, seconds))
    server, address = start(["--max-bytes", str(MAX_BYTES)])
    try:
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
    if "slow" in given:
        numbers = int(given["slow"]), int(given.get("clients", 16)), float(given.get("seconds", 60))
        sys.exit(main_slow(Path(sys.argv[1]), *numbers))
    sys.exit(main(Path(sys.argv[1]), int(given.get("clients", 32)), float(given.get("seconds", 60))))
