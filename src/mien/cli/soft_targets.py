"""``mien targets``: from recipes to a file that later runs learn from."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.options import Data, Device, Overrides, out_option
from mien.cli.training_bar import training_bar
from mien.errors import MienError, needs_extra

if TYPE_CHECKING:
    from mien.workflows.soft_targets import FoldProgress

EXAMPLES = """\b
Examples:
  mien targets my-teacher.toml --data fer2013.h5 --out targets.safetensors
  mien train my-student.toml --set distil.targets=targets.safetensors

Every recipe is trained once a fold, on all faces but the fold's, and predicts these.
Copies of a face lie in one fold. The same command again continues a stopped run.
"""

app = typer.Typer()


@app.command("targets", epilog=EXAMPLES)
def soft_targets(
    recipes: Annotated[
        list[str],
        typer.Argument(help="Teachers: names of recipes, or .toml files.", show_default=False),
    ],
    data: Data = None,
    out: Annotated[Path, out_option("The file to write.", True)] = Path("soft-targets.safetensors"),
    runs: Annotated[Path, typer.Option(help="Folder for the runs of the folds.")] = Path("runs"),
    folds: Annotated[int, typer.Option(min=2, help="Parts of the training faces.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the folds.")] = 0,
    overrides: Overrides = None,
    device: Device = "cpu",
) -> None:
    """Write soft targets: what networks trained on the other folds predict for each training face."""
    with needs_extra("training"):
        from mien.train.recipe_reading import read_recipe
        from mien.workflows.soft_targets import FoldSettings, make_soft_targets
    changes = [*(overrides or []), *([f"data.store={json.dumps(str(data))}"] if data else [])]
    names = [Path(recipe).stem for recipe in recipes]
    if len(set(names)) < len(names):
        raise MienError(f"recipes must have different names, for their runs do: {', '.join(names)}")
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
    for one in scores:
        typer.echo(f"{one.name:<24} out of fold: accuracy {one.accuracy:.2%}, NLL {one.nll:.3f}")
    typer.echo(f"wrote {out}; next: mien train RECIPE --set {shlex.quote(f'distil.targets={out}')}")
