"""Write the page of a model from its card, so that no number is copied by hand.

python tools/model_page.py fer2013-medium docs/models/fer2013-medium.md

Where `benchmarks/robustness.py MODEL STORE --to docs/models` left its JSON beside the page, that goes in too.
"""

import json
import sys
from pathlib import Path
from typing import Any

from mien.core.cards import ModelCard
from mien.core.model_store import find_model


def percent(value: float, interval: list[float] | None = None) -> str:
    return f"{value:.2%}" + (f" ({interval[0]:.1%} - {interval[1]:.1%})" if interval else "")


def score_row(name: str, s: dict[str, Any]) -> str:
    cells = [
        name,
        f"{s['n']:,}",
        percent(s["accuracy"], s["accuracy_interval"]),
        percent(s["balanced_accuracy"], s["balanced_accuracy_interval"]),
        percent(s["macro_f1"], s["macro_f1_interval"]),
        f"{s['ece']:.4f}",
        f"{s['nll']:.3f}",
    ]
    return f"| {' | '.join(cells)} |"


def measured_robustness(folder: Path, name: str) -> dict[str, Any] | None:
    """What the benchmark wrote about a model; None where it was not run."""
    path = folder / f"{name}-robustness.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def robustness_lines(found: dict[str, Any] | None) -> list[str]:
    """The figure, and of each kind of change the level that harms most."""
    if found is None:
        return []
    plain, *rows = found["rows"]
    worst = [min((r for r in rows if r["change"] == kind), key=accuracy) for kind in found["units"]]
    return [
        "## Under other conditions",
        "",
        f"{found['n']:,} PublicTest faces, {found['views']} view(s), one change at a time; unchanged "
        f"{percent(accuracy(plain))}, balanced {percent(plain['balanced_accuracy'])}. Below, of each kind "
        f"the level that harms most; all are in the figure and in `{found['model']}-robustness.json`.",
        "",
        f"![Accuracy under changes of the face]({found['model']}-robustness.png)",
        "",
        "| change | level | accuracy | balanced accuracy |",
        "|---|---|---|---|",
        *(
            f"| {r['change']} ({found['units'][r['change']]}) | {r['level']} "
            f"| {percent(accuracy(r), r['accuracy_interval'])} "
            f"| {percent(r['balanced_accuracy'], r['balanced_accuracy_interval'])} |"
            for r in worst
        ),
        "",
    ]


def accuracy(row: dict[str, Any]) -> float:
    return row["accuracy"]


def page(card: ModelCard, n_bytes: int, robustness: dict[str, Any] | None = None) -> str:
    """The page as Markdown."""
    test = card.scores["test"]
    names = {"test": "PrivateTest, all", "test_clean": "PrivateTest without near copies of Training faces"}
    views = ", ".join(f"{n}: {percent(a)}" for n, a in card.scores["val_accuracy_by_views"].items())
    run, env = card.training["recipe"]["run"], card.training["environment"]
    lines = [
        f"# {card.name}",
        "",
        f"{card.summary}. {card.training['parameters']:,} parameters, {n_bytes / 1e6:.1f} MB, "
        f"gray {card.input_size} x {card.input_size} input. This page is written from the card by "
        "`tools/model_page.py`.",
        "",
        "## Scores",
        "",
        "Pooled over all rows, 95 % intervals in brackets; the temperature was fitted on PublicTest, "
        f"{card.views} view(s) of a face.",
        "",
        "| rows | n | accuracy | balanced accuracy | macro F1 | ECE | NLL |",
        "|---|---|---|---|---|---|---|",
        *(score_row(names[key], card.scores[key]) for key in names if key in card.scores),
        "",
        f"PublicTest accuracy by views of a face: {views}.",
        "",
        "| PrivateTest | faces | precision | recall | F1 |",
        "|---|---|---|---|---|",
        *(
            f"| {c['label']} | {c['support']} | {c['precision']:.1%} | {c['recall']:.1%} | {c['f1']:.1%} |"
            for c in test["per_class"]
        ),
        "",
        *robustness_lines(robustness),
        "## Use",
        "",
        f"**Fit for.** {card.intended_use}",
        "",
        f"**Unfit for.** {card.unfit_use}",
        "",
        f"**Limits.** {card.limits}",
        "",
        "## Data and terms",
        "",
        f"**Data.** {card.data}",
        "",
        f"**Licence of the weights.** {card.licence}",
        "",
        "## Training",
        "",
        f"{run['epochs']} epochs, batch {run['batch_size']}, seed {run['seed']}, {run['precision']}; "
        f"torch {env['torch']} on {env['gpu'] or env['machine'] + ' CPU'}, {env['threads']} threads. "
        "See [EXPERIMENTS.md](../../EXPERIMENTS.md).",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    name, target = sys.argv[1], Path(sys.argv[2])
    weights, card = find_model(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    found = measured_robustness(target.parent, name)
    target.write_text(page(card, weights.stat().st_size, found), encoding="utf-8")


if __name__ == "__main__":
    main()
