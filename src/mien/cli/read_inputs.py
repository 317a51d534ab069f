"""What `mien read` reads: paths, lists, and which of them."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from mien.core.addresses import shown
from mien.core.text import counted
from mien.errors import MienError

if TYPE_CHECKING:
    from mien.workflows.find import PassedOver, Source
    from mien.workflows.selection import Selection

STORES = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "hdfs", "viewfs", "oci", "oss", "webhdfs")
"""Kinds of addresses that pyarrow or fsspec opens for ``--ray``."""

FilesFrom = Annotated[
    str | None,
    typer.Option(
        metavar="LIST|-",
        help="Also read the paths in a list, one per line or separated by NUL. From a file of --errors or "
        "--out: read the failed images again.",
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="Read only matching images, such as '*.jpg'; may repeat."),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="Skip matching files and folders; may repeat."),
]
Shard = Annotated[
    str | None,
    typer.Option(metavar="I/N", help="Read part I of N, to share the work; 1/4 to 4/4 are all."),
]
Limit = Annotated[int | None, typer.Option(metavar="N", min=1, help="Read only the first N images.")]


def first_images(sources: Iterator["Source"], limit: int | None) -> Iterator["Source"]:
    """The first ``limit`` images, or all, and the pauses among them."""
    from mien.workflows.find import PAUSE

    n_images = 0
    while n_images != limit and (source := next(sources, None)):
        n_images += source is not PAUSE
        yield source


def _with_advice(source: "Source") -> "Source":
    """The source; of an address of a store, which one machine alone does not read, with what does."""
    scheme, sign, _ = source.name.partition("://")
    if source.error is None or not sign or scheme.lower() not in STORES:
        return source
    said = f"{shown(source.name)!r} is an address of a store, which --ray local reads"
    return replace(source, error=f'{said} (pip install "mien[ray]"; rows go into --out DIR)')


def refuse_nothing(sources: Iterator["Source"], passed_over: "PassedOver") -> Iterator["Source"]:
    """The same sources; raises unless there is an image, before a model is loaded.

    A part of a whole may be empty.
    """
    from mien.workflows.find import PAUSE

    ahead: list[Source] = []
    for source in sources:
        if source is PAUSE:
            continue
        ahead.append(source)
        if source.error is None:
            return chain(ahead, sources)
    if passed_over.n_other_parts:
        return iter(ahead)
    left_out = {"image": passed_over.n_unfit, "folder": passed_over.n_shut}
    if any(left_out.values()) and not ahead:
        both = " and ".join(counted(n, noun) for noun, n in left_out.items() if n)
        raise MienError(f"nothing is left to read: --include and --exclude leave out {both}")
    if not ahead:
        raise MienError("nothing to read: the list is empty")
    more = f" (and {len(ahead) - 1} more)" if len(ahead) > 1 else ""
    raise MienError(f"nothing to read: {ahead[0].error}{more}")


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is read."""

    paths: Sequence[str]
    files_from: str | None
    include: Sequence[str]
    exclude: Sequence[str]
    shard: str | None
    limit: int | None
    leave_out: Path | None

    def __post_init__(self) -> None:
        if not self.paths and self.files_from is None:
            raise typer.BadParameter("Missing argument 'PATH...': name images, or a list by --files-from.")
        if self.files_from == "-" and "-" in self.paths:
            raise MienError("standard input cannot be both an image and a list; choose one")

    def sources(
        self, passed_over: "PassedOver | None" = None, stop: Callable[[], bool] = lambda: False
    ) -> Iterator["Source"]:
        """The images; where the list is standard input, they can be had once, and ``stop`` ends it."""
        from mien.workflows.find import find_images

        listed, selection = self.listed(stop), self.selection()
        found = find_images(self.paths, self.leave_out, passed_over, listed=listed, selection=selection)
        yield from map(_with_advice, first_images(found, self.limit))

    def listed(self, stop: Callable[[], bool] = lambda: False) -> Iterator[str]:
        """The paths of the list, if one is named; where it is standard input, they can be had once."""
        from mien.workflows.selection import failed_paths, listed_paths

        failed = failed_paths(Path(self.files_from)) if self.files_from else None
        if failed is not None:
            yield from failed
            return
        with self._list() as stream:
            yield from listed_paths(stream, stop) if stream else ()

    def selection(self) -> "Selection":
        """Which of the images that are found are read."""
        from mien.workflows.selection import Selection, parse_shard

        return Selection(self.include, self.exclude, parse_shard(self.shard) if self.shard else None)

    def _list(self) -> AbstractContextManager[BinaryIO | None]:
        if self.files_from is None:
            return nullcontext()
        if self.files_from != "-":
            return open(self.files_from, "rb")
        if not hasattr(sys.stdin, "buffer"):
            raise MienError("standard input is closed; pass the path of a list")
        return nullcontext(sys.stdin.buffer)

    def count(self) -> int | None:
        """How many there are; ``None`` where they can be had only once."""
        listed = self.files_from is not None
        is_read_once = listed and not os.path.isfile(self.files_from or "")  # a pipe, standard input
        return None if is_read_once else sum(1 for _ in self.sources())
