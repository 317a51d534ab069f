"""Write the page of a model from its card, so that no number is copied by hand.

python tools/model_page.py fer2013-medium docs/models/fer2013-medium.md

Where `benchmarks/robustness.py MODEL STORE --out docs/models` left its JSON beside the page, it is included.
"""

import json
import sys
from operator import itemgetter
from pathlib import Path
from typing import Any

from mien.core.cards import ModelCard
from mien.core.model_store import find_model
from mien.core.text import markdown_table
from mien.workflows.model_card import READ, about, percent, sections

ROWS = {"test": "PrivateTest, all", "test_clean": "PrivateTest without near copies of Training faces"}


def measured_robustness(folder: Path, name: str) -> dict[str, Any] | None:
    """The results of the benchmark for a model; None if it was not run."""
    path = folder / f"{name}-robustness.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def robustness_lines(found: dict[str, Any] | None) -> list[str]:
    """The figure, and the most harmful level of each kind of change."""
    if found is None:
        return []
    plain, *rows = found["rows"]
    worst = [
        min((r for r in rows if r["change"] == kind), key=itemgetter("accuracy")) for kind in found["units"]
    ]
    return [
        "## Under other conditions",
        "",
        f"{found['n']:,} PublicTest faces, {found['views']} view(s), one change at a time; unchanged "
        f"{plain['accuracy']:.2%}, balanced {plain['balanced_accuracy']:.2%}. The table shows the most "
        f"harmful level of each change; the figure and `{found['model']}-robustness.json` show all levels.",
        "",
        f"![Accuracy under changes of the face]({found['model']}-robustness.png)",
        "",
        *markdown_table(
            ("change", "level", "accuracy", "balanced accuracy"),
            (
                (
                    f"{r['change']} ({found['units'][r['change']]})",
                    r["level"],
                    percent(r, "accuracy"),
                    percent(r, "balanced_accuracy"),
                )
                for r in worst
            ),
        ).splitlines(),
        "",
    ]


def page(card: ModelCard, n_bytes: int, robustness: dict[str, Any] | None = None) -> str:
    """The page as Markdown."""
    lines = [
        f"# {card.name}",
        "",
        f"{about(card, n_bytes)} `tools/model_page.py` writes this page from the card.",
        "",
    ]
    for title, text in sections(card, ROWS).items():
        if title == READ:  # the README says it
            continue
        lines += [f"## {title}", "", text, ""]
        if title == "Evaluation":
            lines += robustness_lines(robustness)
    run, env = card.training["recipe"]["run"], card.training["environment"]
    return "\n".join(
        [
            *lines,
            "## Training",
            "",
            f"{run['epochs']} epochs, batch {run['batch_size']}, seed {run['seed']}, {run['precision']}; "
            f"torch {env['torch']} on {env['gpu'] or env['machine'] + ' CPU'}, {env['threads']} threads. "
            "See [EXPERIMENTS.md](../../EXPERIMENTS.md).",
            "",
        ]
    )


def main() -> None:
    name, target = sys.argv[1], Path(sys.argv[2])
    weights, card = find_model(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    found = measured_robustness(target.parent, card.name)
    target.write_text(page(card, weights.stat().st_size, found), encoding="utf-8")


if __name__ == "__main__":
    main()
