"""``mien models``: the models, their measured scores and their licences."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.options import out_option
from mien.cli.terminal import bar, printable
from mien.errors import MienError, ModelError

if TYPE_CHECKING:
    from mien.core.cards import ModelCard

app = typer.Typer(add_completion=False)

EXAMPLES = """\b
Examples:
  mien models
  mien models fer2013-medium
  mien models medium
  mien models --json | jq '.[].name'
  mien models mine --out README.md
"""
WIDTH = 80
NONE = "-"
HEADS = ("model", "accuracy %", "clean", "balanced", "labels", "ms", "size")
DEFAULT_NOTE = "*: what mien reads with unless --model names another"
MAIN, CLEAN = "test", "test_clean"
"""Of a card's scores; the second leaves out faces that have a near copy in training."""


@app.command(epilog=EXAMPLES)
def models(
    name: Annotated[
        str | None,
        typer.Argument(help="Show the full card of one model, by name or .onnx path.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the cards as JSON.")] = False,
    out: Annotated[
        Path | None, out_option("Write the card of NAME as Markdown, with the header for Hugging Face.")
    ] = None,
) -> None:
    """List the models, their measured scores and licences.

    Accuracy has a 95 % confidence interval; "clean" is the accuracy on test faces without a near copy in
    training, "balanced" the mean accuracy over the emotions, "ms" the CPU time per face, if measured. Without
    NAME all models are listed, your own too. A unique part of a name is enough.

    Your own models are in ~/.local/share/mien/models, or in the folder models inside MIEN_HOME. Each is an
    .onnx and a .json file: delete or rename both.
    """
    from mien.core.model_store import DEFAULT_MODEL, find_model, list_models, listed_card, user_models

    if out is not None and (name is None or as_json):
        raise MienError("--out writes the card of one model as Markdown; give its name, and no --json")
    listed = list_models()
    default = listed.get(DEFAULT_MODEL)
    if name is not None:
        weights, card = find_model(name)
        if out is not None:
            _write(card, weights, out)
            return
        typer.echo(_json(card, weights, default) if as_json else "\n".join(card_lines(card, weights)))
        return
    found: list[tuple[ModelCard, Path]] = []
    for path in listed.values():
        try:
            found.append((listed_card(path), path.with_suffix(".onnx")))
        except ModelError as error:  # somebody's broken file is no reason to hide the others
            typer.echo(f"mien: left out: {printable(str(error))}", err=True)
    if as_json:
        typer.echo("[" + ",\n".join(_json(*one, default) for one in found) + "]")
    elif found:
        typer.echo("\n".join(table_lines(found)))
    else:
        typer.echo(f"no models; mien looks in its own package and in {user_models()}", err=True)


def _write(card: "ModelCard", weights: Path, out: Path) -> None:
    from mien.workflows.model_card import write_model_card

    write_model_card(card, weights.stat().st_size, out)
    typer.echo(f"wrote {out}")
    if "Not stated by its maker" in out.read_text(encoding="utf-8"):
        typer.echo("it says where something is not stated: see `mien release --card`")


def _json(card: "ModelCard", weights: Path, default: Path | None) -> str:
    import json
    from dataclasses import asdict

    is_default = weights.with_suffix(".json").absolute() == default
    more = {"path": str(weights), "bytes": weights.stat().st_size, "default": is_default}
    return json.dumps({**asdict(card), **more}, indent=1)


def table_lines(found: Iterable[tuple["ModelCard", Path]]) -> list[str]:
    """A table of models, and under it what each is and its licence."""
    from mien.core.model_store import DEFAULT_MODEL

    rows, notes = [], [DEFAULT_NOTE]
    for card, weights in found:
        mark = " *" if card.name == DEFAULT_MODEL else ""
        cells = _cells(card.scores, len(card.labels))
        rows.append((f"{printable(card.name)}{mark}", *cells, _size(weights)))
        notes += ["", *_field(card.name, f"{card.summary.rstrip('.')}. Licence: {card.licence}")]
    return [*_align(HEADS, rows), *notes]


def _cells(scores: dict[str, Any], n_labels: int) -> tuple[str, ...]:
    """Accuracy with interval, clean and balanced accuracy on the test set; labels; CPU time of a face."""
    main, clean, cpu = (_table(scores, name) for name in (MAIN, CLEAN, "cpu"))
    return (
        _accuracy(main),
        _number(clean.get("accuracy"), 100, 1),
        _number(main.get("balanced_accuracy"), 100, 1),
        str(n_labels),
        _number(cpu.get("ms_a_face"), 1, 1),
    )


def _table(scores: dict[str, Any], name: str) -> dict[str, Any]:
    """A part of a card's scores that has parts itself; empty where it is absent, or one figure."""
    part = scores.get(name)
    return part if isinstance(part, dict) else {}


def _accuracy(table: dict[str, Any]) -> str:
    low, high = table.get("accuracy_interval") or (None, None)
    interval = f" ({_number(low, 100, 1)}-{_number(high, 100, 1)})" if low is not None else ""
    return _number(table.get("accuracy"), 100, 1) + interval


def _number(value: object, factor: int, digits: int) -> str:
    return f"{value * factor:.{digits}f}" if isinstance(value, int | float) else NONE


def _size(weights: Path) -> str:
    return f"{weights.stat().st_size / 1e6:.1f} MB"


def _align(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns two spaces apart, the first flush left, the others right."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = []
    for row in (heads, *rows):
        cells = [c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return lines


def card_lines(card: "ModelCard", weights: Path) -> list[str]:
    """The whole card for a terminal of 80 columns."""
    from mien.workflows.model_card import score_tables

    temperatures = ", ".join(f"{value:.3g} at {views}" for views, value in card.temperatures.items())
    kind = f"{'gray' if card.channels == 1 else 'RGB'} {card.input_size} x {card.input_size}"
    stated = {"Version": card.version, "Contact": card.contact, "Cite": card.citation}
    texts = {
        "Intended use": card.intended_use,
        "Not for": card.unfit_use,
        "Limits": card.limits,
        "Data": card.data,
        "Licence": card.licence,
        **{name: text for name, text in stated.items() if text},
        "Emotions": ", ".join(card.labels),
        "Input": f"{kind}, mean {card.mean:g}, std {card.std:g}",
        "Views": f"{card.views} (temperature {temperatures})",
        "Uncertain": f"below {card.uncertain_below:g}",
        "Calibrated on": card.calibrated_on or NONE,
        "Weights": f"{weights} ({_size(weights)})",
        "SHA-256": card.sha256,
        **{f"Training, {key}": _plain(value) for key, value in card.training.items()},
    }
    tables = score_tables(card)
    texts |= {f"Scores, {key}": _plain(value) for key, value in card.scores.items() if key not in tables}
    lines = [printable(card.name), *wrap(printable(card.summary), WIDTH), ""]
    for title, text in texts.items():
        lines += _field(title, text)
    if tables:
        lines += ["", *_align(SCORE_HEADS, [_score_row(key, table) for key, table in tables.items()])]
        from mien.core.cards import is_leaking, not_searched

        leaking = ", ".join(key for key, table in tables.items() if is_leaking(table))
        lines += _field("LEAK", f"the network has learned from faces of {leaking}") if leaking else []
        unknown = next(filter(None, map(not_searched, tables.values())), "")
        lines += _field("Leaks", unknown) if unknown else []
        lines += _class_lines(next(iter(tables.values())))
    return lines


def _plain(value: object) -> str:
    """A figure, or a short table of figures, as text."""
    if isinstance(value, dict):
        items = value.items()
        return ", ".join(
            f"{k} ({_plain(v)})" if isinstance(v, dict) else f"{k}: {_plain(v)}" for k, v in items
        )
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _score_row(name: str, table: dict[str, Any]) -> tuple[str, ...]:
    measures = (_number(table.get(key), factor, digits) for key, factor, digits in MEASURES)
    return printable(name), f"{table['n']:,}", _accuracy(table), *measures


SCORE_HEADS = ("test set", "faces", "accuracy %", "balanced %", "macro F1", "kappa", "NLL", "ECE %")
MEASURES = (
    ("balanced_accuracy", 100, 1),
    ("macro_f1", 1, 3),
    ("cohen_kappa", 1, 3),
    ("nll", 1, 3),
    ("ece", 100, 1),
)
"""Fields of `mien.core.scores.Scores` after the accuracy: name, factor, digits."""


def _class_lines(table: dict[str, Any]) -> list[str]:
    """Precision and recall of each emotion, the recall also as a bar."""
    from mien.core.scores import shown_share

    classes = table.get("per_class") or []
    rows = [
        (
            printable(c["label"]),
            f"{c['support']:,}",
            *(shown_share(c[x], c["support"], ".3f") for x in ("precision", "recall", "f1")),
        )
        for c in classes
    ]
    lines = _align(("emotion", "faces", "precision", "recall", "F1"), rows)
    bars = ["", *(bar(c["recall"], 20) for c in classes)]
    return (
        ["", *(f"{line}  {end}".rstrip() for line, end in zip(lines, bars, strict=True))] if classes else []
    )


def _field(title: str, text: str) -> list[str]:
    """A title and its text, wrapped and indented under the title."""
    return wrap(
        f"{printable(title)}: {printable(text)}", WIDTH, subsequent_indent="  ", break_on_hyphens=False
    )
