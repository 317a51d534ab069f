"""Detectors by name: those of the table, and a class of the user's own in a file or a package."""

import copy
import json
import pickle
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mien.core.analyzer import Analyzer
from mien.core.detection import Detector, DetectorSettings, Pixels, checked_faces, near_finder
from mien.core.detectors import DETECTORS, detector_identity, make_detector
from mien.core.mtcnn import Mtcnn
from mien.core.one_stage import OneStage
from mien.core.preprocess import crop_matrix
from mien.core.results import Box, Face, Landmarks, Reading
from mien.errors import ImageError, MienError

NAN, INF = float("nan"), float("inf")
IMAGE = np.zeros((60, 80, 3), np.uint8)
CENTRE = """
from mien import Box, DetectorSettings, Face, MienError

class Centre:
    def __init__(self, settings: DetectorSettings) -> None:
        self.settings = settings

    def find(self, image):
        return [Face(Box(20.0, 10.0, 60.0, 50.0), 0.75)]

class NoFind:
    def __init__(self, settings):
        pass

class NoSettings:
    def find(self, image):
        return []

class Bug(NoFind):
    def __init__(self, settings):
        None + settings

class Refuses(NoFind):
    def __init__(self, settings):
        raise MienError("no weights here")

class FindsNothing(NoFind):
    find = ()

number = 3
"""


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Let this process take no more than 1 GB beyond what it has."""
    resource = pytest.importorskip("resource", reason="needs the limits of POSIX")
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc for what the process has")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 10**9, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.fixture
def centre(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "centre.py").write_text(CENTRE)
    return tmp_path / "centre.py"


SEARCHING = [name for name in DETECTORS if name != "cropped"]


@pytest.fixture(scope="module", params=SEARCHING)
def detector(request: pytest.FixtureRequest) -> Detector:
    return make_detector(request.param)


@pytest.mark.parametrize("name", SEARCHING)
def test_every_detector_is_built_and_finds_nothing_on_black(name: str) -> None:
    detector = make_detector(name, DetectorSettings(min_face=30, rotated=True))
    assert checked_faces(detector.find(IMAGE), name) == []
    near = near_finder(detector)
    assert near is None or list(near(IMAGE, ())) == []


@pytest.mark.parametrize(
    "name",
    ["brick", "coffee", "coins", "grass", "gravel", "moon", "page", "rocket", "text", "chelsea", "ihc"],
)
def test_an_image_without_people_has_no_face(detector: Detector, name: str) -> None:
    folder = Path(pytest.importorskip("skimage.data").__file__).parent
    image = np.asarray(Image.open(next(folder.glob(f"{name}.*g"))).convert("RGB"))
    assert detector.find(image) == ()


@pytest.mark.parametrize(
    "shape", [(1, 1), (5, 300), (300, 5), (12, 12), (39, 39), (64, 64), (1, 9000), (9000, 1)]
)
def test_tiny_and_narrow_images_have_no_face_and_do_no_harm(
    detector: Detector, shape: tuple[int, int]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    assert detector.find(noise) == ()
    find_near = near_finder(detector)
    assert find_near
    assert find_near(noise, [Box(0, 0, shape[1], shape[0])]) == ()


@pytest.mark.parametrize(
    "box",
    [
        (100, 100, 100, 100),
        (100, 100, 100, 150),
        (100, 100, 150, 100),
        (0, 0, 1e-300, 1e-300),
        (1e7, 1e7, 1e7 + 50, 1e7 + 50),
        (-1e7, 50, 50 - 1e7, 100),
        (1e300, 0, 2e300, 10),
        (512, 0, 600, 100),
    ],
    ids=str,
)
def test_a_box_without_size_or_beside_the_image_has_no_face(
    detector: Detector, astronaut: Pixels, box: tuple[float, ...]
) -> None:
    find_near = near_finder(detector)
    assert find_near
    (face,) = detector.find(astronaut)
    with bounded_memory():
        assert find_near(astronaut, [Box(*box)]) == ()
        assert find_near(astronaut, [Box(*box), face.box]) == find_near(astronaut, [face.box]) != ()


@pytest.mark.parametrize("far", [400, 1e7, 1e300, 1.7e308])
def test_a_box_far_larger_than_the_image_has_no_face(
    detector: Detector, astronaut: Pixels, far: float
) -> None:
    find_near = near_finder(detector)
    assert find_near
    face = np.ascontiguousarray(astronaut[40:200, 140:300])
    with bounded_memory():
        assert find_near(face, [Box(-far, -far, far, far)]) == ()
    assert len(find_near(face, [Box(20, 0, 140, 150)])) == 1


@pytest.mark.parametrize(
    "box",
    [(NAN, 0, 50, 50), (0, 0, INF, 50), (-INF, -INF, INF, INF), (150, 50, 50, 150), (50, 150, 150, 50)],
    ids=str,
)
def test_a_box_that_is_none_is_told(detector: Detector, astronaut: Pixels, box: tuple[float, ...]) -> None:
    find_near = near_finder(detector)
    assert find_near
    with pytest.raises(MienError, match=r"^find_near needs boxes with finite x1 <= x2 and y1 <= y2, got \("):
        find_near(astronaut, [Box(0, 0, 50, 50), Box(*box)])
    with pytest.raises(MienError, match=r"^find_near needs mien.Box objects, got tuple$"):
        find_near(astronaut, [box])


@pytest.mark.parametrize(
    "bad",
    [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3), np.float32), np.zeros((0, 9, 3), np.uint8)],
    ids=["gray", "float", "empty"],
)
def test_what_is_no_rgb_image_is_refused(detector: Detector, bad: Pixels) -> None:
    with pytest.raises(ImageError, match=r"an image must be RGB uint8 of shape \(H, W, 3\), got"):
        detector.find(bad)


@pytest.mark.parametrize(
    ("name", "session"),
    [("mtcnn", "mien.core.mtcnn.net_session"), ("one-stage", "mien.core.one_stage.network_session")],
)
def test_nothing_is_loaded_before_the_first_image(
    name: str, session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class LoadedError(Exception): ...

    def refuse(*_: object) -> None:
        raise LoadedError

    monkeypatch.setattr(session, refuse)
    detector = make_detector(name)
    with pytest.raises(LoadedError):
        detector.find(np.zeros((64, 64, 3), np.uint8))


@pytest.mark.parametrize("name", ["mtcnn", "one-stage"])
@pytest.mark.parametrize(
    ("looks", "least"),
    [
        (DetectorSettings(), 40),
        (DetectorSettings(50, 960), 50),
        (DetectorSettings(20, None), 20),
        (DetectorSettings(80, None), 40),
    ],
    ids=["default", "bounded", "small faces of a large image", "large faces alone"],
)
def test_shipped_detectors_look_as_thoroughly_as_asked(
    name: str, looks: DetectorSettings, least: float
) -> None:
    detector = make_detector(name, looks)
    assert isinstance(detector, Mtcnn | OneStage)
    assert detector.settings is looks
    assert detector.min_face == least


def test_faces_too_small_for_a_network_are_refused() -> None:
    with pytest.raises(MienError, match=r"min_face must be a finite number of at least 12, got 11\.9"):
        DetectorSettings(11.9)
    assert make_detector("one-stage", DetectorSettings(12)).settings.min_face == 12


@pytest.mark.parametrize("how", ["file", "path", "package"])
def test_a_detector_of_the_users_own_reads_images(
    how: str, centre: Path, tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIEN_HOME", str(tiny_home))
    monkeypatch.syspath_prepend(str(centre.parent))
    name = {"file": "centre.py:Centre", "path": f"{centre}:Centre", "package": "centre:Centre"}[how]
    (reading,) = Analyzer("tiny", name).read(IMAGE)
    assert (reading.box.x1, reading.box.y2, reading.detection_score) == (20, 50, 0.75)


def test_an_analyzer_with_a_detector_of_a_file_reads_in_another_process(
    centre: Path, tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIEN_HOME", str(tiny_home))
    analyzer = Analyzer("tiny", "centre.py:Centre", min_score=0.5)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        (reading,) = pool.submit(analyzer.read, IMAGE).result()
    assert reading.detection_score == 0.75
    assert copy.deepcopy(analyzer).min_score == copy.copy(analyzer).min_score == 0.5


def test_a_pickle_names_the_files_of_its_own_classes_alone(
    centre: Path, tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIEN_HOME", str(tiny_home))
    own = pickle.dumps(Analyzer("tiny", "centre.py:Centre"))
    plain = pickle.dumps(Analyzer("tiny"))
    centre.unlink()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(pickle.loads, plain).result().min_score == 0
        with pytest.raises(MienError, match=r"centre\.py, which holds the code of a pickled object, cannot"):
            pool.submit(pickle.loads, own).result()


@pytest.mark.parametrize("looks", [None, DetectorSettings(min_face=77)])
def test_a_detector_of_the_users_own_is_told_how_thoroughly_to_look(
    looks: DetectorSettings | None, centre: Path
) -> None:
    detector: Any = make_detector("centre.py:Centre", looks)
    assert detector.settings == (looks or DetectorSettings())


def test_numbers_of_numpy_become_plain_ones() -> None:
    """What an ONNX detector gives is float32, which JSON does not take."""
    places = [(9.0, 9.0), (19.0, 9.0), (14.0, 15.0), (10.0, 20.0), (18.0, 20.0)]
    box, *points = np.float32([[1, 2, 30, 40], [5, 6, 0, 0]]), *np.float32(places)
    face = Face(Box(*box[0]), np.float32(0.5), Landmarks(*points))
    (found,) = checked_faces([face], "it")
    reading = Reading(found, ("calm",), (1.0,))
    assert json.loads(json.dumps(reading.to_dict()))["box"]["x2"] == 30
    assert hash(found) == hash(Face(Box(1.0, 2.0, 30.0, 40.0), 0.5, Landmarks(*places)))
    assert {type(value) for value in (*vars_of(found.box), found.score)} == {float}


def vars_of(box: Box) -> tuple[float, ...]:
    return box.x1, box.y1, box.x2, box.y2


def test_a_file_may_import_those_beside_it(centre: Path) -> None:
    (centre.parent / "mine.py").write_text("from centre import Centre as Renamed\n")
    assert type(make_detector("mine.py:Renamed")).__name__ == "Centre"


def test_a_file_may_import_those_beside_it_when_it_is_called_too(centre: Path) -> None:
    (centre.parent / "side_of_mine.py").write_text("SIDE = 7.0\n")
    lazy = CENTRE.replace(
        "        return [Face(", "        from side_of_mine import SIDE\n        return [Face("
    )
    (centre.parent / "lazy.py").write_text(lazy.replace("60.0", "20.0 + SIDE"))
    (face,) = make_detector("lazy.py:Centre").find(IMAGE)
    assert face.box.width == 7
    assert sys.path[0] != str(centre.parent) == sys.path[-1], "what is installed comes first"


@pytest.mark.parametrize("name", ["centre.py:Centre", "centre:Centre"])
def test_the_identity_of_a_detector_of_the_users_own_changes_with_its_file(
    name: str, centre: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(centre.parent))
    monkeypatch.delitem(sys.modules, "centre", raising=False)
    before = detector_identity(name)
    assert detector_identity(name) == before
    centre.write_text(CENTRE + "\n")
    assert detector_identity(name) != before
    assert detector_identity("one-stage") == "one-stage"


def test_faces_come_largest_first_and_equal_ones_as_they_were_found() -> None:
    boxes = [Box(0, 0, 10, 10), Box(0, 0, 30, 20), Box(50, 0, 60, 10), Box(0, 0, 20, 10)]
    found = checked_faces([Face(box, 0.5) for box in boxes], "it")
    assert [face.box for face in found] == [boxes[1], boxes[3], boxes[0], boxes[2]]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mtcn", r"no detector named 'mtcn'; did you mean 'mtcnn'\?"),
        ("absent.py:Centre", "no file absent.py here"),
        ("centre.py:Center", "has no class Center; did you mean 'Centre'"),
        ("centre.py:number", "has no class number"),
        ("centre.py:NoFind", r"has no method find\(image\); see mien.Detector"),
        ("centre.py:FindsNothing", r"has no method find\(image\); see mien.Detector"),
        ("centre.py:NoSettings", "must take one mien.DetectorSettings"),
        ("centre.py:Bug", "^detector 'centre.py:Bug' cannot be made .TypeError: unsupported operand"),
        ("centre.py:Refuses", "^no weights here$"),
        ("nowhere_at_all:Finder", "cannot be imported .ModuleNotFoundError"),
        ("lonely:Centre", "write lonely.py:Centre for a file"),
        ("broken.py:Finder", "cannot be imported .ZeroDivisionError: division by zero"),
        (":Centre", "must be package.module:Class or file.py:Class"),
        ("centre.py:", "must be package.module:Class or file.py:Class"),
    ],
)
def test_a_detector_that_cannot_be_made_says_why(name: str, says: str, centre: Path) -> None:
    (centre.parent / "broken.py").write_text("1 / 0\n")
    (centre.parent / "lonely.py").write_text("")
    with pytest.raises(MienError, match=says):
        make_detector(name)


def test_a_cropped_face_is_its_whole_image() -> None:
    crops = np.random.default_rng(0).integers(0, 256, (4, 48, 48), np.uint8)
    analyzer = Analyzer(detector="cropped")
    probs = analyzer.classifier.probs(crops)
    for crop, expected in zip(crops, probs, strict=True):
        (reading,) = analyzer.read(crop)
        assert (reading.box, reading.face.score, reading.face.landmarks) == (Box(0, 0, 48, 48), 1.0, None)
        np.testing.assert_allclose(list(reading.probs), expected, atol=1e-6)
        assert reading.quality is not None
        assert (reading.quality.size, reading.quality.inside) == (48, 1)


@pytest.mark.parametrize("shape", [(96, 96), (30, 120), (120, 30)])
def test_a_crop_that_is_not_square_keeps_its_aspect_its_middle_and_its_area(shape: tuple[int, int]) -> None:
    image = np.zeros((*shape, 3), np.uint8)
    (face,) = make_detector("cropped", DetectorSettings(rotated=True)).find(image)
    matrix = crop_matrix(face, 48)
    height, width = shape
    zoom = 48 / np.sqrt(height * width)
    np.testing.assert_allclose(matrix[:, :2], zoom * np.eye(2))
    np.testing.assert_allclose(matrix @ [width / 2, height / 2, 1], [24, 24])
    np.testing.assert_allclose(crop_matrix(face, 48, 0.5)[:, :2], zoom / 2 * np.eye(2))


@pytest.mark.parametrize("shape", [(48, 48), (0, 48, 3), (48, 48, 4)])
def test_a_cropped_face_must_be_an_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="an image must be RGB uint8"):
        make_detector("cropped").find(np.zeros(shape, np.uint8))
