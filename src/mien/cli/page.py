"""``mien page``: a static page that reads emotions in the browser, without a server."""

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.options import out_option
from mien.cli.progress import waiting
from mien.cli.terminal import printable

EXAMPLES = """\b
Examples:
  mien page --out site
  python -m http.server --directory site 8000
  mien page --out site --model my-model

Then open http://localhost:8000. The folder is the complete page: put it on any
web host. Photos, videos and the camera are read in the browser, with the same
numbers as `mien read`. Nothing is sent anywhere. After the first visit the page
works offline.
"""

app = typer.Typer()


@app.command(epilog=EXAMPLES)
def page(
    out: Annotated[Path, out_option("Folder to write: new, empty, or with an earlier page.")],
    model: Annotated[
        str, typer.Option(help="Model name or .onnx file; else the default model.", show_default=False)
    ] = "",
) -> None:
    """Write a page that reads emotions in the browser, without a server."""
    from mien.core.model_store import DEFAULT_MODEL
    from mien.workflows.page import write_page

    with waiting(f"writing {out}"):
        written = write_page(out, model or DEFAULT_MODEL)
    size = f"{len(written.sizes)} files, {written.n_bytes / 1e6:.1f} MB"
    typer.echo(f"wrote {printable(str(out))}: {size}, model {written.model}")
    typer.echo(f"look at it: python -m http.server --directory {printable(str(out))} 8000")
