"""The report of a quiz as one HTML page; it shows faces of the data set, so it stays on this machine."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from mien.core.text import counted
from mien.workflows.figure_style import BLUE, GREEN, ORANGE, VERMILION, percent
from mien.workflows.html_pages import render
from mien.workflows.quiz.report import EKMAN, PUBLISHED, Figures, QuizReport, Raters

MOST_FACES = 12
Bars = Mapping[str, tuple[str, Sequence[tuple[float, float, float] | None]]]
"""By name: a hue, and for each label the height with the ends of its interval."""


def quiz_page(report: QuizReport) -> str:
    """The page of a report."""
    n, model = report.n_drawn, [report.model] if report.model else []
    bars, counts = _bars(report), _label_counts(report)
    readers = [*report.pooled[:1], *model, *report.pooled[1:], *report.people]
    values = {
        "title": f"Quiz of {report.data}",
        "data": report.data,
        "about": f"{n} faces of {report.data}, {report.split}, drawn at random; all are asked the same ones. "
        "Right means: the data set's own label. It tells which expression people see, not what anyone feels.",
        "scores": _scores(report),
        "notes": " ".join(_notes(report)),
        "sentences": report.sentences,
        "bars": [{"name": name, "hue": hue} for name, (hue, _) in bars.items()],
        "chart": _chart(report.faces.label_names, counts, bars),
        "emotions": _emotions(report.faces.label_names, counts, bars),
        "labels": report.faces.label_names,
        "readers": [
            {"title": f"{one.name}, {percent(one.accuracy)}", "counts": np.array(one.confusion)}
            for one in readers
        ],
        "published": {"head": ("who", "right"), "rows": PUBLISHED},
        "walls": list(_walls(report)),
    }
    return render("quiz.html", values)


def _scores(report: QuizReport) -> dict[str, Any]:
    head = [
        "",
        "answers",
        "accuracy (95 %)",
        "balanced (95 %)",
        "FER+ votes with it",
        "examples",
        "seconds each",
    ]
    rows = [_row(one) for one in (*report.people, *report.pooled)]
    if report.model:
        head.append(f"{report.model.name} on the same faces")
        rows.append(_row(report.model))
    if report.raters:
        rater = percent(report.raters.accuracy, report.raters.accuracy_interval)
        rows.append(["one rater of FER+", "", rater])
    rows = [[*row, *[""] * (len(head) - len(row))] for row in rows]
    return {"head": head, "rows": rows}


def _row(one: Figures) -> list[str]:
    return [
        one.name,
        f"{one.n:,}",
        percent(one.accuracy, one.accuracy_interval),
        percent(one.balanced_accuracy, one.balanced_accuracy_interval),
        "" if one.votes is None else percent(one.votes),
        "" if one.training is None else str(one.training),
        "" if one.median_s is None else f"{one.median_s:.1f}",
        "" if one.model is None else percent(one.model),
    ]


def _notes(report: QuizReport) -> Iterator[str]:
    if len(report.faces) < report.n_drawn:
        yield f"{len(report.faces)} of the faces were answered: everything here is of those."
    if report.raters:
        yield (
            "FER+ had about ten people name each face again: 'votes with it' is the share of them that named "
            "what this reader named; 'one rater' is how often one of them names the data set's label."
        )
        if report.raters.n_faces < len(report.faces):
            yield f"{report.raters.n_faces} of these {len(report.faces)} faces have votes: both are of those."
    if report.kappa is not None:
        yield (
            f"Agreement of the {report.agreeing} people who answered all faces: Fleiss' kappa "
            f"{report.kappa:.2f} (1 perfect, 0 chance)."
        )
    if report.pooled:
        yield "Intervals of several people together are over faces: their answers to one are alike."
    if report.learned:
        yield (f"LEAK: the model learned from {report.learned} of these faces; its score is not of new ones.")


def _label_counts(report: QuizReport) -> list[int]:
    """How many faces each label has."""
    n_labels = len(report.faces.label_names)
    return cast("list[int]", np.bincount(report.faces.labels, minlength=n_labels).tolist())


def _bars(report: QuizReport) -> Bars:
    together = report.pooled[0] if report.pooled else report.people[0]
    bars: dict[str, tuple[str, list[tuple[float, float, float] | None]]] = {
        together.name: (BLUE, _with_ends(together))
    }
    if report.model:
        bars[report.model.name] = (VERMILION, _with_ends(report.model))
    if report.raters:
        bars["one rater of FER+"] = (GREEN, _with_ends(report.raters))
    study = [EKMAN.get(name) for name in report.faces.label_names]
    bars["posed photographs (Ekman, quoted by CS231n)"] = (ORANGE, [(v, v, v) if v else None for v in study])
    return bars


def _emotions(names: Sequence[str], counts: Sequence[int], bars: Bars) -> dict[str, Any]:
    rows = [
        [
            f"{name} ({count})",
            *(percent(bar[0]) if (bar := heights[i]) else "–" for _, heights in bars.values()),
        ]
        for i, (name, count) in enumerate(zip(names, counts, strict=True))
    ]
    return {"head": ("", *bars), "rows": rows}


def _with_ends(one: Figures | Raters) -> list[tuple[float, float, float] | None]:
    """Heights with their intervals."""
    return [
        None if share is None or ends is None else (share, *ends)
        for share, ends in zip(one.recall, one.recall_intervals, strict=True)
    ]


@dataclass(slots=True)
class Chart:
    """What an SVG image consists of; all numbers in its own units."""

    width: int
    height: int
    lines: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    bars: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    whiskers: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    texts: list[tuple[str, str, str, str]] = field(default_factory=list)

    def text(self, x: float, y: float, text: str, kind: str = "") -> None:
        self.texts.append((f"{x:.1f}", f"{y:.1f}", text, kind))


def _chart(names: Sequence[str], counts: Sequence[int], bars: Bars) -> Chart:
    """Bars per emotion, as Fig. 8 of CS231n 2016."""
    left, top, high, wide = 40, 10, 220, 900
    chart = Chart(wide, top + high + 40)
    group = (wide - left) / len(names)
    bar = 0.8 * group / len(bars)
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = top + high * (1 - share)
        chart.lines.append((str(left), str(wide), f"{y:g}", f"{y:g}", ""))
        chart.text(left - 20, y + 4, f"{100 * share:g}", "quiet")
    for i, (name, count) in enumerate(zip(names, counts, strict=True)):
        start = left + group * (i + 0.1)
        for j, (hue, heights) in enumerate(bars.values()):
            if (height := heights[i]) is None:
                continue
            x, (y, low, end) = start + bar * j, (top + high * (1 - part) for part in height)
            chart.bars.append((f"{x + 1:.1f}", f"{y:.1f}", f"{bar - 2:.1f}", f"{top + high - y:.1f}", hue))
            if low > end:
                middle = f"{x + bar / 2:.1f}"
                chart.whiskers.append((middle, middle, f"{end:.1f}", f"{low:.1f}", "whisker"))
        chart.text(start + 0.4 * group, top + high + 18, name)
        chart.text(start + 0.4 * group, top + high + 34, counted(count, "face"), "quiet")
    return chart


def _walls(report: QuizReport) -> Iterator[dict[str, Any]]:
    """Faces on which people and model part."""
    faces, guess = report.faces, report.model_answers
    given = report.answers >= 0
    share = ((report.answers == faces.labels) & given).sum(axis=0) / np.maximum(given.sum(axis=0), 1)
    if guess is None:
        chosen = {"Faces that no one named as the data set does": given.any(axis=0) & (share == 0)}
    else:
        right = guess == faces.labels
        chosen = {
            "Named by most people, and not by the model": (share > 0.5) & ~right,
            "Named by the model, and not by most people": given.any(axis=0) & (share < 0.5) & right,
        }
    for title, mask in chosen.items():
        found = np.flatnonzero(mask)
        more = f", the first {MOST_FACES} shown" if len(found) > MOST_FACES else ""
        shown = [_face(report, int(i)) for i in found[:MOST_FACES]]
        yield {"title": title, "number": f"{len(found)}{more}", "faces": shown}


def _face(report: QuizReport, i: int) -> dict[str, Any]:
    faces, names = report.faces, report.faces.label_names
    given = report.answers[report.answers[:, i] >= 0, i]
    counts = np.bincount(given, minlength=len(names))
    people = ", ".join(f"{names[k]} {counts[k]}" for k in np.argsort(-counts, kind="stable") if counts[k])
    lines = [f"people: {people}"]
    if report.model_answers is not None:
        lines.append(f"model: {names[report.model_answers[i]]}")
    if faces.votes is not None and faces.vote_names is not None and faces.votes[i].any():
        votes = [(int(v), name) for v, name in zip(faces.votes[i], faces.vote_names, strict=True) if v]
        lines.append("FER+: " + ", ".join(f"{name} {v}" for v, name in sorted(votes, reverse=True)))
    label = names[faces.labels[i]]
    return {"row": faces.rows[i], "label": label, "lines": lines, "image": faces.images[i]}
