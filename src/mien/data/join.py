"""Bring data sets onto one size and one set of rows."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.data.image_loading import ImageSettings
from mien.data.records import FaceSet
from mien.errors import DataError


def resized(faces: FaceSet, settings: ImageSettings) -> FaceSet:
    """``faces`` in another size or with three channels; gray from colour is ITU-R 601 luma."""
    if faces.images.shape[1:] == settings.shape:
        return faces
    images = np.empty((len(faces), *settings.shape), np.uint8)
    for i, image in enumerate(faces.images):
        face = Image.fromarray(image).convert("RGB" if settings.color else "L")
        images[i] = np.asarray(face.resize((settings.size, settings.size), Image.Resampling.BILINEAR))
    landmarks = faces.landmarks
    if landmarks is not None:
        height, width = faces.images.shape[1:3]
        landmarks = landmarks * np.array([settings.size / width, settings.size / height], np.float32)
    return replace(faces, images=images, landmarks=landmarks)


def join_faces(sets: Sequence[FaceSet]) -> FaceSet:
    """One data set of several that have the same labels; every row tells its source.

    A data set of the name of one before it is called ``NAME-2`` as a source.

    Persons are told apart by source. Where only some sets have a column, the rows of the others hold what
    stands for unknown; votes need the same names and landmarks the same number, or are left out.

    Raises:
        DataError: labels or the shapes of the images differ.
    """
    first = sets[0]
    for other in sets[1:]:
        if other.label_names != first.label_names:
            ours, theirs = ", ".join(first.label_names), ", ".join(other.label_names)
            raise DataError(
                f"labels differ: {first.name} has {ours}, {other.name} has {theirs}; give --labels"
            )
        if other.images.shape[1:] != first.images.shape[1:]:
            ours, theirs = (_shape(faces) for faces in (first, other))
            raise DataError(
                f"images differ: {first.name} has {ours}, {other.name} has {theirs}; "
                "import them with the same --size and --color"
            )
    sets = list(_told_apart(sets))
    names = _source_names(sets)
    optional: dict[str, Any] = {
        field: _filled(sets, field)
        for field in ("votes", "valence_arousal", "landmarks", "landmark_score", "file_sha256")
        if _joins(sets, field)
    }
    if "votes" in optional:
        optional["vote_names"] = next(faces.vote_names for faces in sets if faces.vote_names)
    if any(faces.persons is not None for faces in sets):
        optional |= _persons(sets)
    return FaceSet(
        images=np.concatenate([faces.images for faces in sets]),
        labels=np.concatenate([faces.labels for faces in sets]),
        split=np.concatenate([faces.split for faces in sets]),
        rows=_rows(sets),
        label_names=first.label_names,
        name="+".join(names),
        sources=np.concatenate([_sources(faces, names) for faces in sets]),
        source_names=names,
        label_map={name: became for faces in sets for name, became in (faces.label_map or {}).items()}
        or None,
        **optional,
    )


def _shape(faces: FaceSet) -> str:
    height, width = faces.images.shape[1:3]
    return f"{width}x{height} {'colour' if faces.images.ndim == 4 else 'gray'}"


def _told_apart(sets: Sequence[FaceSet]) -> Iterator[FaceSet]:
    """The data sets, each under a name of its own; sources of those that were joined before stay."""
    taken: set[str] = set()
    for faces in sets:
        if not faces.source_names and faces.name in taken:
            name = next(name for n in count(2) if (name := f"{faces.name}-{n}") not in taken)
            maps = faces.label_map and {name: faces.label_map.get(faces.name, {})}
            faces = replace(faces, name=name, label_map=maps)
        taken.update(faces.source_names or (faces.name,))
        yield faces


def _source_names(sets: Sequence[FaceSet]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for faces in sets for name in faces.source_names or (faces.name,)))


def _sources(faces: FaceSet, names: tuple[str, ...]) -> NDArray[np.uint8]:
    if faces.sources is None or faces.source_names is None:
        return np.full(len(faces), names.index(faces.name), np.uint8)
    return np.array([names.index(name) for name in faces.source_names], np.uint8)[faces.sources]


def _rows(sets: Sequence[FaceSet]) -> NDArray[np.int64]:
    """Each set's rows after the last row of the set before: unique, and the first set's stay."""
    offsets = np.cumsum([0, *(int(faces.rows.max(initial=-1)) + 1 for faces in sets)])
    return np.concatenate([faces.rows + start for faces, start in zip(sets, offsets[:-1], strict=True)])


def _joins(sets: Sequence[FaceSet], field: str) -> bool:
    """Whether the column exists somewhere and means the same wherever it does."""
    found = [faces for faces in sets if field in faces.columns()]
    shapes = {faces.columns()[field].shape[1:] for faces in found}
    return len(shapes) == 1 and (field != "votes" or len({faces.vote_names for faces in found}) == 1)


def _filled(sets: Sequence[FaceSet], field: str) -> NDArray[Any]:
    like = next(faces.columns()[field] for faces in sets if field in faces.columns())
    unknown = np.nan if like.dtype == np.float32 else 0
    blocks = [
        faces.columns().get(field, np.full((len(faces), *like.shape[1:]), unknown, like.dtype))
        for faces in sets
    ]
    return np.concatenate(blocks)


def _persons(sets: Sequence[FaceSet]) -> dict[str, Any]:
    names: list[str] = []
    codes = []
    for faces in sets:
        if faces.persons is None:
            codes.append(np.full(len(faces), -1, np.int32))
            continue
        codes.append(np.where(faces.persons >= 0, faces.persons + len(names), -1).astype(np.int32))
        joined_before = faces.source_names is not None
        names += [name if joined_before else f"{faces.name}/{name}" for name in faces.person_names or ()]
    return {"persons": np.concatenate(codes), "person_names": tuple(names)}
