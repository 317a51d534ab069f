"""``mien train``: from a recipe to a run folder."""

import json
import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.options import Data, Overrides, out_option
from mien.cli.training_bar import training_bar
from mien.core.own_code import is_own
from mien.errors import MienError, needs_extra

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mien.train.recipe import Recipe

EXAMPLES = """\b
Examples:
  mien train fer2013-s2d-cpu
  mien train fer2013-s2d-cpu --data faces.h5 --set run.epochs=5
  mien train my-recipe.toml --out runs/second-try --device cuda
  mien train my-recipe.toml --devices 2
  mien train my-recipe.toml --seeds 3

The same command continues a stopped run and reaches the same weights.
"""

app = typer.Typer()


@app.command(epilog=EXAMPLES)
def train(
    recipe: Annotated[
        str, typer.Argument(help="Name of a shipped recipe, or a .toml file.", show_default=False)
    ],
    out: Annotated[Path | None, out_option("Run folder.", "runs/RECIPE")] = None,
    data: Data = None,
    overrides: Overrides = None,
    allow_leak: Annotated[
        bool, typer.Option("--allow-leak", help="Train even if val or test repeats training faces.")
    ] = False,
    devices: Annotated[
        str,
        typer.Option(
            "--devices",
            "--device",
            help="One: cpu, cuda, cuda:1; or several: a number, cuda:0,cuda:1, or auto for all GPUs.",
        ),
    ] = "cpu",
    seeds: Annotated[
        int, typer.Option(min=1, help="Number of runs, each with its own seed, in RUN-seed-N.")
    ] = 1,
    nodes: Annotated[
        int, typer.Option(min=1, help="Number of machines, each with these devices; torchrun sets it.")
    ] = 1,
) -> None:
    """Train a network from a recipe, and keep the run in one folder."""
    with needs_extra("training"):
        from mien.train.parallel import start
        from mien.train.recipe_reading import read_recipe
        from mien.workflows.train import train as run_training
    changes = [*(overrides or []), *([f"data.store={json.dumps(str(data))}"] if data else [])]
    settings = read_recipe(recipe, changes, files=True)
    folder = out or Path("runs") / Path(recipe).stem
    runs = {folder: settings}
    if seeds > 1:
        if not folder.name.strip("."):
            raise MienError(f"the runs of several seeds need a name before -seed-N; --out is '{folder}'")
        drawn = range(settings.run.seed, settings.run.seed + seeds)
        runs = {
            folder.with_name(f"{folder.name}-seed-{seed}"): read_recipe(
                recipe, [*changes, f"run.seed={seed}"]
            )
            for seed in drawn
        }
    with start(devices, nodes) as workers, training_bar(quiet=not workers.leads) as show:
        for note in _left_undone(settings, workers.device):
            typer.echo(note, err=True)
        for place, one in runs.items():
            run_training(
                one,
                place,
                device=workers.device,
                allow_leak=allow_leak,
                workers=workers,
                report=partial(show, name=place.name if seeds > 1 else ""),
            )
    if not workers.leads:
        return
    name = settings.net.name
    allowing = f" --allow-code {shlex.quote(name)}" if is_own(name) else ""
    for place in runs:
        run, store = shlex.quote(str(place)), shlex.quote(str(settings.data.store))
        evaluate = f"mien{allowing} evaluate {run} {store} --split val --out {run}"
        has_validation = (place / "predictions-val.csv").is_file()
        typer.echo(f"wrote {place}" + (f"; next: {evaluate}" if has_validation else ""))
    if seeds > 1:
        typer.echo(f"then, for the mean and deviation over seeds: mien report {shlex.join(map(str, runs))}")


def _left_undone(recipe: "Recipe", device: str) -> "Iterator[str]":
    """What a recipe asks for that this machine or the data set cannot give, and the run does without."""
    from mien.data.splits import split_command
    from mien.data.store import read_info
    from mien.train.devices import computed_precision, pick_device
    from mien.train.recipe_reading import choices_by_validation

    wanted = recipe.run.precision
    if computed_precision(pick_device(device), wanted) != wanted:
        yield "run.precision=bf16: this CPU has no bf16 arithmetic, so fp32 is faster and used"
    store, weight = recipe.data.store, recipe.loss.votes_weight
    info = read_info(store)
    if not any(info.counts[1]) and not choices_by_validation(recipe):
        command = split_command("val", sum(info.counts[2]))
        yield f"{store} has no validation rows, so nothing is validated; `{command}` makes some"
    if weight and "votes" not in info.optional:
        yield f"loss.votes_weight={weight:g}: {store} has no votes of raters, so labels alone are learned"
