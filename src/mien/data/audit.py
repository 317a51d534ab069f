"""What is wrong with the images and labels of a data set: blanks, non-faces, copies, contradictions."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.duplicates import SAME_IMAGE, NearDuplicates
from mien.data.records import SPLITS, FaceSet

Positions = NDArray[np.intp]
"""Places in the FaceSet, ascending."""

_NO_FACE = "not-a-face"


@dataclass(frozen=True, eq=False)
class Audit:
    """Findings about one FaceSet; positions count its faces from 0.

    Attributes:
        faces: what was audited.
        blanks: faces of a single gray value.
        non_faces: faces that most raters called no face; None without votes that can say so, as FER+'s.
        groups: faces with identical pixels, each group of at least two, largest first.
        near: validation and test faces with a near copy in training.
        note: what the user should know besides, one sentence; or empty.
    """

    faces: FaceSet
    blanks: Positions
    non_faces: Positions | None
    groups: tuple[Positions, ...]
    near: NearDuplicates
    note: str = ""

    @property
    def conflicts(self) -> tuple[Positions, ...]:
        """The groups whose identical images carry different labels."""
        return tuple(group for group in self.groups if len(set(self.faces.labels[group])) > 1)

    def summary(self) -> dict[str, Any]:
        """Every finding as a number, ready for JSON; shares are fractions, 0-1."""
        return {
            "name": self.faces.name,
            "faces": {split: len(self.faces.select(split)) for split in SPLITS},
            "blank": self._per_split(self.blanks),
            "not_a_face": None if self.non_faces is None else self._per_split(self.non_faces),
            "identical": {
                "groups": len(self.groups),
                "redundant_copies": sum(len(group) - 1 for group in self.groups),
                "groups_with_conflicting_labels": len(self.conflicts),
                "faces_in_conflict": sum(map(len, self.conflicts)),
            },
            "near_duplicates_in_train": {split: self._near(split) for split in SPLITS[1:]},
        }

    def table(self) -> dict[str, dict[str, int]]:
        """The findings that are counted by split: what, then split, then how many faces."""
        summary = self.summary()
        near = summary["near_duplicates_in_train"]
        rows: dict[str, dict[str, int] | None] = {
            "faces": summary["faces"],
            "blank": summary["blank"],
            "not a face, by FER+": summary["not_a_face"],
            "identical to a training face": {split: counts["identical"] for split, counts in near.items()},
            f"same image as one (≥ {SAME_IMAGE})": {s: counts["same_image"] for s, counts in near.items()},
            "clean: no such copy": {split: counts["clean"] for split, counts in near.items()},
        }
        return {what: counts for what, counts in rows.items() if counts is not None}

    def _per_split(self, positions: Positions) -> dict[str, int]:
        counts = np.bincount(self.faces.split[positions], minlength=len(SPLITS))
        return dict(zip(SPLITS, counts.tolist(), strict=True))

    def _near(self, split: str) -> dict[str, Any]:
        faces, near = self.faces.select(split), self.near
        here = np.isin(near.rows, faces.rows)
        same_label = self.labels_of(near.rows) == self.labels_of(near.nearest)
        image = here & (near.ncc >= SAME_IMAGE)
        return {
            "identical": int(near.exact[here].sum()),
            "same_image": int(image.sum()),
            "similar": int(here.sum()),
            "clean": int(near.clean(faces.rows).sum()),
            "label_agreement_identical": _share(same_label[here & near.exact]),
            "label_agreement_same_image": _share(same_label[image & ~near.exact]),
        }

    def positions_of(self, rows: NDArray[np.int64]) -> Positions:
        """Where the faces of ``rows``, as in ``FaceSet.rows``, stand."""
        order = np.argsort(self.faces.rows)
        return order[np.searchsorted(self.faces.rows, rows, sorter=order)]

    def labels_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The labels of the faces of ``rows``."""
        return self.faces.labels[self.positions_of(rows)]


def audit(faces: FaceSet, near: NearDuplicates) -> Audit:
    """Look through a data set; ``near`` comes from its store or from ``find_near_duplicates``."""
    non_faces = np.flatnonzero(not_a_face(faces)) if _NO_FACE in (faces.vote_names or ()) else None
    return Audit(faces, np.flatnonzero(blank(faces)), non_faces, identical_groups(faces), near)


def blank(faces: FaceSet) -> NDArray[np.bool_]:
    """Which faces (N,) have one value everywhere; FER2013 has 12, all black, with five labels."""
    images = faces.images
    uniform: NDArray[np.bool_] = (images == images[:, :1, :1]).all(axis=tuple(range(1, images.ndim)))
    return uniform


def not_a_face(faces: FaceSet) -> NDArray[np.bool_]:
    """Which faces (N,) more than half of the raters called no face; none where no vote could say so."""
    if faces.votes is None:
        return np.zeros(len(faces), np.bool_)
    most: NDArray[np.bool_] = 2 * no_face_votes(faces) > faces.votes.sum(axis=1)
    return most


def no_face_votes(faces: FaceSet) -> NDArray[np.int64]:
    """How many raters called each face (N,) no face; 0 where no vote could say so."""
    if faces.votes is None or faces.vote_names is None or _NO_FACE not in faces.vote_names:
        return np.zeros(len(faces), np.int64)
    return faces.votes[:, faces.vote_names.index(_NO_FACE)].astype(np.int64)


def identical_groups(faces: FaceSet) -> tuple[Positions, ...]:
    """Faces with the same pixels, largest group first, then in their order."""
    groups: defaultdict[bytes, list[int]] = defaultdict(list)
    for i, image in enumerate(faces.images):
        groups[image.tobytes()].append(i)
    repeated = [np.array(group, np.intp) for group in groups.values() if len(group) > 1]
    return tuple(sorted(repeated, key=len, reverse=True))


def _share(which: Sequence[bool] | NDArray[np.bool_]) -> float | None:
    return float(np.mean(which)) if len(which) else None
