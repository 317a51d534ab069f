"""Rounding whose errors make up for each other, against rounding each number to its nearest."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

onnx = pytest.importorskip("onnx", reason="needs the train extra")

from mien.core.session import open_session, run
from mien.train.quantise import quantise_onnx
from mien.train.rounding import patches, round_rows, second_moments

KERNEL = (3, 2)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def inputs_alike(rng: np.random.Generator, n: int = 150, rows: int = 600) -> np.ndarray:
    """Inputs (rows, n) of a layer that vary together, as those of neighbouring pixels do."""
    return rng.normal(size=(rows, 3)) @ rng.normal(size=(3, n)) + 0.1 * rng.normal(size=(rows, n))


def test_sums_over_real_inputs_are_closer_than_by_the_nearest_numbers(rng: np.random.Generator) -> None:
    seen, steps = inputs_alike(rng), rng.normal(scale=8, size=(5, 150))
    rounded = round_rows(steps, seen.T @ seen, 64)
    assert np.array_equal(rounded, np.rint(rounded))
    errors = [np.square(seen @ (numbers - steps).T).mean() for numbers in (rounded, np.rint(steps))]
    assert errors[0] < 0.3 * errors[1]


def test_inputs_that_do_not_vary_together_get_their_nearest_numbers(rng: np.random.Generator) -> None:
    steps = rng.normal(scale=8, size=(5, 200))
    assert np.array_equal(round_rows(steps, np.diag(rng.uniform(1, 2, 200)), 64), np.rint(steps))


def test_no_number_is_larger_than_allowed(rng: np.random.Generator) -> None:
    seen = inputs_alike(rng)
    assert np.abs(round_rows(rng.normal(scale=20, size=(5, 150)), seen.T @ seen, 7)).max() == 7


def test_inputs_that_are_always_zero_are_no_fault(rng: np.random.Generator) -> None:
    steps = rng.normal(scale=8, size=(2, 6))
    assert np.array_equal(round_rows(steps, np.zeros((6, 6)), 64), np.rint(steps))


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({}, id="plain"),
        pytest.param({"strides": [2, 3]}, id="strides"),
        pytest.param({"pads": [1, 2, 1, 2]}, id="padding"),
        pytest.param({"dilations": [2, 3], "strides": [1, 2], "pads": [2, 1, 2, 1]}, id="dilation"),
    ],
)
def test_patches_times_weights_are_the_convolution(rng: np.random.Generator, given: dict[str, Any]) -> None:
    maps = rng.normal(size=(2, 3, 11, 9)).astype(np.float32)
    weight = rng.normal(size=(4, 3, *KERNEL)).astype(np.float32)
    expected = functional.conv2d(
        torch.from_numpy(maps),
        torch.from_numpy(weight),
        stride=given.get("strides", 1),
        padding=given.get("pads", [0, 0])[:2],
        dilation=given.get("dilations", 1),
    ).numpy()
    got = patches(maps, KERNEL, given) @ weight.reshape(4, -1).T
    rows = expected.transpose(0, 2, 3, 1).reshape(-1, 4)
    np.testing.assert_allclose(got, rows, atol=1e-5)


def two_layers(group: int = 1) -> Any:
    """Two convolutions, (N, 4, 8, 8) to (N, 6, 4, 4), the second in groups."""
    make, rng = onnx.helper, np.random.default_rng(1)
    shapes = {"w1": (8, 4, 3, 3), "w2": (6, 8 // group, 2, 2), "b1": (8,), "b2": (6,)}
    nodes = [
        make.make_node("Conv", ["faces", "w1", "b1"], ["map"], name="one", pads=[1, 1, 1, 1]),
        make.make_node("Relu", ["map"], ["positive"], name="relu"),
        make.make_node("Conv", ["positive", "w2", "b2"], ["logits"], name="two", strides=[2, 2], group=group),
    ]
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    arrays["w1"][:, 0, 0, 0] = 20  # one large weight makes the steps of all the others coarse
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    ends = [
        make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", *sides])
        for name, sides in (("faces", [4, 8, 8]), ("logits", [6, 4, 4]))
    ]
    graph = make.make_graph(nodes, "two", ends[:1], ends[1:], tensors)
    return make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=8)


def smooth_faces(n: int = 40) -> np.ndarray:
    """Maps (N, 4, 8, 8) whose pixels and channels vary together."""
    rng = np.random.default_rng(2)
    coarse = rng.normal(size=(n, 1, 2, 2)).repeat(4, axis=2).repeat(4, axis=3)
    return (coarse + 0.2 * rng.normal(size=(n, 4, 8, 8))).astype(np.float32)


def test_second_moments_are_those_of_what_each_layer_is_given() -> None:
    model, faces = two_layers(), smooth_faces(20)
    moments = second_moments(model, [model.graph.node[0], model.graph.node[2]], faces)
    seen = patches(faces, (3, 3), {"pads": [1, 1, 1, 1]}).astype(np.float64)
    np.testing.assert_allclose(moments["one"], seen.T @ seen, rtol=1e-3, atol=1e-2)
    assert moments["two"].shape == (32, 32)
    assert len(model.graph.output) == 1, "the model itself stays as it is"


@pytest.mark.parametrize("group", [1, 2])
def test_a_quantised_network_is_closer_to_the_float_one_than_by_nearest_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int
) -> None:
    whole, faces = tmp_path / "float.onnx", smooth_faces()
    onnx.save(two_layers(group), whole)
    quantise_onnx(whole, tmp_path / "new.onnx", faces)
    monkeypatch.setattr("mien.train.quantise.round_weights", lambda *_: None)
    quantise_onnx(whole, tmp_path / "nearest.onnx", faces)
    expected = run(open_session(whole), faces)
    new, nearest = (
        np.square(run(open_session(tmp_path / name), faces) - expected).mean()
        for name in ("new.onnx", "nearest.onnx")
    )
    assert new < 0.8 * nearest
