"""``mien agreement``: mien's events of videos beside those of a human coder."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.options import AsJson
from mien.cli.terminal import printable
from mien.core.text import counted

if TYPE_CHECKING:
    from mien.workflows.agreement import Agreement, Figure

EXAMPLES = """\b
Examples:
  mien agreement talk.events.csv talk-coded.eaf
  mien agreement rows/ boris-aggregated.tsv --gaps neutral
  mien agreement rows/ coded/ --key rows/blind-key.csv --json
  mien agreement talk.events.csv coded.eaf --person mother=1 --person child=2
"""

app = typer.Typer(add_completion=False)
Names = list[str] | None


def pairs(text: str) -> Any:
    """An option that may repeat: the coder's name of something, and mien's."""
    return typer.Option(metavar="THEIRS=OURS", help=text)


@app.command(epilog=EXAMPLES)
def agreement(
    ours: Annotated[Path, typer.Argument(help="Events or rows from `mien watch`, or a folder of them.")],
    theirs: Annotated[
        Path,
        typer.Argument(help="The coder's events: BORIS export, ELAN file or table, or a folder of them."),
    ],
    step: Annotated[float, typer.Option(metavar="SECONDS", help="Time between two compared moments.")] = 0.1,
    window: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="Length of a window, the unit of ICC and bootstrap; they need two windows or more.",
        ),
    ] = 10.0,
    person: Annotated[
        Names, pairs("A subject or tier, and mien's person numbers; THEIRS= leaves it out.")
    ] = None,
    rename: Annotated[Names, pairs("A coder's word and mien's emotion, such as joy=happy.")] = None,
    gaps: Annotated[
        str | None,
        typer.Option(
            metavar="EMOTION", help="The emotion where the coder coded nothing.", show_default="left out"
        ),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="The key file of `mien watch --blind`, for blinded names.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the bootstrap.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Compare mien's events with a human coder's: Cohen's kappa, ICC and confusion matrix.

    They are compared at regular moments. Moments that only one of them names, moments where mien or the
    coder is uncertain, and codes that are not emotions are counted and left out. Confidence intervals come
    from a bootstrap over windows, because adjacent moments are alike; one window gives no intervals, no ICC.
    """
    from mien.workflows.agreement import AgreementSettings, compare
    from mien.workflows.coded_events import parse_pairs, read_coded, unblinded

    people, words = parse_pairs(person or (), "--person", none=True), parse_pairs(rename or (), "--rename")
    settings = AgreementSettings(step, window, people, words, gaps)
    mine, coded = read_coded(ours), read_coded(theirs, may_be_empty=gaps is not None)
    videos = unblinded(coded.videos, key) if key else coded.videos
    found = compare(mine.videos, videos, settings, seed)
    not_read = [*mine.not_read, *coded.not_read]
    if as_json:
        typer.echo(json.dumps({**found.to_dict(), "not_read": not_read}))
        return
    if not_read:
        typer.echo(printable(f"not read, for they hold no table of events: {', '.join(not_read)}"))
    typer.echo("\n".join(map(printable, lines(found, step))))


def lines(found: "Agreement", step_s: float) -> Iterator[str]:
    """The comparison as lines for people."""
    n = int(found.confusion.sum())
    people = counted(found.n_participants, "participant")
    if found.n_videos > found.n_participants:
        people += f" in {found.n_videos:,} videos,"
    yield f"{n:,} moments, one each {step_s:g} s, of {people} in {counted(found.n_windows, 'window')}"
    if found.unmatched:
        yield f"not compared, for mien has none of this name: {', '.join(found.unmatched)}"
    if found.uncoded:
        yield f"not compared, for the coder coded nothing (see --gaps): {', '.join(found.uncoded)}"
    yield f"left out: {found.only_ours:,} that only mien names, {found.only_theirs:,} without a face, "
    yield f"          {found.uncertain:,} of which mien or the coder is uncertain"
    if found.other_codes:
        named = [f"{code} ({n:,})" for code, n in found.other_codes.items()]
        more = f" and {len(named) - 5:,} more" if len(named) > 5 else ""
        yield f"no emotions: {', '.join(named[:5])}{more}; --rename says what is one"
    if found.overlapping:
        yield f"the coder's codes overlap at {found.overlapping:,} moments: the one that begins last counts"
    yield ""
    undefined = " undefined: both name one emotion alone"
    yield f"Cohen's kappa   {_with_interval(found.kappa) if found.kappa else undefined}"
    yield f"agreement       {_with_interval(found.agreed)}"
    yield ""
    if found.n_windows == 1:
        yield "no intervals, and no ICC: there is one window; lower --window"
    else:
        yield "ICC(2,1) of each emotion's share of a window"
        for label, value in found.icc.items():
            yield f"  {label:<13} {_with_interval(value) if value else 'never varies'}"
    yield ""
    yield "moments, the coder's emotion by mien's"
    yield " " * 12 + "".join(f"{label[:8]:>9}" for label in found.labels)
    for label, row in zip(found.labels, found.confusion, strict=True):
        yield f"{label[:11]:<12}" + "".join(f"{count:>9,}" for count in row)


def _with_interval(figure: "Figure") -> str:
    at, interval = figure
    return f"{at:>z6.3f}" + (f"   ({interval[0]:z.3f} to {interval[1]:z.3f})" if interval else "")
