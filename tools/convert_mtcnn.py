"""Convert the three MTCNN networks of the PyPI wheel mtcnn==1.0.0 to the ONNX files that mien ships.

    pip install "mien[train]" joblib lz4
    python tools/convert_mtcnn.py src/mien/core/weights

The wheel holds joblib pickles, and loading a pickle runs code: each file's SHA-256 is compared before it is
opened. The output is the same to the byte on every run, so `git status` shows whether anything changed.

Each graph takes the image as it is, uint8 RGB (N, H, W, 3); the wheel's normalisation (x - 127.5) / 128 is
folded into the first convolution, and its two-way softmax into one sigmoid of the difference of the logits:

    pnet   images (N, H, W, 3), any H, W >= 12   -> boxes (N, h, w, 4), scores (N, h, w)
    rnet   images (N, 24, 24, 3)                 -> boxes (N, 4), scores (N,)
    onet   images (N, 48, 48, 3)                 -> boxes (N, 4), scores (N,), points (N, 5, 2)

Boxes are offsets of x1, y1, x2, y2 in units of the window's side; points are fractions of the window. Weights
are stored in half precision and widened when the file is opened.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import joblib
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from mien.train.export import halve_weights

WHEEL = "mtcnn==1.0.0"
SHA256 = {
    "pnet": "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
    "rnet": "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
    "onet": "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
}
POOLS = {"pnet": [2], "rnet": [3, 3], "onet": [3, 3, 2]}  # side of the max pool after convolution 1, 2, 3
N_CONVS = {"pnet": 3, "rnet": 3, "onet": 4}
SIDES: dict[str, tuple[int | str, int | str]] = {"pnet": ("H", "W"), "rnet": (24, 24), "onet": (48, 48)}
OPSET, IR_VERSION = 17, 8  # what ONNX Runtime 1.17, the oldest that mien accepts, reads

Array = NDArray[np.float32]


class Graph:
    """A chain of nodes under construction; ``tip`` is the name of the last output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.tip = "images"

    def constant(self, name: str, values: NDArray[np.generic]) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add(self, op: str, name: str, *constants: str, start: str | None = None, **attributes: object) -> str:
        node = helper.make_node(op, [start or self.tip, *constants], [name], name=name, **attributes)
        self.nodes.append(node)
        self.tip = name
        return name


def prelu(graph: Graph, name: str, slope: Array) -> str:
    """PReLU as slope * x + (1 - slope) * relu(x): ONNX Runtime's own PRelu took half of the time."""
    x = graph.tip
    positive = graph.add("Relu", f"{name}.relu")
    positive = graph.add("Mul", f"{name}.up", graph.constant(f"{name}.rest", 1 - slope), start=positive)
    graph.add("Mul", f"{name}.straight", graph.constant(f"{name}.slope", slope), start=x)
    return graph.add("Add", name, positive)


def trunk(graph: Graph, net: str, weights: list[Array]) -> None:
    """Append the convolutions, PReLUs and pools; takes their arrays off the front of ``weights``."""
    graph.add("Cast", "float", to=TensorProto.FLOAT)
    graph.add("Transpose", "channels_first", perm=[0, 3, 1, 2])
    for i in range(1, N_CONVS[net] + 1):
        kernel, bias, slope = (weights.pop(0).astype(np.float64) for _ in range(3))
        if i == 1:  # fold (x - 127.5) / 128 in; exact, since no convolution is padded
            bias = bias - 127.5 / 128 * kernel.sum(axis=(0, 1, 2))
            kernel = kernel / 128
        w = graph.constant(f"conv{i}.weight", kernel.transpose(3, 2, 0, 1).astype(np.float32))  # HWIO -> OIHW
        b = graph.constant(f"conv{i}.bias", bias.astype(np.float32))
        graph.add("Conv", f"conv{i}", w, b, kernel_shape=list(kernel.shape[:2]))
        prelu(graph, f"prelu{i}", slope.reshape(-1, 1, 1).astype(np.float32))
        if i <= len(POOLS[net]):
            side = POOLS[net][i - 1]
            # The wheel pools "same" on even sides and "valid" on odd ones; rounding up says both at once.
            graph.add("MaxPool", f"pool{i}", kernel_shape=[side] * 2, strides=[2, 2], ceil_mode=1)


def face_logit(kernel: Array, bias: Array) -> tuple[Array, Array]:
    """Weights of (face - not face): the softmax of two logits is the sigmoid of their difference."""
    return kernel[..., 1:] - kernel[..., :1], bias[1:] - bias[:1]


def pnet_heads(graph: Graph, weights: list[Array]) -> None:
    tip = graph.tip
    box_kernel, box_bias, face_kernel, face_bias = weights
    for name, kernel, bias in (("box", box_kernel, box_bias), ("face", *face_logit(face_kernel, face_bias))):
        w = graph.constant(f"{name}.weight", kernel.transpose(3, 2, 0, 1))
        b = graph.constant(f"{name}.bias", bias)
        graph.add("Conv", name, w, b, start=tip, kernel_shape=[1, 1])
    graph.add("Transpose", "boxes", start="box", perm=[0, 2, 3, 1])
    axis = graph.constant("channel", np.array([1], np.int64))
    graph.add("Squeeze", "logits", axis, start="face")
    graph.add("Sigmoid", "scores")


def dense_heads(graph: Graph, weights: list[Array]) -> None:
    graph.add("Transpose", "width_first", perm=[0, 3, 2, 1])  # (N, C, H, W) -> (N, W, H, C), as trained
    graph.add("Flatten", "flat")
    kernel, bias, slope = weights[:3]
    dense = graph.constant("dense.weight", kernel), graph.constant("dense.bias", bias)
    graph.add("Gemm", "dense", *dense)
    tip = prelu(graph, "prelu", slope)
    heads = {"boxes": weights[3:5], "logit": list(face_logit(*weights[-2:]))}
    if len(weights) == 9:
        heads["xs_then_ys"] = weights[5:7]
    for name, (kernel, bias) in heads.items():
        head = graph.constant(f"{name}.weight", kernel), graph.constant(f"{name}.bias", bias)
        graph.add("Gemm", name, *head, start=tip)
    graph.add("Squeeze", "logits", graph.constant("column", np.array([1], np.int64)), start="logit")
    graph.add("Sigmoid", "scores")
    if "xs_then_ys" in heads:
        shape = graph.constant("points.shape", np.array([-1, 2, 5], np.int64))
        graph.add("Reshape", "xs_ys", shape, start="xs_then_ys")
        graph.add("Transpose", "points", perm=[0, 2, 1])


def build(net: str, weights: list[Array]) -> bytes:
    """The ONNX file of one network, from the wheel's list of arrays."""
    graph, rest = Graph(), list(weights)
    trunk(graph, net, rest)
    grid: list[int | str] = []
    if net == "pnet":
        pnet_heads(graph, rest)
        grid = ["h", "w"]
    else:
        dense_heads(graph, rest)
    shapes = {"boxes": ["N", *grid, 4], "scores": ["N", *grid]}
    if net == "onet":
        shapes["points"] = ["N", 5, 2]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", *SIDES[net], 3])
    outputs = [helper.make_tensor_value_info(k, TensorProto.FLOAT, shape) for k, shape in shapes.items()]
    body = helper.make_graph(graph.nodes, f"mtcnn-{net}", [images], outputs, initializer=graph.weights)
    model = helper.make_model(
        body,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="mien tools/convert_mtcnn.py",
        doc_string=f"{net} of {WHEEL}, sha256 {SHA256[net]}; MIT (c) Ivan de Paz Centeno",
    )
    halve_weights(model)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def read_wheel(folder: Path) -> dict[str, list[Array]]:
    """Download the wheel into ``folder`` and return each network's arrays; every sum is checked first."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), WHEEL]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("mtcnn-*.whl")
    arrays = {}
    with zipfile.ZipFile(wheel) as archive:
        for net, expected in SHA256.items():
            packed = archive.read(f"mtcnn/assets/weights/{net}.lz4")
            got = hashlib.sha256(packed).hexdigest()
            if got != expected:
                sys.exit(f"{net}.lz4 of {WHEEL} has sha256 {got}, expected {expected}; nothing was loaded")
            path = folder / f"{net}.lz4"
            path.write_bytes(packed)
            arrays[net] = joblib.load(path)
    return arrays


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for net, weights in read_wheel(Path(scratch)).items():
            packed = build(net, weights)
            (folder / f"mtcnn-{net}.onnx").write_bytes(packed)
            print(f"mtcnn-{net}.onnx  {len(packed):9,d} bytes  sha256 {hashlib.sha256(packed).hexdigest()}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
