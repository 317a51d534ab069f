"""What the input pipeline of `mien train` costs, and how it compares with torchvision and a DataLoader.

    python benchmarks/pipeline.py [fer2013.h5]

Without a data set, faces of noise are made. Everything is measured in turn within one run, and medians are
given, so that a neighbour's load touches all alike. Torch has one thread: where other programs hold the
cores, several wait for each other more than they compute.

1. The shipped recipe's network (bfloat16, batches of 128, 48 px) makes steps on one fixed batch, and steps of
   the real loop; the difference is the pipeline's.
2. The same augmentation, face by face, by torchvision's transforms in a DataLoader. A second of processor
   time, of all processes together, is the same on a busy machine; on that the verdict rests.
"""

import gc
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from mien.data.records import FaceSet
from mien.data.store import read_store
from mien.train.batches import TrainingBatches, training_rows
from mien.train.loop import Trainer
from mien.train.recipe import Recipe
from mien.train.recipe_reading import read_recipe

LEAST_SPEEDUP, LARGEST_SHARE = 5.0, 0.10
CHANGES = ["run.threads=1", "run.sizes=[[0.0,48]]", "augment.erase_from=0.0", "loss.votes_weight=0.0"]
MEAN_STD = (0.5077, 0.2551)
CPU = torch.device("cpu")
STEPS, ROUNDS, BATCHES = 31, 3, 20


def made_faces() -> FaceSet:
    """4,096 faces of noise, all of them to learn from."""
    n = 4096
    rng = np.random.default_rng(0)
    return FaceSet(
        images=rng.integers(0, 256, (n, 48, 48), dtype=np.uint8),
        labels=rng.integers(0, 7, n),
        split=np.zeros(n, np.uint8),
        rows=np.arange(n),
        label_names=tuple("abcdefg"),
        name="noise",
    )


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class FixedBatches(TrainingBatches):
    """Always the batch of step 0, made once."""

    def __init__(self, source: TrainingBatches) -> None:
        self.__dict__.update(source.__dict__)
        self.batch = source.at(0)

    def at(self, step: int):
        return self.batch


def share_of_the_step(trainer: Trainer) -> tuple[float, float, float]:
    """Median seconds of a step on a fixed batch, of one of the real loop, and of making a batch alone."""
    real, fixed = trainer.batches, FixedBatches(trainer.batches)
    times: dict[str, list[float]] = {"fixed": [], "real": [], "batch": []}
    for step in range(STEPS + 2):
        for name, batches in (("fixed", fixed), ("real", real)):
            trainer.batches = batches
            times[name].append(seconds(trainer.step))
        times["batch"].append(seconds(lambda step=step: real.at(step)))
    return tuple(statistics.median(t[2:]) for t in times.values())  # the first two warm up


class Faces(Dataset):
    """Each face by itself, as tutorials have it."""

    def __init__(self, faces: FaceSet, recipe: Recipe) -> None:
        change = recipe.augment
        self.images, self.labels = faces.images, faces.labels
        self.transform = transforms.Compose(
            [
                transforms.ToPILImage(),
                transforms.RandomHorizontalFlip(),
                transforms.RandomAffine(
                    change.rotation_deg,
                    (change.shift, change.shift),
                    (1 - change.zoom, 1 + change.zoom),
                    interpolation=transforms.InterpolationMode.BILINEAR,
                ),
                transforms.ColorJitter(brightness=change.brightness, contrast=change.contrast),
                transforms.ToTensor(),
                transforms.RandomErasing(change.erase, value="random"),
                transforms.Normalize(*((value,) for value in MEAN_STD)),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[i]), int(self.labels[i])


def processor_seconds() -> float:
    """Of this process, and of the workers that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def rates(pipeline: Callable[[], Iterator[object]], size: int) -> tuple[float, float]:
    """Faces a second by the clock, after the first batch, with which workers start; and of processor time."""
    used = processor_seconds()
    batches = pipeline()
    next(batches)
    start = time.perf_counter()
    n = size * sum(1 for _ in batches)
    passed = time.perf_counter() - start
    del batches
    gc.collect()  # ends the workers
    return n / passed, (n + size) / (processor_seconds() - used)


def speeds(faces: FaceSet, recipe: Recipe) -> dict[str, tuple[float, float]]:
    """Median `rates` of each pipeline."""
    size = recipe.run.batch_size
    some = faces.take(np.arange(min(len(faces), size * BATCHES)))
    resident, loaded = TrainingBatches(some, recipe, MEAN_STD, CPU), Faces(some, recipe)

    def loader(workers: int) -> Iterator[object]:
        return iter(DataLoader(loaded, size, shuffle=True, drop_last=True, num_workers=workers))

    pipelines: dict[str, Callable[[], Iterator[object]]] = {
        "resident": lambda: (resident.at(i) for i in range(resident.per_epoch)),
        "0 workers": lambda: loader(0),
        "2 workers": lambda: loader(2),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in pipelines}
    gc.collect()
    gc.freeze()  # what is here already must not be searched for garbage again in each measurement
    for _ in range(ROUNDS):
        for name, pipeline in pipelines.items():
            found[name].append(rates(pipeline, size))
    gc.unfreeze()
    return {name: tuple(map(statistics.median, zip(*pairs, strict=True))) for name, pairs in found.items()}


def verdict(holds: bool) -> str:
    return "holds" if holds else "MISSED"


def main(store: Path | None) -> bool:
    torch.set_num_threads(1)
    recipe = read_recipe("fer2013-s2d-cpu", CHANGES)
    faces = training_rows(read_store(store), recipe.data) if store else made_faces()
    print(f"{len(faces):,} faces of '{faces.name}', batches of {recipe.run.batch_size}, one thread")
    fixed, real, batch = share_of_the_step(Trainer(recipe, faces, MEAN_STD, CPU))
    share = real / fixed - 1
    print(f"step on a fixed batch  {1e3 * fixed:8.1f} ms")
    print(f"step of the real loop  {1e3 * real:8.1f} ms")
    print(f"a batch alone          {1e3 * batch:8.1f} ms = {batch / fixed:.1%} of the step")
    print(f"the pipeline costs     {share:8.1%}     limit 10%: {verdict(share <= LARGEST_SHARE)}")
    found = speeds(faces, recipe)
    print("faces a second            by the clock    of processor time")
    for name, (clock, processor) in found.items():
        print(f"{name:<22} {clock:15,.0f} {processor:20,.0f}")
    ratios = [found["resident"][i] / max(found[f"{n} workers"][i] for n in (0, 2)) for i in range(2)]
    holds = ratios[1] >= LEAST_SPEEDUP
    print(f"resident is            {ratios[0]:13.1f} x {ratios[1]:18.1f} x   limit 5 x: {verdict(holds)}")
    return share <= LARGEST_SHARE and holds


if __name__ == "__main__":
    sys.exit(0 if main(Path(sys.argv[1]) if sys.argv[1:] else None) else 1)
