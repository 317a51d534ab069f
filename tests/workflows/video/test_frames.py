"""Frames with their true times: clips whose times, turns and cuts are known because the test made them."""

import gc
import io
from fractions import Fraction
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image, features

av = pytest.importorskip("av", reason="needs PyAV")

from mien.errors import MienError, VideoError, VideoTooLargeError
from mien.workflows.video.frames import Video, square_size, upright
from mien.workflows.video.pick import Pick, parse_every


def ramp(times: list[float], size_wh: tuple[int, int] = (64, 48)) -> list:
    """Frames whose gray tells their number: 4 levels a frame."""
    return [(t, np.full((size_wh[1], size_wh[0], 3), 20 + 4 * i, np.uint8)) for i, t in enumerate(times)]


def read(path: Path, pick: Pick | None = None, after: int = -1) -> list[tuple[int, float, int]]:
    """(index, time, number by the gray) of each frame."""
    with Video(path) as video:
        return [
            (f.index, f.time_s, round((float(f.pixels.mean()) - 20) / 4))
            for f in video.frames(pick, after=after)
        ]


STEADY = [n / 25 for n in range(50)]
UNEVEN = np.cumsum([0, 0.04, 0.1, 0.033, 0.5, 0.02, 0.04, 0.25, 0.017, 0.04]).tolist()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".mov"])
def test_times_are_those_that_were_written_however_uneven(suffix, tmp_path, clips) -> None:
    path = tmp_path / f"clip{suffix}"
    clips.write_clip(path, ramp(UNEVEN))
    with av.open(str(path)) as container:
        told = [frame.time for frame in container.decode(video=0)]
    frames = read(path)
    assert [f[1] for f in frames] == pytest.approx(told, abs=1e-9)
    assert np.diff([f[1] for f in frames]) == pytest.approx(np.diff(UNEVEN), abs=0.0011)
    assert [f[0] for f in frames] == [f[2] for f in frames] == list(range(len(UNEVEN)))


@pytest.mark.parametrize("turn_deg", [0, 90, 180, 270])
def test_a_turned_container_is_read_upright(turn_deg, tmp_path, clips) -> None:
    stored = np.full((48, 64, 3), 60, np.uint8)
    stored[:16, :16] = 220  # bright at the top left as stored
    path = tmp_path / "phone.mp4"
    clips.write_clip(path, [(t, stored) for t in STEADY[:3]], turn_deg=turn_deg)
    with Video(path) as video:
        pixels = next(video.frames()).pixels
    expected = np.rot90(stored, turn_deg // 90)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 4


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ([1, 0, 0, 0, 1], [[1, 2], [3, 4]]),
        ([-1, 0, 0, 0, 1], [[2, 1], [4, 3]]),
        ([1, 0, 0, 0, -1], [[3, 4], [1, 2]]),
        ([0, 1, 0, 1, 0], [[1, 3], [2, 4]]),
        ([0, 1, 0, -1, 0], [[3, 1], [4, 2]]),
        ([0, -1, 0, 1, 0], [[2, 4], [1, 3]]),
    ],
    ids=["as is", "mirrored", "upside down mirrored", "transposed", "clockwise", "counter-clockwise"],
)
def test_every_quarter_turn_and_mirror_of_a_display_matrix_is_undone(matrix, expected) -> None:
    pixels = np.array([[1, 2], [3, 4]], np.uint8)[..., None]
    assert upright(pixels, np.array(matrix) * 65536)[..., 0].tolist() == expected


def test_an_edit_list_that_cuts_the_start_is_honoured(tmp_path, clips) -> None:
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    clips.write_clip(whole, ramp(STEADY))
    with (
        av.open(str(whole)) as source,
        av.open(str(cut), "w", options={"avoid_negative_ts": "disabled"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                shift = round(Fraction(6, 10) / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                target.mux(packet)
    frames = read(cut)
    assert [f[2] for f in frames] == list(range(15, 50))
    assert [f[1] for f in frames] == pytest.approx(STEADY[:35], abs=1e-3)


@pytest.mark.parametrize(
    ("pick", "numbers"),
    [
        (Pick(every_frames=20), [0, 20, 40]),
        (Pick(every_s=0.5), [0, 13, 25, 38]),
        (Pick(start_s=0.4, end_s=0.52), [10, 11, 12]),
        (Pick(every_s=0.2, start_s=1.0, end_s=1.5), [25, 30, 35]),
    ],
    ids=["frames", "seconds", "stretch", "both"],
)
def test_a_pick_takes_the_frames_it_names(pick, numbers, tmp_path, clips) -> None:
    path = tmp_path / "clip.mp4"
    clips.write_clip(path, ramp(STEADY))
    assert [f[0] for f in read(path, pick)] == numbers
    assert [f[2] for f in read(path, pick, after=12)] == [n for n in numbers if n > 12]


@pytest.mark.parametrize(
    ("text", "every"), [("0.2s", (0.2, 1)), ("40ms", (0.04, 1)), ("5frames", (0.0, 5)), ("1 frame", (0.0, 1))]
)
def test_a_step_is_a_time_or_a_number_of_frames(text, every) -> None:
    assert parse_every(text) == pytest.approx(every)


@pytest.mark.parametrize(
    "text",
    [
        "5",
        "0s",
        "2.5frames",
        "0frames",
        "fast",
        "-1s",
        f"0.{'0' * 320}1s",
        f"{'9' * 400}s",
        f"{'9' * 400}frames",
    ],
)
def test_another_step_is_refused(text) -> None:
    with pytest.raises(MienError, match=r"such as 0\.2s or 5frames"):
        parse_every(text)


def test_pixels_that_are_not_square_become_square() -> None:
    assert square_size(1440, 1080, Fraction(4, 3)) == (1920, 1080)
    assert square_size(720, 576, None) == (720, 576)
    assert square_size(720, 576, Fraction(1, 9999)) == (720, 576)


def damaged(name: str, clips: ModuleType, folder: Path) -> bytes:
    good = folder / "good.mp4"
    clips.write_clip(good, clips.still(3, faces=1), options={"movflags": "faststart"}, tone=True)
    data = good.read_bytes()
    if name == "cut before the index":
        clips.write_clip(good, clips.still(3, faces=1))
        return good.read_bytes()[: good.stat().st_size // 2]
    if name == "sound":
        with av.open(str(folder / "sound.mp4"), "w") as container:
            clips.write_tone(container, container.add_stream("aac", rate=44_100), 0.5)
        return (folder / "sound.mp4").read_bytes()
    return {
        "cut in the middle": data[: len(data) // 2],
        "cut in the header": data[:200],
        "empty": b"",
        "text": b"no video\n" * 99,
        "noise": np.random.default_rng(0).bytes(50_000),
        "playlist": f"#EXTM3U\n#EXTINF:3,\nfile://{good}\n#EXT-X-ENDLIST\n".encode(),
        "concat": f"ffconcat version 1.0\nfile {good}\n".encode(),
        "image": b"\x89PNG\r\n\x1a\n" + data[:500],
        "animation": b"RIFF\x99\0\0\0WEBPVP8X\n\0\0\0\2" + data[:500],
    }[name]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cut in the middle", r"is cut off: it ends at \d\.\d\d s of 3\.00 s; the rest is kept"),
        ("cut in the header", "holds no images"),
        ("cut before the index", "is cut off or damaged: its index is missing; copy it again, or repair it"),
        ("empty", "the file is empty"),
        ("sound", "holds only sound"),
        ("text", "is not a video"),
        ("noise", "is not a video"),
        ("playlist", "is not a video"),
        ("concat", "is not a video"),
        ("image", r"is an image \(PNG\), not a video; read it with mien read"),
        ("animation", "is an animated WebP, which mien does not play; save it as MP4 or GIF"),
    ],
)
def test_a_bad_video_is_told_in_one_line(name, says, tmp_path, clips) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(damaged(name, clips, tmp_path))
    frames: list[int] = []

    def collect() -> None:
        with Video(path) as video:
            frames.extend(frame.index for frame in video.frames())

    with pytest.raises(VideoError, match=says) as caught:
        collect()
    assert "\n" not in str(caught.value)
    if name == "cut in the middle":
        assert frames == list(range(len(frames)))
        assert len(frames) > 5


@pytest.mark.parametrize("name", ["camera.mjpeg", "CAMERA.MJPG"])
def test_a_stream_of_jpegs_is_a_video(name: str, tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "gray").save(file, "JPEG")
    (tmp_path / name).write_bytes(5 * file.getvalue())
    with Video(tmp_path / name) as video:
        assert len(list(video.frames())) >= 4
    (tmp_path / "photo.jpg").write_bytes(5 * file.getvalue())
    with pytest.raises(VideoError, match=r"is an image \(JPEG\), not a video"):
        Video(tmp_path / "photo.jpg")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nowhere.mp4", "cannot be opened as a video: no such file"),
        ("frame-%04d.png", "cannot be opened as a video: no such file"),
        (".", "is a folder; give a video file, or read its images with mien read"),
        ("-", "standard input cannot be watched; save the video as a file"),
    ],
    ids=["missing", "missing images", "folder", "standard input"],
)
def test_what_is_no_file_is_told_in_one_line(source, says) -> None:
    with pytest.raises(VideoError, match=says):
        Video(source)


@pytest.mark.parametrize("suffix", ["gif", "png", "avif"])
def test_an_animation_is_a_video_with_its_own_times(suffix: str, tmp_path: Path) -> None:
    if suffix == "avif" and not features.check("avif"):
        pytest.skip("needs a Pillow that writes AVIF")
    path = tmp_path / f"animation.{suffix}"
    first, *more = (Image.new("RGB", (64, 64), (level, level, level)) for level in (10, 120, 240))
    first.save(path, save_all=True, append_images=more, duration=[500, 1000, 700])
    with Video(path) as video:
        seen = [(round(frame.time_s, 2), int(frame.pixels[0, 0, 0])) for frame in video.frames()]
    assert [time_s for time_s, _ in seen] == [0, 0.5, 1.5]
    assert [level for _, level in seen] == pytest.approx([10, 120, 240], abs=3)


def test_a_file_may_be_named_by_its_address_and_in_capitals(tmp_path, clips) -> None:
    path = tmp_path / "A CLIP.MOV"
    clips.write_clip(path.with_suffix(".mov"), ramp(STEADY[:3]))
    path.with_suffix(".mov").rename(path)
    assert read(path.as_uri()) == read(path)


@pytest.mark.parametrize(
    ("pick", "says"),
    [
        (Pick(start_s=9), "has no frame from 9 s on: its frame 50, the last, is at 1.96 s"),
        (
            Pick(start_s=1.97, end_s=3),
            "has no frame from 1.97 s to 3 s: its frame 50, the last, is at 1.96 s",
        ),
        (Pick(start_s=0.41, end_s=0.43), "has no frame from 0.41 s to 0.43 s: its frame 12 is at 0.44 s"),
    ],
    ids=["beyond the end", "behind the last", "between two"],
)
def test_a_stretch_without_frames_is_told(pick, says, tmp_path, clips) -> None:
    path = tmp_path / "clip.mp4"
    clips.write_clip(path, ramp(STEADY))
    with pytest.raises(VideoError, match=says):
        read(path, pick)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "fields",
    [
        {"every_s": 1e-300},
        {"every_s": -1},
        {"every_s": NAN},
        {"every_s": INF},
        {"every_frames": 0},
        {"every_frames": 2.5},
        {"every_frames": INF},
        {"start_s": NAN},
        {"end_s": INF},
        {"end_s": 0},
        {"start_s": 2, "end_s": 2},
    ],
    ids=str,
)
def test_a_pick_of_nonsense_is_refused(fields) -> None:
    with pytest.raises(MienError, match="must"):
        Pick(**fields)


@pytest.mark.parametrize("n_before", [4, 170], ids=["seen when it is opened", "after 5 MB"])
def test_frames_that_grow_beyond_the_limit_end_the_video(n_before, tmp_path, clips) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (192, 192, 3), np.uint8)
    clips.write_clip(tmp_path / "small.ts", [(n / 25, np.roll(noise, n * n, 1)) for n in range(n_before)])
    clips.write_clip(tmp_path / "large.ts", [(t, np.zeros((1024, 1024, 3), np.uint8)) for t in STEADY[:4]])
    parts = [(tmp_path / f"{name}.ts").read_bytes() for name in ("small", "large")]
    (tmp_path / "clip.ts").write_bytes(b"".join(parts))
    indices = []

    def collect() -> None:
        with Video(tmp_path / "clip.ts", max_pixels=192 * 192) as video:
            indices.extend(frame.index for frame in video.frames())

    with pytest.raises(VideoTooLargeError, match="has frames of 1024 x 1024 pixels, more than the limit"):
        collect()
    assert len(indices) == (0 if n_before == 4 else n_before)


def test_a_video_whose_first_frame_is_too_large_is_refused_at_once(tmp_path, clips) -> None:
    clips.write_clip(tmp_path / "clip.mp4", ramp(STEADY[:3]))
    with pytest.raises(
        VideoTooLargeError, match="has frames of 64 x 48 pixels, more than the limit of 3,071"
    ):
        Video(tmp_path / "clip.mp4", max_pixels=64 * 48 - 1)


def test_an_address_that_cannot_be_opened_is_told_without_its_password() -> None:
    with pytest.raises(VideoError, match=r"rtsp://admin:\*\*\*@127.0.0.1:1/x") as caught:
        Video("rtsp://admin:S3cret@127.0.0.1:1/x")
    assert "S3cret" not in str(caught.value)


def test_a_display_matrix_that_changes_on_the_way_is_read_again() -> None:
    def image(turn_deg: int) -> SimpleNamespace:
        matrix = {0: None, 90: [0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30]}[turn_deg]
        data = {} if matrix is None else {"DISPLAYMATRIX": np.array(matrix, np.int32)}
        return SimpleNamespace(rotation=turn_deg, side_data=data)

    video = SimpleNamespace(_turn_deg=None, _display=None)
    assert Video.display_matrix(video, image(0)) is None
    assert Video.display_matrix(video, image(90)).tolist()[:2] == [0, -65536]
    assert Video.display_matrix(video, image(90)).tolist()[:2] == [0, -65536]
    assert Video.display_matrix(video, image(0)) is None


def test_images_that_were_read_do_not_wait_for_the_garbage_collector(tmp_path, clips) -> None:
    path = tmp_path / "clip.mp4"
    clips.write_clip(path, clips.still(2))
    gc.collect()
    gc.disable()
    try:
        with Video(path) as video:
            for _ in video.frames():
                left = sum(type(one) is av.VideoFrame for one in gc.get_objects())  # asks no object
                assert left <= 4
    finally:
        gc.enable()
