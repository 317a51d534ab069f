"""``mien targets``: from recipes or trained models to a file that later runs learn from."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.options import Data, Device, Overrides, out_option
from mien.cli.progress import progress_bar
from mien.cli.training_bar import training_bar
from mien.errors import MienError, needs_extra

if TYPE_CHECKING:
    from mien.workflows.soft_targets import FoldProgress, TeacherScore

EXAMPLES = """\b
Examples:
  mien targets my-teacher.toml --data fer2013.h5 --out targets.safetensors
  mien train my-student.toml --set distil.targets=targets.safetensors
  mien targets --trained runs/a runs/b --data fer2013.h5 -o t.safetensors

For each fold, every recipe is trained on the other folds and predicts this fold.
Copies of a face are in one fold. The same command continues a stopped run.
With --trained, nothing is trained: the models predict the training faces, which they may know.
"""

app = typer.Typer()


@app.command("targets", epilog=EXAMPLES)
def soft_targets(
    recipes: Annotated[
        list[str],
        typer.Argument(
            help="Teachers: recipe names or .toml files; with --trained, run folders or models.",
            show_default=False,
        ),
    ],
    data: Data = None,
    out: Annotated[Path, out_option("File to write.", True)] = Path("soft-targets.safetensors"),
    runs: Annotated[Path, typer.Option(help="Folder for the runs of the folds.")] = Path("runs"),
    folds: Annotated[int, typer.Option(min=2, help="Number of parts of the training set.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the folds.")] = 0,
    overrides: Overrides = None,
    device: Device = "cpu",
    trained: Annotated[
        bool, typer.Option("--trained", help="Write the mean prediction of trained models instead.")
    ] = False,
) -> None:
    """Write soft targets: predictions for each training face by networks trained on other folds."""
    with needs_extra("training"):
        from mien.train.recipe_reading import read_recipe
        from mien.workflows.soft_targets import FoldSettings, make_soft_targets
    if trained:
        if data is None or overrides:
            raise MienError("--trained needs --data and takes no --set: nothing is trained")
        _predict(recipes, data, out, device)
        return
    changes = [*(overrides or []), *([f"data.store={json.dumps(str(data))}"] if data else [])]
    names = [Path(recipe).stem for recipe in recipes]
    if len(set(names)) < len(names):
        raise MienError(f"recipes must have different names, because they name the runs: {', '.join(names)}")
    read = {
        name: read_recipe(recipe, changes, files=True) for name, recipe in zip(names, recipes, strict=True)
    }
    stores = sorted({one.data.store for one in read.values()})
    if len(stores) > 1:
        raise MienError(f"recipes name different data sets, {', '.join(stores)}; give one with --data")
    with training_bar() as show:

        def report(at: "FoldProgress") -> None:
            if at.at:
                show(at.at, f"{at.name} ({at.run} of {at.runs})")

        scores = make_soft_targets(
            read, Path(stores[0]), out, FoldSettings(runs, folds, seed, device), report
        )
    _tell(scores, "out of fold", out)


def _predict(models: list[str], data: Path, out: Path, device: str) -> None:
    from mien.workflows.soft_targets import predict_soft_targets

    with progress_bar("description", "bar", "count", "left") as progress:
        bar = progress.add_task("predictions", total=None)
        scores = predict_soft_targets(
            models, data, out, device, lambda done, of: progress.update(bar, completed=done, total=of)
        )
    _tell(scores, "on training faces", out)


def _tell(scores: "list[TeacherScore]", where: str, out: Path) -> None:
    for one in scores:
        typer.echo(f"{one.name:<24} {where}: accuracy {one.accuracy:.2%}, NLL {one.nll:.3f}")
    typer.echo(f"wrote {out}; next: mien train RECIPE --set {shlex.quote(f'distil.targets={out}')}")
