"""Weights that others published: the checked file, its tensors, and the batch normalisations folded away."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mien.data.store import read_store

EPS = 1e-5
"""Of torch's batch normalisation."""
N_FACES = 2048

Array = NDArray[np.float32]


def published_file(source: Path, sha256: Mapping[str, str]) -> Path:
    """The file, or the first of these names in a folder, its hash checked."""
    found = [source] if source.is_file() else [p for name in sha256 for p in sorted(source.rglob(name))]
    if not found or found[0].name not in sha256:
        names = " nor ".join(sha256)
        raise SystemExit(f"{source} holds {'neither' if len(sha256) > 1 else 'no'} {names}")
    digest = hashlib.sha256(found[0].read_bytes()).hexdigest()
    if digest != sha256[found[0].name]:
        raise SystemExit(f"{found[0]} is not the published file: its SHA-256 is {digest}")
    return found[0]


def read_tfjs(entries: Iterable[Mapping[str, Any]], content: bytes) -> dict[str, Array]:
    """TensorFlow.js tensors by name as float32, stored whole, as half floats, or as bytes with a scale."""
    at, found = 0, {}
    for entry in entries:
        stored = entry.get("quantization", entry)
        kind, count = np.dtype(stored["dtype"]), int(np.prod(entry["shape"]))
        values = np.frombuffer(content, kind, count, at).astype(np.float32)
        at += count * kind.itemsize
        if "scale" in stored:
            values = values * stored["scale"] + stored["min"]
        found[entry["name"]] = values.reshape(entry["shape"])
    return found


@torch.no_grad()
def batch_statistics(net: nn.Module, tensors: dict[str, Tensor], store: Path, size: int) -> dict[str, Tensor]:
    """Normalisations with the statistics of training faces, and scales and shifts that undo them.

    Args:
        net: Takes RGB in 0-1; changed in place.
        tensors: Its weights, in which the normalisations change nothing but by scale and shift.
        store: A data set file; its first `N_FACES` training faces are seen.
        size: Side in pixels at which they are seen.
    """
    images = read_store(store).select("train").images[:N_FACES]
    faces = torch.from_numpy(images).float().div(255)
    faces = faces.movedim(-1, 1) if faces.ndim == 4 else faces.unsqueeze(1).expand(-1, 3, -1, -1)
    net.eval().load_state_dict(tensors, strict=False)
    sums: dict[str, list[Tensor]] = {}

    def watch(name: str, values: Tensor) -> None:
        sums.setdefault(name, []).append(
            torch.stack([values.mean((0, 2, 3)), values.square().mean((0, 2, 3))])
        )

    for name, module in net.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda _, inputs, __, name=name: watch(name, inputs[0]))
    for part in faces.split(128):
        net(F.interpolate(part, (size, size), mode="bilinear"))
    found = {}
    for name, parts in sums.items():
        mean, square = torch.stack(parts).mean(0)
        variance = square - mean.square()
        scale, shift = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        found |= {f"{name}.running_mean": mean, f"{name}.running_var": variance}
        found |= {f"{name}.weight": scale * (variance + EPS).sqrt(), f"{name}.bias": shift + scale * mean}
    return found
