"""Rounding whose errors make up for each other, against rounding each number to its nearest."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

onnx = pytest.importorskip("onnx", reason="needs the train extra")

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


def test_each_rounding_is_made_up_for_by_the_inputs_behind_it_as_least_squares_says(
    rng: np.random.Generator,
) -> None:
    seen, steps = inputs_alike(rng), rng.normal(scale=8, size=(5, 150))
    seen[:, 40] = 0  # never varies
    moments = seen.T @ seen
    damped = moments + 0.01 * np.mean(np.diag(moments)) * np.eye(150)
    left, expected = steps.copy(), np.empty_like(steps)
    for i in range(150):
        expected[:, i] = np.rint(left[:, i])
        owed = np.outer(damped[i + 1 :, i], left[:, i] - expected[:, i])
        left[:, i + 1 :] += np.linalg.solve(damped[i + 1 :, i + 1 :], owed).T
    assert np.array_equal(round_rows(steps, moments, 1000), expected)


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
        pytest.param({"pads": [1, 0, 2, 3]}, id="padding"),
        pytest.param({"dilations": [2, 3], "strides": [1, 2], "pads": [2, 1, 2, 1]}, id="dilation"),
    ],
)
def test_patches_times_weights_are_the_convolution(rng: np.random.Generator, given: dict[str, Any]) -> None:
    maps = rng.normal(size=(2, 3, 11, 9)).astype(np.float32)
    weight = rng.normal(size=(4, 3, *KERNEL)).astype(np.float32)
    top, left, bottom, right = given.get("pads", [0, 0, 0, 0])
    expected = functional.conv2d(
        functional.pad(torch.from_numpy(maps), (left, right, top, bottom)),
        torch.from_numpy(weight),
        stride=given.get("strides", 1),
        dilation=given.get("dilations", 1),
    ).numpy()
    got = patches(maps, KERNEL, given) @ weight.reshape(4, -1).T
    rows = expected.transpose(0, 2, 3, 1).reshape(-1, 4)
    np.testing.assert_allclose(got, rows, atol=1e-5)


def network() -> Any:
    """A convolution, to (N, 8, 8, 8), two that share its map, the last in groups, and matrices."""
    make, rng = onnx.helper, np.random.default_rng(1)
    shapes = {"w1": (8, 4, 3, 3), "w2": (6, 8, 2, 4), "w3": (6, 4, 2, 4), "w4": (5, 48), "w5": (5, 3)}
    nodes = [
        make.make_node("Conv", ["faces", "w1", "b1"], ["map"], name="one", pads=[1] * 4, group=1),
        make.make_node("Relu", ["map"], ["positive"], name="relu"),
        make.make_node("Conv", ["positive", "w2", "b2"], ["left"], name="two", strides=[2, 4]),
        make.make_node("Conv", ["positive", "w3", "b3"], ["right"], name="three", strides=[2, 4], group=2),
        make.make_node("Add", ["left", "right"], ["sum"], name="add"),
        make.make_node("Flatten", ["sum"], ["row"], name="flatten"),
        make.make_node("Gemm", ["row", "w4", "b4"], ["five"], name="four", transB=1),
        make.make_node("MatMul", ["five", "w5"], ["logits"], name="five"),
    ]
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    arrays["w1"][:, 3, 2, 2] = -20  # one large weight makes the steps of all the others coarse
    arrays |= {
        f"b{name[1]}": np.zeros(len(array), np.float32) for name, array in arrays.items() if name != "w5"
    }
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    ends = [
        make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", *sides])
        for name, sides in (("faces", [4, 8, 8]), ("logits", [3]))
    ]
    graph = make.make_graph(nodes, "five", ends[:1], ends[1:], tensors)
    return make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=8)


def smooth_faces(n: int = 40) -> np.ndarray:
    """Maps (N, 4, 8, 8) whose pixels and channels vary together."""
    rng = np.random.default_rng(2)
    coarse = rng.normal(size=(n, 1, 2, 2)).repeat(4, axis=2).repeat(4, axis=3)
    return (coarse + 0.2 * rng.normal(size=(n, 4, 8, 8))).astype(np.float32)


def arrays_of(model: Any) -> dict[str, np.ndarray]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def seen_by_layer(faces: np.ndarray) -> dict[str, np.ndarray]:
    """The inputs (rows, K) of the three convolutions, of the float network."""
    maps, weight = torch.from_numpy(faces), torch.tensor(arrays_of(network())["w1"])
    first = functional.unfold(maps, (3, 3), padding=1)
    second = functional.unfold(functional.conv2d(maps, weight, padding=1).relu(), (2, 4), stride=(2, 4))
    rows = [seen.transpose(1, 2).flatten(0, 1).double().numpy() for seen in (first, second)]
    return {"one": rows[0], "two": rows[1], "three": rows[1]}


def test_second_moments_are_those_of_what_each_layer_is_given() -> None:
    model, faces = network(), smooth_faces(20)
    moments = second_moments(model, [node for node in model.graph.node if node.op_type == "Conv"], faces)
    for name, seen in seen_by_layer(faces).items():
        np.testing.assert_allclose(moments[name], seen.T @ seen, rtol=1e-3, atol=1e-2)
    assert model == network(), "the model itself stays as it is"


def test_convolutions_without_groups_alone_are_rounded_anew_and_their_sums_are_closer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = smooth_faces()
    onnx.save(network(), tmp_path / "float.onnx")
    quantise_onnx(tmp_path / "float.onnx", tmp_path / "new.onnx", faces)
    monkeypatch.setattr("mien.train.quantise.round_weights", lambda *_: None)
    quantise_onnx(tmp_path / "float.onnx", tmp_path / "nearest.onnx", faces)
    new, nearest = (arrays_of(onnx.load(tmp_path / name)) for name in ("new.onnx", "nearest.onnx"))
    changed = {name for name, array in nearest.items() if not np.array_equal(new[name], array)}
    assert changed == {"w1_quantized", "w2_quantized"}
    for layer, name in (("one", "w1"), ("two", "w2")):
        exact, scale = arrays_of(network())[name], nearest[f"{name}_scale"].reshape(-1, 1)
        seen, wanted = seen_by_layer(faces)[layer], exact.reshape(len(exact), -1)
        numbers = [made[f"{name}_quantized"].reshape(wanted.shape).astype(int) for made in (new, nearest)]
        errors = [np.square(seen @ (whole * scale - wanted).T).mean() for whole in numbers]
        assert errors[0] < 0.5 * errors[1]
        assert np.abs(numbers[0]).max() == np.abs(numbers[1]).max(), "none is further from zero"
