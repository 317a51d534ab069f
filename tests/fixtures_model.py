"""A model small enough to make in a test: linear, and without weights it answers every face alike."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mien.core.cards import ModelCard
from mien.core.emotions import FER2013

PROBS = (0.05, 0.0625, 0.075, 0.5, 0.1, 0.0875, 0.125)
"""Of angry, disgust, fear, happy, sad, surprise, neutral."""

SCORES = {
    "n": 3589,
    "accuracy": 0.7412,
    "accuracy_interval": [0.7266, 0.7553],
    "balanced_accuracy": 0.7181,
    "macro_f1": 0.7223,
    "cohen_kappa": 0.6881,
    "nll": 0.7412,
    "ece": 0.0131,
    "per_class": [
        {
            "label": "angry",
            "precision": 0.6512,
            "recall": 0.6334,
            "f1": 0.6422,
            "support": 491,
            "predicted": 478,
        },
        {
            "label": "happy",
            "precision": 0.9012,
            "recall": 0.9124,
            "f1": 0.9068,
            "support": 879,
            "predicted": 890,
        },
    ],
}


def write_tiny_model(
    folder: Path,
    name: str = "tiny",
    scores: dict | None = None,
    weight: np.ndarray | None = None,
    **card: Any,
) -> Path:
    """Write ``name``.onnx and its card into ``folder``; return the path of the network.

    ``weight`` (48 * 48, 7) multiplies the normalised face; ``card`` are fields that differ.
    """
    logits = np.log(np.array(PROBS, np.float32))
    nodes = [
        helper.make_node("Flatten", ["faces"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"]),
    ]
    zeros = np.zeros((48 * 48, len(PROBS)), np.float32)
    weights = {"weight": zeros if weight is None else weight.astype(np.float32), "bias": logits}
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("faces", TensorProto.FLOAT, ["n", 1, 48, 48])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", len(PROBS)])],
        [numpy_helper.from_array(value, key) for key, value in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.onnx"
    onnx.save(model, str(path))
    fields = {
        "name": name,
        "summary": "Answers every face alike.",
        "labels": FER2013,
        "input_size": 48,
        "mean": 0.5,
        "std": 0.25,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "licence": "CC0-1.0",
        "data": "None.",
        "intended_use": "Tests.",
        "unfit_use": "Anything else.",
        "limits": "Sees nothing.",
        "scores": scores or {},
    }
    ModelCard(**{**fields, **card}).write(path.with_suffix(".json"))
    return path
