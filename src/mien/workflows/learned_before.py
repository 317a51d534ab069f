"""What a network has learned from before its run: the faces of its start, or of the run that it sees by."""

from dataclasses import replace
from functools import reduce
from operator import or_

import numpy as np

from mien.core.model_store import find_model
from mien.data.leaks import LEARNED, Learned, is_official, read_learned
from mien.train.initialise import is_released, start_folder, start_note
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
        data, called = card.learned_from(), card.name
    elif note := start_note(start):
        data, called = note.get("data", {}), start_folder(start).name
    else:
        return NOTHING
    if is_official(str(data.get("name", ""))) and is_official(name):
        return NOTHING
    if (marks := start_folder(start) / LEARNED).is_file():
        return read_learned(marks)
    return NOTHING if data.get("content_hash") == content_hash else replace(NOTHING, start=called)
