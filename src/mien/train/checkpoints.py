"""A run's state in one safetensors file: tensors by name, and a JSON note. No pickle."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from mien.core.files import atomic_write
from mien.core.own_files import check_shape, parse_json, reading
from mien.errors import ModelError


def save_tensors(path: Path, tensors: dict[str, Tensor], note: dict[str, Any]) -> None:
    """Write tensors and a JSON-ready note; an older file stays until the new one is whole."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_write(path) as temporary:
        # `save_file` makes a temporary file of its own, which a kill would leave
        temporary.write_bytes(save(plain, metadata={"note": json.dumps(note)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Raises:
        ModelError: the file is missing, truncated, or not one of ours.
    """
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, _note(file)  # noqa: SIM118


def load_note(path: Path) -> dict[str, Any]:
    """The note alone of what `save_tensors` wrote; raises as `load_tensors`."""
    with _opened(path) as file:
        return _note(file)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with (
        reading(path, "is not a readable checkpoint of mien (copy it or train again)", error=ModelError),
        safe_open(path, framework="pt") as file,
    ):
        yield file


def _note(file: Any) -> dict[str, Any]:
    note: dict[str, Any] = parse_json((file.metadata() or {})["note"])
    check_shape(note, {})
    return note


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under ``prefix.name``."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under ``prefix.``, by the rest of their names."""
    return {name[len(prefix) + 1 :]: t for name, t in tensors.items() if name.startswith(f"{prefix}.")}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimiser, as ``parameter number.key``; numbers become float64 scalars."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{key}": value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
        for number, entries in state.items()
        for key, value in entries.items()
        if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave, each moment in the memory format of its parameter.

    Fused optimisers walk through the memory of both; a file holds all tensors contiguous.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, key = name.split(".", 1)
        like = parameters[int(number)]
        if tensor.shape == like.shape:
            tensor = torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)
        state.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
