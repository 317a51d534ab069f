"""``mien features``: features of a frozen network, and a linear SVM on them."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.options import AllowLeak, DataFile, Device, out_option
from mien.cli.progress import progress_bar, waiting
from mien.core.text import with_interval
from mien.errors import RecipeError, needs_extra

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.workflows.features import Backbone, FrozenFeatures, SvmFit

EXAMPLES = """\b
Examples:
  mien features runs/fer2013-s2d-cpu fer2013.h5 --svm
  mien features vgg16 fer2013.h5 --size 48 --pretrained --svm
  mien features resnet50-caffe fer2013.h5 --size 197 --init-from vggface2.pth

Features are computed once: the same command, or a recipe with net.options.freeze="all", reuses them.
"""

app = typer.Typer()


@app.command(epilog=EXAMPLES)
def features(
    backbone: Annotated[
        str,
        typer.Argument(
            help="Run folder; vgg16, resnet50, resnet50-caffe, googlenet; or any timm name.",
            show_default=False,
        ),
    ],
    data: DataFile,
    size: Annotated[
        int,
        typer.Option(min=0, help="Face size in pixels, after resizing.", show_default="the run's, or 224"),
    ] = 0,
    pool: Annotated[str, typer.Option(help="avg: mean of the last feature map; flatten: all of it.")] = "avg",
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Download ImageNet weights.")] = False,
    init_from: Annotated[
        str, typer.Option(help="Local checkpoint: .safetensors, .pth or a run.", show_default=False)
    ] = "",
    folder: Annotated[
        Path | None, typer.Option(help="Folder for the features.", show_default="beside the data set")
    ] = None,
    svm: Annotated[
        bool, typer.Option("--svm", help="Fit a linear SVM, with C chosen on the validation set.")
    ] = False,
    mirrored: Annotated[bool, typer.Option("--mirrored", help="Train on mirrored faces too.")] = False,
    out: Annotated[Path | None, out_option("Run folder for the SVM.", "runs/BACKBONE-svm")] = None,
    allow_leak: AllowLeak = False,
    device: Device = "cpu",
) -> None:
    """Compute the features of a frozen network once, and score a linear SVM on them."""
    with needs_extra("features"):
        from mien.workflows.features import Backbone
    if out and not svm:
        raise RecipeError("--out is the folder of the SVM's run; give --svm too")
    if allow_leak and not svm:
        raise RecipeError("--allow-leak is for the scores of the SVM; give --svm too")
    chosen = Backbone(backbone, size, pool, init_from, pretrained)
    frozen = _compute(chosen, data, folder, mirrored, device)
    shape = ", ".join(f"{name} {len(rows):,}" for name, rows in frozen.rows.items())
    typer.echo(f"{frozen.net.n_features:,} features a face ({shape}), kept in {frozen.folder}")
    if svm:
        to = out or Path("runs") / f"{Path(backbone).name}-svm"
        _svm(frozen, to, data, device, allow_leak)


def _compute(
    chosen: "Backbone", data: Path, folder: Path | None, mirrored: bool, device: str
) -> "FrozenFeatures":
    from mien.workflows.features import compute_features

    with progress_bar("description", "bar", "count", "unit", "left") as progress:
        bars = {}

        def say(name: str, done: int, n: int) -> None:
            if name not in bars:
                bars[name] = progress.add_task(name, total=n, unit="faces")
            progress.update(bars[name], completed=done)

        return compute_features(chosen, data, folder=folder, with_mirrored=mirrored, device=device, say=say)


def _svm(frozen: "FrozenFeatures", folder: Path, data: Path, device: str, allow_leak: bool) -> None:
    from mien.workflows.evaluate import EvaluateSettings, evaluate
    from mien.workflows.features import fit_svm, write_svm_run

    with waiting("fitting linear SVMs"):
        fits = fit_svm(frozen, allow_leak=allow_leak)
    best = write_svm_run(frozen, fits, folder, data)
    typer.echo(_table(fits, best))
    with waiting("scoring the test rows"):
        result = evaluate(
            str(folder), data, EvaluateSettings(to=folder, device=device, allow_leak=allow_leak)
        )
    scores = result.scores
    accuracy = with_interval(scores.accuracy, scores.accuracy_interval)
    clean = f", clean {result.clean.accuracy:.2%}" if result.clean else ""
    typer.echo(
        f"test {accuracy}{clean}, "
        f"balanced {scores.balanced_accuracy:.2%}, macro F1 {scores.macro_f1:.2%}, ECE {scores.ece:.4f}"
    )
    if result.leak:
        typer.echo(result.leak.warning())
    typer.echo(f"wrote {folder}; next: mien evaluate {shlex.quote(str(folder))} {shlex.quote(str(data))}")


def _table(fits: "Sequence[SvmFit]", best: "SvmFit") -> str:
    lines = ["C        validation"]
    for fit in fits:
        notes = ("  chosen" if fit is best else "") + ("" if fit.converged else "  not converged")
        lines.append(f"{fit.c:<8g} {fit.val_accuracy:10.2%}{notes}")
    return "\n".join(lines)
