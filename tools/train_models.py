"""Train every shipped network in the order that pays most: what a later run learns from comes first.

    python tools/train_models.py --data fer2013.h5 --ferplus ferplus.h5 --init dlib-face.safetensors
    python tools/train_models.py ... --device cuda          # batches of 512
    python tools/train_models.py ... --epochs 2 --out /tmp/check   # proves the whole series in minutes

The stages, each of them one `mien` command: `rates` (faces a second of four networks), `targets` (the folds,
and the file of soft targets at once), `votes` and `mixup` (the teachers of the default network), `nano` (by
the first of them), `medium` (by all three), `ferplus` and `ferplus-average` (three runs that go on from it,
and the mean of their weights), `members` (other networks, seeds), `ensemble` (their votes on PublicTest).
Stopped, the same line goes on: every command does. PrivateTest stays closed.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from mien.data.store import read_store
from mien.train.batches import training_rows
from mien.train.devices import pick_device
from mien.train.loop import Trainer
from mien.train.recipe_reading import read_recipe

TIMED = ("fer2013-teacher", "fer2013-nano", "fer2013-medium-votes", "face-transfer-finetuned")
MEMBERS = {
    "s2d12": ("fer2013-s2d-cpu", ["run.epochs=70", "run.seed=1"]),
    "s2d-vgg": ("fer2013-s2d-cpu", ["net.name=s2d-vgg", "net.options={dropout=0.2}", "run.epochs=70"]),
    "face": ("face-transfer-finetuned", ["run.epochs=30"]),
}
"""Members of the ensemble beside the shipped networks: recipe, and what is changed."""
TIMED_S = 8.0


@dataclass(frozen=True)
class Plan:
    """What the command line says."""

    data: Path
    ferplus: Path | None
    init: Path
    to: Path
    device: str
    epochs: int | None

    @property
    def targets(self) -> Path:
        return self.to / "soft-targets.safetensors"

    def changes(self, recipe: str, *more: str) -> list[str]:
        """``key=value`` for a recipe on this device, with these files."""
        read = read_recipe(recipe, more)
        found = [*more]
        if read.net.init_from and not any(change.startswith("net.init_from=") for change in more):
            found.append(f"net.init_from={self.init}")
        if self.device != "cpu":
            rate = read.optim.lr * (4 if read.optim.name == "sgd" else 2)
            found += ["run.batch_size=512", f"optim.lr={rate}", "run.threads=0"]
        return found + ([f"run.epochs={self.epochs}"] if self.epochs else [])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("fer2013.h5"))
    parser.add_argument("--ferplus", type=Path, help="of `mien data import ferplus --scheme probability`")
    parser.add_argument("--init", type=Path, default=Path("dlib-face.safetensors"))
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--epochs", type=int, help="of every run, for a trial")
    parser.add_argument("--only", nargs="*", choices=sorted(STAGES), default=list(STAGES))
    args = parser.parse_args()
    plan = Plan(args.data, args.ferplus, args.init, args.out, args.device, args.epochs)
    plan.to.mkdir(parents=True, exist_ok=True)
    for stage in STAGES:
        if stage in args.only:
            begun = time.monotonic()
            STAGES[stage](plan)
            print(f"{stage}: {time.monotonic() - begun:.0f} s", flush=True)


def mien(*words: str | Path) -> None:
    """Run a command of mien, and stop where it fails."""
    subprocess.run([sys.executable, "-m", "mien", *map(str, words)], check=True)


def sets(changes: list[str]) -> Iterator[str]:
    for change in changes:
        yield "--set"
        yield change


def train(plan: Plan, recipe: str, run: str, data: Path, *changes: str) -> None:
    mien(
        *("train", recipe, "--out", plan.to / run, "--data", data, "--devices", plan.device),
        *sets(plan.changes(recipe, *changes)),
    )


def rates(plan: Plan) -> None:
    """Print how many faces a second four networks learn from, on the device, and what an epoch takes."""
    faces = read_store(plan.data)
    for name in TIMED:
        recipe = read_recipe(name, [*plan.changes(name), "distil.targets="])
        trainer = Trainer(recipe, training_rows(faces, recipe.data), (0.5, 0.25), pick_device(plan.device))
        for _ in range(2):
            float(trainer.step())
        begun, steps = time.monotonic(), 0
        while time.monotonic() - begun < TIMED_S:
            trainer.step()
            steps += 1
        if plan.device != "cpu":
            torch.cuda.synchronize()
        rate = steps * trainer.batches.batch_size / (time.monotonic() - begun)
        print(f"{name:<26} {rate:8,.0f} faces/s  {len(faces) * 0.8 / rate:6.1f} s an epoch", flush=True)


def targets(plan: Plan) -> None:
    changes = sets(plan.changes("fer2013-teacher"))
    mien(
        *("targets", "fer2013-teacher", "--data", plan.data, "--out", plan.targets),
        *("--runs", plan.to, "--device", plan.device, *changes),
    )


def taught(recipe: str) -> Callable[[Plan], None]:
    """The stage that trains a recipe: by its teachers' runs in this folder, or by soft targets.

    These are the targets that the stage before wrote, or the shipped ones.
    """

    def stage(plan: Plan) -> None:
        own = []
        if teachers := read_recipe(recipe, []).distil.teachers:
            own.append(f"distil.teachers={[str(plan.to / Path(name).name) for name in teachers]}")
        elif plan.targets.is_file():
            own.append(f"distil.targets={plan.targets}")
        train(plan, recipe, recipe, plan.data, *own)

    return stage


def ferplus(plan: Plan) -> None:
    if plan.ferplus:
        start = f"net.init_from={plan.to / 'fer2013-medium'}"
        train(plan, "ferplus", "ferplus", plan.ferplus, start)
    else:
        print("no --ferplus: left out")


def ferplus_average(plan: Plan) -> None:
    """What is shipped as `ferplus`: the mean of three runs that go on from the first, which teaches them."""
    start = plan.to / "ferplus"
    if not plan.ferplus:
        print("no --ferplus: left out")
        return
    runs = [plan.to / f"ferplus-seed-{seed}" for seed in (1, 2, 3)]
    teacher = f"distil.teachers={[str(start)]}"
    changes = [f"net.init_from={start}", teacher, "distil.alpha=0.5", "optim.lr=0.01", "run.epochs=8"]
    for seed, run in enumerate(runs, start=1):
        train(plan, "ferplus", run.name, plan.ferplus, *changes, f"run.seed={seed}")
    mien("average", *runs, "--data", plan.ferplus, "--out", plan.to / "ferplus-average")


def members(plan: Plan) -> None:
    for name, (recipe, changes) in MEMBERS.items():
        train(plan, recipe, f"member-{name}", plan.data, *changes)


def ensemble(plan: Plan) -> None:
    runs = [plan.to / "fer2013-medium", *(plan.to / f"member-{name}" for name in MEMBERS)]
    mien("ensemble", *runs, "--data", plan.data, "--split", "val", "--out", plan.to / "ensemble")


STAGES: dict[str, Callable[[Plan], None]] = {
    "rates": rates,
    "targets": targets,
    "votes": taught("fer2013-medium-votes"),
    "mixup": taught("fer2013-medium-mixup"),
    "nano": taught("fer2013-nano"),
    "medium": taught("fer2013-medium"),
    "ferplus": ferplus,
    "ferplus-average": ferplus_average,
    "members": members,
    "ensemble": ensemble,
}


if __name__ == "__main__":
    main()
