"""The annotated copy keeps times and sound, whatever the source does with either."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

av = pytest.importorskip("av", reason="needs PyAV")

from mien.errors import MienError, OutputError, VideoError
from mien.workflows.video.job import WatchJob, watch_video
from mien.workflows.video.pick import Pick
from mien.workflows.video.watcher import WatchSettings


@pytest.fixture(scope="module")
def settings(tiny_home) -> WatchSettings:
    """The model that answers every face alike."""
    return WatchSettings(model=str(tiny_home / "models" / "tiny.onnx"), views=1)


def clip(
    path: Path, codec: str, sound_codec: str | None, *, begin_s: float = 0.0, seconds: float = 1.0
) -> Path:
    """Gray frames at 10 a second, and a tone."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        sound = out.add_stream(sound_codec, rate=44_100) if sound_codec else None
        if sound:
            sound.bit_rate = 128_000
        for n in range(round(10 * seconds)):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 9 * n % 256, np.uint8), format="rgb24")
            frame.pts, frame.time_base = n + round(10 * begin_s), Fraction(1, 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if sound:
            resampler = av.AudioResampler(sound.codec_context.format or "fltp", "mono", 44_100)
            for start in range(0, round(seconds * 44_100), 1024):
                wave = 0.2 * np.sin(np.arange(start, start + 1024) * 0.05)
                part = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), format="fltp", layout="mono")
                part.sample_rate, part.time_base = 44_100, Fraction(1, 44_100)
                part.pts = start + round(begin_s * 44_100)
                for ready in resampler.resample(part):
                    out.mux(sound.encode(ready))
            out.mux(sound.encode(None))
    return path


def content(path: Path) -> tuple[list[float], str, np.ndarray]:
    """Times of frames, the codec of the sound, and its samples."""
    with av.open(str(path)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return times, "", np.zeros(0)
        codec = container.streams.audio[0].codec_context.name
        parts = [part.to_ndarray()[0] for part in container.decode(audio=0)]
    return times, codec, np.concatenate(parts)


@pytest.mark.parametrize(
    ("source", "codecs", "target", "sound"),
    [
        ("clip.mp4", ("libx264", "aac"), "marked.mp4", "aac"),
        ("clip.wmv", ("wmv2", "wmav2"), "marked.mkv", "aac"),
        ("clip.wmv", ("wmv2", "wmav2"), "marked.mp4", "aac"),
        ("clip.avi", ("mpeg4", "adpcm_ms"), "marked.mp4", "aac"),
        ("clip.avi", ("mpeg4", "mp3"), "marked.mov", "mp3float"),
    ],
    ids=["copied", "wma into mkv", "wma into mp4", "adpcm into mp4", "mp3 into mov"],
)
def test_sound_is_copied_or_becomes_aac(source, codecs, target, sound, settings, tmp_path) -> None:
    path = clip(tmp_path / source, *codecs)
    watch_video(WatchJob(str(path), annotate=tmp_path / target), settings)
    times, codec, samples = content(tmp_path / target)
    assert len(times) == 10
    assert codec == sound
    assert samples.size / 44_100 == pytest.approx(1.0, abs=0.15)
    assert np.abs(samples[11_000:33_000].astype(float)).mean() > 0.05 * np.abs(samples.astype(float)).max()


def test_sound_is_left_out_where_nobody_wants_it(settings, tmp_path) -> None:
    path = clip(tmp_path / "clip.mp4", "libx264", "aac")
    watch_video(WatchJob(str(path), annotate=tmp_path / "marked.mp4", sound=False), settings)
    assert content(tmp_path / "marked.mp4")[1] == ""


def test_a_copy_of_joined_files_is_as_long_as_they_are(settings, tmp_path) -> None:
    part = clip(tmp_path / "part.ts", "libx264", "aac")
    (tmp_path / "joined.ts").write_bytes(2 * part.read_bytes())
    outcome = watch_video(WatchJob(str(tmp_path / "joined.ts"), annotate=tmp_path / "marked.mp4"), settings)
    times, _, samples = content(tmp_path / "marked.mp4")
    assert outcome.error is None
    assert len(times) == 20
    assert times[-1] - times[0] == pytest.approx(1.9, abs=0.1)
    assert samples.size / 44_100 == pytest.approx(2.0, abs=0.2)


def test_a_copy_of_a_stream_that_begins_at_ten_hours_begins_at_once(settings, tmp_path) -> None:
    path = clip(tmp_path / "clip.ts", "libx264", "aac", begin_s=36_000)
    outcome = watch_video(WatchJob(str(path), annotate=tmp_path / "marked.mp4"), settings)
    with av.open(str(tmp_path / "marked.mp4")) as container:
        assert container.duration / 1e6 < 1.5
    assert content(tmp_path / "marked.mp4")[0][0] < 0.3
    assert outcome.summary.last_s < 1.3


def test_the_sound_of_a_stretch_is_that_of_the_stretch(settings, tmp_path) -> None:
    path = clip(tmp_path / "clip.mp4", "libx264", "aac", seconds=3)
    watch_video(WatchJob(str(path), Pick(start_s=1, end_s=2), annotate=tmp_path / "marked.mp4"), settings)
    times, _, samples = content(tmp_path / "marked.mp4")
    assert times == pytest.approx([1 + n / 10 for n in range(10)], abs=1e-3)
    assert samples.size / 44_100 == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("size", [(1, 40), (17_000, 2)])
def test_a_size_that_h264_cannot_hold_is_told(size, settings, tmp_path) -> None:
    path = tmp_path / "clip.gif"
    frames = [Image.new("L", size, shade) for shade in (40, 90)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    with pytest.raises(
        MienError, match=rf"marked.mp4 cannot be written: .* has {size[0]:,} x {size[1]:,}; leave"
    ):
        watch_video(WatchJob(str(path), annotate=tmp_path / "marked.mp4"), settings)
    assert [one.name for one in tmp_path.iterdir()] == ["clip.gif"]


def test_nothing_is_left_of_a_run_without_a_frame(settings, tmp_path) -> None:
    path = clip(tmp_path / "clip.mp4", "libx264", "aac")
    files = (tmp_path / "rows.csv", tmp_path / "rows.jsonl")
    with pytest.raises(VideoError, match="has no frame from 60 s on"):
        watch_video(WatchJob(str(path), Pick(start_s=60), files, tmp_path / "marked.mp4"), settings)
    assert [one.name for one in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_full_disk_is_told_of_the_file_that_was_named_and_leaves_nothing(clips, settings, tmp_path) -> None:
    resource = pytest.importorskip("resource", reason="needs limits of a process")
    noise = np.random.default_rng(0).integers(0, 256, (30, 240, 320, 3), np.uint8)
    clips.write_clip(tmp_path / "a.mp4", [(n / 10, pixels) for n, pixels in enumerate(noise)])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"marked\.mp4 cannot be written: file too large"):
            watch_video(WatchJob(tmp_path / "a.mp4", annotate=tmp_path / "marked.mp4"), settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
