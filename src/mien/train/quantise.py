"""A network in whole numbers of 8 bits: half the file of half precision, and less time on a CPU.

The format is that of docs/decisions/0013-int8.md: it gives the same sums with and without VNNI.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.files import atomic_write, refusals, temporary_folder
from mien.errors import MissingExtraError, ModelError, OutputError
from mien.train.export import strip_notes

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
    try:
        import onnx
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as e:
        raise MissingExtraError("an int8 export", "onnx", "train") from e
    with temporary_folder() as folder:
        whole, done = folder / "float.onnx", folder / "int8.onnx"
        model = onnx.load(source)
        widen_weights(model)
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
        except OutputError:
            raise
        except Exception as e:  # its errors share no base class
            raise ModelError(f"the network cannot be put into 8 bits: {str(e).splitlines()[0]}") from e
        model = onnx.load(done)
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


class _Faces:
    """Hands faces to ONNX Runtime's calibration, some at a time; a `CalibrationDataReader`."""

    def __init__(self, name: str, faces: NDArray[np.float32]) -> None:
        starts = range(0, len(faces), CHUNK)
        self._parts: Iterator[dict[str, Any]] = iter({name: faces[s : s + CHUNK]} for s in starts)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._parts, None)
