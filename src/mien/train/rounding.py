"""Round weights to integers so that their errors compensate each other, layer by layer (GPTQ).

Source: Frantar et al., GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers,
ICLR 2023, section 3: one input of a layer after the other is rounded, and the weights of the inputs behind it
are moved by what keeps the layer's sums over real activations closest to those before.
"""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from mien.core.session import open_session
from mien.train.export import attributes

Array = NDArray[np.float64]

DAMPING = 0.01
"""Part of the mean of a matrix's diagonal that is added to it: inputs that never vary have no inverse."""
CHUNK = 8
"""Faces that go through the network at once, and bound the memory."""
BLOCK = 64
"""Inputs that are rounded before what they owe is handed on to all the others."""


def round_weights(small: Any, whole: Any, faces: NDArray[np.float32]) -> None:
    """Round the weights of a quantised network's convolutions anew, in place; the scales stay.

    Grouped convolutions and other layers keep the rounding that they have.

    Args:
        small: The network in 8 bits, of `onnxruntime.quantization` in the QDQ format.
        whole: The same network in float32, whose layers have the same names.
        faces: Normalised faces (N, C, S, S) such as the network will see, none of them a test face.
    """
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in small.graph.initializer}
    floats = {tensor.name: tensor for tensor in whole.graph.initializer}
    weights = _stored_weights(small)
    layers = [n for n in whole.graph.node if n.name in weights and attributes(n).get("group", 1) == 1]
    moments = second_moments(whole, layers, faces)
    for layer in layers:
        rounded, scale = (stored[name] for name in weights[layer.name])
        old = numpy_helper.to_array(rounded)
        exact = numpy_helper.to_array(floats[layer.input[1]]).reshape(len(old), -1)
        steps = exact / numpy_helper.to_array(scale).reshape(-1, 1).astype(np.float64)
        new = round_rows(steps, moments[layer.name], int(np.abs(old.astype(int)).max()))  # 8 bits hold no 128
        rounded.CopyFrom(numpy_helper.from_array(new.reshape(old.shape).astype(old.dtype), rounded.name))


def _stored_weights(small: Any) -> dict[str, tuple[str, str]]:
    """The names of the whole numbers and of the scales of each convolution, by the name of its node."""
    made = {node.output[0]: node for node in small.graph.node if node.op_type == "DequantizeLinear"}
    convolutions = [node for node in small.graph.node if node.op_type == "Conv" and node.input[1] in made]
    return {node.name: tuple(made[node.input[1]].input[:2]) for node in convolutions}


def second_moments(whole: Any, layers: list[Any], faces: NDArray[np.float32]) -> dict[str, Array]:
    """The sum over faces and places of the products of each two inputs (K, K) of a layer, by its name.

    K counts the channels times the pixels of the kernel, in the order of the weights.
    """
    import onnx

    if not layers:
        return {}
    model = onnx.ModelProto()
    model.CopyFrom(whole)
    names = sorted({layer.input[0] for layer in layers})
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = open_session(model.SerializeToString())
    shapes = {tensor.name: tuple(tensor.dims) for tensor in whole.graph.initializer}
    sums: dict[str, Array] = {}
    for start in range(0, len(faces), CHUNK):
        maps = session.run(names, {session.get_inputs()[0].name: faces[start : start + CHUNK]})
        for layer in layers:
            kernel = shapes[layer.input[1]][2:]
            seen = patches(maps[names.index(layer.input[0])], kernel, attributes(layer))
            sums[layer.name] = sums.get(layer.name, 0) + (seen.T @ seen).astype(np.float64)
    return sums


def patches(maps: NDArray[np.float32], kernel: tuple[int, ...], given: dict[str, Any]) -> NDArray[np.float32]:
    """What a convolution with these attributes of ONNX multiplies its weights with, one row (K,) a place."""
    top, left, bottom, right = given.get("pads", [0, 0, 0, 0])
    (down, along), (dilation_y, dilation_x) = given.get("strides", [1, 1]), given.get("dilations", [1, 1])
    height, width = ((k - 1) * d + 1 for k, d in zip(kernel, (dilation_y, dilation_x), strict=True))
    padded = np.pad(maps, ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = sliding_window_view(padded, (height, width), axis=(2, 3))
    taken = windows[:, :, ::down, ::along, ::dilation_y, ::dilation_x].transpose(0, 2, 3, 1, 4, 5)
    return taken.reshape(-1, maps.shape[1] * kernel[0] * kernel[1])


def round_rows(steps: Array, moments: Array, largest: int) -> Array:
    """Whole numbers (N, K) whose sums over real inputs are as close as can be to those of ``steps``.

    Args:
        steps: Weights (N, K) of N outputs, in steps of each output's scale.
        moments: Sums (K, K) of the products of the inputs.
        largest: No number may be further from zero.
    """
    n = moments.shape[0]
    damped = moments + np.eye(n) * max(DAMPING * np.diag(moments).mean(), np.finfo(np.float32).tiny)
    factors = np.linalg.cholesky(np.linalg.inv(damped)).T  # row i: what input i's error costs those behind it
    left, rounded = steps.copy(), np.empty_like(steps)
    for start in range(0, n, BLOCK):
        block = slice(start, min(start + BLOCK, n))
        errors = np.zeros_like(steps[:, block])
        for i in range(block.start, block.stop):
            rounded[:, i] = np.clip(np.rint(left[:, i]), -largest, largest)
            errors[:, i - start] = (left[:, i] - rounded[:, i]) / factors[i, i]
            left[:, i : block.stop] -= np.outer(errors[:, i - start], factors[i, i : block.stop])
        left[:, block.stop :] -= errors @ factors[block, block.stop :]
    return rounded
