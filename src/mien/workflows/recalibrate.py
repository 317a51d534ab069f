"""Calibrate a released model again, on other rows or by newer rules: the same network under a new card."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mien.core.arguments import is_number
from mien.core.cards import MOST_POWER, ModelCard
from mien.core.files import temporary_folder
from mien.core.model_store import find_model, folder_for, put_model
from mien.core.outputs import check_output_folder
from mien.core.tta import AUTO, Views, checked_views
from mien.data.leaks import check_parts
from mien.data.records import FaceSet
from mien.data.store import read_store
from mien.errors import DataError, MienError
from mien.workflows.calibrate import check_prior_power, class_shares
from mien.workflows.card_figures import calibrated, scored
from mien.workflows.model_card import scored_data
from mien.workflows.scorer import checked_rows, learned_by


@dataclass(frozen=True)
class RecalibrationSettings:
    """How to calibrate again.

    Attributes:
        views: Views of a face that the model takes by default; ``None`` keeps the card's. ``"auto"`` fits
            automatic views to the validation rows.
        prior_power: How much of the training data's prior to take out of the logits; ``"auto"`` lets the
            validation rows choose, ``None`` keeps the card's. Automatic views are fitted again with it.
        version: Of the new card; empty keeps the old one's.
        to: Folder for the two files; by default where `mien.load` looks.
        allow_leak: Calibrate although the network was trained on these rows; the card says so.
    """

    views: Views | None = None
    prior_power: float | str | None = None
    version: str = ""
    to: Path | None = None
    allow_leak: bool = False

    def __post_init__(self) -> None:
        power = self.prior_power
        if power not in (None, "auto") and not (is_number(power) and 0 <= power <= MOST_POWER):
            raise MienError(f"prior_power must lie in 0..{MOST_POWER}, or be 'auto', got {power!r:.80}")


def recalibrate(
    model: str, name: str, data: Path, settings: RecalibrationSettings | None = None
) -> tuple[Path, ModelCard]:
    """Fit probabilities and the threshold of doubt on validation rows, score the test rows, write both files.

    Args:
        model: A model's name or the path of its ``.onnx`` file.
        name: What `mien.load` shall call the new one.
        data: A data set of the model's labels, with validation and test rows.
        settings: How.

    Returns:
        The network's new path, and its card.

    Raises:
        ModelError: there is no such model, the name cannot be a file name or is a shipped model's, or
            the prior's power is one for networks that learned a prior.
        DataError: the data set has other labels, or lacks rows; the prior is not known; or the network has
            learned from the rows.
    """
    settings = settings or RecalibrationSettings()
    target = folder_for(name, settings.to)
    weights, old = find_model(model)
    check_prior_power(old.training.get("recipe") or {}, settings.prior_power)
    views = checked_views(old.views if settings.views is None else settings.views)
    stored = read_store(data)
    faces = stored.in_label_order(old.labels)
    for split in ("val", "test"):
        checked_rows(faces, split, old.labels)
    known = learned_by(None, old.learned_from().get("content_hash", ""), stored, stored.content_hash())
    on = f"{old.name} on {stored.name}"
    leaks = check_parts(stored, known, on, allowed=settings.allow_leak) if known else {}
    power = old.prior_power if settings.prior_power is None else settings.prior_power
    prior = old.prior if power == 0 else _prior(old, faces)
    check_output_folder(target)
    target.mkdir(parents=True, exist_ok=True)
    with temporary_folder(target) as temporary:
        onnx = temporary / f"{name}.onnx"
        shutil.copyfile(weights, onnx)
        auto = old.auto if settings.views != AUTO and settings.prior_power is None else {}
        card = replace(old, prior=prior, auto=auto, version=settings.version or old.version)
        card = calibrated(onnx, card, faces, views, power)
        card = scored(onnx, replace(card, name=name, scores=card.scores | _int8(old)), stored, data, leaks)
        return put_model(onnx, target), card


def _int8(old: ModelCard) -> dict[str, Any]:
    """What the old card says of int8: of the network, which stays, but measured on the old card's data."""
    if "int8" not in old.scores:
        return {}
    return {"int8": {"data": scored_data(old, old.scores.get("test", {})), **old.scores["int8"]}}


def _prior(card: ModelCard, faces: FaceSet) -> tuple[float, ...]:
    """The share of each class in what the model learned from."""
    if card.prior:
        return card.prior
    if card.learned_from().get("content_hash") == faces.content_hash():
        return class_shares(faces)
    raise DataError(
        f"the card of '{card.name}' does not state how common each emotion was in its training data, and "
        f"'{faces.name}' is not that data; leave --prior-power out"
    )
