"""Output of ``mien read`` for people: the table of faces, progress, and counts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import typer

from mien.cli.hints import hint
from mien.cli.progress import progress_bar
from mien.cli.terminal import bar, printable
from mien.core.text import counted

if TYPE_CHECKING:
    from mien.core.results import Reading
    from mien.workflows.find import PassedOver
    from mien.workflows.read import ImageResult
    from mien.workflows.read_job import Counts

FEW = 3  # images, up to which a progress bar is more flicker than help
SHOWN_ERRORS = 20
TABLE_HEAD = "  #  x1,y1     x2,y2      most likely emotions (?: uncertain)"
TOP = 3


def table_lines(result: "ImageResult") -> Iterator[str]:
    """An image and its faces as lines of at most 80 characters, but for long names."""
    width, height = result.size_wh or (0, 0)
    name = printable(result.name)
    if result.error is not None:
        yield f"{name}: could not be read"
        return
    yield f"{name}  {width} x {height}" + ("" if result.readings else ": no face found")
    for number, reading in enumerate(result.readings, start=1):
        yield _face_line(number, reading)


def _face_line(number: int, reading: "Reading") -> str:
    box = reading.box
    top = sorted(zip(reading.probs, reading.labels, strict=True), reverse=True)[:TOP]
    names = [f"{label}{'?' if reading.uncertain and not i else ''}" for i, (_, label) in enumerate(top)]
    emotions = "  ".join(
        f"{name:<9}{prob:>4.0%} {bar(prob, 3)}" for name, (prob, _) in zip(names, top, strict=True)
    )
    start, end = f"{box.x1:.0f},{box.y1:.0f}", f"{box.x2:.0f},{box.y2:.0f}"
    return f"{number:>3}  {start:<9} {end:<9} {emotions}".rstrip()


def searched_side(detector: str, min_face: float | None) -> int | None:
    """The side at which larger images are searched; ``None`` where every image is at its own size."""
    from mien.core.detection import DetectorSettings
    from mien.core.detectors import SHRINKING

    return DetectorSettings().max_side if min_face is None and detector in SHRINKING else None


def shrunk_note(n_shrunk: int, side: int) -> str:
    """What a person should know who expected more faces on large images."""
    return (
        f"{counted(n_shrunk, 'image')} of more than {side} pixels a side searched at that size "
        "for faces of 1/32 of it and larger; --min-face 40 finds smaller ones, and is slower"
    )


@dataclass
class Tally:
    """Counts results and keeps the first errors, for the last lines on stderr and the exit code.

    ``n_earlier`` of the images were read by a run that was stopped. ``n_shrunk`` images with a side
    beyond ``searched_side`` were searched shrunk to it; ``None`` where none was. ``errors_in`` is a file that
    takes all errors.
    """

    counts: "Counts"
    passed_over: "PassedOver"
    searched_side: int | None
    errors_in: Path | None = None
    n_shrunk: int = 0
    n_earlier: int = 0
    errors: list[str] = field(default_factory=list)

    def take(self, result: "ImageResult") -> None:
        self.counts.add(result)
        self.n_shrunk += max(result.size_wh or (0,)) > (self.searched_side or float("inf"))
        if result.error is not None and len(self.errors) < SHOWN_ERRORS:
            self.errors.append(result.error + hint("read", [result.name], result.error))

    def go_on_from(self, earlier: "Counts") -> None:
        """Count what a stopped run read as well."""
        self.counts, self.n_earlier = earlier, earlier.n_images

    def report(self, *, summary: bool) -> None:
        """Print the last lines; exit code 1 where an image failed."""
        counts = self.counts
        if summary and counts.n_images > 1:
            typer.echo(
                f"{counted(counts.n_images, 'image')}, {counted(counts.n_faces, 'face')}; "
                f"{counts.n_faceless:,} without a face, {counts.n_failed:,} not readable",
                err=True,
            )
        for note in self._notes():
            typer.echo(printable(f"mien: {note}"), err=True)  # of suffixes, which a file may name as it likes
        if counts.n_failed:
            for error in self.errors:
                typer.echo(f"mien: {printable(error)}", err=True)
            if rest := counts.n_failed - len(self.errors):
                what = f"and {rest:,} more" if self.errors else f"{counted(rest, 'image')} could not be read"
                where = f"{self.errors_in} tells of" if self.errors_in else "--errors FILE takes"
                typer.echo(f"mien: {what}; {printable(where)} all of them", err=True)
            raise typer.Exit(1)

    def _notes(self) -> Iterator[str]:
        """What a person should know who expected more faces or more images."""
        if self.n_earlier:
            yield f"{counted(self.n_earlier, 'image')} of these read before, by the run that was stopped"
        if self.n_shrunk and self.searched_side:
            yield shrunk_note(self.n_shrunk, self.searched_side)
        text = str(self.passed_over)
        if text:
            yield f"passed over {text}"
        for pattern in self.passed_over.idle:
            yield f"no path below what was named fits the pattern '{pattern}'"


@contextmanager
def progress(
    count_all: Callable[[], int | None], n_before: int, *, hidden: bool
) -> Iterator[Callable[[], object]]:
    """What to call after each image: moves a bar on a terminal, else writes a line now and then.

    Args:
        count_all: Images in all; ``None`` where no one knows.
        n_before: Those that were read before.
        hidden: Whether nothing is shown.
    """
    total = 0 if hidden else count_all()
    if total is not None and total <= FEW:
        yield lambda: None
        return
    start, n_done = monotonic(), n_before
    with progress_bar("bar", "count", "rate", "left", rows=True) as shown:
        task = shown.add_task("reading", total=total, completed=n_before, rate="")

        def step() -> None:
            nonlocal n_done
            n_done += 1
            rate = (n_done - n_before) / max(monotonic() - start, 1e-3)
            shown.update(task, completed=n_done, rate=f"{rate:.1f} images/s")

        yield step
