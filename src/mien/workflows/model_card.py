"""A model's card as Markdown in the format of Hugging Face; it contains only what the card states."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mien.core.cards import NOT_STATED, ModelCard, is_leaking, not_searched
from mien.core.emotions import ALIASES
from mien.core.files import write_text
from mien.core.outputs import check_output
from mien.core.scores import shown_share
from mien.core.text import markdown_table, one_line, with_interval
from mien.errors import MienError

PUBLIC_DATA = frozenset(("affectnet", "ckextended", "ckplus", "fer2013", "ferplus", "jaffe", "rafdb"))
"""Names under which `mien data import` keeps public data sets; others are the user's own."""

LICENCES = frozenset(
    ("mit", "apache-2.0", "bsd-3-clause", "gpl-3.0", "mpl-2.0", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0")
)
"""Licences that the Hub knows by these names."""

SPLITS = {"test": "test", "test_clean": "test, without near copies of training faces"}
"""What the scores of a card were measured on."""

METRICS = {
    "accuracy": ("accuracy", "Accuracy"),
    "balanced_accuracy": ("balanced_accuracy", "Balanced accuracy"),
    "macro_f1": ("f1", "Macro F1"),
    "ece": ("ece", "Expected calibration error"),
}
"""Figures of `mien.core.scores.Scores`: the metric's name on the Hub, and what people call it."""

LIBRARY = "mien"
TASK = "image-classification"

PLAIN = re.compile(r"(?!null$|true$|false$|yes$|no$|on$|off$)[a-z][a-z0-9_.-]*")
"""Text that YAML needs no quotes for."""

NOTHING = "Not stated by its maker."

READ = "How to use"
USE = """\
```sh
pip install mien
mien read photo.jpg --model {name}.onnx
```

```python
import mien

analyzer = mien.Analyzer("{name}.onnx")
print(analyzer.read("photo.jpg"))
```

`{name}.json`, which holds the same card for programs, must lie beside `{name}.onnx`."""


def model_card(card: ModelCard, n_bytes: int) -> str:
    """The card as a README.md that the Hugging Face Hub reads.

    Args:
        card: The model's card.
        n_bytes: Size of the weights.
    """
    parts = [f"---\n{yaml(header(card))}\n---", f"# {one_line(card.name)}", about(card, n_bytes)]
    return "\n\n".join([*parts, *(f"## {title}\n\n{text}" for title, text in sections(card).items())]) + "\n"


def write_model_card(card: ModelCard, n_bytes: int, path: Path) -> None:
    """Write `model_card` to a file.

    Raises:
        MienError: the file holds something else.
    """
    check_output(path)
    if path.exists() and f"library_name: {LIBRARY}\n" not in path.read_bytes()[:2000].decode(
        errors="replace"
    ):
        raise MienError(f"{path} is not a model card of mien and is not replaced; give another --out")
    write_text(path, model_card(card, n_bytes))


def header(card: ModelCard) -> dict[str, Any]:
    """The metadata; keys without a known value are left out."""
    licence = card.licence.strip().lower().rstrip(".")
    found: dict[str, Any] = {"license": licence if licence in LICENCES else "other"}
    if card.licence == NOT_STATED or not licence:
        found["license"] = "unknown"
    elif found["license"] == "other":
        found["license_name"] = "see-licence-of-the-weights"
    if set(card.labels) <= set(ALIASES.values()):
        found["language"] = "en"
    found |= {"library_name": LIBRARY, "pipeline_tag": TASK}
    found["tags"] = ["mien", "onnx", "facial-expression-recognition"]
    if data_name(card) in PUBLIC_DATA:
        found["datasets"] = [data_name(card)]
    results = list(_results(card))
    if results:
        measured = {metric["type"] for result in results for metric in result["metrics"]}
        found["metrics"] = [name for name, _ in METRICS.values() if name in measured]
        found["model-index"] = [{"name": one_line(card.name), "results": results}]
    return found


def data_name(card: ModelCard) -> str:
    """Name of the training data set; empty if unknown."""
    return str(card.learned_from().get("name", ""))


def scored_data(card: ModelCard, scores: Mapping[str, Any]) -> str:
    """Name of the data set of a table of scores; if it is not stated, that of the training data."""
    return one_line(scores.get("data") or data_name(card))


def _results(card: ModelCard) -> Iterator[dict[str, Any]]:
    for key, scores in score_tables(card).items():
        data = scored_data(card, scores) or "not stated"
        split, _, config = one_line(key).partition("_")
        yield {
            "task": {"type": TASK, "name": "Facial expression recognition"},
            "dataset": {
                "type": re.sub(r"[^\w.-]+", "-", data),
                "name": f"{data}, {SPLITS.get(key, one_line(key))}",
                **({"config": config} if config else {}),  # or the Hub takes both for the same rows
                "split": split,
            },
            "metrics": [
                {"type": metric, "value": round(scores[field], 4), "name": f"{title}{_bounds(scores, field)}"}
                for field, (metric, title) in METRICS.items()
                if field in scores
            ],
        }


def score_tables(card: ModelCard) -> dict[str, dict[str, Any]]:
    """Those of the card's scores that are the dict form of `mien.core.scores.Scores`."""
    return {k: v for k, v in card.scores.items() if isinstance(v, dict) and {"accuracy", "n"} <= v.keys()}


def _bounds(scores: Mapping[str, Any], field: str) -> str:
    found = interval(scores, field)
    return f" (95 % interval {found[0]:.1%} to {found[1]:.1%})" if found else ""


def interval(scores: Mapping[str, Any], field: str) -> tuple[float, float] | None:
    """The 95 % interval of a figure; ``None`` where the card has none."""
    found = scores.get(f"{field}_interval")
    if isinstance(found, list | tuple) and len(found) == 2 and all(isinstance(x, int | float) for x in found):
        return found[0], found[1]
    return None


def about(card: ModelCard, n_bytes: int) -> str:
    """What the model is, in one paragraph."""
    n = card.training.get("parameters")
    facts = [
        *([f"{n:,} parameters"] if isinstance(n, int) else []),
        f"{n_bytes / 1e6:.1f} MB",
        f"{'gray' if card.channels == 1 else 'RGB'} {card.input_size} x {card.input_size} input",
    ]
    labels = ", ".join(one_line(label) for label in card.labels)
    return f"{_sentence(card.summary)} Classes: {labels}. {', '.join(facts)}.".strip()


def sections(card: ModelCard, rows: Mapping[str, str] = SPLITS) -> dict[str, str]:
    """The sections after the first paragraph, by title.

    Args:
        card: The model's card.
        rows: Name of the rows that each table of scores was measured on; for other data than the training
            data, the name of the data set is added.
    """
    name = one_line(data_name(card))
    texts = {
        "Intended use": one_line(card.intended_use),
        "Out-of-scope use": one_line(card.unfit_use),
        "Training data": one_line(card.data) + (f"\n\nName of the data set: `{name}`." if name else ""),
        "Limitations": f"{one_line(card.limits)} {_weakest(card)}",
        "Evaluation": "\n".join(_score_lines(card, rows)),
        "Licence of the weights": one_line(card.licence),
        READ: USE.format(name=one_line(card.name)),
        "Version": " ".join(_version(card)),
        "Contact": one_line(card.contact),
        "Citation": " ".join(_citation(card)),
    }
    return {title: text.strip() or NOTHING for title, text in texts.items()}


def _weakest(card: ModelCard) -> str:
    """The emotion with the lowest recall, which scores of the whole do not show."""
    classes = [c for c in score_tables(card).get("test", {}).get("per_class") or () if c["support"]]
    if not classes:
        return ""
    worst = min(classes, key=lambda c: c["recall"])
    found = f"{worst['recall']:.1%} of {worst['support']:,} test faces"
    return f"Lowest recall: {one_line(worst['label'])}, {found}."


def _score_lines(card: ModelCard, rows: Mapping[str, str]) -> Iterator[str]:
    tables = score_tables(card)
    of = {key: _rows_name(card, rows.get(key, key), scores) for key, scores in tables.items()}
    if not tables:
        yield "Not measured."
        return
    fitted = (
        f" Probabilities were calibrated on {one_line(card.calibrated_on)}." if card.calibrated_on else ""
    )
    yield f"Pooled over all rows, 95 % intervals in brackets; views per face: {card.views}.{fitted}"
    yield ""
    yield markdown_table(
        ("rows", "n", "accuracy", "balanced accuracy", "macro F1", "ECE", "NLL"),
        (
            (
                of[key],
                f"{s['n']:,}",
                *(percent(s, field) for field in ("accuracy", "balanced_accuracy", "macro_f1")),
                *(
                    f"{s[field]:.{digits}f}" if field in s else ""
                    for field, digits in (("ece", 4), ("nll", 3))
                ),
            )
            for key, s in tables.items()
        ),
    )
    if leaking := ", ".join(of[key] for key, s in tables.items() if is_leaking(s)):
        yield f"\nLEAK: the network was trained on faces of these rows: {leaking}."
    if unknown := next(filter(None, map(not_searched, tables.values())), ""):
        yield f"\nLeaks: {one_line(unknown)}."
    by_views = card.scores.get("val_accuracy_by_views")
    if isinstance(by_views, dict):
        numbers = {n: accuracy for n, accuracy in by_views.items() if isinstance(accuracy, int | float)}
        listed = ", ".join(f"{one_line(n)}: {accuracy:.2%}" for n, accuracy in numbers.items())
        yield f"\nValidation accuracy by views per face: {listed}."
    key, first = next(iter(tables.items()))
    if first.get("per_class"):
        yield ""
        yield markdown_table(
            (of[key], "faces", "precision", "recall", "F1"),
            (
                (
                    c["label"],
                    f"{c['support']:,}",
                    *(shown_share(c[x], c["support"]) for x in ("precision", "recall", "f1")),
                )
                for c in first["per_class"]
            ),
        )


def _rows_name(card: ModelCard, name: str, scores: Mapping[str, Any]) -> str:
    data = scored_data(card, scores)
    return name if data == one_line(data_name(card)) else f"{data}, {name}"


def _version(card: ModelCard) -> Iterator[str]:
    environment = _environment(card)
    if card.version:
        yield f"Version {one_line(card.version)}."
    if started := str(environment.get("started", "")):
        yield f"Trained {one_line(started)[:10]}."
    if made_by := str(environment.get("mien", "")):
        yield f"Made with mien {one_line(made_by)}."
    yield f"SHA-256 of the weights: `{one_line(card.sha256)}`."


def _citation(card: ModelCard) -> Iterator[str]:
    yield card.citation.strip() or NOTHING
    if not card.citation and "mien" in _environment(card):
        yield "It was made with mien; to cite mien, see its `CITATION.cff`."


def _environment(card: ModelCard) -> dict[str, Any]:
    found = card.training.get("environment")
    return found if isinstance(found, dict) else {}


def percent(scores: Mapping[str, Any], field: str) -> str:
    """A fraction of `mien.core.scores.Scores` with its interval."""
    if field not in scores:
        return ""
    return with_interval(scores[field], interval(scores, field))


def yaml(value: Any, indent: str = "") -> str:
    """Tables, lists and values as YAML in blocks; text is quoted as in JSON, which YAML reads too."""
    if isinstance(value, dict):
        return "\n".join(f"{indent}{key}:{_inside(item, indent)}" for key, item in value.items())
    if isinstance(value, list):
        items = (yaml(item, f"{indent}  ").lstrip() for item in value)
        return "\n".join(f"{indent}- {item}" for item in items)
    return f"{indent}{value if isinstance(value, str) and PLAIN.fullmatch(value) else _quoted(value)}"


def _inside(value: Any, indent: str) -> str:
    is_block = isinstance(value, dict | list)
    return f"\n{yaml(value, f'{indent}  ')}" if is_block else f" {yaml(value)}"


def _quoted(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _sentence(text: str) -> str:
    text = one_line(text)
    return f"{text}." if text and text[-1] not in ".!?" else text
