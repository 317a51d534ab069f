"""What a network has learned from before its run: the faces of its start, or of the run that it sees by."""

from dataclasses import replace
from functools import reduce
from operator import or_
from pathlib import Path

import numpy as np

from mien.core.model_store import find_model
from mien.data.leaks import LEARNED, Learned, is_official, read_learned
from mien.train.checkpoints import load_note
from mien.train.initialise import is_released
from mien.train.recipe import NetSettings
from mien.train.transfer import backbone_run

NOTHING = Learned(np.zeros(0, np.uint64), np.zeros(0, np.uint64))


def learned_before(net: NetSettings, name: str, content_hash: str) -> Learned:
    """What the models that a run starts from have learned from, as far as that may hold faces to be scored.

    A start and faces of a public data set keep its publisher's split, and share no more than that does. A
    checkpoint of others is a backbone that learned no emotions.

    Args:
        net: The run's network.
        name: Of the data set that the run learns from.
        content_hash: Of that data set.
    """
    starts = [net.init_from, str(backbone_run(str(net.options.get("backbone", ""))) or "")]
    return reduce(or_, [_of_start(start, name, content_hash) for start in starts if start], NOTHING)


def _of_start(start: str, name: str, content_hash: str) -> Learned:
    if is_released(start):
        _, card = find_model(start)
        data = card.learned_from()
        is_apart = is_official(str(data.get("name", ""))) and is_official(name)
        is_known = data.get("content_hash") == content_hash
        return NOTHING if is_known or is_apart else replace(NOTHING, start=card.name)
    marks = Path(start) / LEARNED
    if not marks.is_file() or (is_official(name) and is_official(_data_of(Path(start)))):
        return NOTHING
    return read_learned(marks)


def _data_of(run: Path) -> str:
    """The name of the data set that a run learned from."""
    return str(load_note(run / "weights.safetensors").get("data", {}).get("name", ""))
