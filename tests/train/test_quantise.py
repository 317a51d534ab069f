"""The int8 file against the float one, and against itself on a processor that knows less."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

onnx = pytest.importorskip("onnx", reason="needs the train extra")

from mien.core.session import open_session, run
from mien.errors import ModelError
from mien.train.export import export_onnx
from mien.train.nets import SpaceToDepthResNet
from mien.train.quantise import ends_of, fold_pools, quantise_onnx, widen_weights
from mien.workflows.release_int8 import compare_int8, try_int8

ROOT = Path(__file__).resolve().parents[2]
NOT_HERE = 77
"""Exit code of a program under tools/avx2_only.c on a processor that cannot be held back."""


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(64, 1, 24, 24)).astype(np.float32)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network in half precision, with channels of very different sizes."""
    torch.manual_seed(3)
    net = SpaceToDepthResNet(7, 10, widths=(16, 32), blocks=(1, 1)).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.2, 2)
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    export_onnx(net, 24, path)
    return path


@pytest.fixture(scope="module")
def small(whole: Path, faces: np.ndarray) -> Path:
    path = whole.with_name("int8.onnx")
    quantise_onnx(whole, path, faces, ends_of(whole))
    return path


def test_int8_logits_are_those_of_the_float_network_but_for_rounding(
    whole: Path, small: Path, faces: np.ndarray
) -> None:
    expected, got = run(open_session(whole), faces), run(open_session(small), faces)
    assert 0 < (got - expected).std() < 0.1 * expected.std()


def test_weights_have_seven_bits_and_a_scale_for_each_channel(small: Path) -> None:
    graph = onnx.load(small).graph
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights = {name: array for name, array in tensors.items() if array.dtype == np.int8 and array.ndim == 4}
    assert len(weights) == 5, "all convolutions but the first"
    for name, array in weights.items():
        assert np.abs(array.astype(int)).max() <= 64
        (node,) = [node for node in graph.node if name in node.input]
        assert node.op_type == "DequantizeLinear"
        assert tensors[node.input[1]].shape == (len(array),)


def test_the_first_and_the_last_layer_stay_in_float(whole: Path, small: Path) -> None:
    floats = [t for t in onnx.load(small).graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    layers = {node.name: node for node in onnx.load(whole).graph.node}
    first, last = (layers[name] for name in ends_of(whole))
    assert (first.op_type, last.op_type) == ("Conv", "Gemm")
    assert {1, 2, 4} <= {len(t.dims) for t in floats}, "scales and biases, the head, the stem"


def test_what_stays_in_float_is_stored_in_half_precision(
    whole: Path, faces: np.ndarray, tmp_path: Path
) -> None:
    layers = [node.name for node in onnx.load(whole).graph.node if node.op_type in ("Conv", "Gemm")]
    quantise_onnx(whole, tmp_path / "kept.onnx", faces, layers)
    tensors = onnx.load(tmp_path / "kept.onnx").graph.initializer
    kinds = {t.data_type for t in tensors if np.prod(t.dims) >= 1024}
    assert kinds == {onnx.TensorProto.FLOAT16}


def test_the_file_is_valid_and_names_no_path(small: Path) -> None:
    data = small.read_bytes()
    assert str(Path.home()).encode() not in data
    assert b"mien-int8-" not in data
    assert onnx.checker.check_model(onnx.load(small), full_check=True) is None


def test_the_average_before_a_shortcut_is_part_of_its_convolution(whole: Path, small: Path) -> None:
    kinds = [[node.op_type for node in onnx.load(path).graph.node] for path in (whole, small)]
    assert [found.count("AveragePool") for found in kinds] == [1, 0]
    assert [found.count("Conv") for found in kinds] == [6, 6]


def pooled(side: int = 8, *, pool: dict[str, Any] | None = None, conv: dict[str, Any] | None = None) -> Any:
    """An average and a convolution of 1x1 after it, on maps (N, 3, side, side)."""
    make, rng = onnx.helper, np.random.default_rng(0)
    conv = {"kernel_shape": [1, 1]} | (conv or {})
    weight = rng.normal(size=(4, 3, *conv["kernel_shape"])).astype(np.float32)
    nodes = [
        make.make_node("Relu", ["faces"], ["map"]),
        make.make_node(
            "AveragePool", ["map"], ["mean"], **({"kernel_shape": [2, 2], "strides": [2, 2]} | (pool or {}))
        ),
        make.make_node("Conv", ["mean", "weight", "bias"], ["logits"], **conv),
    ]
    tensors = [
        onnx.numpy_helper.from_array(weight, "weight"),
        onnx.numpy_helper.from_array(rng.normal(size=4).astype(np.float32), "bias"),
    ]
    ends = [
        make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", channels, *sides])
        for name, channels, sides in (("faces", 3, [side, side]), ("logits", 4, [None, None]))
    ]
    graph = make.make_graph(nodes, "pooled", ends[:1], ends[1:], tensors)
    return make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=8)


def ran(model: Any, side: int) -> np.ndarray:
    maps = np.random.default_rng(1).normal(size=(2, 3, side, side)).astype(np.float32)
    return run(open_session(model.SerializeToString()), maps)


@pytest.mark.parametrize("side", [2, 3])
def test_an_average_and_its_convolution_are_folded_into_the_same_sums(side: int) -> None:
    model = pooled(12, pool={"kernel_shape": [side, side], "strides": [side, side]})
    expected, folded = ran(model, 12), fold_pools(model)
    assert [node.op_type for node in folded.graph.node] == ["Relu", "Conv"]
    np.testing.assert_allclose(ran(folded, 12), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("side", "options"),
    [
        pytest.param(9, {"pool": {"ceil_mode": 1}}, id="a square hangs over the rim"),
        pytest.param(9, {}, id="the last row is left out"),
        pytest.param(8, {"pool": {"strides": [1, 1]}}, id="squares overlap"),
        pytest.param(8, {"pool": {"pads": [1, 1, 1, 1]}}, id="padding"),
        pytest.param(8, {"pool": {"kernel_shape": [2, 4], "strides": [2, 4]}}, id="no squares"),
        pytest.param(8, {"conv": {"kernel_shape": [3, 3]}}, id="no 1x1 convolution"),
        pytest.param(8, {"conv": {"strides": [2, 2]}}, id="a convolution that skips"),
        pytest.param(8, {"conv": {"pads": [1, 1, 1, 1]}}, id="a convolution beyond the rim"),
    ],
)
def test_what_one_convolution_cannot_say_is_left_as_it_is(side: int, options: dict[str, Any]) -> None:
    model = pooled(side, **options)
    expected, folded = ran(model, side), fold_pools(model)
    assert [node.op_type for node in folded.graph.node] == ["Relu", "AveragePool", "Conv"]
    assert np.array_equal(ran(folded, side), expected)


@pytest.mark.parametrize("shared", ["mean", "weight"])
def test_an_average_stays_where_it_or_the_weights_after_it_are_used_elsewhere(shared: str) -> None:
    model = pooled()
    model.graph.node.append(onnx.helper.make_node("Neg", [shared], ["other"]))
    value = onnx.helper.make_tensor_value_info("other", onnx.TensorProto.FLOAT, [None] * 4)
    model.graph.output.append(value)
    assert "AveragePool" in [node.op_type for node in fold_pools(model).graph.node]


def test_widened_weights_are_the_halved_ones(whole: Path, faces: np.ndarray) -> None:
    model = onnx.load(whole)
    widen_weights(model)
    assert not [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16]
    np.testing.assert_allclose(
        run(open_session(model.SerializeToString()), faces), run(open_session(whole), faces), atol=1e-5
    )


RUN = """
import sys
import numpy as np
from mien.core.session import open_session, run
from pathlib import Path
try:
    from numpy._core._multiarray_umath import __cpu_features__ as known
except ImportError:  # NumPy 1
    from numpy.core._multiarray_umath import __cpu_features__ as known
logits = run(open_session(Path(sys.argv[1])), np.load(sys.argv[2]))
np.savez(sys.argv[3], logits=logits, vnni=known["AVX512_CLX"])
"""


@pytest.fixture(scope="module")
def held_back(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process whose processor seems to know no AVX512 and no VNNI."""
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("avx2") / "avx2_only.so"
    source = str(ROOT / "tools" / "avx2_only.c")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), source], check=True)
    environment = {**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": str(ROOT / "src")}
    if subprocess.run([sys.executable, "-c", ""], env=environment).returncode == NOT_HERE:
        pytest.skip("this processor does not let CPUID trap")
    return environment


def test_without_vnni_the_int8_file_gives_the_same_bits(
    held_back: dict[str, str], small: Path, faces: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "faces.npy", faces)
    command = [sys.executable, "-c", RUN, str(small), str(tmp_path / "faces.npy"), str(tmp_path / "out.npz")]
    subprocess.run(command, env=held_back, check=True)
    with np.load(tmp_path / "out.npz") as out:
        assert not out["vnni"], "the process was not held back"
        layers = np.abs(out["logits"] - run(open_session(small), faces)).max()
    assert layers < 1e-5, "the float layers at the ends may differ in their last bits, whole numbers must not"


# --- whether it may be shipped -----------------------------------------------------------------------------


@pytest.fixture
def linear(module_at: Callable[[str], Any], tmp_path: Path) -> Callable[..., Path]:
    """``linear(name, noise)``: a linear network on 48 x 48, and so much noise on its weights."""

    def write(name: str, noise: float = 0.0) -> Path:
        weight = np.random.default_rng(0).normal(0, 0.02, (48 * 48, 7))
        weight += np.random.default_rng(1).normal(0, 0.02, (48 * 48, 7)) * noise
        return module_at("tests/fixtures_model.py").write_tiny_model(tmp_path, name, weight=weight)

    return write


def test_a_file_that_names_the_same_may_be_shipped_and_says_so_in_figures(
    linear: Callable[..., Path],
) -> None:
    inputs = np.random.default_rng(2).normal(size=(200, 1, 48, 48)).astype(np.float32)
    labels = run(open_session(linear("a")), inputs).argmax(1)
    found = compare_int8(linear("a"), linear("b", 1e-4), inputs, labels)
    assert (found.problem, found.whole.accuracy) == ("", pytest.approx(found.same_labels))
    table = found.to_dict()
    assert table["shipped"] == "int8"
    assert table["cpu_time_ratio"] == pytest.approx(found.small.ms_a_face / found.whole.ms_a_face, abs=1e-3)
    assert "same label on 100.00% of the validation rows, accuracy 100.00% for 100.00%" in table["why"]


def test_a_file_that_names_others_is_not_shipped_and_says_why(linear: Callable[..., Path]) -> None:
    inputs = np.random.default_rng(2).normal(size=(200, 1, 48, 48)).astype(np.float32)
    labels = run(open_session(linear("a")), inputs).argmax(1)
    found = compare_int8(linear("a"), linear("b", 0.3), inputs, labels)
    assert found.same_labels < 0.985
    assert found.problem.startswith(
        "fewer than 98.5% of the labels stay and more than 0.2 points of accuracy are lost: same label on "
    )
    assert found.to_dict()["shipped"] == "float"


def test_accuracy_alone_can_forbid_it(linear: Callable[..., Path]) -> None:
    inputs = np.random.default_rng(2).normal(size=(400, 1, 48, 48)).astype(np.float32)
    one, other = linear("a"), linear("b", 0.006)
    labels = run(open_session(one), inputs).argmax(1)
    same = (run(open_session(other), inputs).argmax(1) == labels).mean()
    assert 0.985 <= same < 0.998
    assert compare_int8(one, other, inputs, labels).problem.startswith("more than 0.2 points of accuracy")


def test_a_network_that_cannot_be_put_into_8_bits_is_shipped_as_it_is(
    linear: Callable[..., Path], noise_faces: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ModelError("the network cannot be quantised to 8 bits: why not")

    monkeypatch.setattr("mien.workflows.release_int8.quantise_onnx", fail)
    found = try_int8(linear("a"), lambda images: images[:, None].astype(np.float32), noise_faces(20))
    assert found.to_dict() == {
        "shipped": "float",
        "why": "the network cannot be quantised to 8 bits: why not",
    }
