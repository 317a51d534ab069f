"""Explaining, from a model to files."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("h5py", reason="needs the train extra")
pytest.importorskip("matplotlib", reason="needs the train extra")

from mien.core.classifier import Classifier
from mien.core.emotions import FER2013
from mien.core.mtcnn import Mtcnn
from mien.core.preprocess import FER2013_POINTS
from mien.data.records import FaceSet
from mien.data.store import read_store, write_store
from mien.errors import DataError, ImageError, MienError, MissingExtraError, ModelError, OutputError
from mien.workflows.explain.job import Job
from mien.workflows.explain.run import explain
from mien.workflows.explain.subject import MapSettings, drawn, faces_of_store, open_subject


@pytest.fixture
def store(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    faces = FaceSet(
        images=rng.integers(0, 256, (42, 48, 48), dtype=np.uint8),
        labels=np.arange(42) % 7,
        split=np.repeat([0, 1, 2], 14).astype(np.uint8),
        rows=np.arange(42),
        label_names=FER2013,
        name="noise",
    )
    write_store(faces, tmp_path / "noise.h5")
    return tmp_path / "noise.h5"


@pytest.fixture
def tiny(tiny_home: Path) -> str:
    return str(tiny_home / "models" / "tiny.onnx")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.new("L", (60, 60), 90).save(tmp_path / "gray.png")
    return tmp_path / "gray.png"


def test_a_run_needs_one_extra_for_torch_and_its_methods(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    monkeypatch.setitem(sys.modules, "mien.train.attribution", None)
    with pytest.raises(MissingExtraError, match=r'^explaining a run needs .*"mien\[explain\]"$'):
        explain(Job(str(tmp_path / "run"), image, tmp_path / "out.png"))


def test_a_model_that_sees_nothing_gets_maps_of_zero_that_are_no_better_than_random(
    tiny: str, store: Path, tmp_path: Path
) -> None:
    subject = open_subject(tiny)
    done = explain(Job(tiny, store, tmp_path / "out", ("sheet", "faithfulness"), n=3))
    assert {f.name for f in done.files} == {
        "sheet.png",
        "sheet.npz",
        "faithfulness.json",
        "faithfulness.png",
    }
    with np.load(tmp_path / "out" / "sheet.npz") as arrays:
        assert arrays["occlusion"].shape == (3, 48, 48)
        assert not arrays["occlusion"].any()
        assert arrays["label_names"].tolist() == list(subject.labels)
        assert arrays["names"][0].startswith("row ")
    written = json.loads((tmp_path / "out" / "faithfulness.json").read_text(encoding="utf-8"))
    assert written["n"] == 3
    assert [s["verdict"] for s in written["scores"]] == ["no better than random"]
    assert done.faithfulness
    assert done.faithfulness.scores[0].shuffled is None
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        assert sheet.width > 600


@pytest.mark.parametrize("name", ["gray.png", ""])
def test_a_sheet_never_overwrites_the_image(name: str, tiny: str, image: Path, tmp_path: Path) -> None:
    source = image if name else image.rename(tmp_path / "sheet.png")
    with pytest.raises(OutputError, match=r"\.png cannot be written: it is an input"):
        explain(Job(tiny, source, tmp_path / name, is_face=True))


def test_an_image_that_is_a_face_gives_arrays_alone_where_npz_is_asked_for(
    tiny: str, image: Path, tmp_path: Path
) -> None:
    done = explain(Job(tiny, image, tmp_path / "maps.npz", is_face=True, chosen="fear"))
    assert [f.name for f in done.files] == ["maps.npz"]
    with np.load(tmp_path / "maps.npz") as arrays:
        assert arrays["classes"].tolist() == [FER2013.index("fear")]


def test_arrays_alone_are_written_under_an_npz_in_capitals(tiny: str, image: Path, tmp_path: Path) -> None:
    explain(Job(tiny, image, tmp_path / "MAPS.NPZ", is_face=True))
    with np.load(tmp_path / "MAPS.NPZ") as arrays:
        assert arrays["occlusion"].shape == (1, 48, 48)


def test_the_table_of_faithfulness_never_overwrites_a_card(tiny_with, store: Path, tmp_path: Path) -> None:
    card = Path(tiny_with()).with_suffix(".json")
    before = card.read_bytes()
    done = explain(Job(str(card), store, card.with_suffix(".png"), ("faithfulness",), n=2))
    assert [file.name for file in done.files] == ["tiny.png", "tiny-faithfulness.json"]
    assert card.read_bytes() == before


def test_no_file_beside_a_sheet_takes_the_place_of_what_is_read(tiny_with, image: Path, tmp_path) -> None:
    model = Path(tiny_with())
    arrays = tmp_path / "sheet.npz"
    arrays.symlink_to(model)
    with pytest.raises(OutputError, match=r"sheet\.npz cannot be written: it is an input"):
        explain(Job(str(model), image, tmp_path / "sheet.png", is_face=True))
    arrays.unlink()
    arrays.mkdir()
    with pytest.raises(OutputError, match=r"sheet\.npz cannot be written: it is a folder"):
        explain(Job(str(model), image, tmp_path / "sheet.png", is_face=True))
    assert not (tmp_path / "sheet.png").exists()


def test_pairs_and_means_are_written_for_a_split(tiny: str, store: Path, tmp_path: Path, monkeypatch) -> None:
    def place(self: Mtcnn, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.repeat(FER2013_POINTS[None], len(crops), 0), np.ones(len(crops))

    monkeypatch.setattr(Mtcnn, "landmarks_on_crop", place)
    explain(Job(tiny, store, tmp_path / "out", ("pairs", "mean"), n=1))
    with np.load(tmp_path / "out" / "pairs.npz") as arrays:
        assert arrays["confusion"].sum() == 14
        assert "angry_as_happy_named_maps" in arrays  # it always says happy
    with np.load(tmp_path / "out" / "mean.npz") as arrays:
        assert arrays["sad_face"].shape == arrays["sad_occlusion"].shape == (48, 48)


def test_faces_in_colour_are_explained_as_a_gray_model_sees_them(tiny: str, store: Path, tmp_path) -> None:
    gray = read_store(store)
    write_store(replace(gray, images=np.repeat(gray.images[..., None], 3, axis=3)), tmp_path / "colour.h5")
    for name in ("noise", "colour"):
        explain(Job(tiny, tmp_path / f"{name}.h5", tmp_path / name, ("sheet", "pairs"), n=1))
    for kind in ("sheet", "pairs"):
        with (
            np.load(tmp_path / f"noise/{kind}.npz") as one,
            np.load(tmp_path / f"colour/{kind}.npz") as other,
        ):
            assert set(one) == set(other)
            for key in one:
                np.testing.assert_array_equal(one[key], other[key])


def test_faces_are_drawn_by_the_seed(tiny: str, store: Path) -> None:
    faces = faces_of_store(open_subject(tiny), store, "test")
    assert drawn(faces, 5, 1).names == drawn(faces, 5, 1).names != drawn(faces, 5, 2).names
    assert drawn(faces, 99, 1) is faces


@pytest.mark.parametrize(
    ("job", "error", "text"),
    [
        ({"maps": MapSettings(("gradcam",))}, MienError, "'gradcam' needs a run folder of `mien train`"),
        ({"maps": MapSettings(("grad",))}, MienError, "no method of explanation named 'grad'; did you mean"),
        ({"kinds": ("filters",)}, MienError, "filters need a run folder"),
        ({"kinds": ("activations",)}, MienError, "activations need a run folder"),
        ({"kinds": ("pairs",)}, DataError, "is not a data set; pairs, means and faithfulness need one"),
        (
            {"maps": MapSettings(layer="body.1")},
            MienError,
            "a layer is for gradcam, and what is drawn is occl",
        ),
        ({"split": "val"}, MienError, r"gray\.png is an image, which has no splits; leave --split out"),
        ({"chosen": "joy"}, ModelError, "no class named 'joy'"),
        ({"is_face": False}, ImageError, "shows no face that mien finds; add --face"),
        ({"source": Path("absent.h5")}, DataError, "absent.h5 is not a file"),
    ],
    ids=[
        "needs gradients",
        "method",
        "filters",
        "activations",
        "pairs",
        "layer",
        "split",
        "class",
        "no face",
        "no file",
    ],
)
def test_a_job_that_cannot_be_done_says_why(job: dict, error: type, text: str, tiny, image, tmp_path) -> None:
    given = {"model": tiny, "source": image, "to": tmp_path / "out", "is_face": True, **job}
    with pytest.raises(error, match=text):
        explain(Job(**given))


def test_a_data_set_takes_no_option_of_a_photo(tiny: str, store: Path, tmp_path: Path) -> None:
    job = Job(tiny, store, tmp_path / "out", is_face=True, detector="mtcnn")
    with pytest.raises(MienError, match=r"is a data set of .*; leave --face and --detector out$"):
        explain(job)
    assert not job.to.exists()


@pytest.mark.parametrize(
    ("to", "kinds", "text"),
    [
        ("a.png", ("pairs", "mean"), "pairs and mean make several files; let --out name a folder"),
        ("a.jpg", ("sheet",), "sheets are written as .png"),
        ("a.npz", ("faithfulness",), r"a table, no \.npz; name a \.png or a folder, got a\.npz"),
    ],
)
def test_a_place_that_does_not_fit_is_refused(to: str, kinds: tuple[str, ...], text: str) -> None:
    with pytest.raises(MienError, match=text):
        Job("tiny", Path("x.png"), Path(to), kinds)


def test_one_face_is_too_few_to_measure(tiny: str, store: Path, tmp_path: Path) -> None:
    with pytest.raises(MienError, match="over at least 2 faces, got 1; raise --n"):
        explain(Job(tiny, store, tmp_path / "out", ("faithfulness",), n=1))


def test_a_model_is_explained_with_the_prior_taken_out_as_it_is_read(tiny_with) -> None:
    """Without the correction the model says happy; `mien read` in one view says what is asserted here."""
    prior = [0.01, 0.01, 0.01, 0.94, 0.01, 0.01, 0.01]
    path = tiny_with(prior=prior, prior_power=1.0)
    crops = np.zeros((2, 48, 48), np.uint8)
    subject = open_subject(path)
    read = Classifier(path, views=1).probs(crops)
    np.testing.assert_allclose(subject.probs(subject.inputs(crops)), read, rtol=1e-5)
    assert subject.labels[int(read[0].argmax())] == "neutral"


def test_the_device_and_half_precision_are_not_ignored_for_an_onnx_file(tiny: str) -> None:
    with pytest.raises(MienError, match="'banana'"):
        open_subject(tiny, "banana")
    with pytest.raises(MienError, match="--half needs a run folder of `mien train`; 'tiny' is an ONNX file"):
        open_subject(tiny, half=True)


def test_a_network_of_another_side_than_its_card_says_is_not_explained(tiny_with) -> None:
    with pytest.raises(ModelError, match=r"network of 'tiny' maps .* its card says \[1, 64, 64\] to 7"):
        open_subject(tiny_with(input_size=64))


def test_a_face_is_found_by_the_detector_that_is_named(tiny: str, image: Path, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from mien import Box, Face\n"
        "class Two:\n"
        "    def __init__(self, settings): pass\n"
        "    def find(self, image): return [Face(Box(x, 0.0, x + 30.0, 30.0), 0.5) for x in (0.0, 30.0)]\n"
    )
    explain(Job(tiny, image, tmp_path / "maps.npz", detector=f"{tmp_path / 'own.py'}:Two"))
    with np.load(tmp_path / "maps.npz") as arrays:
        assert arrays["names"].tolist() == ["face 1", "face 2"]
