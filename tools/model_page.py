"""Write the page of a model from its card, so that no number is copied by hand.

python tools/model_page.py fer2013-s2d12 docs/models/fer2013-s2d12.md
"""

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


def page(card: ModelCard, n_bytes: int) -> str:
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
    target.write_text(page(card, weights.stat().st_size), encoding="utf-8")


if __name__ == "__main__":
    main()
