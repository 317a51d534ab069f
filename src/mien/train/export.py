"""Export a trained network as a small ONNX file: folded batch normalisation, half-precision weights."""

import copy
import logging
import warnings
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mien.core.files import atomic_write
from mien.errors import ModelError, needs_extra


def export_onnx(net: nn.Module, input_size: int, path: Path, channels: int = 1) -> None:
    """Write a network from ``faces``, float32 (N, ``channels``, S, S), to ``logits``, (N, C).

    Raises:
        MissingExtraError, ModelError: see `write_onnx`.
    """
    example = torch.zeros(2, channels, input_size, input_size)
    write_onnx(net, example, path, ("faces", "logits"), {0: torch.export.Dim("n")})


def write_onnx(
    net: nn.Module, example: Tensor, path: Path, names: tuple[str, str], free: Mapping[int, Any]
) -> None:
    """Write a network of one input and one output.

    Args:
        net: The network.
        example: An input; 2 and more along each axis that may vary.
        path: The file.
        names: Of the input and the output.
        free: The axes of the input that may vary, each as torch.export describes it.

    Weights of 1,024 numbers and more are stored in half precision and widened when the file is opened.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
        ModelError: the exported graph fails ONNX's own check.
    """
    with needs_extra("export", "train", "onnx and onnxscript"):
        import onnx
        import onnxscript  # noqa: F401  (torch's exporter needs it and says so less clearly)
    folded = fold_batch_norm(net).eval()
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():  # the exporter warns of its own insides
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                folded,
                (example,),
                input_names=[names[0]],
                output_names=[names[1]],
                dynamic_shapes=(dict(free),),
                opset_version=18,
                dynamo=True,
                verbose=False,
            )
        if program is None:
            raise ModelError("torch did not export the network; see its log")
        model: Any = program.model_proto
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
    halve_weights(model)
    strip_notes(model)
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as e:
        raise ModelError(f"exported network is not valid ONNX: {e}") from e
    with atomic_write(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def fold_batch_norm(net: nn.Module) -> nn.Module:
    """A copy in which each convolution has taken in the batch normalisation after it in a ``Sequential``."""
    folded = copy.deepcopy(net).eval()
    for block in [m for m in folded.modules() if isinstance(m, nn.Sequential)]:
        for (name, conv), (next_name, norm) in pairwise(list(block.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(block, name, fuse_conv_bn_eval(conv, norm))
                setattr(block, next_name, nn.Identity())
    return folded


def halve_weights(model: Any) -> None:
    """Store float32 constants of 1,024 numbers and more as float16, each behind a cast to float32."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype != np.float32 or array.size < 1024:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    for cast in reversed(casts):
        model.graph.node.insert(0, cast)


def attributes(node: Any) -> dict[str, Any]:
    """The attributes of an ONNX node as Python values, by name."""
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def strip_notes(model: Any) -> None:
    """Remove what the exporter writes beside the graph: source lines and local paths."""
    model.doc_string = ""
    del model.metadata_props[:]
    del model.graph.value_info[:]
    del model.graph.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    for tensor in model.graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]
