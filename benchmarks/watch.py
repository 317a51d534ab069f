"""What `mien watch` promises, measured: rows, times, ids, speed, memory, calm labels, resuming, bad videos.

    python benchmarks/watch.py [speed] [memory] [timeline] [kill] [bad] [--seconds 60] [--long 600]

Clips are made of real photographs (see tests/clips.py) in a temporary folder; the timeline needs FER2013 in
$MIEN_DATA. Everything runs on one core. Frames a second are given by the clock on the wall and by the core's
own clock, which other programs on the machine do not touch.
"""

import argparse
import csv
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from clips import EMOTIONS, crossing, emotions, still, write_clip, write_tone  # noqa: E402

MIEN = [sys.executable, "-m", "mien", "watch"]


def verdict(claim: str, holds: bool) -> None:
    print(f"  {'ok    ' if holds else 'MISSED'}  {claim}")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def usage(command: list[str]) -> tuple[float, float, float]:
    """Seconds on the wall, seconds of the core, peak memory in MB of a command (Linux).

    The peak is that of the program itself: what `wait4` tells includes the parent it was forked from.
    """
    start, peak = time.perf_counter(), 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = max(
            peak, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0
        )
        time.sleep(0.05)
    _, code, used = os.wait4(process.pid, 0)
    if code:
        raise SystemExit(f"{' '.join(command)} failed with {os.waitstatus_to_exitcode(code)}")
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, peak / 1024


def speed(folder: Path, seconds: float) -> None:
    print(f"1. {seconds:g} s, 640 x 360, 25 frames/s, two real faces crossing")
    clip, out = folder / "crossing.mp4", folder / "crossing.csv"
    write_clip(clip, crossing(seconds), tone=True)
    with av.open(str(clip)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    wall, core, peak = usage([*MIEN, str(clip), "--out", str(out)])
    rows = rows_of(out)
    told = {int(row["frame"]): float(row["time_s"]) for row in rows}
    missing = len(set(range(len(times))) - set(told))
    worst = max(abs(told[i] - times[i]) for i in told)
    ids = sorted({row["track"] for row in rows if row["track"]})
    seen = sum(bool(row["track"]) for row in rows) / len(times)
    verdict(f"{len(told):,} of {len(times):,} frames have rows", not missing)
    verdict(f"times differ from the container's by {worst * 1e3:.3f} ms at most", worst <= 0.001)
    verdict(f"ids: {', '.join(ids)}; {seen:.2f} faces a frame", len(ids) == 2)
    rates = f"{len(times) / wall:.1f} frames/s by the wall, {len(times) / core:.1f} by the core, start-up in"
    verdict(rates, len(times) / core >= 15)
    print(f"          peak memory {peak:.0f} MB")
    where_time_goes(clip)


def where_time_goes(clip: Path) -> None:
    from mien.workflows.video.frames import Video
    from mien.workflows.video.pick import Pick
    from mien.workflows.video.watcher import Watcher

    watcher = Watcher()
    spent: dict[str, float] = {}

    def timed(name: str, work: Callable) -> Callable:
        def run(*arguments: object) -> object:
            start = time.process_time()
            try:
                return work(*arguments)
            finally:
                spent[name] = spent.get(name, 0.0) + time.process_time() - start

        return run

    watcher.finder.find = timed("search the whole image", watcher.finder.find)
    watcher.finder.find_near = timed("look where faces should be", watcher.finder.find_near)
    watcher.classifier.probs = timed("name the emotions", watcher.classifier.probs)
    start, n = time.process_time(), 0
    with Video(clip) as video:
        for ready in watcher.watch(video.frames(Pick(end_s=12))):
            n += len(ready)
    total = time.process_time() - start
    spent["decode, crop, track, smooth"] = total - sum(spent.values())
    for name, value in spent.items():
        print(f"          {value / n * 1e3:5.1f} ms a frame: {name}")


def memory(folder: Path, short: float, long: float) -> None:
    print(f"1. memory: {long:g} s against {short:g} s")
    peaks = []
    for seconds in (short, long):
        clip = folder / f"memory{seconds:g}.mp4"
        write_clip(clip, crossing(seconds))
        peaks.append(usage([*MIEN, str(clip), "--out", str(folder / f"memory{seconds:g}.csv")])[2])
    ratio = peaks[1] / peaks[0]
    verdict(f"peak {peaks[0]:.0f} MB and {peaks[1]:.0f} MB: x{ratio:.3f}", ratio <= 1.1)


def timeline(folder: Path, seeds: int = 3) -> None:
    print("2. known timeline: 15 faces of PrivateTest, 2 s each, swaying, flickering, with noise")
    totals = np.zeros(7, int)  # of all clips: rows; changes true, raw, label; right raw, smoothed, label
    data = Path(os.environ.get("MIEN_DATA", ROOT.parent / "shared" / "data"))
    for seed in range(seeds):
        moments = list(emotions(data, 15, 2.0, np.random.default_rng(100 + seed)))
        clip, out = folder / f"timeline{seed}.mp4", folder / f"timeline{seed}.csv"
        write_clip(clip, ((time_s, pixels) for time_s, pixels, _ in moments))
        subprocess.run([*MIEN, str(clip), "--out", str(out)], check=True, stdout=subprocess.DEVNULL)
        rows = [row for row in rows_of(out) if row["track"]]
        truth = [moments[int(row["frame"])][2] for row in rows]
        raw, smooth = (
            [max(EMOTIONS, key=lambda name, row=row, kind=kind: float(row[kind + name])) for row in rows]
            for kind in ("p_", "p_smooth_")
        )
        label = [row["label"] for row in rows]
        counts = [changes(names) for names in ([moment[2] for moment in moments], raw, label)]
        right = [sum(a == b for a, b in zip(names, truth, strict=True)) for names in (raw, smooth, label)]
        sure = [a == b for a, b in zip(label, truth, strict=True) if a != "uncertain"]
        print(
            f"          clip {seed}: a face in {len(rows)} of {len(moments)} frames; changes: true "
            f"{counts[0]}, raw {counts[1]}, label {counts[2]}; right: raw {right[0] / len(rows):.3f}, "
            f"smoothed {right[1] / len(rows):.3f}, labels that are certain {np.mean(sure):.3f}"
        )
        totals += [len(rows), *counts, *right]
    n, true, n_raw, n_label, *right = totals.tolist()
    text = f"label changes {n_label}, true {true} (x{n_label / true:.2f}); raw {n_raw}"
    verdict(text, n_label <= 1.5 * true)
    text = f"accuracy over time: raw {right[0] / n:.3f}, smoothed {right[1] / n:.3f}"
    verdict(text, right[1] >= right[0])


def changes(names: list[str]) -> int:
    return sum(a != b for a, b in itertools.pairwise(names))


def kill(folder: Path, seconds: float) -> None:
    print("3. kill -9 in mid-video, then --resume")
    clip = folder / "kill.mp4"
    write_clip(clip, crossing(seconds))
    for suffix in (".csv", ".jsonl"):
        whole, broken = folder / f"whole{suffix}", folder / f"broken{suffix}"
        subprocess.run([*MIEN, str(clip), "--out", str(whole)], check=True, stdout=subprocess.DEVNULL)
        process = subprocess.Popen([*MIEN, str(clip), "--out", str(broken)], stdout=subprocess.DEVNULL)
        while not broken.exists() or broken.stat().st_size < whole.stat().st_size / 2:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kept = broken.read_bytes().count(b"\n")
        with broken.open("ab") as file:
            file.write(b"9.99,half a li")  # as a dying machine may leave it
        resume = [*MIEN, str(clip), "--out", str(broken), "--resume"]
        subprocess.run(resume, check=True, stdout=subprocess.DEVNULL)
        lines = whole.read_bytes().count(b"\n")
        same = whole.read_bytes() == broken.read_bytes()
        verdict(f"{suffix}: killed after {kept} of {lines} lines; files equal, byte for byte: {same}", same)


def bad(folder: Path) -> None:
    print("4. bad videos: one line, exit 2, no traceback")
    good = folder / "good.mp4"
    write_clip(good, still(3), options={"movflags": "faststart"}, tone=True)
    data = good.read_bytes()
    rng = np.random.default_rng(0)
    sound = folder / "sound.mp4"
    with av.open(str(sound), "w") as container:
        write_tone(container, container.add_stream("aac", rate=44_100), 1.0)
    flipped = bytearray(data)
    for place in rng.integers(len(data) // 3, len(data), 400):
        flipped[place] ^= 0xFF
    cases = {
        "truncated.mp4": data[: len(data) // 2],
        "no-index.mp4": data[:1000],
        "zero-byte.mp4": b"",
        "audio-only.mp4": sound.read_bytes(),
        "text.mp4": b"no video\n" * 99,
        "noise.mp4": rng.bytes(99_999),
        "playlist.mp4": f"#EXTM3U\n#EXTINF:3,\nfile://{good}\n#EXT-X-ENDLIST\n".encode(),
        "concat.mp4": f"ffconcat version 1.0\nfile {good}\n".encode(),
        "flipped.mp4": bytes(flipped),
    }
    for name, content in cases.items():
        path, out = folder / name, folder / f"{name}.csv"
        path.write_bytes(content)
        done = subprocess.run(
            [*MIEN, str(path), "--out", str(out)], capture_output=True, text=True, timeout=60
        )
        lines = done.stderr.strip().splitlines()
        kept = len(rows_of(out)) if out.exists() else 0
        verdict(
            f"{name:<15} {kept:3} rows  {lines[-1][:110] if lines else ''}",
            done.returncode == 2 and len(lines) == 1 and "Traceback" not in done.stderr,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", default=["speed", "memory", "timeline", "kill", "bad"])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--long", type=float, default=600)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "speed" in options.parts:
            speed(folder, options.seconds)
        if "memory" in options.parts:
            memory(folder, options.seconds, options.long)
        if "timeline" in options.parts:
            timeline(folder)
        if "kill" in options.parts:
            kill(folder, min(options.seconds, 16))
        if "bad" in options.parts:
            bad(folder)


if __name__ == "__main__":
    main()
