"""Every shipped recipe trains: on faces of its size, by its own losses and optimiser, the loss falls."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from mien.data.records import FaceSet
from mien.data.store import write_store
from mien.train.loop import Trainer
from mien.train.losses import LANDMARK_LOSSES
from mien.train.recipe import Recipe
from mien.train.recipe_reading import read_recipe, recipe_folder
from mien.workflows.train import make_trainer, train

pytestmark = pytest.mark.train

RECIPES = sorted(path.stem for path in recipe_folder().glob("*.toml"))
SMALL = ("run.batch_size=3", "run.epochs=40", "run.precision=fp32", "run.threads=1")
MOST_STEPS = 40
NAMES = ("angry", "happy", "neutral")


def bars(n: int = 3, size: int = 48) -> FaceSet:
    """Noise with a bright bar at the top, in the middle or at the bottom: one bar an emotion."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 3
    images = rng.integers(60, 120, (n, size, size), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[size // 3 * label : size // 3 * (label + 1)] += 60
    votes = np.zeros((n, 10), np.uint8)
    votes[np.arange(n), labels] = 10
    return FaceSet(
        images=images,
        labels=labels.astype(np.int64),
        split=np.zeros(n, np.uint8),
        rows=np.arange(n),
        label_names=NAMES,
        name="bars",
        votes=votes,
        vote_names=(*NAMES, *(f"v{i}" for i in range(3, 9)), "not-a-face"),
    )


BORROWED = ("net.options.pretrained=false", "net.options.size=32", "optim.name=adam", "optim.lr=1e-3")
"""A frozen network that nothing has trained gives features that the papers' rates do not fit."""


def small(name: str) -> Recipe:
    """The recipe for few faces; borrowed networks begin untrained, at the least size that they can take.

    A rate of plain gradient descent falls with the batch (Goyal et al. 2017, arXiv 1706.02677, section 2.1).
    """
    whole = read_recipe(name)
    fewer = 8 / whole.run.batch_size
    rates = {
        "sgd": f"optim.lr={whole.optim.lr * fewer}",
        "muon": f"optim.sgd_lr={whole.optim.sgd_lr * fewer}",
    }
    slower = [rates[whole.optim.name]] if whole.optim.name in rates else []
    borrowed = BORROWED if "pretrained" in whole.net.options else ()
    frozen = ["optim.lr=0.003", "net.options.head_dropout=0.0"] if name == "face-transfer-frozen" else []
    drawn = ["net.init_from=", *frozen] if whole.net.init_from else []  # no file, so no features
    labels_alone = ["distil.targets="] if whole.distil.targets else []  # the targets are of other faces
    return read_recipe(name, [*SMALL, *slower, *borrowed, *drawn, *labels_alone])


def batch_loss(trainer: Trainer) -> float:
    """Of the first batch, with the statistics of the batch and nothing dropped."""
    trainer.net.train()
    for module in trainer.net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.eval()
    with torch.no_grad():
        return float(trainer.forward(trainer.batches.at(0))[1])


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the teacher's recipe, one epoch long."""
    pytest.importorskip("h5py", reason="needs the train extra")
    folder = tmp_path_factory.mktemp("teacher")
    write_store(replace(bars(9), split=np.repeat([0, 1, 2], 3).astype(np.uint8)), folder / "bars.h5")
    store = f"data.store='{folder / 'bars.h5'}'"
    return train(read_recipe("cs231n-final", [*SMALL, "run.epochs=1", store]), folder / "run")


@pytest.mark.parametrize("name", RECIPES)
def test_the_loss_of_a_batch_falls(name: str, request: pytest.FixtureRequest) -> None:
    recipe = small(name)
    if recipe.distil.teachers:
        made = [str(request.getfixturevalue("teacher"))]
        recipe = recipe.model_copy(update={"distil": recipe.distil.model_copy(update={"teachers": made})})
    faces = bars()
    if recipe.loss.name in LANDMARK_LOSSES:
        points = np.random.default_rng(0).uniform(10, 38, (len(faces), 68, 2))
        faces = replace(faces, landmarks=points.astype(np.float32))
    trainer = make_trainer(recipe, faces, "cpu")
    trainer.prepare()
    before = batch_loss(trainer)
    for _ in range(MOST_STEPS):
        trainer.step()
        if batch_loss(trainer) < 0.99 * before:
            return
    pytest.fail(f"the loss was {before:.3f}, and is {batch_loss(trainer):.3f} after {MOST_STEPS} steps")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_in_its_first_line_how_it_is_run(name: str) -> None:
    text = (recipe_folder() / f"{name}.toml").read_text(encoding="utf-8")
    assert text.splitlines()[0] == f"# mien train {name}"
    assert read_recipe(name).summary
