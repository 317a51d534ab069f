"""The training faces and input scale that a network inherits from its start or its backbone run."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import or_

import numpy as np

from mien.core.model_store import find_model
from mien.data.leaks import LEARNED, Learned, is_official, read_learned
from mien.data.records import FaceSet
from mien.errors import RecipeError
from mien.train.initialise import is_released, start_folder, start_note
from mien.train.recipe import NetSettings, Recipe
from mien.train.transfer import backbone_run

FIXED_SCALES = {"unit": (0.0, 1.0), "raw": (0.0, 1 / 255)}
"""Mean and deviation of the kinds of ``data.input`` that do not depend on the faces."""
NOTHING = Learned(np.zeros(0, np.uint64), np.zeros(0, np.uint64))


def learned_before(models: Sequence[str], name: str, content_hash: str) -> Learned:
    """What a run's starts and teachers have learned from, as far as that may hold faces to be scored.

    A model and faces of a public data set keep its publisher's split, and share no more than that does. A
    checkpoint of others is a backbone that learned no emotions.

    Args:
        models: Released models by name, run folders, checkpoints.
        name: Of the data set that the run learns from.
        content_hash: Of that data set.
    """
    return reduce(or_, [_of_model(model, name, content_hash) for model in models], NOTHING)


def starts(net: NetSettings) -> list[str]:
    """The models that a network starts from, or sees by: names, run folders or checkpoints."""
    run = backbone_run(str(net.options.get("backbone", "")))
    return [start for start in (net.init_from, str(run or "")) if start]


def input_scale(faces: FaceSet, kind: str) -> tuple[float, float]:
    """Mean and standard deviation that pixels in 0-1 are normalised by; see ``data.input`` of a recipe."""
    if kind in FIXED_SCALES:
        return FIXED_SCALES[kind]
    pixels = faces.images.reshape(len(faces), -1)
    mean = float(pixels.mean(dtype=np.float64) / 255)
    squares = sum(np.square(part / 255 - mean).sum() for part in np.array_split(pixels, 64))
    std = math.sqrt(squares / pixels.size)
    return round(mean, 6), round(max(std, 1e-3), 6)


def start_scale(net: NetSettings) -> tuple[float, float] | None:
    """The mean and deviation that the start's faces were normalised by; None without one that says it."""
    for start in starts(net):
        if is_released(start):
            _, card = find_model(start)
            return card.mean, card.std
        if found := start_note(start).get("mean_std"):
            return found[0], found[1]
    return None


def check_scale(recipe: Recipe) -> None:
    """Raise where a network would get its faces in another scale than it has learned them in.

    Raises:
        RecipeError: ``data.input`` is another than the start's.
    """
    kinds = {scale: kind for kind, scale in FIXED_SCALES.items()}
    scale = start_scale(recipe.net)
    if scale and (kind := kinds.get(scale, "standard")) != recipe.data.input:
        raise RecipeError(
            f"data.input must be {kind}, the scale of the pretrained weights, got "
            f"{recipe.data.input}; set data.input={kind}"
        )


def _of_model(model: str, name: str, content_hash: str) -> Learned:
    if is_released(model):
        _, card = find_model(model)
        data, called = card.learned_from(), card.name
    elif note := start_note(model):
        data, called = note.get("data", {}), start_folder(model).name
    else:
        return NOTHING
    if is_official(str(data.get("name", ""))) and is_official(name):
        return NOTHING
    if (marks := start_folder(model) / LEARNED).is_file():
        return read_learned(marks)
    return NOTHING if data.get("content_hash") == content_hash else replace(NOTHING, start=called)
