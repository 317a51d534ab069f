"""Explaining: curves and verdicts on networks whose answer is known, and sheets from a model to files."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("h5py", reason="needs the train extra")
pytest.importorskip("matplotlib", reason="needs the train extra")

from mien.core.classifier import Classifier
from mien.core.detection import Mtcnn
from mien.core.emotions import FER2013
from mien.core.preprocess import FER2013_POINTS, face_crop
from mien.data.records import FaceSet
from mien.data.store import write_store
from mien.errors import DataError, ImageError, MienError, ModelError
from mien.workflows import explain_faithfulness as faithfulness
from mien.workflows.explain import explain
from mien.workflows.explain_faithfulness import cell_ranks, curves, measure, random_beaten
from mien.workflows.explain_job import Job
from mien.workflows.explain_model import MapSettings, Subject, drawn, faces_of_store, open_subject
from mien.workflows.explain_sheets import overlay, top_of_scale
from mien.workflows.explain_split import aligned_means, most_confused

CENTRE = np.zeros((24, 24), np.float32)
CENTRE[8:16, 8:16] = 1


def by_centre(faces: np.ndarray) -> np.ndarray:
    """Logits of a network that says class 1 by the brightness of the middle third alone."""
    value = 4 * (faces[:, 0] * CENTRE).sum((1, 2)) / CENTRE.sum() - 2
    return np.stack([np.zeros_like(value), value], axis=1)


SUBJECT = Subject("centre", ("no", "yes"), 24, 1.0, 0.5, 0.25, 1.0, by_centre)
FACES = np.ones((6, 1, 24, 24), np.float32)
YES = np.ones(6, np.int64)


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
def picture(tmp_path: Path) -> Path:
    Image.new("L", (60, 60), 90).save(tmp_path / "gray.png")
    return tmp_path / "gray.png"


# --- faithfulness ------------------------------------------------------------------------------------------


def test_a_model_is_explained_with_the_prior_taken_out_as_it_is_read(tiny_with) -> None:
    """Without the correction the model says happy; `mien read` in one view says what is asserted here."""
    prior = [0.01, 0.01, 0.01, 0.94, 0.01, 0.01, 0.01]
    path = tiny_with(prior=prior, prior_power=1.0)
    crops = np.zeros((2, 48, 48), np.uint8)
    subject = open_subject(path)
    read = Classifier(path, views=1).probs(crops)
    np.testing.assert_allclose(subject.probs(subject.inputs(crops)), read, rtol=1e-5)
    assert subject.labels[int(read[0].argmax())] == "neutral"


def test_deletion_ends_in_the_blank_face_and_insertion_in_the_face() -> None:
    rank = faithfulness.random_ranks(6, np.random.default_rng(0))
    deletion = curves(SUBJECT.probs, FACES, YES, rank, "deletion")
    insertion = curves(SUBJECT.probs, FACES, YES, rank, "insertion")
    whole, blank = 1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))
    assert deletion.shape == (6, faithfulness.STEPS + 1)
    assert deletion[:, 0] == pytest.approx(whole)
    assert deletion[:, -1] == pytest.approx(blank)
    assert insertion[:, -1] == pytest.approx(whole)


def test_the_cells_that_count_go_first() -> None:
    """Sixteen of 144 cells: taken away after two of twelve steps, of which the first takes twelve."""
    found = curves(SUBJECT.probs, FACES[:1], YES[:1], cell_ranks(CENTRE[None]), "deletion")[0]
    logit = 4 * (16 - 12) / 16 - 2
    assert found[1] == pytest.approx(1 / (1 + np.exp(-logit)))
    assert found[2:] == pytest.approx(1 / (1 + np.exp(2)))


def test_cells_are_ranked_by_their_mean_where_they_differ_in_size() -> None:
    values = np.zeros((1, 26, 26), np.float32)
    values[0, faithfulness.cell_of_pixel(26) == 77] = 2
    values[0, faithfulness.cell_of_pixel(26) == 0] = 1.5  # a larger cell, and a larger sum
    ranks = cell_ranks(values)[0]
    assert (ranks[77], ranks[0]) == (0, 1)
    assert sorted(ranks) == list(range(144))


def measured(monkeypatch: pytest.MonkeyPatch, values: np.ndarray) -> faithfulness.MethodScore:
    maps = {"occlusion": np.repeat(values[None], 6, 0).astype(np.float32)}
    monkeypatch.setattr(faithfulness, "make_maps", lambda *_: maps)
    return measure(SUBJECT, FACES, MapSettings()).scores[0]


def test_a_map_of_what_counts_beats_random_with_an_interval_clear_of_zero(monkeypatch) -> None:
    score = measured(monkeypatch, CENTRE)
    assert score.deletion_interval[0] > 0.2
    assert score.deletion_interval[0] <= score.deletion_gain <= score.deletion_interval[1]
    assert score.verdict.startswith("beats random in deletion")


def test_a_map_of_what_does_not_count_is_said_to_be_no_better_than_random(monkeypatch) -> None:
    score = measured(monkeypatch, -CENTRE)
    assert score.deletion_interval[1] < 0
    assert score.verdict == "no better than random"


def test_one_map_is_held_against_19_random_orders_of_the_same_face() -> None:
    maps = {"right": np.repeat(CENTRE[None], 6, 0), "wrong": np.repeat(-CENTRE[None], 6, 0)}
    found = random_beaten(SUBJECT, FACES, YES, maps)
    assert {method: n.tolist() for method, n in found.items()} == {"right": [19] * 6, "wrong": [0] * 6}


def test_maps_that_survive_the_shuffling_of_weights_are_named() -> None:
    ends = (0.1, 0.2)
    score = faithfulness.MethodScore("gradcam", 0.3, 0.15, ends, 0.6, 0.15, ends, 0.8, (0.7, 0.9))
    assert score.verdict == "beats random in deletion and insertion; hardly changes with the weights"


def test_rank_correlation_is_spearman_s() -> None:
    stats = pytest.importorskip("scipy.stats", reason="needs scipy as the reference")
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, (12, 12)), rng.normal(size=(12, 12))
    wanted = stats.spearmanr(a.ravel(), a.ravel() + b.ravel()).statistic
    assert faithfulness.rank_correlation(a, a + b) == pytest.approx(wanted)
    assert faithfulness.rank_correlation(a, np.ones((12, 12))) == 0


def test_the_interval_of_a_mean_is_the_normal_one_where_there_are_many() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, 4000)
    low, high = faithfulness.mean_interval(values, np.random.default_rng(1))
    half = 1.96 * values.std() / np.sqrt(4000)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.003)


def test_a_blur_keeps_an_even_face_even() -> None:
    assert faithfulness.blurred(FACES) == pytest.approx(FACES, abs=1e-5)


# --- pairs, means, colours ---------------------------------------------------------------------------------


def test_the_most_confused_pair_is_a_share_of_the_faces_of_both() -> None:
    confusion = np.array([[90, 10, 0], [10, 80, 10], [0, 4, 6]])
    assert most_confused(confusion, 5) == [(1, 2), (0, 1)]  # 14 of 110, 20 of 200; 0 and 2 never


def test_means_are_taken_over_faces_brought_to_the_same_five_points(astronaut) -> None:
    face = face_crop(astronaut, Mtcnn().find(astronaut)[0])
    shifted = np.roll(face, 3, axis=1)
    spots = np.zeros((2, 48, 48), np.float32)
    spots[0, 20:24, 20:24] = spots[1, 20:24, 23:27] = 1  # on the same place of the face
    mean, maps, n = aligned_means(np.stack([face, shifted]), {"m": spots})
    assert n == 2
    assert mean.shape == (48, 48)
    assert maps["m"].max() > 0.85  # side by side and not aligned, three of four columns would overlap less
    blank = aligned_means(np.full((1, 48, 48), 90, np.uint8), {"m": spots[:1]})
    assert blank[2] == 0


def test_what_speaks_against_a_class_has_the_colour_of_zero() -> None:
    values = np.linspace(-1, 1, 48 * 48).reshape(48, 48)
    colours = overlay(np.full((48, 48), 128, np.uint8), values)
    assert (colours[values < 0] == colours[0, 0]).all()
    assert not np.allclose(colours[-1, -1], colours[0, 0])
    assert top_of_scale(-np.ones((4, 4))) == 0


# --- from a model to files ---------------------------------------------------------------------------------


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


def test_a_picture_that_is_a_face_gives_arrays_alone_where_npz_is_asked_for(
    tiny: str, picture: Path, tmp_path: Path
) -> None:
    done = explain(Job(tiny, picture, tmp_path / "maps.npz", is_face=True, chosen="fear"))
    assert [f.name for f in done.files] == ["maps.npz"]
    with np.load(tmp_path / "maps.npz") as arrays:
        assert arrays["classes"].tolist() == [FER2013.index("fear")]


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
        ({"kinds": ("pairs",)}, DataError, "is no data set; pairs, means and faithfulness need one"),
        ({"chosen": "joy"}, ModelError, "no class named 'joy'"),
        ({"is_face": False}, ImageError, "shows no face that is found; add --face"),
        ({"source": Path("absent.h5")}, DataError, "absent.h5 is no file"),
    ],
    ids=["needs gradients", "method", "filters", "activations", "pairs", "class", "no face", "no file"],
)
def test_a_job_that_cannot_be_done_says_why(
    job: dict, error: type, text: str, tiny, picture, tmp_path
) -> None:
    given = {"model": tiny, "source": picture, "to": tmp_path / "out", "is_face": True, **job}
    with pytest.raises(error, match=text):
        explain(Job(**given))


@pytest.mark.parametrize(
    ("to", "kinds", "text"),
    [
        ("a.png", ("pairs", "mean"), "pairs and mean make several files; let --to name a folder"),
        ("a.jpg", ("sheet",), "sheets are written as .png"),
    ],
)
def test_a_place_that_does_not_fit_is_refused(to: str, kinds: tuple[str, ...], text: str) -> None:
    with pytest.raises(MienError, match=text):
        Job("tiny", Path("x.png"), Path(to), kinds)


def test_one_face_is_too_few_to_measure(tiny: str, store: Path, tmp_path: Path) -> None:
    with pytest.raises(MienError, match="over at least 2 faces, got 1; raise --n"):
        explain(Job(tiny, store, tmp_path / "out", ("faithfulness",), n=1))
