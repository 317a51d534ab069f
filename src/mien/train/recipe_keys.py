"""A recipe's values by key, such as ``optim.lr``; without packages, for a report of runs reads them too."""

from collections.abc import Mapping
from typing import Any

PLACES = {"summary", "data.store", "run.threads", "run.checkpoint_every_s"}
"""Keys of a recipe that say where and how often things are kept, not what is learned."""


def without_places(table: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a recipe's tables by key, but for `PLACES`."""
    return {key: value for key, value in _flat(table).items() if key not in PLACES}


def balanced_by(table: Mapping[str, Any]) -> list[str]:
    """The settings in a recipe's tables that let rare emotions count as much as common ones."""
    values = _flat(table)
    whole = [
        f"{key}=balanced" for key in ("data.sampling", "loss.class_weights") if values.get(key) == "balanced"
    ]
    return whole + (["loss.logit_adjustment"] if values.get("loss.logit_adjustment") else [])


def _flat(table: Mapping[str, Any], parent: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= _flat(value, f"{parent}{key}.") if isinstance(value, dict) else {parent + key: value}
    return found
