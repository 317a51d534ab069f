"""One clock: containers x codecs x oddities, against the times of packets as ffprobe or PyAV tells them."""

import http.server
import io
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

av = pytest.importorskip("av", reason="needs PyAV")

from mien.core.smoothing import SmoothingSettings
from mien.errors import VideoError
from mien.workflows.video.clock import Clock
from mien.workflows.video.frames import Video
from mien.workflows.video.job import WatchJob, watch_video
from mien.workflows.video.pick import Pick
from mien.workflows.video.watcher import WatchSettings

FPS, N, LEVELS = 25, 24, 9
CLOCK = Fraction(1, 1000)
STEADY = [n / FPS for n in range(N)]
UNEVEN = np.cumsum([0, *np.random.default_rng(5).choice([0.02, 0.04, 0.1, 0.4], N - 1)]).tolist()
TEN_HOURS_S = 36_000.0
WRAPS_S = 2**33 / 90_000
"""When the clock of MPEG-TS and MPEG-PS begins anew (ISO/IEC 13818-1, 2.4.3.7)."""

KINDS = {
    "mp4 h264 b": ("mp4", "libx264", 3, "aac"),
    "mp4 mpeg4": ("mp4", "mpeg4", 0, None),
    "mov h264 b": ("mov", "libx264", 3, None),
    "mkv h264 b": ("mkv", "libx264", 3, "aac"),
    "mkv vp9": ("mkv", "libvpx-vp9", 0, "libopus"),
    "webm vp8": ("webm", "libvpx", 0, "libopus"),
    "ts h264 b": ("ts", "libx264", 3, "aac"),
    "ts mpeg2 b": ("ts", "mpeg2video", 2, None),
    "mpg mpeg2 b": ("mpg", "mpeg2video", 2, None),
    "avi h264 b": ("avi", "libx264", 3, None),
    "avi mpeg4 b": ("avi", "mpeg4", 2, "mp3"),
    "avi mjpeg": ("avi", "mjpeg", 0, None),
    "flv h264 b": ("flv", "libx264", 3, "aac"),
    "wmv wmv2": ("wmv", "wmv2", 0, "wmav2"),
    "asf h264": ("asf", "libx264", 0, None),
    "nut ffv1": ("nut", "ffv1", 0, None),
    "3gp h263": ("3gp", "h263", 0, None),
    "mxf mpeg2 b": ("mxf", "mpeg2video", 2, None),
    "raw h264 b": ("h264", "libx264", 3, None),
    "y4m": ("y4m", "wrapped_avframe", 0, None),
    "MP4 in upper case": ("MP4", "libx264", 3, None),
}
STEADY_ONLY = ("mpg", "ts mpeg2", "avi", "mxf", "raw", "y4m", "wmv", "asf", "3gp")


def write(
    path: Path,
    kind: str,
    times: list[float] = STEADY,
    *,
    sound_s: float | None = None,
    turn_deg: int = 0,
    begin_s: float = 0.0,
) -> Path:
    """A clip whose gray tells the frame's number: some levels a frame."""
    _, codec, n_b, sound_codec = KINDS[kind]
    base = CLOCK if times is not STEADY else Fraction(1, FPS)
    with av.open(str(path), "w", format="yuv4mpegpipe" if path.suffix == ".y4m" else None) as out:
        stream = out.add_stream(codec, rate=FPS)
        stream.width, stream.height = (176, 144)
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base, stream.bit_rate = base, 4_000_000
        if n_b:
            stream.codec_context.max_b_frames = n_b
        if codec == "libx264":
            stream.options = {"preset": "ultrafast", "bf": str(n_b), "b-pyramid": "normal"}
        if turn_deg:
            stream.set_display_rotation(turn_deg)
        sound = out.add_stream(sound_codec, rate=48_000) if sound_codec and sound_s else None
        if sound:
            sound.bit_rate = 128_000
        for n, time_s in enumerate(times):
            frame = av.VideoFrame.from_ndarray(
                np.full((144, 176, 3), 20 + LEVELS * n, np.uint8), format="rgb24"
            )
            frame.pts, frame.time_base = round((time_s + begin_s) / base), base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if sound:
            out.mux(tone(sound, sound_s, begin_s))
    return path


def tone(stream, seconds: float, begin_s: float) -> Iterator:
    """Packets of a sound."""
    resampler = av.AudioResampler(stream.codec_context.format or "fltp", "mono", 48_000)
    for start in range(0, round(seconds * 48_000), 960):
        wave = 0.2 * np.sin(np.arange(start, start + 960) * 0.05)
        part = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), format="fltp", layout="mono")
        part.sample_rate, part.time_base = 48_000, Fraction(1, 48_000)
        part.pts = start + round(begin_s * 48_000)
        for ready in resampler.resample(part):
            yield from stream.encode(ready)
    yield from stream.encode(None)


def packet_times(path: Path) -> list[tuple[float | None, float | None]]:
    """Presentation and decoding time of each packet of images, from ffprobe where it is installed."""
    if not shutil.which("ffprobe"):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            packets = [p for p in container.demux(stream) if p.size]
            return [
                tuple(None if t is None else float(t * stream.time_base) for t in (p.pts, p.dts))
                for p in packets
            ]
    ask = ["ffprobe", "-v", "error", "-select_streams", "v", "-of", "json"]
    ask += ["-show_entries", "packet=pts_time,dts_time"]
    told = json.loads(subprocess.run([*ask, str(path)], capture_output=True, check=True).stdout)["packets"]
    names = ("pts_time", "dts_time")
    return [tuple(float(p[name]) if name in p else None for name in names) for p in told]


def expected(path: Path) -> list[float]:
    """When frames are shown by their packets: presentation times, else decoding times, else the rate."""
    packets = packet_times(path)
    shown = sorted(p[0] for p in packets if p[0] is not None)
    decoded = sorted(p[1] for p in packets if p[1] is not None)
    if path.suffix in (".avi", ".asf", ".wmv"):
        return decoded
    if path.suffix in (".ts", ".mpg"):  # no zero; in .mpg not every packet has a time
        with av.open(str(path)) as container:
            begin_s = container.start_time / 1e6
        return [t - begin_s for t in (shown if path.suffix == ".ts" else np.arange(N) / FPS + shown[0])]
    return shown if len(shown) == len(packets) else decoded or [n / FPS for n in range(len(packets))]


def read(path: Path, pick: Pick | None = None) -> tuple[list[float], list[int]]:
    """Times of the frames, and their numbers by the gray."""
    with Video(path) as video:
        frames = [(f.time_s, round((float(f.pixels.mean()) - 20) / LEVELS)) for f in video.frames(pick)]
    return [time_s for time_s, _ in frames], [number for _, number in frames]


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_shown_when_their_packets_say(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"clip.{KINDS[kind][0]}", kind, sound_s=N / FPS)
    times, numbers = read(path)
    assert numbers == list(range(N))
    assert times == pytest.approx(expected(path), abs=1e-6)
    assert np.diff(times) == pytest.approx(1 / FPS, abs=0.0011)


@pytest.mark.parametrize("kind", [k for k in KINDS if not k.startswith(STEADY_ONLY)])
def test_frames_that_last_differently_long_are_shown_when_their_packets_say(
    kind: str, tmp_path: Path
) -> None:
    path = write(tmp_path / f"clip.{KINDS[kind][0]}", kind, UNEVEN)
    times, numbers = read(path)
    assert numbers == list(range(N))
    assert times == pytest.approx(expected(path), abs=1e-6)
    assert np.diff(times) == pytest.approx(np.diff(UNEVEN), abs=0.0011)


@pytest.mark.parametrize("begin_s", [0.0, 59.0, TEN_HOURS_S, WRAPS_S - 0.5])
@pytest.mark.parametrize("kind", ["ts h264 b", "ts mpeg2 b", "mpg mpeg2 b"])
def test_a_stream_whose_clock_has_no_zero_counts_from_its_beginning(
    kind: str, begin_s: float, tmp_path: Path
) -> None:
    path = write(tmp_path / f"clip.{KINDS[kind][0]}", kind, begin_s=begin_s)
    times, numbers = read(path)
    assert numbers == list(range(N))
    assert times == pytest.approx(STEADY, abs=0.002)
    assert read(path, Pick(start_s=0.5))[1][0] == 13
    with Video(path) as video:
        assert video.info.start_s == pytest.approx(0, abs=0.001)


@pytest.mark.parametrize(
    "kind", [k for k in KINDS if not k.startswith(("avi", "mxf", "raw", "y4m", "ts", "mpg"))]
)
def test_a_clock_that_begins_at_ten_hours_counts_from_the_beginning(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"clip.{KINDS[kind][0]}", kind, begin_s=TEN_HOURS_S, sound_s=N / FPS)
    packets = expected(path)
    times, numbers = read(path)
    assert packets[0] > 0.9 * TEN_HOURS_S
    assert numbers == list(range(N))
    assert times == pytest.approx([t - packets[0] + times[0] for t in packets], abs=1e-6)
    assert 0 <= times[0] < 0.2
    assert read(path, Pick(start_s=0.5))[1][0] in range(N)
    with Video(path) as video:
        assert video.info.start_s == pytest.approx(times[0], abs=0.1)


@pytest.mark.parametrize("kind", [k for k in KINDS if KINDS[k][3]])
def test_sound_that_outlasts_the_images_is_no_damage(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"clip.{KINDS[kind][0]}", kind, sound_s=2 * N / FPS)
    if path.suffix == ".mkv":  # as muxers that write no statistics
        path.write_bytes(path.read_bytes().replace(b"DURATION", b"XURATION"))
    assert read(path)[1] == list(range(N))


@pytest.mark.parametrize("kind", ["ts h264 b", "ts mpeg2 b", "mpg mpeg2 b"])
def test_joined_files_go_on_where_the_part_before_ended(kind: str, tmp_path: Path) -> None:
    part = write(tmp_path / f"part.{KINDS[kind][0]}", kind)
    joined = tmp_path / f"joined.{KINDS[kind][0]}"
    joined.write_bytes(3 * part.read_bytes())
    times, numbers = read(joined)
    first = expected(part)
    assert numbers == 3 * list(range(N))
    assert times == pytest.approx([t + n * N / FPS for n in range(3) for t in first], abs=1e-4)


def test_sound_and_images_of_joined_files_keep_together(tmp_path: Path) -> None:
    part = write(tmp_path / "part.ts", "ts h264 b", sound_s=N / FPS)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(2 * part.read_bytes())
    sounds: list[float] = []
    with Video(joined) as video:
        take = lambda packet: sounds.append(float(packet.pts * packet.time_base))  # noqa: E731
        times = [frame.time_s for frame in video.frames(other=take)]
    n = len(sounds) // 2
    assert times[N] - times[0] == pytest.approx(sounds[n] - sounds[0], abs=1e-3)


def test_a_turned_video_keeps_its_times(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", "mp4 h264 b", UNEVEN, turn_deg=90)
    with Video(path) as video:
        frames = list(video.frames())
    assert frames[0].pixels.shape == (176, 144, 3)
    assert [f.time_s for f in frames] == pytest.approx(expected(path), abs=1e-6)


def test_frames_that_an_avi_leaves_out_still_take_their_time(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "clip.avi"), "w") as out:
        stream = out.add_stream("mpeg4", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for n in (0, 1, 2, 12, 13):
            frame = av.VideoFrame.from_ndarray(
                np.full((48, 64, 3), 20 + LEVELS * n, np.uint8), format="rgb24"
            )
            frame.pts, frame.time_base = n, Fraction(1, FPS)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert read(tmp_path / "clip.avi")[0] == pytest.approx([n / FPS for n in (0, 1, 2, 12, 13)])


def stuck(path: Path, stamps: list[int]) -> Path:
    """A Matroska file at 10 frames a second whose packets have these times, in milliseconds."""
    source = write(path.with_suffix(".mp4"), "mp4 mpeg4")
    with av.open(str(source)) as good, av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 176, 144, "yuv420p"
        packets = [p for p in good.demux(video=0) if p.size]
        out.start_encoding()
        for stamp, packet in zip(stamps, packets, strict=False):
            copy = av.Packet(bytes(packet))
            copy.stream, copy.is_keyframe, copy.time_base = stream, packet.is_keyframe, CLOCK
            copy.pts = copy.dts = stamp
            out.mux(copy)
    return path


def test_a_clock_that_stands_still_goes_on_at_the_stated_rate(tmp_path: Path) -> None:
    times, _ = read(stuck(tmp_path / "clip.mkv", [0] * N))
    assert len(times) == N
    assert np.diff(times[1:]) == pytest.approx(0.1)
    assert np.all(np.diff(times) > 0)


def test_one_time_told_twice_does_not_move_the_others(tmp_path: Path) -> None:
    times, _ = read(stuck(tmp_path / "clip.mkv", [0, 100, 200, 200, 300, 400]))
    assert times == pytest.approx([0, 0.1, 0.2, 0.2125, 0.3, 0.4])


def decoded(pts: int | None) -> SimpleNamespace:
    return SimpleNamespace(pts=pts, time_base=CLOCK)


def clock(
    name: str = "matroska", rate: Fraction | None = Fraction(10), **options
) -> tuple[Clock, SimpleNamespace]:
    container = SimpleNamespace(format=SimpleNamespace(name=name), start_time=None)
    stream = SimpleNamespace(container=container, average_rate=rate, guessed_rate=None, index=0)
    return Clock(stream, **options), stream


@pytest.mark.parametrize(
    ("rate", "step_s"),
    [(Fraction(10), 0.1), (Fraction(10**9), 0.04), (Fraction(1, 10**9), 0.04), (None, 0.04)],
)
def test_a_rate_is_believed_where_it_can_be(rate, step_s: float) -> None:
    told, _ = clock(rate=rate)
    assert [told.time(decoded(None)) for _ in range(3)] == pytest.approx([0, step_s, 2 * step_s])


def test_a_camera_counts_from_its_first_frame() -> None:
    told, _ = clock(starts_now=True)
    assert [told.time(decoded(stamp)) for stamp in (7_000_000, 7_000_040)] == pytest.approx([0, 0.04])


def test_times_beyond_all_numbers_are_held_in_bounds() -> None:
    told, stream = clock()
    for stamp in (2**63 - 1, 0, 2**63 - 1, -(2**63) + 1):
        packet = SimpleNamespace(pts=stamp, dts=stamp, time_base=CLOCK, duration=1, size=1, stream=stream)
        told.take(packet)
        assert abs(packet.pts) < 2**63


class Camera(http.server.BaseHTTPRequestHandler):
    """Sends 6 JPEG images over HTTP, one each 0.1 s; there is no time in them."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        file = io.BytesIO()
        Image.new("RGB", (64, 48), "gray").save(file, "JPEG")
        head = b"--f\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(file.getvalue())
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=f")
        self.end_headers()
        for _ in range(6):
            self.wfile.write(head + file.getvalue() + b"\r\n")
            time.sleep(0.1)


@pytest.fixture
def camera() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/video"
    server.shutdown()
    server.server_close()


def test_frames_of_a_camera_without_times_are_shown_when_they_arrive(camera: str, monkeypatch) -> None:
    arrivals = iter([100.0, 100.5, 100.75, 101.5, 101.75, 102.0, 103.0, 104.0])
    monkeypatch.setattr("mien.workflows.video.frames.arrival_clock", lambda *_: lambda: next(arrivals))
    times = []
    with Video(camera) as video, pytest.raises(VideoError, match="has stopped at"):
        times.extend(frame.time_s for frame in video.frames())
    assert times[:5] == pytest.approx([0, 0.5, 0.75, 1.5, 1.75])


def test_files_of_a_camera_are_completed_and_never_gone_on_with(
    camera: str, tiny_home, tmp_path: Path, monkeypatch
) -> None:
    """Its next frames are others: to leave out as many as were watched would lose them."""
    monkeypatch.setattr("mien.workflows.video.job.SAVE_EVERY_S", 0.0)
    model, at_once = str(tiny_home / "models" / "tiny.onnx"), SmoothingSettings(ahead_s=0)
    settings = WatchSettings(model, views=1, batch=1, smoothing=at_once)
    files, asked = (tmp_path / "rows.csv", tmp_path / "rows.srt"), iter(range(9))
    outcome = watch_video(WatchJob(camera, files=files), settings, stop=lambda: next(asked) == 3)
    assert (outcome.stopped, files[0].read_text().count("\n")) == (True, 4)
    assert sorted(tmp_path.iterdir()) == sorted(files)

    with pytest.raises(ZeroDivisionError):  # as if it were killed
        watch_video(WatchJob(camera, files=files), settings, on_watched=lambda w: 1 / (w.rows[0].frame - 2))
    outcome = watch_video(WatchJob(camera, files=files, resume=True), settings)
    assert "is live and cannot be gone on with" in str(outcome.error)
    assert [line.split(",")[1] for line in files[0].read_text().splitlines()] == ["frame", "0", "1"]
    assert sorted(tmp_path.iterdir()) == sorted(files)


def test_a_saved_stream_of_images_goes_at_the_stated_rate(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "gray").save(file, "JPEG")
    part = b"--f\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(file.getvalue())
    (tmp_path / "clip.mjpeg").write_bytes(5 * (part + file.getvalue() + b"\r\n"))
    with Video(tmp_path / "clip.mjpeg") as video:
        times = [frame.time_s for frame in video.frames()]
    assert times == pytest.approx([n / FPS for n in range(len(times))])
    assert len(times) >= 4
