"""Map the labels of a data set to a label set."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mien.core.emotions import LABEL_SETS, label_map
from mien.data.ingest import Target
from mien.data.records import FaceSet
from mien.errors import DataError
from mien.names import look_up


def label_target(
    name: str, label_names: tuple[str, ...], labels: str, renames: Mapping[str, str] | None = None
) -> Target:
    """How the labels of a data set become those of a label set.

    Args:
        name: Of the data set.
        label_names: Its labels.
        labels: One of ``LABEL_SETS``.
        renames: Labels of the data set and the names by which the label set knows them, such as joy, happy.

    Raises:
        DataError: no label set, or no label to rename, has that name.
        MienError: nothing in common.
    """
    wanted = look_up(LABEL_SETS, labels, "label set", DataError)
    renames = renames or {}
    for old, new in renames.items():
        look_up(dict.fromkeys(label_names), old, f"label of {name}", DataError)
        look_up(dict.fromkeys(wanted), new, f"label of {labels}", DataError)
    codes = label_map(tuple(renames.get(label, label) for label in label_names), wanted)
    became = {
        label: None if code is None else wanted[code] for label, code in zip(label_names, codes, strict=True)
    }
    return Target(wanted, codes, {name: became})


def map_labels(faces: FaceSet, labels: str, renames: Mapping[str, str] | None = None) -> FaceSet:
    """``faces`` with the labels of a label set, without those that have no counterpart; raises as above.

    A map that was in force already is followed by the new one.
    """
    target = label_target(faces.name, faces.label_names, labels, renames)
    codes = np.array([-1 if code is None else code for code in target.codes], np.int64)[faces.labels]
    (step,) = (target.label_map or {}).values()
    whole: dict[str, Mapping[str, str | None]] = dict.fromkeys(faces.source_names or (faces.name,), step)
    for source, became in faces.label_maps().items():
        whole[source] = {old: step[new] if new else None for old, new in became.items()}
    kept = codes >= 0
    return replace(
        faces.take(kept),
        # take() has checked the old codes; the new ones are checked against the new names
        labels=codes[kept],
        label_names=target.label_names,
        label_map=whole,
    )
