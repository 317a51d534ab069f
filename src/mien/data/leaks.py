"""Find test faces that are also training faces: a network must not be scored on its training data."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.files import atomic_write, write_json
from mien.core.own_files import reading
from mien.data.parts import PARTS
from mien.data.records import FaceSet
from mien.errors import DataError

Marks = NDArray[np.uint64]

OFFICIAL = ("fer2013", "ferplus", "ferplus-answers")
"""Data sets whose publisher drew the splits; the clean score leaves out the copies across them."""


def pixel_marks(faces: FaceSet) -> Marks:
    """64 bits of a hash of each face's pixels, uint64 (N,)."""
    shape = repr(faces.images.shape[1:]).encode()
    images = np.ascontiguousarray(faces.images)
    digests = b"".join(hashlib.blake2b(face.data, digest_size=8, key=shape).digest() for face in images)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def file_marks(faces: FaceSet) -> Marks:
    """64 bits of the hash of each face's file, uint64 (K,); faces whose file is unknown are left out."""
    if faces.file_sha256 is None:
        return np.zeros(0, np.uint64)
    marks: Marks = np.frombuffer(faces.file_sha256[:, :8].tobytes(), "<u8").astype(np.uint64)
    known: Marks = marks[marks != 0]
    return known


@dataclass(frozen=True)
class Learned:
    """The training data of a network.

    Attributes:
        pixels: Marks of the pixels of its training faces.
        files: Marks of their files.
        start: A model that it started or learned from, if that model's training faces are unknown; else "".
    """

    pixels: Marks
    files: Marks
    start: str = ""

    def __or__(self, other: "Learned") -> "Learned":
        """What both have learned from."""
        joined = (np.union1d(self.pixels, other.pixels), np.union1d(self.files, other.files))
        return Learned(*joined, self.start or other.start)


LEARNED = "learned-faces.npz"
"""In a run folder: marks of the faces that its network has learned from."""
LEAKS = "leaks.json"
"""In a run folder whose validation or test rows repeat training faces: how many, by split."""


def write_learned(known: Learned, path: Path) -> None:
    """Keep the marks, 8 bytes a face; no image can be made of them."""
    with atomic_write(path) as temporary:
        np.savez(temporary, pixels=known.pixels, files=known.files, start=np.array(known.start))


def read_learned(path: Path) -> Learned:
    """Read what `write_learned` wrote.

    Raises:
        DataError: the file is damaged.
    """
    with (
        reading(path, "is not a list of learned faces", advice="train again"),
        np.load(path, allow_pickle=False) as file,
    ):
        pixels, files = (file[name] for name in ("pixels", "files"))
        if pixels.ndim != 1 or files.ndim != 1:
            raise ValueError("its marks are not a list")
        start = str(file["start"]) if "start" in file else ""
        return Learned(pixels.astype(np.uint64), files.astype(np.uint64), start)


def learned(faces: FaceSet) -> Learned:
    """The marks of training faces."""
    return Learned(pixel_marks(faces), file_marks(faces))


@dataclass(frozen=True)
class Leak:
    """How many of ``n`` scored faces are training data of the network.

    Attributes:
        pixels: Faces with just the pixels of a training face.
        files: Faces out of the same file as a training face.
        official: Of ``pixels``, those that the publisher's own split shares between training and this part.
        n: Faces that are scored.
        start: A model that the network started or learned from, whose faces are not known here; else "".
    """

    pixels: int
    files: int
    official: int
    n: int
    start: str = ""

    def __bool__(self) -> bool:
        return self.pixels > self.official or self.files > 0

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict; ``leaks`` says whether scores of these faces are worth nothing."""
        return {**asdict(self), "leaks": bool(self)}

    def __str__(self) -> str:
        files = f", {self.files:,} come from the same file" if self.files else ""
        return f"{self.pixels:,} of {self.n:,} faces are faces that the network learned from{files}"

    def warning(self, name: str = "") -> str:
        """What a command says beside the scores of these faces by a network, of that name among several."""
        return f"LEAK: {name}{': ' * bool(name)}{self}; these scores are not of new faces"


def find_leak(scored: FaceSet, known: Learned, own_training: FaceSet) -> Leak:
    """Compare the scored faces with the training faces.

    Args:
        scored: The faces to score.
        known: The training data of the network.
        own_training: The training part of the data set that ``scored`` belongs to.
    """
    pixels = pixel_marks(scored)
    shared = np.isin(pixels, known.pixels)
    official = np.zeros_like(shared)
    if is_official(scored.name) and not np.array_equal(own_training.rows, scored.rows):
        official = shared & np.isin(pixels, pixel_marks(own_training))
    files = int(np.isin(file_marks(scored), known.files).sum())
    return Leak(int(shared.sum()), files, int(official.sum()), len(scored), known.start)


def check_parts(faces: FaceSet, known: Learned, what: str, *, allowed: bool) -> dict[str, Leak]:
    """The leaks of the validation and of the test rows, by split.

    Raises:
        DataError: ``what`` would be scored on rows that leak, and that is not ``allowed``.
    """
    training = faces.select("train")
    leaks = {split: find_leak(faces.select(split), known, training) for split in ("val", "test")}
    for split, leak in leaks.items():
        refuse_leak(leak, f"{what} {split}", allowed=allowed)
    return leaks


def write_leaks(leaks: Mapping[str, Leak], folder: Path) -> None:
    """Keep in a run folder that parts of its data set repeat training faces, where one does or may do."""
    if any(leak or leak.start for leak in leaks.values()):
        write_json(folder / LEAKS, {split: leak.to_dict() for split, leak in leaks.items()})


def is_official(name: str) -> bool:
    """Whether a data set, or the whole faces that its parts were cut from, came divided by its publisher."""
    whole, _, part = name.rpartition("-")
    return name in OFFICIAL or (whole in OFFICIAL and part in PARTS)


def refuse_leak(leak: Leak, what: str, *, allowed: bool) -> None:
    """Stop where a score would be worth nothing.

    Raises:
        DataError: there is a leak, and it is not allowed.
    """
    if leak and not allowed:
        raise DataError(
            f"{what}: {leak}; choose other rows (mien data split --keep-copies-together), "
            "or mark the result with --allow-leak"
        )
