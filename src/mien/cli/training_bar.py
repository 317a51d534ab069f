"""Progress of training: a bar, and a line for each validation."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from mien.cli.progress import progress_bar

if TYPE_CHECKING:
    from mien.workflows.train import TrainProgress


class Report(Protocol):
    """Show where a run is; ``name`` says which of several runs."""

    def __call__(self, at: "TrainProgress", name: str = "") -> None: ...


@contextmanager
def training_bar(quiet: bool = False) -> Iterator[Report]:
    """One bar on stderr with step, rate, loss and time left; gives the function that moves it.

    It begins anew with each run, and behind the work before a run's first step.
    """
    with progress_bar("description", "bar", "count", "rate", "left", quiet=quiet) as progress:
        bar = progress.add_task("starting", total=None, rate="")
        shown = ("", "")

        def report(at: "TrainProgress", name: str = "") -> None:
            nonlocal bar, shown
            if shown != (name, at.preparing):
                progress.remove_task(bar)
                bar, shown = progress.add_task("starting", total=None, rate=""), (name, at.preparing)
            what = at.preparing or f"epoch {at.epoch:.1f}"
            rate = f"{at.images_per_s:,.0f} faces/s  loss {at.loss:.2f}" if at.step < at.steps else "scoring"
            progress.update(
                bar,
                description=f"{name} {what}".lstrip(),
                completed=at.step,
                total=at.steps,
                rate="" if at.preparing else rate,
            )
            if at.validation:
                progress.console.print(f"{name} {line_of(at.validation)}".lstrip())

        yield report


def line_of(found: dict[str, float]) -> str:
    """A validation as one line."""
    text = f"epoch {found['epoch']:5.1f}  loss {found['train_loss']:.3f}"
    for key, name in MEASURED.items():
        text += f"  {name} {found[key]:.1%}" if key in found else ""
    return text


MEASURED = {
    "train_accuracy": "train",
    "val_accuracy": "validation",
    "val_failures": "failed validation faces",
}
"""Shares that a validation may have, and what they are called."""
