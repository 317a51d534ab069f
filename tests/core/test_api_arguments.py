"""What a program hands to mien: open files, wrong types, its own detector; each gets pixels or one line."""

import io
import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from PIL import Image

import mien
from mien.core.analyzer import Analyzer
from mien.core.detectors import make_detector
from mien.core.draw import annotate
from mien.core.images import ImageLimits, open_image
from mien.core.model_store import DEFAULT_MODEL
from mien.core.paths import local_path
from mien.core.results import Box, Face, Landmarks, Reading
from mien.errors import ImageError, ImageTooLargeError, MienError, ModelError

RGB = np.random.default_rng(2).integers(0, 256, (60, 50, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, "PNG")
    return file.getvalue()


def declared(function: Any, name: str) -> set[Any]:
    """The kinds of values that a parameter is declared to take."""
    hint = get_type_hints(function)[name]
    return {get_origin(one) or one for one in get_args(hint) or (hint,)}


def test_what_the_code_takes_is_declared() -> None:
    several = {str, os.PathLike}
    assert declared(mien.read, "image") >= {bytes, bytearray, memoryview, *several}
    assert declared(mien.read, "model") == several
    pytest.importorskip("av", reason="needs mien[video]")
    assert declared(mien.watch_video, "job") == {mien.WatchJob, int, *several}
    assert declared(mien.WatchSettings.__init__, "model") == several
    assert declared(mien.WatchJob.__init__, "source") == {int, *several}
    assert declared(mien.WatchJob.__init__, "files") == {Sequence, *several}
    assert declared(mien.WatchJob.__init__, "annotate") == {type(None), *several}


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1), (6, 5, 3), (6, 5, 4)], ids=str)
def test_an_opened_array_may_be_written_into(shape: tuple[int, ...]) -> None:
    assert open_image(np.full(shape, 9, np.uint8)).flags.writeable


def test_the_default_model_is_a_public_name() -> None:
    assert mien.DEFAULT_MODEL == DEFAULT_MODEL


# --- open files ------------------------------------------------------------------------------------------


class OnlyReads:
    """A body from a network: no name, no place to go back to, and a few bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int = -1, /) -> bytes:
        return self._file.read(min(size, 100))


def test_a_file_is_read_however_it_gives_its_bytes(png: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png)
    with (tmp_path / "a.png").open("rb") as buffered, (tmp_path / "a.png").open("rb", buffering=0) as raw:
        for file in (buffered, raw, io.BytesIO(png), OnlyReads(png)):
            np.testing.assert_array_equal(open_image(file), RGB)


def test_a_socket_that_is_a_file_is_read(png: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("rb") as file:
        theirs.sendall(png)
        theirs.close()
        np.testing.assert_array_equal(open_image(file), RGB)


def test_a_file_is_read_from_where_it_stands(png: bytes) -> None:
    file = io.BytesIO(b"a header" + png)
    file.seek(8)
    np.testing.assert_array_equal(open_image(file), RGB)
    with pytest.raises(
        ImageError, match=r"^the BytesIO gave no bytes; pass it before it is read, or seek\(0\)"
    ):
        open_image(file)


def test_a_file_without_end_is_read_up_to_the_limit() -> None:
    class Endless:
        n_bytes = 0

        def read(self, size: int, /) -> bytes:
            self.n_bytes += size
            return bytes(size)

    endless = Endless()
    with pytest.raises(
        ImageTooLargeError, match="the Endless has 3,000,001 bytes, more than the limit of 3,000,"
    ):
        open_image(endless, ImageLimits(max_bytes=3_000_000))
    assert endless.n_bytes == 3_000_001


class Awaited:
    async def read(self, size: int = -1) -> bytes:
        return b""


def closed(data: bytes) -> io.BytesIO:
    file = io.BytesIO(data)
    file.close()
    return file


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: io.StringIO("text"), "the StringIO must give bytes, got str; open it in binary mode"),
        (Awaited, "the Awaited must give bytes, got coroutine; open it in binary mode, or await"),
        (
            lambda: io.TextIOWrapper(io.BytesIO(b"\xff\xd8"), "utf-8"),
            r"gives text; open it in binary mode \('rb'\)$",
        ),
        (lambda: closed(b"x"), r"the BytesIO cannot be read \(I/O operation on closed file"),
        (lambda: io.BytesIO(b"no image"), "^the BytesIO is not an image of a known format"),
    ],
    ids=["text", "no text", "awaited", "closed", "no image"],
)
def test_a_file_that_gives_no_image_says_why(make: Callable[[], Any], text: str) -> None:
    with pytest.raises(ImageError, match=text):
        open_image(make())


def test_errors_name_an_open_file_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"nothing")
    with (
        (tmp_path / "a.png").open("rb") as file,
        pytest.raises(ImageError, match=rf"^'{tmp_path}/a.png' is not"),
    ):
        open_image(file)


# --- paths -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="paths of POSIX")
@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("file:///a/b%20c.png", "/a/b c.png"),
        ("file://localhost/a.png", "/a.png"),
        ("FILE:/a.png", "/a.png"),
        ("file:///a%23b%3Fc#d.png", "/a#b?c#d.png"),
        ("file:///%FF.png", "/\udcff.png"),
        ("file://other/a.png", "file://other/a.png"),
        ("file://[", "file://["),
        ("file:///tmp/%00.png", "file:///tmp/%00.png"),
        ("file.png", "file.png"),
        ("~/a.png", "/home/me/a.png"),
        ("a~b.png", "a~b.png"),
        ("~mine.png", "~mine.png"),
    ],
)
def test_a_path_may_be_an_address_or_begin_at_home(text: str, path: str, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    (tmp_path / "~mine.png").touch()
    assert local_path(text) == path


# --- wrong types -----------------------------------------------------------------------------------------

FACE = Face(Box(5, 5, 40, 50), 0.9)
READING = Reading(FACE, ("happy", "sad"), (0.75, 0.25))
CALLS: dict[str, tuple[Callable[[], Any], str]] = {
    "image None": (
        lambda: mien.read(None),
        "an image must be a path, bytes, an open binary file.*got NoneType",
    ),
    "image number": (lambda: open_image(3), "an image must be a path.*got int"),
    "images at once": (
        lambda: mien.read(["a.png", "b.png"]),
        "an image must be a path.*got list; several .*read_many, or as",
    ),
    "limits": (lambda: open_image(RGB, 1000), "limits must be an ImageLimits, got int"),
    "model list": (lambda: mien.read(RGB, ["a"]), "a model must be a name or a path, got list"),
    "model number": (lambda: mien.load(5), "a model must be a name or a path, got int"),
    "model of analyzer": (lambda: Analyzer(None), "a model must be a name or a path, got NoneType"),
    "score text": (lambda: Analyzer(min_score="high"), r"min_score must lie in 0..1, got 'high'"),
    "score range": (lambda: Analyzer(min_score=50), r"min_score must lie in 0..1, got 50"),
    "score nan": (lambda: Analyzer(min_score=float("nan")), r"min_score must lie in 0..1, got nan"),
    "detector": (
        lambda: Analyzer(detector=object()),
        r"a detector must be a name \(mtcnn, one-stage, cropped\) or an object with",
    ),
    "detector bytes": (
        lambda: Analyzer(detector=b"mtcnn"),
        r"^a detector must be a name \(mtcnn, one-stage, cropped\) or an object with .*, got bytes$",
    ),
    "detector class": (lambda: Analyzer(detector=Found), r"^a detector must be .*, got the class Found$"),
    "detector to make": (
        lambda: make_detector(b"mtcnn"),
        r"^a detector's name must be text, such as 'one-stage', got b'mtcnn'$",
    ),
    "detector name": (lambda: Analyzer(detector="mtcn"), "no detector named 'mtcn'; did you mean 'mtcnn'"),
    "readings None": (
        lambda: annotate(RGB, None),
        "readings must be a sequence of mien.Reading.*got NoneType",
    ),
    "readings one": (
        lambda: annotate(RGB, READING),
        "readings must be a sequence of mien.Reading.*got Reading",
    ),
    "readings faces": (
        lambda: annotate(RGB, [FACE]),
        "readings must be a sequence of mien.Reading.*got Face",
    ),
    "video None": (
        lambda: mien.WatchJob(None),
        "^source must be a path, an address or the number of a camera, got NoneType$",
    ),
    "captions": (lambda: annotate(RGB, [READING], []), "expected a caption for each of 1 faces, got 0"),
}


NAN, INF, FINITE = float("nan"), float("inf"), "min_face must be a finite number"
SETTINGS: dict[str, tuple[Callable[..., Any], dict[str, Any], str]] = {
    "face text": (
        mien.DetectorSettings,
        {"min_face": "40"},
        f"{FINITE} of at least 12, got '40'",
    ),
    "face nan": (mien.DetectorSettings, {"min_face": NAN}, f"^{FINITE} of at least 12, got nan$"),
    "face inf": (mien.DetectorSettings, {"min_face": INF}, f"^{FINITE} of at least 12, got inf$"),
    "face None": (mien.DetectorSettings, {"min_face": None}, f"^{FINITE} of at least 12, got None$"),
    "patience None": (
        mien.TrackerSettings,
        {"patience_s": None},
        "patience_s must be a number of at least 0, got",
    ),
    "landmarks": (mien.Analyzer, {"landmarks": "false"}, "^landmarks must be a bool, got 'false'$"),
    "watched landmarks": (mien.WatchSettings, {"landmarks": "no"}, "^landmarks must be a bool, got 'no'$"),
    "rotated": (mien.DetectorSettings, {"rotated": 1}, "^rotated must be a bool, got 1$"),
    "watched face": (mien.WatchSettings, {"min_face": INF}, f"^{FINITE} of at least 12, got inf$"),
    "side 0": (
        mien.DetectorSettings,
        {"max_side": 0},
        "max_side must be a finite number of at least 1, got 0",
    ),
    "side true": (
        mien.DetectorSettings,
        {"max_side": True},
        "max_side must be a finite number of at least 1, got T",
    ),
    "patience": (mien.TrackerSettings, {"patience_s": NAN}, "patience_s must be a number of at least 0, got"),
    "margin": (mien.SmoothingSettings, {"margin": "x"}, "margin must be a number of at least 0 .*, got 'x'"),
    "margin 50": (
        mien.SmoothingSettings,
        {"margin": 50},
        "^margin must be a number of at least 0 and at most 1, got 50$",
    ),
    "threshold": (mien.SmoothingSettings, {"threshold": 40}, "threshold must be .* at most 1, got 40"),
    "sure score": (mien.TrackerSettings, {"sure_score": 95}, "sure_score must be .* at most 1, got 95"),
    "overlap": (mien.TrackerSettings, {"min_overlap": 5}, "min_overlap must be .* at most 1, got 5"),
    "likeness": (mien.TrackerSettings, {"min_likeness": 2}, "min_likeness must be .* at most 1, got 2"),
    "growth": (
        mien.TrackerSettings,
        {"growth": INF},
        "growth must be a finite number of at least 0, got inf",
    ),
    "step": (mien.Pick, {"every_s": "1s"}, "every_s must be a number of at least 0, got '1s'"),
    "start": (mien.Pick, {"start_s": "1:00"}, "start_s must be a number, got '1:00'"),
    "watched side": (mien.WatchSettings, {"max_side": -1}, "max_side must be a finite number of at l"),
    "side inf": (mien.DetectorSettings, {"max_side": INF}, "max_side must be a finite number of at least 1"),
    "smoothing": (mien.WatchSettings, {"smoothing": 0.3}, "smoothing must be a SmoothingSettings, got 0.3"),
    "tracking": (mien.WatchSettings, {"tracking": {}}, "tracking must be a TrackerSettings, got {}"),
    "batch": (mien.WatchSettings, {"batch": 0}, "batch must be a finite number of at least 1, got 0"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_that_is_no_fitting_number_is_told_when_it_is_made(name: str) -> None:
    make, fields, text = SETTINGS[name]
    with pytest.raises(MienError, match=text):
        make(**fields)


def test_numbers_of_numpy_are_numbers(tiny_home: Path) -> None:
    home = tiny_home / "models" / "tiny.onnx"
    analyzer = Analyzer(home, Found([FACE]), min_score=np.float32(0.5), threads=np.int64(1))
    assert len(next(analyzer.read_many([RGB], np.int16(2), workers=np.int64(1)))) == 1
    assert mien.load(home, views=np.int64(1)).views == 1
    assert ImageLimits(max_bytes=np.int64(9)).max_bytes == 9
    settings = mien.WatchSettings(min_score=np.float32(0.5), batch=np.int64(4))
    assert [type(settings.min_score), type(settings.batch)] == [float, int]


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_a_matrix_is_an_array() -> None:
    np.testing.assert_array_equal(open_image(np.asmatrix(RGB[..., 0]))[..., 1], RGB[..., 0])


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_argument_is_told_with_what_was_expected_and_what_came(name: str) -> None:
    call, text = CALLS[name]
    with pytest.raises(MienError, match=text):
        call()


def test_a_column_of_paths_or_images_is_several(tiny_home: Path, tmp_path: Path) -> None:
    analyzer = Analyzer(tiny_home / "models" / "tiny.onnx", detector="cropped")
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path)
    objects = np.empty(2, object)
    objects[:] = [RGB, str(path)]
    columns: list[object] = [np.array([str(path)] * 2), objects]
    with suppress(ImportError):
        import pandas

        columns.append(pandas.Series([str(path)] * 2))
    for column in columns:
        assert len(list(analyzer.read_many(column))) == 2
        with pytest.raises(ImageError, match=r"mien\.Analyzer\(\)\.read_many|must be uint8"):
            analyzer.read(column)


@pytest.mark.parametrize(
    "one", ["a.png", b"x", Path("a.png"), RGB, io.BytesIO(b"x"), 7], ids=lambda v: type(v).__name__
)
def test_a_single_image_is_not_taken_for_several(one: object, tiny_home: Path) -> None:
    analyzer = Analyzer(tiny_home / "models" / "tiny.onnx")
    with pytest.raises(
        MienError, match=f"read_many takes several images, got one {type(one).__name__}; use read"
    ):
        analyzer.read_many(one)


@pytest.mark.parametrize("batch", [0, -1, 2.0, None, True])
def test_a_batch_is_a_positive_number(batch: object, tiny_home: Path) -> None:
    with pytest.raises(MienError, match=f"batch must be a whole number of at least 1, got {batch!r}"):
        Analyzer(tiny_home / "models" / "tiny.onnx").read_many([RGB], batch)


def test_crops_that_are_no_array_are_refused(tiny_home: Path) -> None:
    with pytest.raises(ModelError, match=r"crops must be uint8 \(48, 48\) each, got list at place 0"):
        mien.load(tiny_home / "models" / "tiny.onnx").probs([[1]])


def test_annotate_takes_what_open_image_does(png: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png)
    expected = annotate(RGB, [READING])
    for source in (tmp_path / "a.png", str(tmp_path / "a.png"), png, io.BytesIO(png), Image.fromarray(RGB)):
        np.testing.assert_array_equal(annotate(source, [READING]), expected)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("how", ["closed", "left", "file closed", "in memory"])
def test_a_pillow_image_that_is_closed_is_told_so(kind: str, how: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (9, 9)).save(file, kind)
    file.seek(0)
    image = Image.new("RGB", (9, 9)) if how == "in memory" else Image.open(file)
    if how == "left":
        with image:
            pass
    else:
        (file if how == "file closed" else image).close()
    with pytest.raises(ImageError, match=r"^the Pillow image is closed; pass it while it and its "):
        mien.open_image(image)


def test_a_damaged_pillow_image_is_not_called_closed() -> None:
    """Pillow closes the file of a TIFF where its decoder fails."""
    packed = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)).save(
        packed, "TIFF", compression="tiff_lzw"
    )
    data = bytearray(packed.getvalue())
    data[8:-400] = bytes(len(data) - 408)
    with pytest.raises(ImageError, match="damaged"):
        mien.open_image(Image.open(io.BytesIO(data)))


# --- a detector of one's own -----------------------------------------------------------------------------

POINTS = Landmarks((10, 10), (30, 10), (20, 20), (12, 35), (28, 35))


class Found:
    """A detector that returns what it was made with."""

    def __init__(self, faces: Any) -> None:
        self.faces = faces

    def find(self, image: np.ndarray) -> Any:
        return self.faces


def read_with(faces: Any, home: Path) -> tuple[Reading, ...]:
    return Analyzer(home / "models" / "tiny.onnx", Found(faces)).read(RGB)


@pytest.mark.parametrize(
    "faces",
    [
        (),
        [FACE],
        iter([FACE]),
        [Face(Box(*np.float32([5, 5, 40, 50])), np.float32(0.5), POINTS)],
        [Face(Box(-20, -5, 400, 500), 1)],
    ],
    ids=["none", "list", "iterator", "numpy numbers", "partly outside"],
)
def test_a_detector_may_return_any_sequence_of_faces(faces: Any, tiny_home: Path) -> None:
    assert all(reading.emotion == "happy" for reading in read_with(faces, tiny_home))


@pytest.mark.parametrize(
    ("faces", "text"),
    [
        (None, "must return a sequence of mien.Face, got NoneType"),
        (5, "must return a sequence of mien.Face, got int"),
        ([None], "must return mien.Face objects, got NoneType"),
        ([(5, 5, 40, 50)], "must return mien.Face objects, got tuple"),
        (np.zeros((2, 4)), "must return mien.Face objects, got ndarray"),
        ([Face((5, 5, 40, 50), 0.9)], "must return a mien.Box as the box of each face, got tuple"),
        ([Face(Box(5, 5, NAN, 50), 0.9)], r"finite x1 < x2 and y1 < y2, got \(5, 5, nan, 50\)"),
        ([Face(Box(5, 5, "40", 50), 0.9)], "finite x1 < x2 and y1 < y2, got"),
        ([Face(Box(40, 5, 5, 50), 0.9)], r"finite x1 < x2 and y1 < y2, got \(40, 5, 5, 50\)"),
        ([Face(Box(5, 5, 5, 5), 0.9)], "finite x1 < x2 and y1 < y2"),
        ([replace(FACE, score=97)], "must return scores in 0..1, got 97"),
        ([replace(FACE, score=None)], "must return scores in 0..1, got None"),
        ([replace(FACE, score=NAN)], "must return scores in 0..1, got nan"),
        (
            [replace(FACE, landmarks=[(1, 2)] * 5)],
            "must return mien.Landmarks of finite points, or None, got",
        ),
        (
            [replace(FACE, landmarks=replace(POINTS, nose=(NAN, 1)))],
            "must return mien.Landmarks of finite points",
        ),
        (
            [replace(FACE, landmarks=replace(POINTS, nose=(1, 2, 3)))],
            "must return mien.Landmarks of finite poi",
        ),
        (
            [replace(FACE, landmarks=replace(POINTS, nose=None))],
            "must return mien.Landmarks of finite points",
        ),
        (
            [replace(FACE, landmarks=Landmarks(*[(9, 9)] * 5))],
            r"lie apart, .*, got Landmarks\(left_eye=\(9.0, 9",
        ),
        ([Face(Box(0, 0, 1e5, 1e5), 0.9)], r"at most 100,000,000 pixels, got Box\(x1=0.0, .* x2=100000.0"),
        ([Face(Box(0, 0, 1e200, 1e200), 0.9)], "at most 100,000,000 pixels, got Box"),
        ([Face(Box(0, 0, 1e-200, 1e-200), 0.9, is_crop=True)], "at most 100,000,000 pixels, got Box"),
        ([replace(FACE, landmarks=replace(POINTS, nose=(9e5, 1)))], "100,000,000 pixels, got Landmarks"),
    ],
    ids=repr,
)
def test_nonsense_from_a_detector_is_told_and_the_detector_named(
    faces: Any, text: str, tiny_home: Path
) -> None:
    with pytest.raises(MienError, match=f"^detector Found .*{text}"):
        read_with(faces, tiny_home)
