"""Generated faces that a small network can learn, and a recipe that runs in seconds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra")

from mien.data.records import FaceSet
from mien.train.recipe import Recipe
from mien.train.recipe_reading import check_recipe

NAMES = ("angry", "happy", "neutral")


def make_faces(n: int = 240, size: int = 16, seed: int = 0) -> FaceSet:
    """Noise with a bright bar at the top, in the middle or at the bottom: one bar an emotion."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    images = rng.integers(60, 120, (n, size, size), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        start = int(label) * size // 3
        image[start : start + size // 3] += 60
    votes = np.zeros((n, 10), np.uint8)
    votes[np.arange(n), labels] = 7
    votes[:, 8] = 3
    return FaceSet(
        images=images,
        labels=labels.astype(np.int64),
        split=np.repeat([0, 1, 2], [n - 2 * (n // 4), n // 4, n // 4]).astype(np.uint8),
        rows=np.arange(n, dtype=np.int64),
        label_names=NAMES,
        name="bars",
        votes=votes,
        vote_names=(*(f"v{i}" for i in range(9)), "not-a-face"),
    )


@pytest.fixture
def faces() -> FaceSet:
    return make_faces()


def small_table(store: Path | str = "faces.h5") -> dict[str, Any]:
    return {
        "data": {"store": str(store)},
        "net": {"name": "s2d-resnet", "options": {"widths": [8, 16], "blocks": [1, 1], "dropout": 0.1}},
        "augment": {"rotation_deg": 5, "shift": 0.05, "erase": 0.2, "calm_from": 0.8},
        "loss": {"label_smoothing": 0.1, "votes_weight": 0.2},
        "optim": {"lr": 0.05, "weight_decay": 1e-4, "warmup": 0.2},
        "run": {
            "epochs": 4,
            "batch_size": 16,
            "sizes": [[0.0, 12], [0.5, 16]],
            "ema": 0.9,
            "checkpoint_every_s": 0,
            "threads": 1,
        },
    }


@pytest.fixture
def recipe() -> Recipe:
    return check_recipe(small_table())


@pytest.fixture
def recipe_table() -> dict[str, Any]:
    return small_table()


@pytest.fixture
def stored(tmp_path: Path, faces: FaceSet) -> Path:
    """The generated faces as a data set file."""
    pytest.importorskip("h5py", reason="needs the train extra")
    from mien.data.store import write_store

    write_store(faces, tmp_path / "faces.h5")
    return tmp_path / "faces.h5"
