"""Finding images, going through them, and what becomes of the readings."""

import csv
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.core.bulk import BulkSettings
from mien.core.image_names import is_image
from mien.core.images import DEFAULT_LIMITS
from mien.core.read_batch import Found
from mien.core.readings import Readings
from mien.core.results import Box, Face, Quality, Reading
from mien.errors import MienError
from mien.workflows.find import Source, find_images
from mien.workflows.read import ImageResult, ReadSettings, build_analyzer, read_images
from mien.workflows.read_outputs import AnnotatedFolder, columns, to_object, to_rows

LABELS = ("happy", "sad")


class FakeReader:
    """One face an image that is not black; the red of the first pixel is the probability of "happy"."""

    limits = DEFAULT_LIMITS

    def find_crops(self, image):
        face = Face(Box(0.123, 0, image.shape[1] / 2, 4), 0.9876543219)
        return Found([face], [image[:1, :1]], []) if image[0, 0, 0] else Found([], [], [])

    def name_crops(self, found):
        return [
            Readings(
                self.reading(face, crop[0, 0, 0] / 255)
                for face, crop in zip(one.faces, one.crops, strict=True)
            )
            for one in found
        ]

    def reading(self, face, red):
        return Reading(face, LABELS, (red, 1 - red))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``make`` files by name in the working folder: their pixels are all 51."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(*names: str, level: int = 51, size: tuple[int, int] = (8, 6)) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_image(name):
            Image.new("RGB", size, (level, level, level)).save(path)
        else:
            path.write_text("not an image")


def test_a_bad_image_does_not_stop_the_rest(folder: Path) -> None:
    make("1.png", "3.png")
    Path("2.png").write_bytes(b"no image at all")
    sources = [Source("1.png"), Source("2.png"), Source("4.png", "is gone"), Source("3.png")]
    results = list(read_images(sources, FakeReader()))
    assert [len(result.readings) for result in results] == [1, 0, 0, 1]
    assert results[0].size_wh == (8, 6)
    assert "'2.png' is not an image of a known format" in results[1].error
    assert results[1].size_wh is None
    assert results[2].error == "is gone"


def test_standard_input_is_read_as_one_image() -> None:
    file = io.BytesIO()
    Image.new("RGB", (5, 4), (255, 0, 0)).save(file, "PNG")
    (good,) = read_images([Source("-")], FakeReader(), stdin=io.BytesIO(file.getvalue()))
    (bad,) = read_images([Source("-")], FakeReader(), stdin=io.BytesIO(b""))
    assert (good.name, good.size_wh, good.readings[0].emotion) == ("-", (5, 4), "happy")
    assert bad.error.startswith("standard input: bytes is empty")


def test_images_are_opened_only_as_they_are_asked_for(folder: Path) -> None:
    make(*(f"{i}.png" for i in range(5)))
    taken = []

    def sources():
        for i in range(1000):
            taken.append(i)
            yield Source(f"{i % 5}.png")

    results = read_images(sources(), FakeReader(), bulk=BulkSettings(batch=4))
    for _ in range(4):
        next(results)
    assert len(taken) <= 2 * 4
    results.close()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (ReadSettings(min_score=1.5), "min_score must lie in 0..1, got 1.5"),
        (ReadSettings(detector="mtcn"), "no detector named 'mtcn'; did you mean 'mtcnn'"),
        (ReadSettings(min_face=3), "min_face must be a finite number of at least 12, got 3"),
        (ReadSettings(model="tinny"), "no model named 'tinny'; did you mean 'tiny'"),
        (ReadSettings(model="tiny", views=2), "model 'tiny' is calibrated for 1 views of a face, not for 2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_setting_is_refused(settings, text: str, tiny_home: Path, monkeypatch) -> None:
    monkeypatch.setenv("MIEN_HOME", str(tiny_home))
    with pytest.raises(MienError, match=text.replace("(", r"\(")):
        build_analyzer(settings)


def test_settings_reach_the_detector_and_the_model(tiny_home: Path, monkeypatch) -> None:
    monkeypatch.setenv("MIEN_HOME", str(tiny_home))
    analyzer = build_analyzer(
        ReadSettings("tiny", detector="mtcnn", min_score=0.5, min_face=24, rotated=True)
    )
    assert (analyzer.detector.settings.min_face, analyzer.detector.settings.rotated) == (24, True)
    assert (analyzer.min_score, analyzer.classifier.card.name) == (0.5, "tiny")


def result_of(name: str, *reds: float) -> ImageResult:
    """A 20 x 10 image with one face for each probability of "happy"."""
    faces = [Face(Box(1.23456, 2, 11.5, 9), 0.98765432) for _ in reds]
    readings = tuple(Reading(f, LABELS, (red, 1 - red)) for f, red in zip(faces, reds, strict=True))
    return ImageResult(name, readings, np.zeros((10, 20, 3), np.uint8), size_wh=(20, 10))


FAILED = ImageResult("bad\udcff.png", error="is damaged")


def test_rows_count_faces_from_one_and_keep_images_without() -> None:
    names = columns(LABELS)
    assert " ".join(names) == (
        "path face x1 y1 x2 y2 detection_score emotion confidence uncertain quality p_happy p_sad error"
    )
    assert to_rows(result_of("a.png", 0.75, 0.1234567), LABELS) == [
        ("a.png", 1, 1.23, 2, 11.5, 9, 0.987654, "happy", 0.75, False, None, 0.75, 0.25, None),
        ("a.png", 2, 1.23, 2, 11.5, 9, 0.987654, "sad", 0.876543, False, None, 0.123457, 0.876543, None),
    ]
    assert to_rows(result_of("b.png"), LABELS) == [("b.png", *[None] * 13)]
    assert to_rows(FAILED, LABELS) == [("bad\ufffd.png", *[None] * 12, "is damaged")]


def test_rows_of_landmarks_have_a_column_more_with_or_without_a_face() -> None:
    names = columns(LABELS, landmarks=True)
    assert names[names.index("quality") + 1] == "quality_occluded"
    result = result_of("a.png", 0.75)
    quality = Quality(60.0, 0.2, 5.0, 1.0, 0.9, occluded=0.876543)
    seen = replace(result, readings=(replace(result.readings[0], quality=quality),))
    for one, cell in ((seen, 0.8765), (result, None), (result_of("b.png"), None), (FAILED, None)):
        (row,) = to_rows(one, LABELS, landmarks=True)
        assert dict(zip(names, row, strict=True))["quality_occluded"] == cell


def test_runs_are_told_apart_by_every_setting_but_the_device() -> None:
    assert set(ReadSettings().identity()) == set(ReadSettings.__dataclass_fields__) - {"model", "device"}


def test_a_json_object_says_all_that_a_reading_does() -> None:
    result = result_of("a.png", 0.75)
    value = json.loads(json.dumps(to_object(result)))
    assert value == {
        "path": "a.png",
        "width": 20,
        "height": 10,
        "faces": [result.readings[0].to_dict()],
        "error": None,
    }
    assert to_object(FAILED) == {
        "path": "bad\ufffd.png",
        "width": None,
        "height": None,
        "faces": [],
        "error": "is damaged",
    }


def test_annotated_images_take_free_names_and_overwrite_nothing(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    writer = AnnotatedFolder(out)
    names = ["a/x.jpg", "b/x.jpg", "c/x.JPEG", "a/x.png", "b/x.bmp", "-"]
    written = [writer.write(result_of(name, 0.75)).name for name in names]
    assert written == ["x.jpg", "x-2.jpg", "x-3.jpg", "x.png", "x-2.png", "standard-input.png"]
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert AnnotatedFolder(out).write(result_of("x.jpg", 0.5)).name == "x-4.jpg"
    assert {name: (out / name).read_bytes() for name in before} == before
    assert writer.write(FAILED) is None
    assert sorted(os.listdir(out)) == sorted([*before, "x-4.jpg"])


def test_an_annotated_image_shows_the_drawing_in_the_size_of_its_source(tmp_path: Path) -> None:
    gray = np.full((200, 300, 3), 128, np.uint8)
    reading = Reading(Face(Box(50, 40, 150, 160), 0.9), LABELS, (0.75, 0.25))
    png = AnnotatedFolder(tmp_path).write(ImageResult("g.png", (reading,), gray))
    plain = AnnotatedFolder(tmp_path).write(ImageResult("h.png", (), gray))
    with Image.open(png) as drawn, Image.open(plain) as same:
        assert drawn.size == (300, 200)
        assert np.any(np.asarray(drawn) != gray)
        assert np.array_equal(np.asarray(same), gray)


def test_an_annotated_image_too_long_for_jpeg_is_a_png(tmp_path: Path) -> None:
    writer = AnnotatedFolder(tmp_path)
    sizes = {(1, 65_500): "x.jpg", (1, 65_501): "x.png", (65_501, 1): "x-2.png"}
    for size, name in sizes.items():
        path = writer.write(ImageResult("x.jpg", (), np.zeros((*size, 3), np.uint8)))
        assert path.name == name
        with Image.open(path) as image:
            assert image.size == size[::-1]


@pytest.mark.parametrize("below", ["a.png", "a.png/b"])
def test_an_annotated_image_in_the_way_of_a_folder_does_not_end_the_run(below: str, tmp_path: Path) -> None:
    writer = AnnotatedFolder(tmp_path)
    writer.write(result_of("a.webp", 0.5))  # becomes a.png
    written = writer.write(replace(result_of(f"{below}/c.png", 0.5), below=below))
    assert written == tmp_path / "c.png"


def test_annotated_images_keep_the_folders_below_the_one_that_was_named(folder: Path) -> None:
    make("a/1.png", "a/b/2.png", "a/b/c/3.jpg", "d/4.png")
    writer = AnnotatedFolder("out")
    for source in find_images(["a", "d/4.png"], "out"):
        (result,) = read_images([source], FakeReader(), bulk=BulkSettings(keep_pixels=True))
        writer.write(result)
    assert sorted(str(path) for path in Path("out").rglob("*.*")) == [
        "out/1.png", "out/4.png", "out/b/2.png", "out/b/c/3.jpg"
    ]  # fmt: skip


@pytest.mark.parametrize("letter", ["a", "ü", "写", "\udcff"], ids=ascii)
def test_a_name_that_is_too_long_is_cut(tmp_path: Path, letter: str) -> None:
    n = 251 // len(os.fsencode(letter))
    writer = AnnotatedFolder(tmp_path)
    first, second = (writer.write(result_of(f"{letter * n}.jpg", 0.75)) for _ in range(2))
    assert first != second
    assert letter * 40 in first.name
    assert all(path.is_file() and path.suffix == ".jpg" for path in (first, second))
    assert len(os.listdir(tmp_path)) == 2


def test_a_name_that_is_taken_meanwhile_is_not_overwritten(tmp_path: Path, monkeypatch) -> None:
    """Also not a link to nowhere, and on a disk without hard links."""
    (tmp_path / "x.png").symlink_to(tmp_path / "elsewhere")
    assert AnnotatedFolder(tmp_path).write(result_of("x.png", 0.5)).name == "x-2.png"

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    before = (tmp_path / "x-2.png").read_bytes()
    assert AnnotatedFolder(tmp_path).write(result_of("x.png", 0.75)).name == "x-3.png"
    assert (tmp_path / "x-2.png").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["x-2.png", "x-3.png", "x.png"]
    assert not (tmp_path / "elsewhere").exists()


def test_annotated_images_need_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MienError, match=r"file cannot be written: it is a file; name a folder"):
        AnnotatedFolder(tmp_path / "file")


def test_a_row_survives_csv_whatever_the_name() -> None:
    name = 'a,"b"\nc.png'
    text = io.StringIO(newline="")
    csv.writer(text).writerows(to_rows(result_of(name), LABELS))
    assert next(csv.reader(io.StringIO(text.getvalue(), newline="")))[0] == name
