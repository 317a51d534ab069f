"""Landmarks as a target: moved with the face, learned, and scored."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from mien.core.landmarks import MIRRORED
from mien.data.records import FaceSet
from mien.data.store import write_store
from mien.errors import ModelError, RecipeError
from mien.train.augment import affine, move_points, resample
from mien.train.landmark_net import LandmarkNet
from mien.train.losses import LANDMARK_LOSSES, WING_CURVE, WING_WIDTH
from mien.train.recipe import AugmentSettings
from mien.train.recipe_reading import check_recipe
from mien.train.targets import make_target, points_of
from mien.train.trained_net import load_trained
from mien.workflows.average import average
from mien.workflows.evaluate import evaluate
from mien.workflows.train import train

CPU = torch.device("cpu")
RECIPE = {
    "loss": {"name": "wing"},
    "net": {"name": "landmark-net", "options": {"widths": [8, 8], "blocks": [1, 1, 1]}},
    "augment": {"rotation_deg": 20, "zoom": 0.1, "shift": 0.05},
    "optim": {"name": "adamw", "lr": 0.01},
    "run": {"epochs": 30, "batch_size": 16, "sizes": [[0, 32]], "evaluate_every": 10},
}


def five_dots(n: int = 96, size: int = 32, seed: int = 0) -> FaceSet:
    """Dark faces with a spot of another gray at each of five points that move from face to face."""
    rng = np.random.default_rng(seed)
    mean = np.array([(0.3, 0.35), (0.7, 0.35), (0.5, 0.55), (0.35, 0.75), (0.65, 0.75)]) * size
    points = mean + rng.uniform(-3, 3, (n, 1, 2)) + rng.uniform(-1, 1, (n, 5, 2))
    images = np.full((n, size, size), 20, np.uint8)
    for image, five in zip(images, points, strict=True):
        for gray, (x, y) in zip((250, 210, 170, 130, 90), five, strict=True):
            image[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2] = gray
    return FaceSet(
        images=images,
        labels=np.zeros(n, np.int64),
        split=(np.arange(n) % 4 == 0).astype(np.uint8),
        rows=np.arange(n),
        label_names=("face",),
        name="dots",
        landmarks=points.astype(np.float32),
    )


def test_points_go_where_the_pixels_go() -> None:
    faces = five_dots(24, size=64)
    settings = AugmentSettings(rotation_deg=40, zoom=0.2, shift=0.1)
    flips = torch.arange(24) % 2 == 0
    matrices = affine(flips, settings, torch.Generator().manual_seed(1))
    images = torch.from_numpy(faces.images)[:, None].float()
    moved = resample(images, matrices, 64)[:, 0]
    points = torch.from_numpy(faces.landmarks / 64 - 0.5).float()
    placed = ((move_points(points, flips, matrices) + 0.5) * 64).numpy()
    for image, five, flipped in zip(moved.numpy(), placed, flips.tolist(), strict=True):
        names = MIRRORED[5] if flipped else range(5)
        for (x, y), i in zip(five, names, strict=True):
            if 2 < x < 62 and 2 < y < 62:
                assert abs(image[int(y), int(x)] - (250, 210, 170, 130, 90)[i]) < 60


def test_the_wing_loss_is_steep_near_zero_continuous_and_linear_far_off() -> None:
    errors = torch.tensor([0.0, WING_WIDTH - 1e-7, WING_WIDTH + 1e-7, 1.0, 2.0])
    got = LANDMARK_LOSSES["wing"](errors)
    assert got[0] == 0
    assert float(got[1]) == pytest.approx(WING_WIDTH * math.log1p(WING_WIDTH / WING_CURVE), rel=1e-4)
    assert float(got[2] - got[1]) == pytest.approx(0, abs=1e-6)
    assert float(got[4] - got[3]) == pytest.approx(1)
    assert torch.equal(LANDMARK_LOSSES["wing"](-errors), got)


def test_unknown_points_do_not_count() -> None:
    faces = five_dots(8)
    batch = type("B", (), {"points": torch.zeros(1, 5, 2)})
    batch.points[0, 1] = torch.nan
    outputs = torch.zeros(1, 10)
    outputs[0, 2:4] = 100.0  # the unknown one
    loss = make_target(faces, check_recipe(RECIPE), CPU).loss(outputs, batch)
    assert float(loss) == 0


def test_a_heat_map_with_one_peak_is_read_at_its_cell() -> None:
    net = LandmarkNet(10, widths=(8, 8), blocks=(1, 1, 1)).eval()
    outputs = net(torch.zeros(2, 1, 32, 32))
    assert outputs.shape == (2, 10)
    assert outputs.abs().max() < 0.6
    with pytest.raises(RecipeError, match="pairs"):
        LandmarkNet(3)


def test_landmarks_are_learned_scored_and_read_back(tmp_path) -> None:
    faces = five_dots(160)
    write_store(faces, tmp_path / "dots.h5")
    recipe = check_recipe(RECIPE | {"data": {"store": str(tmp_path / "dots.h5")}})
    run = train(recipe, tmp_path / "run", allow_leak=True)
    history = (tmp_path / "run" / "history.json").read_text()
    assert "val_failures" in history
    assert "accuracy" not in history
    assert not (run / "predictions-val.csv").exists()
    with pytest.raises(ModelError, match="run was trained on landmarks, not emotions; give a run trained on"):
        average([run, tmp_path / "another"], tmp_path / "average")
    with pytest.raises(ModelError, match="run was trained on landmarks"):
        evaluate(str(run), tmp_path / "dots.h5")
    net = load_trained(run, CPU, landmarks=True)
    assert net.labels == ("x0", "y0", "x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4")
    val = faces.select("val")
    points = points_of(net.logits(val.images), 32)
    errors = np.linalg.norm(points - val.landmarks, axis=2).mean()
    constant = np.linalg.norm(faces.select("train").landmarks.mean(0) - val.landmarks, axis=2).mean()
    assert errors < 0.6 * constant, "better than the mean face"


def test_a_data_set_without_landmarks_is_refused() -> None:
    with pytest.raises(RecipeError, match="'dots' has no 68 or 5 landmarks"):
        make_target(replace(five_dots(4), landmarks=None), check_recipe(RECIPE), CPU)
