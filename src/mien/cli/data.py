"""``mien data``: import, join, divide and audit data sets, one file each."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from mien.cli.options import out_option
from mien.cli.progress import progress_bar
from mien.cli.terminal import printable, text_console, text_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from mien.core.progress import Report
    from mien.data.audit import Audit
    from mien.data.parts import Unsure
    from mien.data.store import StoreInfo

EXAMPLES = """\b
Examples:
  mien data import fer2013 fer2013.csv --ferplus fer2013new.csv
  mien data import folders photos/ --out mine.h5
  mien data audit fer2013.h5 --out audit.html
"""

app = typer.Typer(
    help="Import, join and split data sets, and find errors in them.",
    epilog=EXAMPLES,
    no_args_is_help=True,
)


Store = Annotated[Path, typer.Argument(help="Data set file from `mien data import`.", show_default=False)]
Written = Annotated[Path, out_option("Data set file to write.")]
Labels = Annotated[
    str | None,
    typer.Option(help="Map labels to this set: fer2013, ferplus, affectnet8, ...", show_default=False),
]


@app.command("import")
def import_(
    kind: Annotated[
        str,
        typer.Argument(
            help="fer2013, ferplus, affectnet, rafdb, ckplus, ckextended, jaffe, folders or csv.",
            show_default=False,
        ),
    ],
    path: Annotated[Path, typer.Argument(help="The downloaded CSV file or folder.", show_default=False)],
    out: Annotated[Path | None, out_option("Data set file to write.", "KIND.h5")] = None,
    size: Annotated[int, typer.Option(min=8, max=1024, help="Image width and height in pixels.")] = 48,
    color: Annotated[bool, typer.Option("--color", help="Keep colour; default is gray.")] = False,
    whole: Annotated[bool, typer.Option("--whole", help="Keep whole images; ignore bounding boxes.")] = False,
    labels: Labels = None,
    renamed: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            help="A label and its name in --labels, such as joy=happy; may repeat.",
            show_default=False,
        ),
    ] = None,
    ferplus: Annotated[
        Path | None,
        typer.Option(help="fer2013, ferplus: fer2013new.csv with the FER+ votes.", show_default=False),
    ] = None,
    scheme: Annotated[
        str, typer.Option(help="ferplus: majority, probability, crossentropy or multi_target.")
    ] = "majority",
    peaks: Annotated[int, typer.Option(min=1, help="ckplus: number of last frames that get the label.")] = 1,
    root: Annotated[
        Path | None,
        typer.Option(help="csv: folder that its paths start from.", show_default="that of the CSV"),
    ] = None,
    part: Annotated[
        bool,
        typer.Option("--partial", help="fer2013, ferplus: accept an incomplete set; skip damaged images."),
    ] = False,
    search: Annotated[
        bool,
        typer.Option(
            "--search", help="Search for near copies of training faces now, not in `mien data audit`."
        ),
    ] = False,
) -> None:
    """Read a data set, check it, and write it as one file.

    Example: mien data import fer2013 fer2013.csv --ferplus fer2013new.csv

    Example: mien data import affectnet AffectNet/ --size 64 --labels affectnet8

    Example: mien data import folders photos/ --labels fer2013 --map joy=happy

    Example: mien data import csv faces.csv --root /data/images

    Unusable images are left out, counted and listed in KIND.skipped.csv; hidden files are ignored. Run the
    same command again to continue a stopped import. Exit code: 0 file written, even if images were left out;
    2 nothing written.
    """
    from mien.data.image_loading import ImageSettings
    from mien.data.store import clean_mask, read_near_duplicates, why_not_clean
    from mien.workflows.datasets.import_data import ImportSettings, import_data

    settings = ImportSettings(
        ferplus=ferplus,
        partial=part,
        search=search,
        images=ImageSettings(size, color, whole),
        labels=labels,
        renames=_renames(renamed or ()),
        scheme=scheme,
        peaks=peaks,
        root=root,
    )
    with _bars("reading faces", "reading images", "comparing faces") as report:
        done = import_data(kind, path, out or Path(f"{kind}.h5"), settings, report)
    console = text_console()
    _show_info(console, done.info)
    for reason, n in done.skipped.most_common():
        console.print(f"left out: {n:,} {reason}")
    if done.skipped_list:
        console.print(f"listed in {done.skipped_list}", soft_wrap=True)
    clean = clean_mask(done.path)
    if clean is not None:
        n_clean = int(clean.sum())
        console.print(f"clean test faces, without a near copy in training: {n_clean:,}")
    elif read_near_duplicates(done.path) is None and any(done.info.counts[0]):
        console.print(f"for the clean score: mien data audit {shlex.quote(str(done.path))}", soft_wrap=True)
    else:
        console.print(f"no clean test faces: {why_not_clean(done.path)}", soft_wrap=True)
    for note in done.notes:
        console.print(f"note: {note}", soft_wrap=True)
    console.print(f"wrote {done.path}", soft_wrap=True)


@app.command("show")
def show(store: Store) -> None:
    """Show the content of a data set file and its label map.

    Example: mien data show fer2013.h5
    """
    from mien.data.store import read_info

    _show_info(text_console(), read_info(store))


@app.command("join")
def join(
    stores: Annotated[list[Path], typer.Argument(help="Data set files.", show_default=False)],
    out: Written,
    labels: Labels = None,
) -> None:
    """Join several data sets; rows keep their source and split.

    Example: mien data join fer2013.h5 affectnet.h5 --labels fer2013 --out both.h5
    """
    from mien.workflows.datasets.join_split import join_data

    info, dropped = join_data(stores, out, labels)
    console = text_console()
    _show_info(console, info)
    if dropped:
        console.print(f"left out: {dropped:,} label without counterpart")
    console.print(f"wrote {out}", soft_wrap=True)


@app.command("split")
def split(
    store: Store,
    out: Written,
    by: Annotated[str, typer.Option(help="label, or person: keep each person in one split.")] = "label",
    parts: Annotated[
        str | None,
        typer.Option(
            help="Shares of train, val and test.", show_default="0.8,0.1,0.1; with --keep-test 0.9,0.1,0"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same split.")] = 0,
    keep_copies_together: Annotated[
        bool,
        typer.Option(
            "--keep-copies-together",
            help="Keep identical faces, near copies and faces from one file in one split.",
        ),
    ] = False,
    keep_test: Annotated[
        bool, typer.Option("--keep-test", help="Split only the training faces; test faces stay test.")
    ] = False,
) -> None:
    """Split again into train, val and test, stratified by label.

    Example: mien data split ckplus.h5 --by person --out ckplus-split.h5

    Example: mien data split rafdb.h5 --keep-test --parts 0.9,0.1,0 --out rafdb-split.h5
    """
    from mien.data.records import SPLITS
    from mien.data.store import read_info
    from mien.workflows.datasets.join_split import SplitSettings, split_data

    shares = _parts(parts or ("0.9,0.1,0" if keep_test else "0.8,0.1,0.1"))
    settings = SplitSettings(by, shares, seed, keep_copies_together, keep_test)
    with _bars("comparing faces") as report:
        info = split_data(store, out, settings, partial(report, "comparing faces"))
    console = text_console()
    _show_info(console, info)
    if not keep_test and (n_test := sum(read_info(store).counts[SPLITS.index("test")])):
        console.print(f"note: its {n_test:,} test faces are divided anew too; --keep-test keeps them")
    counts = zip(SPLITS, settings.parts, info.counts, strict=True)
    if empty := [name for name, share, row in counts if share and not any(row)]:
        console.print(f"note: no face in {' and '.join(empty)}: too few for these shares")
    console.print(f"wrote {out}", soft_wrap=True)


@app.command("crop")
def crop(
    store: Store,
    part: Annotated[str, typer.Option(help="face, mouth, eyes, upper or lower.", show_default=False)],
    out: Written,
    size: Annotated[
        int | None,
        typer.Option(min=8, max=1024, help="Crop width and height in pixels.", show_default="the source's"),
    ] = None,
    min_score: Annotated[
        float, typer.Option(min=0, max=1, help="Lowest confidence of landmarks to use.")
    ] = 0.5,
    unsure: Annotated[
        str,
        typer.Option(
            help="Faces below --min-score: average crops at the average position, whole keeps the whole "
            "face, drop leaves them out."
        ),
    ] = "average",
) -> None:
    """Crop a part of every face, aligned by 5 landmarks, as a data set.

    Example: mien data crop fer2013.h5 --part mouth --out fer2013-mouth.h5

    Rows, splits and near copies stay as in the source, so networks on different parts can be compared.
    With --unsure drop, run mien data audit to search for near copies again.
    """
    from mien.data.parts import PartSettings
    from mien.workflows.datasets.crop import crop_data

    settings = PartSettings(part, size, min_score, cast("Unsure", unsure))
    with _bars("cutting faces") as report:
        done = crop_data(store, out, settings, partial(report, "cutting faces"))
    console = text_console()
    _show_info(console, done.info)
    became = {"average": "cut where the part lies on average", "whole": "kept whole", "drop": "left out"}
    share = done.n_unsure / max(done.n_faces, 1)
    console.print(
        f"{done.n_unsure:,} of {done.n_faces:,} faces ({share:.1%}) have no landmarks of confidence "
        f"{min_score:g}: {became[unsure]}",
    )
    console.print(f"wrote {out}", soft_wrap=True)


@app.command("audit")
def audit(
    store: Store,
    out: Annotated[Path | None, out_option("HTML page to write, with the worst images.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Find blank images, non-faces, copies and contradicting labels.

    Example: mien data audit fer2013.h5 --out audit.html

    The page contains images of the data set: keep it on this machine. It loads nothing from the network.
    """
    import json

    from mien.workflows.datasets.audit import audit_data

    with _bars("comparing faces") as report:
        found = audit_data(store, out, partial(report, "comparing faces"))
    if found.note:
        typer.echo(printable(f"note: {found.note}"), err=True)
    if as_json:
        typer.echo(json.dumps(found.summary(), indent=2))
        return
    console = text_console()
    console.print(_audit_table(found))
    same = found.summary()["identical"]
    console.print(
        f"{same['redundant_copies']:,} images repeat another exactly, in {same['groups']:,} groups; "
        f"{same['groups_with_conflicting_labels']:,} groups carry different labels",
    )
    if out is not None:
        console.print(f"wrote {out}", soft_wrap=True)


@contextmanager
def _bars(*steps: str) -> Iterator["Report"]:
    """What to call with (step, done, total); a bar a step on stderr, with rate and time left."""
    from time import monotonic

    began: dict[str, tuple[float, int]] = {}
    with progress_bar("description", "bar", "percent", "rate", "left") as progress:
        tasks = {step: progress.add_task(step, visible=False, rate="") for step in steps}

        def report(step: str, done: int, total: int) -> None:
            start, n_before = began.setdefault(step, (monotonic(), done))  # a resumed import starts far in
            per_s = (done - n_before) / max(monotonic() - start, 1e-3)
            shown = f"{per_s:,.0f}/s" if step != "reading faces" else ""  # these come in bytes
            progress.update(tasks[step], completed=done, total=total, visible=True, rate=shown)

        yield report


def _renames(texts: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for old, new in map(_renamed, texts):
        if found.setdefault(old, new) != new:
            two = f"'{old}' as '{found[old]}' and as '{new}'"
            raise typer.BadParameter(f"expected one name for a label, got {two}", param_hint="--map")
    return found


def _renamed(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not (old and equals and new):
        raise typer.BadParameter(f"expected label=name, such as joy=happy, got '{text}'", param_hint="--map")
    return old, new


def _parts(text: str) -> tuple[float, float, float]:
    try:
        train, val, test = (float(part) for part in text.split(","))
    except ValueError as e:
        expected = "expected three shares of train, val and test, such as 0.8,0.1,0.1"
        raise typer.BadParameter(f"{expected}, got '{text}'", param_hint="--parts") from e
    return train, val, test


def _show_info(console: "Console", info: "StoreInfo") -> None:
    from mien.data.records import SPLITS

    n, height, width = info.shape[:3]
    what = f"{width}x{height} {'colour' if len(info.shape) == 4 else 'gray'}"
    also = f"; also {', '.join(info.optional)}" if info.optional else ""
    console.print(f"{printable(info.name)}, {n:,} faces, {what}{also}")
    table = text_table("", ("", *SPLITS, "all"), ruled=False)
    columns = list(zip(*info.counts, strict=True))
    totals = tuple(map(sum, info.counts))
    for label, row in zip((*info.label_names, "all"), (*columns, totals), strict=True):
        table.add_row(printable(label), *(f"{count:,}" for count in (*row, sum(row))))
    console.print(table)
    for source, became in (info.label_map or {}).items():
        pairs = ", ".join(old if old == new else f"{old} → {new or 'dropped'}" for old, new in became.items())
        console.print(printable(f"labels of {source}: {pairs}"))


def _audit_table(found: "Audit") -> "Table":
    from mien.data.records import SPLITS

    table = text_table(f"{found.faces.name}, {len(found.faces):,} faces", ("", *SPLITS), ruled=False)
    for text, counts in found.table().items():
        table.add_row(text, *(f"{counts[split]:,}" if split in counts else "–" for split in SPLITS))
    return table
