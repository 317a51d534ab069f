"""Whole faces, cropped faces, mouths, eyes: how well runs on each part of the same faces do, as one table.

    python benchmarks/face_parts.py whole=RUN[,RUN...] face=RUN[,RUN...] [mouth=... eyes=...]
        [--store fer2013.h5] [--page docs/concepts/face-parts.md]

A RUN is a run folder of `mien train`, one a seed; its ``predictions-val.csv`` is read, so that the test rows
stay closed. The first part is what the others are compared with. Accuracy is the mean over the seeds, with
its 95 % interval over resampled faces; the difference is taken face by face. ``--store`` adds the faces
without a near copy in training. ``--page`` writes the table between the marks of a page.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien import MienError
from mien.core.files import write_text
from mien.data.store import clean_mask, read_store
from mien.workflows.run_folder import read_predictions

RESAMPLES = 2000
BLOCK = re.compile(r"(<!-- face parts: begin -->\n).*?(<!-- end -->)", re.S)

Rows = NDArray[np.int64]
Shares = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """A part of the face: which rows (N,) each seed named right, (seeds, N), and the seconds of a run."""

    name: str
    rows: Rows
    right: Shares
    seconds: float


def read_part(text: str) -> Part:
    """A part from ``name=RUN,RUN``.

    Raises:
        MienError: a run is not finished, or its rows are not those of the other runs.
    """
    name, _, folders = text.partition("=")
    if not folders:
        raise MienError(f"give each part as NAME=RUN,RUN, got '{text}'")
    right, seconds = [], []
    known: list[tuple[int, int]] = []
    for folder in map(Path, folders.split(",")):
        path = folder / "predictions-val.csv"
        if not path.is_file():
            raise MienError(f"{folder} has no predictions-val.csv; finish the run with mien train")
        found = read_predictions(path)
        rows = list(zip(found.rows.tolist(), found.labels.tolist(), strict=True))
        if known and known != rows:
            raise MienError(f"{folder} has other validation rows than the runs before it")
        known = rows
        right.append(found.probs.argmax(axis=1) == found.labels)
        seconds.append(json.loads((folder / "history.json").read_text("utf-8"))["seconds"])
    return Part(
        name, np.array([row for row, _ in known]), np.array(right, np.float64), float(np.mean(seconds))
    )


def common(parts: Sequence[Part], keep: Rows | None) -> list[Shares]:
    """Of each part, how often its seeds name each face right (N,): the faces of all parts, in one order."""
    shared = set.intersection(*(set(part.rows.tolist()) for part in parts))
    if keep is not None:
        shared &= set(keep.tolist())
    if not shared:
        raise MienError("the parts have no validation face in common; cut them from one data set")
    order = np.array(sorted(shared))
    found = []
    for part in parts:
        place = {row: i for i, row in enumerate(part.rows.tolist())}
        found.append(part.right.mean(axis=0)[[place[row] for row in order.tolist()]])
    return found


def interval(values: Shares) -> tuple[float, float, float]:
    """Mean of values of faces and its 95 % interval over resampled faces, in percent."""
    draws = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), (0.025, 0.975))
    return 100 * float(values.mean()), 100 * float(low), 100 * float(high)


def lines(parts: Sequence[Part], rows: str, keep: Rows | None = None) -> list[str]:
    """The table as Markdown."""
    shares = common(parts, keep)
    out = [
        f"| part | seeds | {rows} ({len(shares[0]):,} faces), 95 % | of each seed | against {parts[0].name}, "
        "95 % | seconds a run |",
        "|---|---|---|---|---|---|",
    ]
    for part, share in zip(parts, shares, strict=True):
        kept = np.ones(len(part.rows), bool) if keep is None else np.isin(part.rows, keep)
        seeds = ", ".join(f"{100 * seed[kept].mean():.1f}" for seed in part.right)
        mean, low, high = interval(share)
        gain, least, most = interval(share - shares[0])
        against = "-" if part is parts[0] else f"{gain:+.1f} ({least:+.1f} to {most:+.1f})"
        out.append(
            f"| {part.name} | {len(part.right)} | **{mean:.1f}** ({low:.1f}-{high:.1f}) | {seeds} "
            f"| {against} | {part.seconds:,.0f} |"
        )
    return out


def clean_rows(store: Path) -> Rows:
    """Rows of PublicTest without a near copy in training."""
    mask = clean_mask(store, "val")
    if mask is None:
        raise MienError(f"{store} was not searched for near copies; run: mien data audit {store}")
    return np.asarray(read_store(store).select("val").rows[mask], np.int64)


def main(given: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="+", metavar="NAME=RUN,RUN")
    parser.add_argument("--store", type=Path, help="the data set of whole faces, for the clean rows")
    parser.add_argument("--page", type=Path, help="a page with the marks of the table")
    options = parser.parse_args(given)
    parts = [read_part(text) for text in options.parts]
    table = lines(parts, "PublicTest")
    if options.store:
        table += ["", *lines(parts, "clean PublicTest", clean_rows(options.store))]
    markdown = "\n".join(table) + "\n"
    print(markdown, end="")
    if options.page:
        page = options.page.read_text("utf-8")
        write_text(options.page, BLOCK.sub(lambda found: found[1] + markdown + found[2], page))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except MienError as error:
        sys.exit(f"error: {error}")
