"""A network with its card: views, prior and temperature, against the same arithmetic step by step."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

onnx = pytest.importorskip("onnx", reason="needs onnx to make a small model")

from mien.core.calibration import softmax
from mien.core.cards import read_card
from mien.core.classifier import Classifier
from mien.core.model_store import sha256
from mien.core.session import run
from mien.errors import ImageError, MienError, ModelError

AUTO = {"few": 1, "many": 10, "below": 0.6}
TEMPERATURES = {"1": 0.8, "2": 1.0, "10": 1.5, "auto": 1.2}
PRIOR = (0.3, 0.05, 0.1, 0.2, 0.1, 0.1, 0.15)


@pytest.fixture(scope="module")
def write(module_at: Callable[[str], Any]) -> Callable[..., Path]:
    return module_at("tests/fixtures_model.py").write_tiny_model


@pytest.fixture
def crops() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 48, 48), np.uint8)


@pytest.fixture
def seeing(write: Callable[..., Path], tmp_path: Path) -> Path:
    """A linear model, sure of some faces of `crops` and of others not."""
    weight = np.random.default_rng(1).normal(0, 0.02, (48 * 48, 7))
    return write(tmp_path, weight=weight, auto=AUTO, temperatures=TEMPERATURES)


def one_face_at_a_time(graph: onnx.GraphProto) -> None:
    graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def doubles(graph: onnx.GraphProto) -> None:
    graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    graph.node[0].input[0] = "cast"
    graph.node.insert(0, onnx.helper.make_node("Cast", ["faces"], ["cast"], to=onnx.TensorProto.FLOAT))


def no_input(graph: onnx.GraphProto) -> None:
    del graph.input[:]
    graph.initializer.append(onnx.numpy_helper.from_array(np.ones((1, 1, 48, 48), np.float32), "faces"))


def no_axes(graph: onnx.GraphProto) -> None:
    graph.node.append(onnx.helper.make_node("ReduceMean", ["logits"], ["mean"], keepdims=0))
    graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("mean", onnx.TensorProto.FLOAT, []))


def maps(graph: onnx.GraphProto) -> None:
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "axes"))
    graph.node.append(onnx.helper.make_node("Unsqueeze", ["logits", "axes"], ["map"]))
    graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("map", onnx.TensorProto.FLOAT, ["n", 1, 7]))


def one_face_inside(graph: onnx.GraphProto) -> None:
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 48 * 48]), "shape"))
    graph.node[0].CopyFrom(onnx.helper.make_node("Reshape", ["faces", "shape"], ["flat"]))


def probabilities(graph: onnx.GraphProto) -> None:
    graph.node[1].output[0] = "sums"
    graph.node.append(onnx.helper.make_node("Softmax", ["sums"], ["logits"]))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            one_face_at_a_time,
            r"takes 1 face\(s\) at a time, no more and no less; export it with a free batch",
        ),
        (doubles, r"takes tensor\(double\); export it with an input of tensor\(float\)"),
        (no_input, "has 0 inputs; export it with one, faces"),
        (no_axes, r"maps \['n', 1, 48, 48\] to \[\]; export it so that it maps .* to \(n, labels\)"),
        (maps, r"maps .* to \['n', 1, 7\]; export it so that it maps .* to \(n, labels\)"),
        (one_face_inside, r"cannot read two faces at a time \(.*Reshape.*\); export it with a free batch"),
        (probabilities, "gives probabilities; export it without its softmax, which follows the card's temp"),
    ],
)
def test_a_network_that_cannot_be_used_says_how_to_export_it(
    change: Callable[[onnx.GraphProto], None], text: str, seeing: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(seeing)
    change(model.graph)
    onnx.save(model, seeing)
    replace(read_card(seeing.with_suffix(".json")), sha256=sha256(seeing)).write(seeing.with_suffix(".json"))
    with pytest.raises(ModelError, match=f"network of 'tiny' {text}"):
        Classifier(seeing)
    assert capfd.readouterr().err == "", "ONNX Runtime prints nothing of its own"


def test_automatic_views_are_many_where_one_leaves_a_face_in_doubt(seeing: Path, crops: np.ndarray) -> None:
    one, ten = (Classifier(seeing, views=n).logits(crops) for n in (1, 10))
    doubtful = softmax(one, 0.8).max(1) < 0.6
    assert 5 < doubtful.sum() < 35
    expected = softmax(np.where(doubtful[:, None], ten, one), 1.2)
    np.testing.assert_allclose(Classifier(seeing, views="auto").probs(crops), expected, atol=1e-5)


def test_a_face_gets_the_same_views_whatever_comes_with_it(seeing: Path, crops: np.ndarray) -> None:
    model = Classifier(seeing, views="auto")
    alone = np.concatenate([model.probs(crops[i : i + 1]) for i in range(len(crops))])
    np.testing.assert_allclose(model.probs(crops), alone, atol=1e-5)


def test_the_doubtful_faces_of_a_batch_go_through_the_network_together(
    seeing: Path, crops: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = []

    def count(session: Any, inputs: np.ndarray) -> np.ndarray:
        shapes.append(len(inputs))
        return np.full((len(inputs), 7), 0.0, np.float32)

    model = Classifier(seeing, views="auto")
    monkeypatch.setattr("mien.core.classifier.run", count)
    model.probs(crops)
    assert shapes == [40, 360], "the view that left them in doubt is not taken again"


def test_automatic_views_of_which_few_are_two_are_all_taken(
    write: Callable[..., Path], tmp_path: Path, crops: np.ndarray
) -> None:
    weight = np.random.default_rng(1).normal(0, 0.02, (48 * 48, 7))
    auto = AUTO | {"few": 2}
    path = write(tmp_path, weight=weight, auto=auto, temperatures=TEMPERATURES)
    two, ten = (Classifier(path, views=n).logits(crops) for n in (2, 10))
    doubtful = softmax(two, 1.0).max(1) < 0.6
    assert 5 < doubtful.sum() < 35
    expected = np.where(doubtful[:, None], ten, two)
    np.testing.assert_allclose(Classifier(path, views="auto").logits(crops), expected, atol=1e-5)


def test_automatic_views_doubt_by_a_temperature_of_their_own(
    write: Callable[..., Path], tmp_path: Path, crops: np.ndarray
) -> None:
    weight = np.random.default_rng(1).normal(0, 0.02, (48 * 48, 7))
    path = write(tmp_path, weight=weight, auto=AUTO | {"temperature": 0.4}, temperatures=TEMPERATURES)
    one, ten = (Classifier(path, views=n).logits(crops) for n in (1, 10))
    doubtful = softmax(one, 0.4).max(1) < 0.6
    assert 5 < doubtful.sum() < (softmax(one, 0.8).max(1) < 0.6).sum()
    expected = np.where(doubtful[:, None], ten, one)
    np.testing.assert_allclose(Classifier(path, views="auto").logits(crops), expected, atol=1e-5)


def test_a_gray_face_of_the_networks_size_is_read_alike_as_an_array_and_as_an_image(
    seeing: Path, crops: np.ndarray
) -> None:
    model = Classifier(seeing, views="auto")
    colour = np.repeat(crops[0][..., None], 3, axis=2)
    kinds = [crops[0], crops[0][..., None], colour, Image.fromarray(crops[0]), crops[0].copy("F")]
    found = model.classify(kinds)
    assert found == [found[0]] * len(kinds)
    assert list(found[0].values()) == pytest.approx(model.probs(crops[:1])[0].tolist(), abs=1e-6)


def test_a_gray_face_of_another_kind_of_number_is_refused(seeing: Path, crops: np.ndarray) -> None:
    with pytest.raises(ImageError, match="an array must be uint8"):
        Classifier(seeing, views=1).classify(crops[0].astype(np.float32))


def test_the_card_can_make_automatic_views_the_default(
    write: Callable[..., Path], tmp_path: Path, crops: np.ndarray
) -> None:
    path = write(tmp_path, views="auto", auto=AUTO, temperatures=TEMPERATURES)
    model = Classifier(path)
    assert (model.views, model.temperature) == ("auto", 1.2)
    assert model.probs(crops).shape == (40, 7)


@pytest.mark.parametrize("views", ["auto", 1, 2])
def test_the_prior_is_taken_out_before_the_temperature(
    write: Callable[..., Path], tmp_path: Path, crops: np.ndarray, views: Any, tiny_probs: dict[str, float]
) -> None:
    auto = AUTO | {"below": 0.0}
    path = write(tmp_path, prior=PRIOR, prior_power=0.5, auto=auto, temperatures=TEMPERATURES)
    odds = (np.array(list(tiny_probs.values())) / np.sqrt(PRIOR)) ** (1 / TEMPERATURES[str(views)])
    found = Classifier(path, views=views).probs(crops[:1])
    np.testing.assert_allclose(found[0], odds / odds.sum(), rtol=1e-5)


def test_doubt_is_measured_after_the_prior_is_taken_out(
    write: Callable[..., Path], tmp_path: Path, crops: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Happy has 0.5, and 0.66 once a prior that favours the others is taken out."""
    prior = (0.16, 0.16, 0.16, 0.04, 0.16, 0.16, 0.16)
    path = write(tmp_path, prior=prior, prior_power=0.5, auto=AUTO, temperatures={"1": 1.0, "auto": 1.0})
    asked: list[int] = []

    def ask(session: Any, faces: np.ndarray) -> np.ndarray:
        asked.append(len(faces))
        return run(session, faces)

    monkeypatch.setattr("mien.core.classifier.run", ask)
    Classifier(path, views="auto").probs(crops)
    assert asked == [len(crops)]


@pytest.mark.parametrize(
    ("views", "error", "text"),
    [
        (3, MienError, "views must be one of 1, 2, 5, 10, 12, 18 or auto, got 3"),
        ("many", MienError, "views must be one of .* or auto, got many"),
        (12, ModelError, "model 'tiny' is calibrated for 1, 2, 10, auto views of a face, not for 12"),
    ],
)
def test_views_that_cannot_be_are_refused(seeing: Path, views: Any, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        Classifier(seeing, views=views)


def test_automatic_views_need_a_card_that_holds_them(write: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="model 'tiny' is calibrated for 1 views of a face, not for auto"):
        Classifier(write(tmp_path), views="auto")
    with pytest.raises(ModelError, match="the card of 'tiny' has no automatic views; give their number"):
        Classifier(write(tmp_path, temperatures={"auto": 1.0}), views="auto")
