"""``mien calibrate``: calibrate a model's probabilities on your own faces."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mien.cli.options import AllowLeak, DataFile, Views, out_option, prior_power_option
from mien.cli.progress import waiting
from mien.cli.release import echo_figures, echo_next, echo_written
from mien.core.model_store import folder_for, when_made
from mien.errors import needs_extra

EXAMPLES = """\b
Examples:
  mien calibrate fer2013-medium webcam.h5 --name webcam
  mien calibrate mine faces.h5 --name mine-too --views 2 --prior-power auto
  mien read photo.jpg --model webcam
"""

app = typer.Typer()


@app.command(epilog=EXAMPLES)
def calibrate(
    model: Annotated[str, typer.Argument(help="A model's name or .onnx file.", show_default=False)],
    data: DataFile,
    name: Annotated[str, typer.Option(help="Name of the new model.", show_default=False)],
    out: Annotated[Path | None, out_option("Folder for the model.", "where mien looks")] = None,
    views: Views = None,
    prior_power: Annotated[Any, prior_power_option("the model's")] = None,
    version: Annotated[str, typer.Option(help="Version for the new card.", show_default="the model's")] = "",
    allow_leak: AllowLeak = False,
) -> None:
    """Calibrate a model's probabilities and its uncertainty threshold on the validation set, score the
    test set, and write the same network with a new card."""
    with needs_extra("calibrating", "data"):
        from mien.workflows.recalibrate import RecalibrationSettings, recalibrate
    settings = RecalibrationSettings(views, prior_power, version, out, allow_leak)
    earlier = when_made(folder_for(name, out) / f"{name}.json")
    with waiting("calibrating, scoring: a minute or more"):
        weights, card = recalibrate(model, name, data, settings)
    echo_written(weights, earlier)
    echo_figures(card, data)
    echo_next(name if out is None else weights)
