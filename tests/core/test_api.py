"""What programs do with the library: several faces at once, other processes, mistakes."""

import copy
import pickle
import shutil
from collections import deque
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnx", reason="needs onnx to make a small model")

import mien
from mien.core.analyzer import Analyzer
from mien.core.classifier import Classifier
from mien.core.detection import DetectorSettings
from mien.core.images import ImageLimits
from mien.core.mtcnn import Mtcnn
from mien.errors import ImageError, ImageTooLargeError, MienError, ModelError


@pytest.fixture
def seeing(module_at: Callable[[str], Any], tmp_path: Path) -> Path:
    """A linear model that tells faces apart."""
    weight = np.random.default_rng(1).normal(0, 0.02, (48 * 48, 7))
    card = {"temperatures": {"1": 1.0, "2": 1.5}}
    return module_at("tests/fixtures_model.py").write_tiny_model(tmp_path, weight=weight, **card)


@pytest.fixture
def crops() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 48, 48), np.uint8)


def test_a_list_of_crops_is_as_good_as_an_array(seeing: Path, crops: np.ndarray) -> None:
    model = Classifier(seeing)
    assert np.array_equal(model.probs(list(crops)), model.probs(crops))
    assert np.array_equal(model.probs(tuple(crops)), model.probs(crops))
    assert model.probs([]).shape == (0, 7)


def test_several_faces_are_classified_in_one_batch(
    seeing: Path, crops: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, asked = Classifier(seeing), []
    alone = [model.classify(crop) for crop in crops]
    ask = model.probs
    monkeypatch.setattr(model, "probs", lambda faces: (asked.append(len(faces)), ask(faces))[1])
    together = model.classify(list(crops))
    assert asked == [5]
    assert [list(one) for one in together] == [list(model.labels)] * 5
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    assert model.classify(deque(crops)) == together
    assert model.classify([]) == []


def test_a_crop_of_opencv_is_classified_by_its_colours(seeing: Path) -> None:
    rgb = np.random.default_rng(2).integers(0, 256, (60, 60, 3), np.uint8)
    rgb[..., 2] = 0
    model = Classifier(seeing)
    wanted = model.classify(rgb)
    assert model.classify(rgb[..., ::-1]) != wanted
    assert model.classify(rgb[..., ::-1], color="bgr") == wanted
    assert model.classify([rgb[..., ::-1]], color="bgr") == [wanted]
    with pytest.raises(ImageError, match="color must be 'rgb' or 'bgr', got 'bgra'"):
        model.classify(rgb, color="bgra")


def test_an_image_beyond_the_usual_limits_is_taken_with_higher_ones(seeing: Path) -> None:
    model, long, higher = (
        Classifier(seeing),
        np.zeros((1, 100_001, 3), np.uint8),
        ImageLimits(max_side=100_001),
    )
    for use in (model.classify, lambda image, **limits: mien.annotate(Image.fromarray(image), [], **limits)):
        with pytest.raises(ImageTooLargeError, match=r"or raise max_side of mien\.ImageLimits in Python$"):
            use(long)
        assert len(use(long, limits=higher))
    assert mien.annotate(Image.fromarray(long), [], color="bgr", limits=higher).shape == long.shape


def test_a_pickled_classifier_gives_the_same_answers(seeing: Path, crops: np.ndarray) -> None:
    model = Classifier(seeing, views=2, threads=2)
    again = pickle.loads(pickle.dumps(model))
    assert (again.views, again.threads, again.card) == (2, 2, model.card)
    assert np.array_equal(again.probs(crops), model.probs(crops))
    assert np.array_equal(copy.deepcopy(model).probs(crops), model.probs(crops))


def test_a_notebook_shows_which_model_and_detector_it_holds(seeing: Path) -> None:
    model = Classifier(seeing, views=2)

    assert repr(model) == f"<Classifier {model.card.name!r}, views 2, on cpu>"
    assert repr(Analyzer("nano", Mtcnn())) == "<Analyzer of 'fer2013-nano', detector Mtcnn>"
    assert repr(Analyzer(model)) == f"<Analyzer of {model!r}, detector OneStage>"


def test_a_pickled_model_is_found_from_another_folder(
    seeing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crops: np.ndarray
) -> None:
    monkeypatch.chdir(seeing.parent)
    data = pickle.dumps(Classifier("tiny.onnx"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert pickle.loads(data).probs(crops).shape == (5, 7)


def test_a_pickled_model_is_found_through_links(seeing: Path, tmp_path: Path, crops: np.ndarray) -> None:
    (tmp_path / "blobs").mkdir()
    for i, file in enumerate((seeing, seeing.with_suffix(".json"))):
        file.rename(tmp_path / "blobs" / str(i))
        try:
            file.symlink_to(tmp_path / "blobs" / str(i))
        except OSError:
            pytest.skip("needs symbolic links")
    assert pickle.loads(pickle.dumps(Classifier(seeing))).probs(crops).shape == (5, 7)


def test_read_follows_the_folder_and_the_file_of_a_path(
    tiny_with: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, astronaut: Any
) -> None:
    first = Path(tiny_with(uncertain_below=0.1))
    second = shutil.copytree(first.parent, tmp_path / "second") / first.name
    card = second.with_suffix(".json")
    card.write_text(card.read_text("utf-8").replace('"uncertain_below": 0.1', '"uncertain_below": 0.02'))

    def threshold() -> float:
        return mien.read(astronaut, "tiny.onnx")[0].uncertain_below

    monkeypatch.chdir(first.parent)
    assert threshold() == 0.1
    monkeypatch.chdir(second.parent)
    assert threshold() == 0.02
    tiny_with(uncertain_below=0.375)
    monkeypatch.chdir(first.parent)
    assert threshold() == 0.375


def test_a_pickle_of_a_named_model_holds_its_name_and_no_path(tiny_home: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("MIEN_HOME", str(tiny_home))
    data = pickle.dumps(Classifier("tiny"))
    assert str(tiny_home).encode() not in data
    assert len(data) < 500


def test_an_analyzer_reads_the_same_in_another_process(seeing: Path, astronaut: Any) -> None:
    analyzer = Analyzer(seeing, Mtcnn(DetectorSettings(min_face=50)), min_score=0.5)
    here = analyzer.read(astronaut)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        there = pool.submit(analyzer.read, astronaut).result()
    assert len(here) == 1
    assert there[0].box == here[0].box
    assert there[0].probs == pytest.approx(here[0].probs, abs=1e-6)
    again = pickle.loads(pickle.dumps(Analyzer(Classifier(seeing, views=2), min_score=0.5)))
    assert (again.classifier.views, again.min_score) == (2, 0.5)


def test_an_analyzer_looks_for_faces_as_small_as_asked_for(seeing: Path) -> None:
    analyzer = Analyzer(seeing, "mtcnn", min_face=24, rotated=True)
    for one in (analyzer, pickle.loads(pickle.dumps(analyzer))):
        assert one.detector.settings == DetectorSettings(min_face=24, max_side=None, rotated=True)
    assert Analyzer(seeing).detector.settings == DetectorSettings()


def test_a_small_face_of_a_large_photo_is_found_where_it_is_asked_for(seeing: Path, astronaut: Any) -> None:
    large = np.full((200, 2600, 3), 128, np.uint8)
    face = Image.fromarray(astronaut[:256, 96:352]).resize((100, 100))
    large[50:150, 1000:1100] = np.asarray(face)
    assert not mien.read(large, seeing)
    assert len(mien.read(large, seeing, min_face=30)) == 1


@pytest.mark.parametrize("wrong", [[1], {}, "40"], ids=str)
def test_a_wrong_smallest_face_is_told_of_read_too(seeing: Path, wrong: Any) -> None:
    with pytest.raises(MienError, match=r"^min_face must be a finite number"):
        mien.read(np.zeros((64, 64, 3), np.uint8), seeing, min_face=wrong)


@pytest.mark.parametrize("options", [{"min_face": 24}, {"rotated": True}], ids=str)
def test_a_detector_of_ones_own_has_its_own_settings(seeing: Path, options: dict[str, Any]) -> None:
    with pytest.raises(
        MienError, match=r"^min_face and rotated are for a detector's name; .*DetectorSettings"
    ):
        Analyzer(seeing, Mtcnn(), **options)


@pytest.mark.parametrize(
    ("crops", "text"),
    [
        ("photo.jpg", r"crops must be uint8 \(N, 48, 48\), got str"),
        (None, r"got NoneType"),
        (np.zeros((48, 48), np.uint8), r"got uint8 \(48, 48\)"),
        (np.zeros((1, 48, 48)), r"got float64 \(1, 48, 48\)"),
        ([np.zeros((48, 48), np.uint8), "b.jpg"], r"uint8 \(48, 48\) each, got str at place 1"),
        ([np.zeros((48, 48)), np.zeros((48, 48))], r"got float64 \(48, 48\) at place 0"),
        ([np.zeros((48, 48), np.uint8), np.zeros((47, 48), np.uint8)], r"got uint8 \(47, 48\) at place 1"),
    ],
    ids=str,
)
def test_what_is_no_crop_is_told(seeing: Path, crops: Any, text: str) -> None:
    with pytest.raises(ModelError, match=text):
        Classifier(seeing).probs(crops)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda path: Classifier(5), ModelError, "a model must be a name or a path, got int"),
        (
            lambda path: Analyzer(None),
            ModelError,
            "a model must be a name or a path, got NoneType",
        ),
        (lambda path: Classifier(path, threads="2"), MienError, "threads must be a whole number, 0 to 1024"),
        (lambda path: Classifier(path, threads=-1), MienError, "threads must be a whole number, 0 to 1024"),
        (
            lambda path: Classifier(path, views=True),
            MienError,
            "views must be one of 1, .* or auto, got True",
        ),
        (lambda path: Classifier(path, views=[2]), MienError, r"views must be one of 1, .* got \[2\]"),
        (lambda path: Analyzer(path, 7), MienError, "a detector must be a name .*, got int"),
        (lambda path: Analyzer(path, "mtcn"), MienError, "no detector named 'mtcn'; did you mean 'mtcnn'"),
        (lambda path: Analyzer(path, min_score="a"), MienError, r"min_score must lie in 0..1, got 'a'"),
        (lambda path: Analyzer(path, min_score=2), MienError, r"min_score must lie in 0..1, got 2"),
        (lambda path: Analyzer(path).read(3), ImageError, "an image must be a path, bytes, .* got int"),
        (lambda path: Analyzer(path).read_many("a.jpg"), MienError, "takes several images, got one str"),
        (lambda path: Analyzer(path).read_many(5), MienError, "takes several images, got one int"),
        (
            lambda path: Analyzer(path).read_many([], batch=0),
            MienError,
            "batch must be a whole number of at least 1",
        ),
        (lambda path: Classifier(path).classify({}), ImageError, "an image must be a path, .* got dict"),
        (lambda path: Classifier(path).classify({"a.jpg"}), ImageError, "got set; .* as a list to classify"),
        (lambda path: Classifier(path).classify([b""]), ImageError, "empty"),
    ],
)
def test_a_wrong_argument_is_an_error_of_mien(seeing: Path, make: Any, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        make(seeing)
