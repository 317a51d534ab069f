"""A run as it goes: which look is kept, when it ends, and what it saves."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: PLC2701  (documented, though its module is private)

from mien.data.records import FaceSet
from mien.errors import MienError, RecipeError
from mien.train.loop import Trainer, best_look, scored_size
from mien.train.parallel import Workers
from mien.train.recipe_reading import check_recipe

pytestmark = pytest.mark.train
CPU = torch.device("cpu")


def trainer(faces: FaceSet, table: dict[str, Any], **run: object) -> Trainer:
    changed = table | {"run": table["run"] | run}
    return Trainer(check_recipe(changed), faces.select("train"), (0.5, 0.2), CPU)


def looks(t: Trainer, accuracies: list[float]) -> None:
    """Look once for each figure, as if it had been measured, with other weights each time."""
    for n, accuracy in enumerate(accuracies):
        with torch.no_grad():
            t.net.head.bias.fill_(n)
        t.validate(Answers(t, accuracy))  # type: ignore[arg-type]


class Answers:
    """Validation rows of which the network will get a given share right."""

    def __init__(self, t: Trainer, accuracy: float, n: int = 20) -> None:
        rng = np.random.default_rng(0)
        self.images = rng.integers(0, 255, (n, 16, 16), dtype=np.uint8)
        self.labels = t.logits(self.images, t.current_weights()).argmax(1)
        wrong = round(n * (1 - accuracy))
        self.labels[:wrong] = (self.labels[:wrong] + 1) % 3

    def __len__(self) -> int:
        return len(self.images)


def test_the_best_look_is_kept_where_the_recipe_says_so(faces: FaceSet, recipe_table: dict[str, Any]) -> None:
    for keep, bias in (("best", 1.0), ("last", 3.0)):
        t = trainer(faces, recipe_table, keep=keep, ema=0)
        looks(t, [0.2, 0.9, 0.9, 0.5])
        assert t.weights()["head.bias"].tolist() == [bias] * 3, keep


def test_one_face_a_batch_is_refused_where_batch_normalisation_needs_two(
    faces: FaceSet, recipe_table: dict[str, Any]
) -> None:
    before = trainer(faces, recipe_table)
    t = trainer(faces, recipe_table, batch_size=1)  # its normalisation sees several places of the face
    for name, tensor in before.net.state_dict().items():
        assert torch.equal(t.net.state_dict()[name], tensor), name
    t.step()
    table = recipe_table | {"net": {"name": "dlib-face-resnet"}, "loss": {}}
    table["run"] |= {"sizes": [[0.0, 48]]}
    with pytest.raises(RecipeError, match=r"needs 2 faces .*, and a batch has 1: set run.batch_size=2 or"):
        trainer(faces, table, batch_size=1)
    rows, run = faces.select("train"), check_recipe(table)
    with pytest.raises(RecipeError, match=r"a process has 1: set run.batch_size=32 or more"):
        Trainer(run, rows, (0.5, 0.2), CPU, workers=Workers(0, 16, 16))


def test_a_run_ends_after_so_many_looks_without_a_better_one(
    faces: FaceSet, recipe_table: dict[str, Any]
) -> None:
    t = trainer(faces, recipe_table, stop_after=2)
    looks(t, [0.2, 0.6, 0.5])
    assert not t.done
    looks(t, [0.6])
    assert t.done
    assert not trainer(faces, recipe_table, stop_after=2).done


@pytest.mark.parametrize(("watch", "best"), [("val_accuracy", 1), ("val_loss", 2)], ids=["accuracy", "loss"])
def test_the_first_of_equals_is_best(watch: str, best: int) -> None:
    history = [
        {"val_accuracy": a, "val_loss": b} for a, b in ((0.3, 1.5), (0.5, 1.4), (0.5, 1.1), (0.4, 1.1))
    ]
    assert best_look(history, watch) == best
    assert best_look([{"epoch": 1.0}, {"epoch": 2.0}], watch) == 1


def test_a_restored_run_keeps_its_best_weights_and_its_time(
    faces: FaceSet, recipe_table: dict[str, Any]
) -> None:
    first = trainer(faces, recipe_table, keep="best")
    first.step()
    looks(first, [0.8, 0.1])
    first.seconds = 12.5
    second = trainer(faces, recipe_table, keep="best")
    second.restore(first.tensors(), first.note())
    assert second.seconds == 12.5
    assert all(torch.equal(second.weights()[name], t) for name, t in first.weights().items())


def test_a_loss_that_is_not_a_number_ends_the_run_with_advice(
    faces: FaceSet, recipe_table: dict[str, Any]
) -> None:
    t = trainer(faces, recipe_table)
    with torch.no_grad():
        t.net.head.bias.fill_(float("nan"))
    with pytest.raises(MienError, match=r"the loss is nan at step 1: lower optim\.lr"):
        t.step()


def test_a_size_that_no_step_reaches_is_refused(faces: FaceSet, recipe_table: dict[str, Any]) -> None:
    t = trainer(faces, recipe_table, sizes=[[0.0, 12], [0.96, 16]])
    assert (t.batches.steps, t.batches.size(t.batches.steps - 1)) == (28, 16)
    with pytest.raises(
        RecipeError, match=r"run.sizes: 16 px start at 0.97 .* the last of 28 steps lies at 0.9643"
    ):
        trainer(faces, recipe_table, sizes=[[0.0, 12], [0.97, 16]])


def test_the_last_size_is_the_one_that_is_scored(recipe_table: dict[str, Any]) -> None:
    assert scored_size(check_recipe(recipe_table)) == 16


class Waits(TorchDispatchMode):
    """Counts the operations that bring a value from the device to the host."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function)
        self.count += "_local_scalar_dense" in name or "nonzero" in name
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("flip", ["alternate", "random", "none"])
def test_a_step_waits_for_no_value_of_the_device(recipe_table, faces, flip, monkeypatch) -> None:
    changes = {"flip": flip, "low_resolution": 0.5, "noise": 0.5, "mask": 0.5, "hide": 0.5, "mixup": 0.4}
    recipe_table["augment"] |= changes | {"erase": 0.5, "erase_from": 0.0, "calm_from": 1.0}
    recipe_table["optim"] |= {"name": "muon"}
    trainer = Trainer(check_recipe(recipe_table), faces.select("train"), (0.5, 0.2), CPU)
    monkeypatch.setattr(trainer, "_check", lambda _: None)  # on a GPU every fiftieth step
    trainer.step()
    with Waits() as waits:
        trainer.step()
    assert waits.count == 0
    with Waits() as waits:
        float(trainer.step())
    assert waits.count == 1
