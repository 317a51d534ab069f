"""Convert data sets to one image size and join their rows."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.emotions import in_no_label_set
from mien.core.preprocess import network_crops
from mien.data.image_loading import ImageSettings
from mien.data.records import FaceSet
from mien.errors import DataError

MOST_SOURCES = 256
"""What a byte a row tells apart."""


def resized(faces: FaceSet, settings: ImageSettings) -> FaceSet:
    """``faces`` in another size or with three channels; gray from colour is ITU-R 601 luma."""
    if faces.images.shape[1:] == settings.shape:
        return faces
    images = np.empty((len(faces), *settings.shape), np.uint8)
    for i, image in enumerate(faces.images):  # one by one: the larger ones do not stay in memory
        images[i] = network_crops(image[None], settings.size, 3 if settings.color else 1)[0]
    landmarks = faces.landmarks
    if landmarks is not None:
        height, width = faces.images.shape[1:3]
        landmarks = landmarks * np.array([settings.size / width, settings.size / height], np.float32)
    return replace(faces, images=images, landmarks=landmarks)


def join_faces(sets: Sequence[FaceSet]) -> FaceSet:
    """Join data sets with the same labels; every row states its source.

    A source of the name of one before it is called ``NAME-2``, whether it comes alone or was joined before.

    Persons are told apart by source. Where only some sets have a column, the rows of the others hold what
    stands for unknown; votes need the same names and landmarks the same number, or are left out.

    Raises:
        DataError: labels or the shapes of the images differ, or there are more than 256 sources.
    """
    first = sets[0]
    for other in sets[1:]:
        if other.label_names != first.label_names:
            ours, theirs = ", ".join(first.label_names), ", ".join(other.label_names)
            own = in_no_label_set((*first.label_names, *other.label_names))
            advice = f"no label set has {', '.join(own)}, so import them from sources with the same labels"
            raise DataError(
                f"labels differ: {first.name} has {ours}, {other.name} has {theirs}; "
                f"{advice if own else 'give --labels'}"
            )
        if other.images.shape[1:] != first.images.shape[1:]:
            ours, theirs = (_shape(faces) for faces in (first, other))
            raise DataError(
                f"images differ: {first.name} has {ours}, {other.name} has {theirs}; "
                "import them with the same --size and --color"
            )
    sets = list(_told_apart(sets))
    names = tuple(name for faces in sets for name in faces.source_names or ())
    if len(names) > MOST_SOURCES:
        raise DataError(
            f"expected at most {MOST_SOURCES} sources in one data set, got {len(names)}; join fewer"
        )
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
        sources=_sources(sets),
        source_names=names,
        label_map={name: became for faces in sets for name, became in faces.label_maps().items()} or None,
        **optional,
    )


def _shape(faces: FaceSet) -> str:
    height, width = faces.images.shape[1:3]
    return f"{width}x{height} {'colour' if faces.images.ndim == 4 else 'gray'}"


def _told_apart(sets: Sequence[FaceSet]) -> Iterator[FaceSet]:
    """The data sets as joined ones, each of their sources under a name of its own."""
    taken: set[str] = set()
    for faces in map(_with_source, sets):
        own = faces.source_names or ()
        names = {name: _free(name, taken.union(own)) if name in taken else name for name in own}
        taken.update(names.values())
        yield faces if own == tuple(names.values()) else _with_names(faces, names)


def _with_source(faces: FaceSet) -> FaceSet:
    """A data set that tells its source in every row and person; itself where it was joined before."""
    if faces.source_names is not None:
        return faces
    persons = faces.person_names
    return replace(
        faces,
        sources=np.zeros(len(faces), np.uint8),
        source_names=(faces.name,),
        person_names=None if persons is None else tuple(f"{faces.name}/{person}" for person in persons),
        label_map=faces.label_maps(),
    )


def _free(name: str, taken: Set[str]) -> str:
    return next(free for n in count(2) if (free := f"{name}-{n}") not in taken)


def _with_names(faces: FaceSet, names: Mapping[str, str]) -> FaceSet:
    """``faces`` with other names of its sources."""
    persons = faces.person_names
    if persons is not None:
        parts = (person.partition("/") for person in persons)
        persons = tuple(f"{names.get(source, source)}{slash}{person}" for source, slash, person in parts)
    return replace(
        faces,
        source_names=tuple(names.values()),
        person_names=persons,
        label_map={names[source]: became for source, became in faces.label_maps().items()},
    )


def _sources(sets: Sequence[FaceSet]) -> NDArray[np.uint8]:
    """The source of every row, as a place in the names of all."""
    starts = np.cumsum([0, *(len(faces.source_names or ()) for faces in sets)])
    blocks = [faces.columns()["sources"] + start for faces, start in zip(sets, starts[:-1], strict=True)]
    return np.concatenate(blocks).astype(np.uint8)


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
        names += faces.person_names or ()
    return {"persons": np.concatenate(codes), "person_names": tuple(names)}
