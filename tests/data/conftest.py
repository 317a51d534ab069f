"""Small made-up face sets, and the real one where it is at hand."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.core.emotions import AFFECTNET8, FER2013, FERPLUS_VOTES
from mien.data.pixel_csv import USAGES
from mien.data.records import FaceSet


@pytest.fixture
def make_faces() -> Callable[..., FaceSet]:
    """``make_faces(n=12, votes=False, seed=0)``: noise images; splits and labels go round in turn."""

    def make(n: int = 12, *, votes: bool = False, seed: int = 0) -> FaceSet:
        rng = np.random.default_rng(seed)
        return FaceSet(
            images=rng.integers(0, 256, (n, 48, 48), np.uint8),
            labels=np.arange(n) % 7,
            split=(np.arange(n) % 3).astype(np.uint8),
            rows=np.arange(n) * 2,
            label_names=FER2013,
            name="made-up",
            votes=rng.integers(0, 11, (n, 10)).astype(np.uint8) if votes else None,
            vote_names=FERPLUS_VOTES if votes else None,
        )

    return make


@pytest.fixture
def affectnet(make_faces: Callable[..., FaceSet]) -> FaceSet:
    """Eight faces, one a label of AffectNet, of two persons."""
    return replace(
        make_faces(8, seed=1),
        labels=np.arange(8),
        label_names=AFFECTNET8,
        name="affectnet",
        persons=np.array([0, 1, -1, 0, 1, 0, 0, 0], np.int32),
        person_names=("a", "b"),
        valence_arousal=np.full((8, 2), 0.5, np.float32),
        file_sha256=np.full((8, 32), 9, np.uint8),
    )


@pytest.fixture(scope="session")
def real_rows(mien_data: Path, module_at: Any) -> tuple[list[dict[str, str]], np.ndarray]:
    """Label rows (as dicts) and images (35887, 48, 48) of FER2013, unpacked without the code under test."""
    return module_at(mien_data / "fer2013" / "expand.py").load()


@pytest.fixture(scope="session")
def real_faces(real_rows: tuple[list[dict[str, str]], np.ndarray]) -> FaceSet:
    """All of FER2013 with its votes."""
    rows, images = real_rows
    columns = list(rows[0])[-10:]
    return FaceSet(
        images=images,
        labels=np.array([int(row["emotion"]) for row in rows]),
        split=np.array([USAGES.index(row["Usage"]) for row in rows], np.uint8),
        rows=np.array([int(row["row"]) for row in rows]),
        label_names=FER2013,
        name="fer2013",
        votes=np.array([[int(row[name]) for name in columns] for row in rows], np.uint8),
        vote_names=FERPLUS_VOTES,
    )
