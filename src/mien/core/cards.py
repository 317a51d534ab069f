"""The model card: a network's input and output, its origin, and its measured scores."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from mien.core.files import write_json
from mien.core.own_files import read_json, reading
from mien.core.tta import AUTO, N_VIEWS, AutoViews, Views
from mien.errors import ModelError
from mien.names import nearest

FORMAT = 1
NOT_STATED = "not stated; ask whoever trained it"
"""The licence of a model whose maker named none."""
SMALLEST, LARGEST = 1e-9, 1e30  # of positive numbers that a float32 can be divided by; NaN is not between
MOST_POWER = 2
"""Of the prior; 1 takes all of it out."""


@dataclass(frozen=True)
class ModelCard:
    """Everything that belongs to a weight file and is not in it; lies beside it as JSON.

    Attributes:
        name: What `mien.load` calls the model.
        summary: One line for people.
        labels: Emotions in the order of the network's outputs, which are logits: the values before a softmax.
        input_size: Side of the input in pixels.
        mean: Subtracted from its values in 0-1; one number for all channels, others belong into the network.
        std: Then divided by.
        crop_scale: Size of the face in the crop against FER2013's; above 1 the crop is tighter. See
            `mien.core.preprocess.face_crop`.
        channels: 1 for gray faces, 3 for RGB.
        views: Views of a face that are averaged unless the caller chooses; see `mien.core.tta`.
        auto: What automatic views are: the fields of `mien.core.tta.AutoViews`; empty where unknown. Where it
            has no ``temperature``, that of the few views is meant.
        temperatures: For each number of views (as a string), and for ``auto``, what logits are divided by
            before the softmax.
        prior: Share of each class in the training data; empty where unknown.
        prior_power: How much of the prior is removed from the logits, before the temperature; 0 is nothing.
        sha256: Of the ``.onnx`` file.
        licence: Terms of the weights.
        data: The training data, with its terms.
        intended_use: What it is for.
        unfit_use: What it must not be used for.
        limits: Known weaknesses.
        uncertain_below: An answer is ``uncertain`` where no emotion is as probable as this.
        calibrated_on: The rows that temperatures and threshold were fitted on; empty where unknown.
        scores: Measured figures by name of the test set; the dict form of `mien.core.scores.Scores`, with
            the name and content hash of the data set as ``data`` and ``data_hash``.
        training: Recipe, data hash, machine, time.
        version: The maker's version of the model; empty where not stated.
        contact: Whom to ask about it; empty where not stated.
        citation: How to cite it, as text or BibTeX; empty where not stated.
        format: Version of this file format.
    """

    name: str
    summary: str
    labels: tuple[str, ...]
    input_size: int
    mean: float
    std: float
    sha256: str
    licence: str
    data: str
    intended_use: str
    unfit_use: str
    limits: str
    crop_scale: float = 1.0
    channels: int = 1
    views: int | str = 1
    auto: dict[str, float] = field(default_factory=dict)
    temperatures: dict[str, float] = field(default_factory=lambda: {"1": 1.0})
    prior: tuple[float, ...] = ()
    prior_power: float = 0.0
    uncertain_below: float = 0.3
    calibrated_on: str = ""
    scores: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    version: str = ""
    contact: str = ""
    citation: str = ""
    format: int = FORMAT

    def temperature(self, views: Views) -> float:
        """The temperature that was fitted for a number of views, or for automatic ones.

        Raises:
            ModelError: none was fitted for it.
        """
        try:
            return self.temperatures[str(views)]
        except KeyError:
            known = ", ".join(self.temperatures)
            raise ModelError(
                f"model '{self.name}' is calibrated for {known} views of a face, not for {views}; "
                f"mien calibrate MODEL DATA --views {views} --name NAME makes one that is"
            ) from None

    def auto_views(self) -> AutoViews:
        """What automatic views are for this model.

        Raises:
            ModelError: the card does not say, or has no temperature for the few views.
        """
        if not self.auto:
            raise ModelError(f"the card of '{self.name}' has no automatic views; give their number")
        few = int(self.auto["few"])
        temperature = float(self.auto.get("temperature") or self.temperature(few))
        return AutoViews(few, int(self.auto["many"]), float(self.auto["below"]), temperature)

    def learned_from(self) -> dict[str, Any]:
        """The ``name`` and ``content_hash`` of the training data; empty where ``training`` does not say."""
        data = self.training.get("data")
        return data if isinstance(data, dict) else {}

    def write(self, path: Path) -> None:
        """Write the card as JSON, atomically."""
        write_json(path, asdict(self))


def read_card(path: Path) -> ModelCard:
    """Read and check a card.

    Raises:
        ModelError: the file is missing, not JSON, or lacks or misspells a field; all mistakes are listed.
    """
    table = read_json(path, "is not a readable model card", error=ModelError)
    with reading(path, "is not a model card of mien", error=ModelError):
        mistakes = _mistakes(table)
    if mistakes:
        raise ModelError(f"{path} is not a model card of mien: {'; '.join(mistakes)}")
    return ModelCard(**{**table, "labels": tuple(table["labels"]), "prior": tuple(table.get("prior", ()))})


def _mistakes(table: object) -> list[str]:
    if not isinstance(table, dict):
        return ["it must be a JSON object"]
    made_for = table.get("format", FORMAT)
    if _is_number(made_for) and made_for > FORMAT:  # its other fields may be what this mien does not know
        return [f"it has format {made_for}, this mien reads up to {FORMAT}; upgrade mien"]
    known = {f.name: f for f in fields(ModelCard)}
    mistakes = [f"unknown field '{name}'{nearest(name, known)}" for name in table if name not in known]
    for name, spec in known.items():
        required = spec.default is MISSING and spec.default_factory is MISSING
        if name in table:
            kinds, what = KINDS[str(spec.type)]
            value = table[name]
            if not isinstance(value, kinds) or isinstance(value, bool) or not _is_finite(value):
                mistakes.append(f"{name} must be {what}, got {json.dumps(value)[:40]}")
        elif required:
            mistakes.append(f"{name} is missing")
    if mistakes:
        return mistakes
    labels = table["labels"]
    if not labels or len(set(map(str, labels))) != len(labels) or not all(isinstance(x, str) for x in labels):
        mistakes.append("labels must be different names")
    if not 8 <= table["input_size"] <= 1024:
        mistakes.append(f"input_size must lie in 8..1024, got {table['input_size']}")
    if table.get("channels", 1) not in (1, 3):
        mistakes.append(f"channels must be 1 or 3, got {table['channels']}")
    if not 0 <= table.get("uncertain_below", 0) <= 1:
        mistakes.append(f"uncertain_below must lie in 0..1, got {table['uncertain_below']}")
    for name in ("std", "crop_scale"):
        if table.get(name, 1) < SMALLEST:
            mistakes.append(f"{name} must be positive, got {table[name]}")
    temperatures = table.get("temperatures", {"1": 1.0})
    if not temperatures or not all(_is_number(t) and SMALLEST <= t <= LARGEST for t in temperatures.values()):
        mistakes.append(f"temperatures must be positive numbers, got {json.dumps(temperatures)[:40]}")
    mistakes += _mistakes_of_views(table) + _mistakes_of_prior(table)
    mistakes += [
        f"scores.{name}{mistake}" for name, part in table.get("scores", {}).items() for mistake in _odd(part)
    ]
    return mistakes


SCORES = frozenset(
    ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "cohen_kappa", "nll", "brier", "ece", "n")
)
CLASS_SCORES = ("precision", "recall", "f1", "support")


def _odd(scores: object) -> Iterator[str]:
    """What in the scores of one test set could not be shown; other figures beside them are free."""
    if not isinstance(scores, dict):
        if not isinstance(scores, int | float):
            yield f" must be an object or a number, got {json.dumps(scores)[:40]}"
        return
    for name in sorted(SCORES & scores.keys()):
        if not _is_number(scores[name]):
            yield f".{name} must be a number, got {json.dumps(scores[name])[:40]}"
    interval = scores.get("accuracy_interval")
    if interval is not None and not (
        isinstance(interval, list) and len(interval) == 2 and all(map(_is_number, interval))
    ):
        yield f".accuracy_interval must be two numbers, got {json.dumps(interval)[:40]}"
    classes = scores.get("per_class") or []
    for row in classes if isinstance(classes, list) else [classes]:
        if not isinstance(row, dict) or not isinstance(row.get("label"), str):
            yield f".per_class must be a list of objects with labels, got {json.dumps(row)[:40]}"
        elif not all(_is_number(row.get(name)) for name in CLASS_SCORES):
            yield f".per_class of '{row['label']}' must hold the numbers {', '.join(CLASS_SCORES)}"


def is_leaking(scores: Mapping[str, Any]) -> bool:
    """Whether a table of scores was measured on faces of the training data."""
    leak = scores.get("leak")
    return isinstance(leak, dict) and bool(leak.get("leaks"))


def not_searched(scores: Mapping[str, Any]) -> str:
    """Which faces that the network learned from could not be looked for among those of a table of scores.

    Empty where all of them could, or the table does not tell.
    """
    leak = scores.get("leak", {})
    if leak is None:
        return "what this model learned from is not known here: not searched for leaks"
    start = leak.get("start") if isinstance(leak, dict) else ""
    unknown = "whose training faces are not known here: not searched for those"
    return f"it started from {start}, {unknown}" if start else ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_finite(value: object) -> bool:
    """Whether it is no number, or one that a network can be given."""
    return not isinstance(value, int | float) or abs(value) <= LARGEST


def _mistakes_of_views(table: dict[str, Any]) -> list[str]:
    views, auto = table.get("views", 1), table.get("auto", {})
    known = f"{', '.join(map(str, N_VIEWS))} or {AUTO}"
    mistakes = [] if views in (*N_VIEWS, AUTO) else [f"views must be {known}, got {json.dumps(views)}"]
    if views == AUTO and not auto:
        mistakes.append("auto is missing, which automatic views need")
    if auto and not (
        auto.keys() - {"temperature"} == {"few", "many", "below"}
        and auto["few"] in N_VIEWS
        and auto["many"] in N_VIEWS
        and _is_number(auto["below"])
        and 0 <= auto["below"] <= 1
    ):
        mistakes.append(f"auto must hold few, many and below (0..1), got {json.dumps(auto)[:60]}")
    temperature = auto.get("temperature", 1)
    if not _is_number(temperature) or not SMALLEST <= temperature <= LARGEST:
        mistakes.append(f"auto.temperature must be a positive number, got {json.dumps(temperature)[:40]}")
    return mistakes


def _mistakes_of_prior(table: dict[str, Any]) -> list[str]:
    prior, power = table.get("prior", []), table.get("prior_power", 0)
    mistakes = []
    if prior and not (
        len(prior) == len(table["labels"])
        and all(isinstance(share, int | float) and share > 0 for share in prior)
        and abs(sum(prior) - 1) < 1e-3
    ):
        mistakes.append(f"prior must hold one positive share a label, 1 in all, got {json.dumps(prior)[:60]}")
    if power and not prior:
        mistakes.append("prior is missing, which prior_power needs")
    if not 0 <= power <= MOST_POWER:
        mistakes.append(f"prior_power must lie in 0..{MOST_POWER}, got {power}")
    return mistakes


KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    str(str): ((str,), "text"),
    str(int): ((int,), "a whole number"),
    str(float): ((int, float), "a number"),
    str(int | str): ((int, str), "a whole number or text"),
    str(tuple[str, ...]): ((list,), "a list"),
    str(tuple[float, ...]): ((list,), "a list"),
    str(dict[str, float]): ((dict,), "an object"),
    str(dict[str, Any]): ((dict,), "an object"),
}
"""JSON types that a field may have, by its declared type, and what people call them."""
