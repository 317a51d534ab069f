"""The blocks of a report as one HTML file, or as Markdown with its images in a folder beside it."""

import base64
import io
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from mien.core.files import temporary_folder, write_text
from mien.core.outputs import check_output, check_output_folder
from mien.core.text import markdown_table
from mien.errors import MienError
from mien.workflows.html_pages import render
from mien.workflows.report import Block, Figure, Heading, Matrix, Table, Text, make_report

MAX_BYTES = 5_000_000
WIDTHS = (1600, 1000, 640)
"""Images wider than the first are shrunk to it; to the next where the page would be too large."""


def as_html(blocks: Sequence[Block], to: Path) -> None:
    """Write one file under 5 MB that loads nothing.

    Raises:
        MienError: it would be larger, or cannot be written.
    """
    title = next(block.text for block in blocks if isinstance(block, Heading))
    for width in WIDTHS:
        values = {
            "title": title,
            "blocks": [(type(block).__name__, block) for block in blocks],
            "embed": partial(_embedded, width=width),
        }
        text = render("report.html", values)
        if len(text.encode()) <= MAX_BYTES:
            write_text(to, text)
            return
    raise MienError(f"{to.name} would have more than {MAX_BYTES:,} bytes; name fewer runs, or write .md")


def _embedded(path: Path, width: int) -> str:
    """The image as an address: the file as it is, or as WebP where that is smaller or it is too wide."""
    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
            is_wide = small.width > width
            if is_wide:
                small = small.resize(
                    (width, round(small.height * width / small.width)), Image.Resampling.LANCZOS
                )
    except (OSError, ValueError, Image.DecompressionBombError) as e:
        raise MienError(f"{path} is not an image: {e}") from e
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=85)
    kind, content = "webp", buffer.getvalue()
    if not is_wide and path.stat().st_size < len(content):
        kind, content = "png", path.read_bytes()
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def as_markdown(blocks: Sequence[Block], to: Path) -> None:
    """Write the text, and copies of the images into the folder beside it; see `images_of`.

    Raises:
        MienError: it cannot be written.
    """
    folder, parts = images_of(to), []
    for i, block in enumerate(blocks):
        if isinstance(block, Figure):
            folder.mkdir(exist_ok=True)
            name = f"{i:03}-{block.path.name}"
            shutil.copyfile(block.path, folder / name)
            parts.append(f"![{block.title}]({quote(f'{folder.name}/{name}')})")
        else:
            parts.append(_markdown(block))
    write_text(to, "\n\n".join(parts) + "\n")


def images_of(page: Path) -> Path:
    """The folder of the images of a Markdown page: ``a-files`` for ``a.md``, since a run may lie in ``a``."""
    return page.with_name(f"{page.stem}-files")


def _markdown(block: Heading | Text | Table | Matrix) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {text}"
        case Text(text, ""):
            return text
        case Text(text, title):
            return f"<details><summary>{title}</summary>\n\n```json\n{text}\n```\n\n</details>"
        case Table(head, rows):
            return markdown_table(head, rows, "--:")
        case Matrix(counts, names):
            share = counts / counts.sum(axis=1, keepdims=True).clip(1)
            lines = (
                (
                    name,
                    *(
                        f"{n:,} ({100 * part:.0f} %)" if n else "·"
                        for n, part in zip(row, parts, strict=True)
                    ),
                )
                for name, row, parts in zip(names, counts.tolist(), share.tolist(), strict=True)
            )
            return markdown_table(("true \\ read as", *names), lines, "--:")


WRITERS: dict[str, Callable[[Sequence[Block], Path], None]] = {".html": as_html, ".md": as_markdown}


def write_report(folders: Sequence[Path], to: Path, data: Path | None = None) -> None:
    """Make a report of run folders and write it: ``.html`` in one file, ``.md`` with its images beside it.

    Raises:
        MienError: as ``make_report``; or the suffix is neither, or the page cannot be written.
    """
    if to.suffix not in WRITERS:
        raise MienError(f"a report is written as .html or .md, got {to.name}")
    check_output(to)
    if to.suffix == ".md":
        check_output_folder(images_of(to))
    with temporary_folder() as draw:
        WRITERS[to.suffix](make_report(folders, data, draw), to)
