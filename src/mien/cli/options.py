"""Options that several commands share, each said once."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mien.errors import MienError


def views_option(default: str | bool) -> Any:
    """``--views``, and what it says of its default."""
    return typer.Option(
        metavar="N|auto",
        help="Test-time augmentation: views of a face to average, 1, 2, 5, 10, 12 or 18; auto takes more "
        "of doubtful faces.",
        show_default=default,
        parser=lambda text: int(text) if text.isdecimal() else text,  # the model checks it
    )


def prior_power_option(default: str | bool) -> Any:
    """``--prior-power``, and what it says of its default."""
    return typer.Option(
        metavar="0-2|auto",
        help="How much of the training data's prior to remove; auto lets validation rows choose.",
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
    cluster = (
        "on a Ray cluster: auto for the one this machine belongs to, local to start one here, or HOST:6379."
    )
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

Subject = Annotated[
    str, typer.Argument(help="A model's name, an .onnx file, or a run folder.", show_default=False)
]
Shipped = Annotated[
    str | None, typer.Option(metavar="NAME", help="A model's name (see `mien models`) or .onnx file.")
]
RunsOn = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        help="Where networks run: cpu, cuda, coreml, openvino or directml; auto is cuda where there is one.",
    ),
]
Detector = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What finds faces: one-stage, mtcnn, cropped where each image is a face, or your own as "
        "package.module:Class or file.py:Class.",
    ),
]
MinScore = Annotated[
    float, typer.Option(metavar="0-1", help="Leave out faces that the detector is less sure of.")
]
MinQuality = Annotated[
    float,
    typer.Option(
        metavar="0-1", help="Leave out faces that are too small, blurred, turned or cut off to read well."
    ),
]
Landmarks = Annotated[
    bool,
    typer.Option(
        "--landmarks",
        help="Place 68 landmarks, and tell from them how probable it is that a part of a face is hidden.",
    ),
]
MinFace = Annotated[
    float,
    typer.Option(
        metavar="PIXELS",
        help="Look for faces of about this side and larger, in frames of at most 960 pixels a side; larger "
        "frames are searched at that size.",
    ),
]
LeastFace = Annotated[
    float | None,
    typer.Option(
        "--min-face",
        metavar="PIXELS",
        help="Look for faces of about this side and larger; smaller ones may be found too. Less is slower.",
        show_default="40; in large images 1/32 of the longest side",
    ),
]

Resume = Annotated[bool, typer.Option("--resume", help="Continue a stopped run.")]

# --- scoring on a data set -------------------------------------------------------------------------------

DataFile = Annotated[
    Path, typer.Argument(metavar="DATA", help="A data set file of `mien data import`.", show_default=False)
]
Split = Annotated[str, split_option("train, val or test.")]

Views = Annotated[Any, views_option("the model's")]
ScoresFolder = Annotated[Path | None, out_option("Folder for predictions, figures and scores.")]
AllowLeak = Annotated[
    bool, typer.Option("--allow-leak", help="Score even faces that a model learned from, and say so.")
]

# --- work on a data set ----------------------------------------------------------------------------------

Data = Annotated[Path | None, typer.Option(help="Data set file; overrides the recipe's.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Override a key of the recipe, such as run.epochs=5; may repeat.", show_default=False
    ),
]
Device = Annotated[str, typer.Option(help="Where networks run: cpu, cuda, or cuda:1.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print everything as JSON.")]

# --- a server --------------------------------------------------------------------------------------------

Host = Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for a free one.")]
Token = Annotated[
    str | None,
    typer.Option(
        envvar="MIEN_TOKEN",
        help="Token that clients must send; safer in the variable than here.",
        show_default=False,
    ),
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Another host name of this machine.", show_default=False),
]
