"""Turn a finished run into a model for `mien.load`: ONNX, temperatures, parity check, scores, card."""

import shutil
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mien.core.cards import NOT_STATED, ModelCard
from mien.core.files import temporary_folder
from mien.core.model_store import folder_for, put_model, sha256
from mien.core.outputs import check_output_folder
from mien.core.own_files import parse_toml, reading
from mien.core.run_names import ENVIRONMENT
from mien.core.session import open_session, run
from mien.core.tta import Views, average_logits, checked_views
from mien.data.leaks import check_parts
from mien.data.records import FaceSet
from mien.errors import ModelError
from mien.names import nearest
from mien.train.devices import pick_device
from mien.train.export import export_onnx
from mien.train.trained_net import TrainedNet, load_trained, parameter_count
from mien.train.transfer import RUN, backbone_run
from mien.workflows.calibrate import check_prior_power, class_shares
from mien.workflows.card_figures import calibrated, scored
from mien.workflows.release_int8 import try_int8
from mien.workflows.run_folder import (
    check_test_log,
    count_test_evaluation,
    data_of_run,
    held_recipe,
    read_run_json,
    store_of_run,
)
from mien.workflows.scorer import checked_rows, learned_by

MIN_SAME_LABELS = 0.998
"""Part of the validation and test rows on which the ONNX file must name the same emotion as torch."""

PATHS = {"data": {"store"}, "net": {"name", "init_from"}, "distil": {"targets", "teachers"}}
"""Tables of a recipe, and their keys that may be paths."""

INTENDED_USE = "Not stated by its maker."
UNFIT_USE = (
    "It reads perceived expression, not inner feeling. Do not judge people by it at work, in education, in "
    "policing, in health care or in law; the EU AI Act (Art. 5(1)(f)) forbids inferring emotions at work "
    "and school."
)
LIMITS = (
    "Not stated by its maker. Not measured by skin tone, age or gender, nor on other data than its test rows."
)


@dataclass(frozen=True)
class CardText:
    """The words of a card that only its maker knows."""

    summary: str
    licence: str = NOT_STATED
    data: str = ""
    intended_use: str = INTENDED_USE
    unfit_use: str = UNFIT_USE
    limits: str = LIMITS
    version: str = ""
    contact: str = ""
    citation: str = ""


def read_card_text(path: Path | None, summary: str) -> CardText:
    """The words of a card from a TOML file; ``summary`` where it has none.

    Raises:
        ModelError: the file cannot be read, or holds an unknown key or a value that is not text.
    """
    if path is None:
        return CardText(summary)
    with reading(path, "is not a readable TOML file", error=ModelError):
        table = parse_toml(path.read_text(encoding="utf-8"))
    known = [f.name for f in fields(CardText)]
    for key, value in table.items():
        if key not in known or not isinstance(value, str):
            raise ModelError(
                f"{path}: '{key}' must be one of {', '.join(known)}, and text{nearest(key, known)}"
            )
    return CardText(**{"summary": summary, **table})


@dataclass(frozen=True)
class Released:
    """A new model, the file of the data set that it was scored on, and how far ONNX agrees with torch."""

    card: ModelCard
    weights: Path
    data: Path
    same_labels: float
    largest_difference: float
    test_evaluations: int | None
    """How many times the run has now been scored on its test rows."""


@dataclass(frozen=True)
class ReleaseSettings:
    """How to release.

    Attributes:
        views: Views of a face that the model takes by default: a number, or ``"auto"``.
        to: Folder for the two files; by default where `mien.load` looks.
        prior_power: How much of the training data's prior to take out of the logits; ``"auto"`` lets the
            validation rows choose. See `mien.workflows.calibrate.choose_prior_power`.
        int8: Ship the network in 8 bits where the validation rows allow it; see
            `mien.workflows.release_int8`.
        allow_leak: Release although the network has learned from faces that it is scored on; the card says
            so.
    """

    views: Views = 2
    to: Path | None = None
    prior_power: float | str = 0.0
    int8: bool = True
    allow_leak: bool = False


def release(
    folder: Path, name: str, data: Path | None, text: CardText, settings: ReleaseSettings | None = None
) -> Released:
    """Export, check against torch, calibrate on validation rows, score the test rows once, write the card.

    Args:
        folder: A finished run.
        name: What `mien.load` shall call it.
        data: The data set that the run learned from; by default the one that its recipe names.
        text: Words for the card.
        settings: How to release.

    Raises:
        ModelError: the run is unfinished, the name cannot be a file name or is a shipped model's, the
            export disagrees with torch, or the prior's power is one for networks that learned a prior.
        DataError: ``data`` is not what the run learned from, has no validation or test rows, or the network
            has learned from them.
        OutputError: the model's folder or the run's log of test evaluations cannot be written.
    """
    settings = settings or ReleaseSettings()
    target = folder_for(name, settings.to)
    checked_views(settings.views)
    trained = load_trained(folder, pick_device("cpu"))
    check_prior_power(held_recipe(folder)["recipe"], settings.prior_power)
    data, content_hash = data or store_of_run(folder), trained.data["content_hash"]
    faces = data_of_run(data, folder, content_hash)
    for split in ("val", "test"):
        checked_rows(faces, split, trained.labels)
    known = learned_by(folder, content_hash, faces, content_hash)
    on = f"{folder.name} on {faces.name}"
    leaks = check_parts(faces, known, on, allowed=settings.allow_leak) if known else {}
    check_output_folder(target)
    check_test_log(folder, "test")
    target.mkdir(parents=True, exist_ok=True)
    with temporary_folder(target) as temporary:
        onnx = temporary / f"{name}.onnx"
        export_onnx(trained.net, trained.input_size, onnx, trained.channels)
        same, difference = compare(onnx, trained, faces)
        if same < MIN_SAME_LABELS:
            raise ModelError(f"the ONNX file agrees with torch on only {same:.2%} of the rows; not released")
        notes = _shrink(onnx, trained, faces) if settings.int8 else {}
        card = _card(onnx, trained, faces, text, settings)
        card = replace(card, training=_training(folder, trained), scores=card.scores | notes)
        card = scored(onnx, card, faces, data, leaks)
        n_looks = count_test_evaluation(folder)
        weights = put_model(onnx, target)
    return Released(card, weights, data, same, difference, n_looks)


def compare(onnx: Path, trained: TrainedNet, faces: FaceSet) -> tuple[float, float]:
    """Part of the validation and test rows with the same top label, and the largest difference of a logit."""
    images = np.concatenate([faces.select(split).images for split in ("val", "test")])
    onnx_logits = average_logits(partial(run, open_session(onnx, threads=0)), trained.inputs(images), 1)
    torch_logits = trained.logits(images)
    same = torch_logits.argmax(1) == onnx_logits.argmax(1)
    return float(same.mean()), float(np.abs(torch_logits - onnx_logits).max())


def _shrink(onnx: Path, trained: TrainedNet, faces: FaceSet) -> dict[str, Any]:
    """Put the int8 file in the place of ``onnx`` where it is good enough; what the card says of it."""
    found = try_int8(onnx, trained.inputs, faces)
    if found.path and not found.problem:
        shutil.move(found.path, onnx)
    return {"int8": found.to_dict()}


def _card(
    onnx: Path, trained: TrainedNet, faces: FaceSet, text: CardText, settings: ReleaseSettings
) -> ModelCard:
    """The calibrated card; the test rows are not opened for it."""
    bare = ModelCard(
        name=onnx.stem,
        labels=trained.labels,
        input_size=trained.input_size,
        mean=trained.mean,
        std=trained.std,
        channels=trained.channels,
        sha256=sha256(onnx),
        prior=() if settings.prior_power == 0 else class_shares(faces),
        **asdict(text) | {"data": text.data or faces.name},
    )
    return calibrated(onnx, bare, faces, settings.views, settings.prior_power)


def _training(folder: Path, trained: TrainedNet) -> dict[str, Any]:
    """What the run folder says of the run."""
    return {
        "recipe": without_folders(held_recipe(folder)["recipe"]),
        "environment": read_run_json(folder, ENVIRONMENT, {}),
        "data": trained.data,
        "parameters": parameter_count(trained.net),
    }


def without_folders(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe that names files, runs and code without the folders they lie in, for cards are passed on."""
    tables = {key: dict(value) if isinstance(value, dict) else value for key, value in recipe.items()}
    for name, keys in PATHS.items():
        table = tables.get(name, {})
        for key in keys & table.keys():
            value = table[key]
            table[key] = [Path(one).name for one in value] if isinstance(value, list) else Path(value).name
    options = dict(tables["net"].get("options") or {}) if "net" in tables else {}
    if run := backbone_run(str(options.get("backbone", ""))):
        options["backbone"] = RUN + run.name
        tables["net"]["options"] = options
    return tables
