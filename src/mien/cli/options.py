"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mien.errors import MienError


def views_option(default: str | bool) -> Any:
    """``--views``, and what it says of its default."""
    return typer.Option(
        metavar="N|auto",
        help="Test-time augmentation: number of views to average, 1, 2, 5, 10, 12 or 18; auto uses more "
        "for uncertain faces.",
        show_default=default,
        parser=lambda text: int(text) if text.isdecimal() else text,  # the model checks it
    )


def prior_power_option(default: str | bool) -> Any:
    """``--prior-power``, and what it says of its default."""
    return typer.Option(
        metavar="0-2|auto",
        help="How much of the training set's prior to remove; auto chooses on the validation set.",
        show_default=default,
        parser=_power,
    )


def _power(text: str) -> float | str:
    from mien.core.cards import MOST_POWER

    if text == "auto":
        return text
    try:
        power = float(text)
    except ValueError:
        power = -1
    if not 0 <= power <= MOST_POWER:
        raise MienError(f"--prior-power must lie in 0..{MOST_POWER}, or be auto, got '{text}'")
    return power


def ray_option(before: str, after: str = "") -> Any:
    """``--ray``: what is done on the cluster, and what else is to be said."""
    cluster = "on a Ray cluster: auto for this machine's cluster, local to start one here, or HOST:6379."
    return typer.Option(metavar="ADDRESS", help=f"{before} {cluster} {after}".rstrip())


FER2013_SPLITS = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}


def split_option(text: str, default: str | bool = True) -> Any:
    """``--split``, which takes FER2013's own names too: what it says, and what it says of its default."""

    def own_name(name: str | None) -> str | None:
        return FER2013_SPLITS.get(name, name) if name else name

    return typer.Option("--split", help=text, show_default=default, callback=own_name)


def out_option(text: str, default: str | bool = False) -> Any:
    """``--out``, where a command writes: what it says, and what it says of its default."""
    return typer.Option("--out", "-o", help=text, show_default=default)


# --- which model reads which faces -----------------------------------------------------------------------

Subject = Annotated[str, typer.Argument(help="Model name, .onnx file or run folder.", show_default=False)]
Shipped = Annotated[
    str | None, typer.Option(metavar="NAME", help="Model name (see `mien models`) or .onnx file.")
]
RunsOn = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        help="Device for networks: cpu, cuda, coreml, openvino or directml; auto is cuda if available.",
    ),
]
Detector = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Face detector: one-stage, mtcnn, cropped if each image is one face, or your own as "
        "package.module:Class or file.py:Class.",
    ),
]
MinScore = Annotated[float, typer.Option(metavar="0-1", help="Leave out faces with a lower detection score.")]
MinQuality = Annotated[
    float,
    typer.Option(
        metavar="0-1", help="Leave out faces of lower quality: too small, blurred, turned or cut off."
    ),
]
Landmarks = Annotated[
    bool,
    typer.Option(
        "--landmarks",
        help="Find 68 landmarks, and the probability that part of the face is hidden.",
    ),
]
MinFace = Annotated[
    float,
    typer.Option(
        metavar="PIXELS",
        help="Smallest face side to look for, approximately; frames larger than 960 pixels a side are "
        "shrunk to 960 first.",
    ),
]
LeastFace = Annotated[
    float | None,
    typer.Option(
        "--min-face",
        metavar="PIXELS",
        help="Smallest face side to look for, approximately; smaller ones may be found too. Lower is slower.",
        show_default="40; in large images 1/32 of the longest side",
    ),
]

Resume = Annotated[bool, typer.Option("--resume", help="Continue a stopped run.")]

# --- scoring on a data set -------------------------------------------------------------------------------

DataFile = Annotated[
    Path, typer.Argument(metavar="DATA", help="Data set file from `mien data import`.", show_default=False)
]
Split = Annotated[str, split_option("train, val or test.")]

Views = Annotated[Any, views_option("the model's")]
ScoresFolder = Annotated[Path | None, out_option("Folder for predictions, figures and scores.")]
AllowLeak = Annotated[
    bool, typer.Option("--allow-leak", help="Score even faces that the model was trained on, and say so.")
]

# --- work on a data set ----------------------------------------------------------------------------------

Data = Annotated[Path | None, typer.Option(help="Data set file; overrides the recipe's.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Override a recipe key, such as run.epochs=5; may repeat.", show_default=False
    ),
]
Device = Annotated[str, typer.Option(help="Device for networks: cpu, cuda, or cuda:1.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print everything as JSON.")]

# --- a server --------------------------------------------------------------------------------------------

Host = Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.")]
Token = Annotated[
    str | None,
    typer.Option(
        envvar="MIEN_TOKEN",
        help="Token that clients must send; safer in the variable.",
        show_default=False,
    ),
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Additional host name of this machine.", show_default=False),
]
