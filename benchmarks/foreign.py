"""How well models read images that come from elsewhere than their training: detector, crop, network.

    python benchmarks/foreign.py MODEL SET... [--also MODEL]... [--map NAME=EMOTION]... [--crops] [--json]

A SET is a folder of class folders named by emotion, or a CSV with the columns path and label. A name that is
none of the models' emotions must be mapped (``--map joy=happy``) or left out (``--map contempt=``); boxes of
a CSV are not used. Each image is searched as a whole, and its largest face is read. An image without a
face is counted and enters no other figure but "right of all images", where it is wrong; with ``--crops``
it is counted too, and read as if it were the face.

"gloomy" is the share of the images that show none of angry, sad and neutral, and are answered so all the
same. Intervals are 95 %: Wilson's for shares, bootstraps for balanced accuracy, and for means over the sets
bootstraps of the images within each set. ECE has none: a resample's is larger than that of its sample. In a
pair, "lost" are images that only the first model read right, "won" those that only the other did.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien import MienError
from mien.core import metrics
from mien.core.classifier import Classifier
from mien.core.detection import Detector
from mien.core.emotions import emotion_or
from mien.core.images import open_image
from mien.core.scores import Scores, score
from mien.data.csv_list import list_paths
from mien.data.folders import list_folders
from mien.data.listing import Listing
from mien.errors import DataError, ImageError
from mien.workflows.read import ReadSettings, build_analyzer

GLOOMY = ("angry", "sad", "neutral")
RESAMPLES = 1000
Share = tuple[float, metrics.Interval | None]


@dataclass
class Answers:
    """The images of one set whose face was read, and what came of the others.

    ``labels`` holds names; ``probs`` has a row for each of them, with the answers of every model.
    """

    name: str
    labels: list[str] = field(default_factory=list)
    probs: list[list[NDArray[np.floating]]] = field(default_factory=list)
    opened: int = 0
    no_face: int = 0
    unreadable: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def list_set(path: Path) -> Listing:
    """The images of a folder of class folders, or of a CSV of paths and labels."""
    return list_paths(path) if path.is_file() else list_folders(path)


def mapped_labels(
    names: Iterable[str], mapping: Mapping[str, str], known: Sequence[str]
) -> dict[str, str | None]:
    """For each label of a set, the model's emotion, or None where it is left out.

    Raises:
        DataError: a label is neither an emotion of the models nor mapped, or is mapped to none of them.
    """
    wanted = {name: mapping.get(name, name) or None for name in names}
    strange = sorted(label for label, found in wanted.items() if found and found not in known)
    if strange:
        raise DataError(
            f"no model answers {', '.join(strange)} (known: {', '.join(known)}); "
            f"map each with --map {strange[0]}=EMOTION, or leave it out with --map {strange[0]}="
        )
    return wanted


class Reader:
    """Models behind one detector, so that all of them see the same faces."""

    def __init__(self, models: Iterable[Classifier], detector: Detector, crops: bool) -> None:
        self.models, self.detector, self.crops = tuple(models), detector, crops

    def read(self, image: NDArray[np.uint8], label: str, answers: Answers) -> None:
        """Add what each model says of the largest face to the answers."""
        faces = self.detector.find(image)
        answers.opened += 1
        answers.no_face += not faces
        if faces:
            probs = [model.probs(model.crop(image, faces[0])[None])[0] for model in self.models]
        elif self.crops:
            probs = [np.array(list(model.classify(image).values())) for model in self.models]
        else:
            return
        answers.labels.append(label)
        answers.probs.append(probs)


def read_set(listing: Listing, emotions: Mapping[str, str | None], reader: Reader) -> Answers:
    """Read every image of a set; ``emotions`` says what its labels are called here."""
    answers = Answers(listing.name)
    for entry in listing.entries():
        label = None if entry.label is None else listing.label_names[entry.label]
        if label is None or emotions[label] is None:
            answers.left_out[label or "no label"] += 1
            continue
        try:
            image = open_image(entry.path)
        except ImageError as error:
            print(error, file=sys.stderr)
            answers.unreadable += 1
        else:
            reader.read(image, emotions[label], answers)
    if not answers.labels:
        raise DataError(f"no face was read in '{listing.name}'; images that are faces already need --crops")
    return answers


def share(n: int, total: int) -> Share | None:
    """A share with its interval; None of nothing."""
    return (n / total, metrics.accuracy_interval(n, total)) if total else None


def gloomy(confusion: metrics.Counts, names: Sequence[str]) -> metrics.Floats:
    """Of the rows (..., C, C) whose truth is not gloomy, the share with a gloomy answer; shape (...)."""
    answers = np.array([name in GLOOMY for name in names])
    others = confusion[..., ~answers, :]
    return others[..., answers].sum((-2, -1)) / np.maximum(others.sum((-2, -1)), 1)


@dataclass(frozen=True)
class Scored:
    """One model on one set."""

    scores: Scores
    right_of_all: Share
    gloomy: Share | None
    recalls: dict[str, Share]


def score_set(model: Classifier, answers: Answers, at: int) -> Scored:
    """The scores of the model that stands ``at`` this place of the answers."""
    names = model.labels
    probs = np.stack([row[at] for row in answers.probs])
    scores = score(probs, np.array([names.index(label) for label in answers.labels]), names)
    counts = np.array(scores.confusion)
    cheerful = sum(row.support for row in scores.per_class if row.label not in GLOOMY)
    return Scored(
        scores=scores,
        right_of_all=share(int(counts.trace()), answers.opened),
        gloomy=share(round(float(gloomy(counts, names)) * cheerful), cheerful),
        recalls={
            row.label: share(round(row.recall * row.support), row.support)
            for row in scores.per_class
            if row.support
        },
    )


def mean_share(
    metric: Callable[[metrics.Counts], metrics.Floats], confusions: Sequence[metrics.Counts]
) -> Share:
    """The mean of a metric over sets, and the interval by resampling the images within each."""
    rng = np.random.default_rng(0)
    draws = [
        metric(rng.multinomial(c.sum(), c.ravel() / c.sum(), size=RESAMPLES).reshape(RESAMPLES, *c.shape))
        for c in confusions
    ]
    low, high = np.quantile(np.mean(draws, axis=0), [0.025, 0.975])
    return float(np.mean([metric(c) for c in confusions])), (float(low), float(high))


def mean_over_sets(scored: Sequence[Scored]) -> dict[str, Any]:
    """The means that a table ends with."""
    names = scored[0].scores.label_names
    confusions = [np.array(one.scores.confusion) for one in scored]
    with_others = [c for c, one in zip(confusions, scored, strict=True) if one.gloomy]
    return {
        "accuracy": mean_share(metrics.accuracy, confusions),
        "balanced_accuracy": mean_share(metrics.balanced_accuracy, confusions),
        "gloomy": mean_share(lambda c: gloomy(c, names), with_others) if with_others else None,
        "ece": float(np.mean([one.scores.ece for one in scored])),
    }


def pairs(models: Mapping[str, Classifier], sets: Sequence[Answers]) -> list[dict[str, Any]]:
    """The first model against each other one, set by set and over all."""
    pooled = Answers(
        "all", [x for one in sets for x in one.labels], [row for one in sets for row in one.probs]
    )
    (first_name, first_model), *others = models.items()
    found = []
    for at, (name, model) in enumerate(others, start=1):
        for answers in [*sets, *([pooled] if len(sets) > 1 else [])]:
            first = np.array(first_model.labels)[[int(row[0].argmax()) for row in answers.probs]]
            other = np.array(model.labels)[[int(row[at].argmax()) for row in answers.probs]]
            test = metrics.mcnemar(np.array(answers.labels), first, other)
            found.append(
                {
                    "set": answers.name,
                    "first": first_name,
                    "other": name,
                    "lost": test.only_first,
                    "won": test.only_second,
                    "p_value": test.p_value,
                }
            )
    return found


def measure(models: Mapping[str, Classifier], sets: Sequence[Answers]) -> dict[str, Any]:
    """Everything that is printed, ready for JSON."""
    table = {
        name: [score_set(model, answers, at) for answers in sets]
        for at, (name, model) in enumerate(models.items())
    }
    return {
        "sets": [
            {
                "name": answers.name,
                "images": answers.opened,
                "no_face": answers.no_face,
                "unreadable": answers.unreadable,
                "left_out": dict(answers.left_out),
            }
            for answers in sets
        ],
        "models": [
            {"model": name, "sets": [asdict(one) for one in row], "mean": mean_over_sets(row)}
            for name, row in table.items()
        ],
        "pairs": pairs(models, sets),
    }


def shown(value: Share | None) -> str:
    if value is None:
        return "-"
    fraction, ends = value
    return f"{fraction:.1%}" + (f" ({100 * ends[0]:.0f}-{100 * ends[1]:.0f})" if ends else "")


def lines(result: Mapping[str, Any]) -> Iterable[str]:
    """The tables as Markdown."""
    yield "| set | images | no face | unreadable | left out |\n|---|---|---|---|---|"
    for one in result["sets"]:
        left_out = ", ".join(f"{n} {name}" for name, n in one["left_out"].items()) or "-"
        yield f"| {one['name']} | {one['images']} | {one['no_face']} | {one['unreadable']} | {left_out} |"
    for model in result["models"]:
        yield f"\n{model['model']}\n"
        yield "| set | read | accuracy | right of all images | balanced accuracy | ECE | gloomy |"
        yield "|---|---|---|---|---|---|---|"
        rows = list(zip(result["sets"], model["sets"], strict=True))
        for one, scored in rows:
            s = scored["scores"]
            cells = [one["name"], str(s["n"]), shown((s["accuracy"], s["accuracy_interval"]))]
            cells += [shown(scored["right_of_all"])]
            cells += [shown((s["balanced_accuracy"], s["balanced_accuracy_interval"]))]
            cells += [f"{s['ece']:.3f}", shown(scored["gloomy"])]
            yield f"| {' | '.join(cells)} |"
        mean = model["mean"]
        accuracy, balanced = shown(mean["accuracy"]), shown(mean["balanced_accuracy"])
        if len(rows) > 1:
            yield f"| mean | | {accuracy} | | {balanced} | {mean['ece']:.3f} | {shown(mean['gloomy'])} |"
        names = model["sets"][0]["scores"]["label_names"]
        yield f"\n| recall | {' | '.join(names)} |\n|---|{'---|' * len(names)}"
        for one, scored in rows:
            cells = [shown(scored["recalls"].get(name)) for name in names]
            yield f"| {one['name']} | {' | '.join(cells)} |"
    if result["pairs"]:
        yield "\n| pair | set | lost | won | p |\n|---|---|---|---|---|"
    for pair in result["pairs"]:
        names = f"{pair['first']} / {pair['other']}"
        yield f"| {names} | {pair['set']} | {pair['lost']} | {pair['won']} | {pair['p_value']:.3g} |"


def arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="a model's name or the path of its .onnx file")
    parser.add_argument("sets", nargs="+", type=Path, metavar="SET")
    parser.add_argument("--also", action="append", default=[], metavar="MODEL", help="compare with it")
    parser.add_argument("--map", action="append", default=[], metavar="NAME=EMOTION")
    parser.add_argument("--crops", action="store_true", help="without a face, the image is the face")
    parser.add_argument("--views", type=int, help="of each face; by default as the model's card says")
    parser.add_argument("--min-face", type=float, default=40, help="smallest face looked for, in pixels")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(given)


def main(given: Sequence[str]) -> None:
    options = arguments(given)
    settings = ReadSettings(options.model, min_face=options.min_face, views=options.views)
    first = build_analyzer(settings)
    models = {options.model: first.classifier}
    models |= {name: Classifier(name, views=options.views) for name in options.also}
    known = [name for name in first.classifier.labels if all(name in m.labels for m in models.values())]
    mapping = {
        emotion_or(name): emotion_or(to) for name, _, to in (item.partition("=") for item in options.map)
    }
    reader, sets = Reader(models.values(), first.detector, options.crops), []
    for path in options.sets:
        listing = list_set(path)
        sets.append(read_set(listing, mapped_labels(listing.label_names, mapping, known), reader))
    result = measure(models, sets)
    print(json.dumps(result, indent=1) if options.json else "\n".join(lines(result)))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except MienError as error:
        sys.exit(f"error: {error}")
