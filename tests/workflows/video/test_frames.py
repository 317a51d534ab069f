"""Frames with their true times: clips whose times, turns and cuts are known because the test made them."""

import gc
from fractions import Fraction
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

av = pytest.importorskip("av", reason="needs PyAV")

from mien.errors import MienError, VideoError
from mien.workflows.video.frames import Pick, Video, parse_every, square_size, upright


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
        (Pick(start_s=9.0), []),
    ],
    ids=["frames", "seconds", "stretch", "both", "beyond the end"],
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


@pytest.mark.parametrize("text", ["5", "0s", "2.5frames", "fast", "-1s"])
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
    }[name]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cut in the middle", r"is cut off: it ends at \d\.\d\d s of 3\.00 s; the rest is kept"),
        ("cut in the header", "holds no images"),
        ("empty", "the file is empty"),
        ("sound", "holds only sound"),
        ("text", "is not a video"),
        ("noise", "is not a video"),
        ("playlist", "is not a video"),
        ("concat", "is not a video"),
        ("image", "is not a video"),
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


@pytest.mark.parametrize("source", ["nowhere.mp4", "."], ids=["missing", "folder"])
def test_what_is_no_file_is_told_in_one_line(source) -> None:
    with pytest.raises(VideoError, match="cannot be opened as a video"):
        Video(source)


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
