"""The report of a quiz as one HTML page; it shows faces of the data set, so it stays on this machine."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

import numpy as np

from mien.core.metrics import accuracy_interval
from mien.workflows.figure_style import BLUE, GREEN, ORANGE, VERMILION, percent
from mien.workflows.html_pages import MATRIX_STYLE, data_uri, matrix, page, table
from mien.workflows.quiz.report import EKMAN, PUBLISHED, Figures, QuizReport

STYLE = (
    MATRIX_STYLE
    + """
.said { padding-left: 1.1rem; max-width: 46rem; } .said li { margin: .3rem 0; }
svg { min-width: 44rem; width: 100%; height: auto; } svg text { fill: var(--ink); font-size: 12px; }
svg .quiet { fill: var(--soft); } svg line { stroke: var(--line); } svg .whisker { stroke: var(--ink); }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: .25rem 0; font-size: .9rem; }
.legend i { display: inline-block; width: .9rem; height: .9rem; margin-right: .4rem; vertical-align: -.1rem; }
figure { width: 112px; } figure img { image-rendering: auto; width: 96px; height: 96px; }
"""
)
MOST_FACES = 12
Bars = Mapping[str, tuple[str, Sequence[tuple[float, float, float] | None]]]
"""By name: a hue, and for each label the height with the ends of its interval."""


def quiz_page(report: QuizReport) -> str:
    """The page of a report."""
    names, n = report.faces.label_names, len(report.faces)
    about = (
        f"{n} faces of {report.data}, {report.split}, drawn at random; all saw the same ones. "
        "Right means: the data set's own label. It tells which expression people see, not what anyone feels."
    )
    body = [f"<h1>People and {escape(report.data)}</h1><p>{escape(about)}</p>"]
    body += ["<h2>Scores</h2>", _scores(report), *_notes(report), *_said(report)]
    body += ["<h2>Each emotion</h2>", *_emotions(report)]
    body += ["<h2>Confusion</h2><p>Rows are the data set's labels, columns the answers.</p>"]
    model = [report.model] if report.model else []
    readers = [*report.pooled[:1], *model, *report.pooled[1:], *report.people]
    walls = (
        matrix(f"{one.name}, {percent(one.accuracy)}", np.array(one.confusion), names) for one in readers
    )
    body += [f"<div class='wall scroll'>{''.join(walls)}</div>"]
    body += ["<h2>What the papers say of people</h2>", table(("who", "right"), PUBLISHED)]
    body += [
        "<p>Other faces, and the papers' authors themselves: figures to compare with, and not to beat.</p>"
    ]
    body += _faces(report)
    return page(f"Quiz of {report.data}", body, STYLE)


def _scores(report: QuizReport) -> str:
    head = (
        "",
        "answers",
        "accuracy (95 %)",
        "balanced (95 %)",
        "FER+ votes with it",
        "examples",
        "seconds each",
    )
    model = [report.model] if report.model else []
    rows = [_row(one) for one in (*report.people, *report.pooled, *model)]
    if report.raters:
        rater = percent(report.raters.accuracy, report.raters.accuracy_interval)
        rows.append(["one rater of FER+", "", rater, "", "", "", ""])
    return table(head, rows)


def _row(one: Figures) -> list[str]:
    return [
        one.name,
        f"{one.n:,}",
        percent(one.accuracy, one.accuracy_interval),
        percent(one.balanced_accuracy, one.balanced_accuracy_interval),
        "" if one.votes is None else percent(one.votes),
        "" if one.training is None else str(one.training),
        "" if one.median_s is None else f"{one.median_s:.1f}",
    ]


def _notes(report: QuizReport) -> Iterator[str]:
    notes = []
    if report.raters:
        notes.append(
            "FER+ had about ten people name each face again: 'votes with it' is the share of them that named "
            "what this reader named; 'one rater' is how often one of them names the data set's label."
        )
    if report.kappa is not None:
        notes.append(
            f"Agreement of the {report.agreeing} people who answered all faces: Fleiss' kappa "
            f"{report.kappa:.2f} (1 perfect, 0 chance)."
        )
    if report.pooled:
        notes.append("Intervals of several people together are over faces: their answers to one are alike.")
    if report.learned:
        notes.append(
            f"LEAK: the model learned from {report.learned} of these faces; its score is not of new ones."
        )
    yield f"<p>{escape(' '.join(notes))}</p>"


def _said(report: QuizReport) -> Iterator[str]:
    if report.sentences:
        yield f"<ul class='said'>{''.join(f'<li>{escape(one)}</li>' for one in report.sentences)}</ul>"


def _emotions(report: QuizReport) -> Iterator[str]:
    names = report.faces.label_names
    together = report.pooled[0] if report.pooled else report.people[0]
    bars: dict[str, tuple[str, list[tuple[float, float, float] | None]]] = {
        together.name: (BLUE, _with_ends(together.recall, report))
    }
    if report.model:
        bars[report.model.name] = (VERMILION, _with_ends(report.model.recall, report))
    if report.raters:
        bars["one rater of FER+"] = (GREEN, _with_ends(report.raters.recall, report))
    study = [EKMAN.get(name) for name in names]
    bars["posed photographs (Ekman, quoted by CS231n)"] = (ORANGE, [(v, v, v) if v else None for v in study])
    counts = np.bincount(report.faces.labels, minlength=len(names)).tolist()
    yield _chart(names, counts, bars)
    rows = [
        [
            f"{name} ({count})",
            *(percent(bar[0]) if (bar := heights[i]) else "–" for _, heights in bars.values()),
        ]
        for i, (name, count) in enumerate(zip(names, counts, strict=True))
    ]
    yield table(("", *bars), rows)
    yield (
        "<p>Share of the faces of each label that are named so; in brackets, how many faces those are. "
        "Whiskers: 95 % by Wilson for so many faces. The study showed posed photographs, chosen as clear.</p>"
    )


def _with_ends(recall: Sequence[float | None], report: QuizReport) -> list[tuple[float, float, float] | None]:
    """Heights with the interval that so many faces allow, however many people saw them."""
    counts = np.bincount(report.faces.labels, minlength=len(recall)).tolist()
    return [
        None if share is None else (share, *accuracy_interval(round(share * n), n))
        for share, n in zip(recall, counts, strict=True)
    ]


def _chart(names: Sequence[str], counts: Sequence[int], bars: Bars) -> str:
    """Bars per emotion, as Fig. 8 of CS231n 2016, in SVG."""
    left, top, high, wide = 40, 10, 220, 900
    group = (wide - left) / len(names)
    bar = 0.8 * group / len(bars)
    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = top + high * (1 - share)
        parts.append(f"<line x1='{left}' x2='{wide}' y1='{y:g}' y2='{y:g}'/>")
        parts.append(_text(left - 20, y + 4, f"{100 * share:g}", "quiet"))
    for i, (name, count) in enumerate(zip(names, counts, strict=True)):
        start = left + group * (i + 0.1)
        for j, (hue, heights) in enumerate(bars.values()):
            if (height := heights[i]) is None:
                continue
            x, (y, low, end) = start + bar * j, (top + high * (1 - part) for part in height)
            size = f"width='{bar - 2:.1f}' height='{top + high - y:.1f}'"
            parts.append(f"<rect x='{x + 1:.1f}' y='{y:.1f}' {size} fill='{hue}'/>")
            if low > end:
                x += bar / 2
                ends = f"x1='{x:.1f}' x2='{x:.1f}' y1='{end:.1f}' y2='{low:.1f}'"
                parts.append(f"<line class='whisker' {ends}/>")
        middle = start + 0.4 * group
        parts.append(_text(middle, top + high + 18, name))
        parts.append(_text(middle, top + high + 34, f"{count} face{'' if count == 1 else 's'}", "quiet"))
    legend = "".join(
        f"<span><i style='background:{hue}'></i>{escape(name)}</span>" for name, (hue, _) in bars.items()
    )
    told = "Percent right for each emotion; the table below says the same"
    return (
        f"<div class='legend'>{legend}</div><div class='scroll'>"
        f"<svg viewBox='0 0 {wide} {top + high + 40}' role='img' aria-label='{told}'>{''.join(parts)}</svg>"
        "</div>"
    )


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f"<text class='{kind}' x='{x:.1f}' y='{y:.1f}' text-anchor='middle'>{escape(text)}</text>"


def _faces(report: QuizReport) -> Iterator[str]:
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
        yield f"<h2>{title} ({len(found)}{more})</h2>"
        yield f"<div class='wall'>{''.join(_face(report, int(i)) for i in found[:MOST_FACES])}</div>"


def _face(report: QuizReport, i: int) -> str:
    faces, names = report.faces, report.faces.label_names
    given = report.answers[report.answers[:, i] >= 0, i]
    counts = np.bincount(given, minlength=len(names))
    people = ", ".join(f"{names[k]} {counts[k]}" for k in np.argsort(-counts, kind="stable") if counts[k])
    lines = [f"people: {people}"]
    if report.model_answers is not None:
        lines.append(f"model: {names[report.model_answers[i]]}")
    if faces.votes is not None and faces.vote_names is not None:
        votes = [(int(v), name) for v, name in zip(faces.votes[i], faces.vote_names, strict=True) if v]
        lines.append("FER+: " + ", ".join(f"{name} {v}" for v, name in sorted(votes, reverse=True)))
    label = escape(names[faces.labels[i]])
    return (
        f"<figure><img alt='face {faces.rows[i]}, labelled {label}' src='{data_uri(faces.images[i])}'>"
        f"<figcaption><b>{label}</b>{'<br>'.join(map(escape, lines))}</figcaption></figure>"
    )
