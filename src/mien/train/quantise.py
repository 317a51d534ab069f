"""Quantise a network to 8 bits: half the file size of half precision, and less time on a CPU.

The format is that of docs/decisions/0013-int8.md: it gives the same sums with and without VNNI.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.files import atomic_write, refusals, temporary_folder
from mien.errors import ModelError, OutputError, needs_extra
from mien.train.export import attributes, halve_weights, strip_notes
from mien.train.rounding import round_weights

CHUNK = 8
"""Faces whose extremes are taken together, and then averaged: the widest of all would waste the 8 bits."""


def quantise_onnx(
    source: Path, target: Path, faces: NDArray[np.float32], keep_float: Sequence[str] = ()
) -> None:
    """Write a network with 8-bit weights and activations, whose ranges are mean extremes over ``faces``.

    Weights have a scale for each output channel, and 7 bits: a processor without VNNI adds two products of
    unsigned and signed 8 bits in 16, which overflow unless the weights have 7.

    Args:
        source: A float ``.onnx`` file of `mien.train.export.export_onnx`.
        target: The file to write.
        faces: Normalised faces (N, C, S, S) such as the network will see, none of them a test face.
        keep_float: Names of nodes that stay in float.

    Raises:
        MissingExtraError: onnx is not installed.
        ModelError: the network cannot be put into whole numbers.
    """
    with needs_extra("an int8 export", "train", "onnx"):
        import onnx
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    with temporary_folder() as folder:
        whole, done = folder / "float.onnx", folder / "int8.onnx"
        model = onnx.load(source)
        widen_weights(model)
        model = fold_pools(model)
        onnx.save(model, whole)
        try:
            with refusals(folder):
                quant_pre_process(whole, whole, skip_optimization=True, skip_symbolic_shape=True)
                quantize_static(
                    whole,
                    done,
                    _Faces(model.graph.input[0].name, faces),
                    quant_format=QuantFormat.QDQ,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    per_channel=True,
                    reduce_range=True,
                    calibrate_method=CalibrationMethod.MinMax,
                    nodes_to_exclude=list(keep_float),
                    extra_options={"CalibMovingAverage": True},
                )
            model = onnx.load(done)
            round_weights(model, onnx.load(whole), faces)
        except OutputError:
            raise
        except Exception as e:  # its errors share no base class
            raise ModelError(f"the network cannot be quantised to 8 bits: {str(e).splitlines()[0]}") from e
    halve_weights(model)
    strip_notes(model)
    with atomic_write(target) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def ends_of(source: Path) -> tuple[str, ...]:
    """The names of the first and the last layer of a network: those that 8 bits hurt most."""
    import onnx

    layers = [n.name for n in onnx.load(source).graph.node if n.op_type in ("Conv", "Gemm", "MatMul")]
    return tuple(dict.fromkeys((layers[0], layers[-1]))) if layers else ()


def widen_weights(model: Any) -> None:
    """Undo `mien.train.export.halve_weights`: store constants behind a cast to float32 as float32."""
    from onnx import TensorProto, numpy_helper

    halves = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in [n for n in model.graph.node if n.op_type == "Cast" and n.input[0] in halves]:
        if node.attribute[0].i == TensorProto.FLOAT:
            tensor = halves[node.input[0]]
            tensor.CopyFrom(
                numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), node.output[0])
            )
            model.graph.node.remove(node)


def fold_pools(model: Any) -> Any:
    """The model with each average over separate squares and the 1x1 convolution after it in one convolution.

    The sums are the same ones. In 8 bits it costs far less, for ONNX Runtime averages whole numbers slowly
    (a sixth of ``fer2013-nano``'s time), and the average is not rounded in between. A map whose sides the
    square does not divide keeps its average, which leaves out what lies beyond the rim.
    """
    from onnx import helper, numpy_helper, shape_inference

    model = shape_inference.infer_shapes(model)
    graph = model.graph
    sides = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim[2:]] for v in graph.value_info}
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for pool, conv in _pools_before_convolutions(graph):
        side = attributes(pool)["kernel_shape"][0]
        tensor = tensors.get(conv.input[1])
        if tensor is None or not _is_tiled(pool, sides.get(pool.input[0], [])):
            continue
        weight = np.tile(numpy_helper.to_array(tensor) / np.float32(side**2), (1, 1, side, side))
        tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))
        kept = [a for a in conv.attribute if a.name not in ("kernel_shape", "strides")]
        del conv.attribute[:]
        square = [helper.make_attribute(name, [side, side]) for name in ("kernel_shape", "strides")]
        conv.attribute.extend([*kept, *square])
        conv.input[0] = pool.input[0]
        graph.node.remove(pool)
    return model


def _pools_before_convolutions(graph: Any) -> list[tuple[Any, Any]]:
    """Each average whose only reader is a plain 1x1 convolution with weights of its own, with that."""
    plain = {"kernel_shape": [1, 1], "strides": [1, 1], "pads": [0, 0, 0, 0], "dilations": [1, 1], "group": 1}
    readers: dict[str, list[Any]] = {output.name: [None] for output in graph.output}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    pools = [node for node in graph.node if node.op_type == "AveragePool"]
    pairs = [(pool, readers[pool.output[0]]) for pool in pools]
    return [
        (pool, found[0])
        for pool, found in pairs
        if len(found) == 1
        and found[0] is not None
        and found[0].op_type == "Conv"
        and len(readers[found[0].input[1]]) == 1
        and all(attributes(found[0]).get(name, value) == value for name, value in plain.items())
    ]


def _is_tiled(pool: Any, sides: Sequence[int]) -> bool:
    """Whether an average takes every pixel of a map (H, W) into one square, and nothing beyond it."""
    given = attributes(pool)
    kernel = given["kernel_shape"]
    return (
        len(sides) == len(kernel) == 2
        and kernel[0] == kernel[1]
        and given.get("strides") == kernel
        and not any(given.get("pads", ()))
        and given.get("auto_pad", b"NOTSET") == b"NOTSET"
        and set(given.get("dilations", [1])) == {1}
        and all(size > 0 and size % kernel[0] == 0 for size in sides)
    )


class _Faces:
    """Hands faces to ONNX Runtime's calibration, some at a time; a `CalibrationDataReader`."""

    def __init__(self, name: str, faces: NDArray[np.float32]) -> None:
        starts = range(0, len(faces), CHUNK)
        self._parts: Iterator[dict[str, Any]] = iter({name: faces[s : s + CHUNK]} for s in starts)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._parts, None)
