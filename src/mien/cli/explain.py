"""``mien explain``: what a network looks at, drawn and measured."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.options import Detector, Device, Subject, out_option, split_option
from mien.cli.progress import progress_bar
from mien.cli.terminal import printable, text_console, text_table

if TYPE_CHECKING:
    from mien.workflows.explain.faithfulness import Faithfulness
    from mien.workflows.explain.subject import Report

EXAMPLES = """\b
Examples:
  mien explain fer2013-medium photo.jpg --out sheet.png
  mien explain runs/mine photo.jpg --method gradcam --class happy
  mien explain runs/mine fer2013.h5 --n 8 --out explained/
  mien explain runs/mine fer2013.h5 --pairs --mean --filters --out explained/
  mien explain runs/mine fer2013.h5 --activations stages.0 --out layer.png
  mien explain runs/mine fer2013.h5 --faithfulness --n 200 --out explained/

Methods: gradient, smoothgrad, integrated, gradcam, occlusion. A run folder allows
all of them; a shipped model or an .onnx file only occlusion. Arrays are written as
.npz beside each sheet; --out maps.npz writes only arrays. --faithfulness writes
faithfulness.json beside its curves, or with --out NAME.png NAME-faithfulness.json.
"""

app = typer.Typer()


@app.command(epilog=EXAMPLES)
def explain(
    model: Subject,
    source: Annotated[Path, typer.Argument(help="Image, or data set file (.h5).", show_default=False)],
    out: Annotated[Path, out_option(".png or .npz file, or a folder.", True)] = Path("explain.png"),
    method: Annotated[
        list[str] | None, typer.Option(help="Method; may repeat.", show_default="all it allows")
    ] = None,
    chosen: Annotated[
        str, typer.Option("--class", help="The emotion to explain.", show_default="the predicted one")
    ] = "",
    layer: Annotated[
        str, typer.Option(help="Layer for Grad-CAM.", show_default="the last convolutional map")
    ] = "",
    patch: Annotated[int, typer.Option(min=1, help="Side of the occluding square, in pixels.")] = 6,
    fill: Annotated[
        int | None,
        typer.Option(min=0, max=255, help="Gray value of the square.", show_default="the training mean"),
    ] = None,
    face: Annotated[bool, typer.Option("--face", help="The image is a face crop.")] = False,
    detector: Detector = None,
    split: Annotated[str, split_option("train, val or test.", "val")] = "",
    n: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of faces: in a sheet, for each confusion, for each mean map, to measure.",
            show_default="6, 3, 20, 200",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    filters: Annotated[bool, typer.Option("--filters", help="Draw the first layer's filters.")] = False,
    activations: Annotated[
        str, typer.Option(metavar="LAYER", help="Draw the activations of a layer.", show_default=False)
    ] = "",
    pairs: Annotated[bool, typer.Option("--pairs", help="Draw the most confused pairs of emotions.")] = False,
    mean: Annotated[bool, typer.Option("--mean", help="Draw the mean map of each emotion.")] = False,
    faithfulness: Annotated[
        bool, typer.Option("--faithfulness", help="Compare the methods with random maps.")
    ] = False,
    device: Device = "cpu",
    half: Annotated[
        bool, typer.Option("--half", help="Compute in bfloat16; faster on processors with AMX.")
    ] = False,
) -> None:
    """Show which parts of a face decide a network's answer, and test whether that is true."""
    from mien.core.occlusion import Occluder
    from mien.workflows.explain.job import Job
    from mien.workflows.explain.run import explain as run_explanation
    from mien.workflows.explain.subject import MapSettings

    wanted = {"filters": filters, "activations": bool(activations), "pairs": pairs, "mean": mean}
    kinds = tuple(kind for kind, is_wanted in {**wanted, "faithfulness": faithfulness}.items() if is_wanted)
    occluder = Occluder(patch=patch, stride=max(1, patch // 2))
    job = Job(
        model=model,
        source=source,
        to=out,
        kinds=kinds or ("sheet",),
        maps=MapSettings(tuple(method or ()), layer, occluder, fill, seed),
        chosen=chosen,
        activations=activations,
        is_face=face,
        detector=detector or "",
        split=split,
        n=n,
        device=device,
        half=half,
    )
    with _progress() as report:
        done = run_explanation(job, report)
    if done.faithfulness:
        _print(done.faithfulness)
    for file in done.files:
        typer.echo(f"wrote {printable(str(file))}")


@contextmanager
def _progress() -> Iterator["Report"]:
    """A bar on stderr with what is being done, faces, and time left; only where a person looks."""
    with progress_bar("description", "bar", "count", "left") as progress:
        task = progress.add_task("opening", total=None)
        doing = ""

        def report(what: str, done: int, total: int) -> None:
            nonlocal doing
            if what != doing:
                progress.reset(task, description=f"{what:<28}", total=total)
                doing = what
            progress.update(task, completed=done)

        yield report


def _print(found: "Faithfulness") -> None:
    title = f"better than random by (area, 95 %), {found.n:,} faces"
    table = text_table(title, ("", "deletion", "insertion", "shuffled"))
    table.add_column("verdict")
    for score in found.scores:
        table.add_row(
            score.method,
            _gain(score.deletion_gain, score.deletion_interval),
            _gain(score.insertion_gain, score.insertion_interval),
            "-" if score.shuffled is None else f"{score.shuffled:+.2f}",
            score.verdict,
        )
    console = text_console()
    console.print(table)
    console.print(
        f"random: deletion {found.random_deletion:.3f}, insertion {found.random_insertion:.3f}; "
        "shuffled: rank correlation with the maps of shuffled weights, near 0 is sound"
    )


def _gain(value: float, interval: tuple[float, float]) -> str:
    return f"{value:+.3f}\n{interval[0]:.3f}..{interval[1]:.3f}"
