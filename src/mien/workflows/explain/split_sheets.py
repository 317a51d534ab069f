"""Sheets over a whole split: the pairs of classes that a model confuses, and the mean map of each class."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.detectors import landmarks_on_crops
from mien.core.geometry import similarity, warp
from mien.core.metrics import confusion_matrix
from mien.core.preprocess import FER2013_POINTS, FER2013_SIZE
from mien.errors import DataError
from mien.workflows.explain.job import Work, caption, scale
from mien.workflows.explain.sheets import Sheet, Tile, draw_sheet, top_of_scale
from mien.workflows.explain.subject import Maps, drawn, make_maps

N_PAIRS = 3


def pairs_sheet(work: Work) -> list[Path]:
    """The most confused pairs of classes, each error with the map of its true and of its named class."""
    subject, faces = work.subject, work.faces
    labels = np.asarray(faces.labels)
    inputs = subject.inputs(faces.crops)
    probs = _probs(work, inputs)
    confusion = confusion_matrix(labels, probs.argmax(1), len(subject.labels))
    method = work.job.maps.chosen(subject)[-1]
    settings = replace(work.job.maps, methods=(method,), exact=False)
    columns = ["face", "map of the true", "map of the named"] * work.job.number("pairs")
    sheet = Sheet(f"{subject.name}, {work.job.split}: the most confused pairs, by {method}", columns)
    arrays: dict[str, Any] = {}
    for a, b in most_confused(confusion, N_PAIRS):
        for true, named in ((a, b), (b, a)):
            wrong = np.flatnonzero((labels == true) & (probs.argmax(1) == named))
            some = wrong[np.argsort(-probs[wrong, named], kind="stable")][: work.job.number("pairs")]
            if not len(some):
                continue
            both = [
                make_maps(subject, inputs[some], np.full(len(some), which), settings, work.report)[method]
                for which in (true, named)
            ]
            row = []
            for i, face in enumerate(some):
                crop = subject.crops(faces.crops[face : face + 1])[0]
                row += [Tile(crop, None, caption(subject, faces, probs, face))]
                row += [
                    Tile(crop, maps[i], f"{subject.labels[which]}: {scale(method, maps[i])}")
                    for which, maps in zip((true, named), both, strict=True)
                ]
            sheet.rows.append(row)
            key = f"{subject.labels[true]}_as_{subject.labels[named]}"
            arrays |= {f"{key}_positions": some, f"{key}_true_maps": both[0], f"{key}_named_maps": both[1]}
    if not sheet.rows:
        raise DataError(f"'{subject.name}' has no errors on the {work.job.split} rows")
    return work.write("pairs", {**arrays, "confusion": confusion}, lambda file: draw_sheet(sheet, file))


def most_confused(confusion: NDArray[np.int64], n: int) -> list[tuple[int, int]]:
    """The pairs of classes that are taken for each other most often, as a share of the faces of both."""
    both = (confusion + confusion.T).astype(float)
    totals = confusion.sum(axis=1)
    share = np.triu(both / np.maximum(totals[:, None] + totals, 1), k=1)
    order = np.argsort(-share, axis=None, kind="stable")[:n]
    return [
        (int(i), int(j)) for i, j in zip(*np.unravel_index(order, share.shape), strict=True) if share[i, j]
    ]


def mean_sheet(work: Work) -> list[Path]:
    """The mean face and map of each class; faces and maps are first brought to the same five points."""
    subject, job = work.subject, work.job
    labels = np.asarray(work.faces.labels)
    methods = job.maps.chosen(subject)
    settings = replace(job.maps, exact=False)
    sheet = Sheet(
        f"{subject.name}, {job.split}: mean map of each class over faces brought to the same five points",
        ["mean face", *methods],
    )
    arrays: dict[str, Any] = {}
    for code, label in enumerate(subject.labels):
        rows = np.flatnonzero(labels == code)
        if not len(rows):
            continue
        faces = drawn(work.faces.take(rows), job.number("mean"), job.maps.seed)
        inputs = subject.inputs(faces.crops)
        maps = make_maps(subject, inputs, np.full(len(inputs), code), settings, work.report)
        face, means, n = aligned_means(subject.crops(faces.crops), maps)
        if not n:
            continue
        gray = np.rint(face).astype(np.uint8)
        row = [Tile(gray, None, f"{label}, {n} faces")]
        row += [Tile(gray, means[m], f"top {top_of_scale(means[m]):.2g}") for m in methods]
        sheet.rows.append(row)
        arrays |= {f"{label}_face": face, **{f"{label}_{m}": found for m, found in means.items()}}
    if not sheet.rows:
        raise DataError(f"no face of the {job.split} rows shows five points to align by")
    return work.write("mean", arrays, lambda file: draw_sheet(sheet, file))


def aligned_means(crops: NDArray[np.uint8], maps: Maps) -> tuple[NDArray[np.float64], Maps, int]:
    """The mean of faces and of their maps, moved so that eyes, nose and mouth lie where FER2013 has them.

    Each map counts by its shape alone, from 0 to its own top. Faces on which the five points are doubtful are
    left out; the last value says how many are left.
    """
    size = crops.shape[1]
    points, sure = landmarks_on_crops(crops)
    zoom = size / FER2013_SIZE
    kept = np.flatnonzero(sure > 0.5)
    moves = [similarity(points[i], FER2013_POINTS * zoom) for i in kept]

    def mean(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        moved = [warp(images[i], move, (size, size)) for i, move in zip(kept, moves, strict=True)]
        return np.mean(moved, axis=0) if moved else np.zeros((size, size))

    def gray(values: NDArray[np.float32]) -> NDArray[np.uint8]:
        tops = np.array([top_of_scale(one) or 1.0 for one in values])[:, None, None]
        return np.asarray(np.rint(255 * np.clip(values / tops, 0, 1)), np.uint8)

    means = {method: (mean(gray(found)) / 255).astype(np.float32) for method, found in maps.items()}
    return mean(crops), means, len(kept)


def _probs(work: Work, inputs: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
    parts = []
    for start in range(0, len(inputs), 256):
        work.report("predictions", start, len(inputs))
        parts.append(work.subject.probs(inputs[start : start + 256]))
    return np.concatenate(parts)
