"""The figures of a card: calibration by validation rows, scores of the test rows, CPU time."""

import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.cards import ModelCard
from mien.core.classifier import Classifier
from mien.core.preprocess import network_crops, to_input
from mien.core.session import open_network, run
from mien.core.tta import AUTO, Views, average_logits
from mien.data.leaks import Leak
from mien.data.records import FaceSet
from mien.data.store import clean_mask
from mien.workflows.calibrate import CALIBRATED_VIEWS, calibrate
from mien.workflows.scorer import checked_rows, scores_of


def calibrated(
    onnx: Path, card: ModelCard, faces: FaceSet, views: Views, prior_power: float | str
) -> ModelCard:
    """The card with all that is fitted on validation rows; the test rows are not opened for it.

    Args:
        onnx: The network.
        card: What it takes and gives, the prior of its training data, and automatic views where those shall
            stay.
        faces: A data set of the card's labels.
        views: Views of a face that the model shall take by default.
        prior_power: How much of the prior to take out of the logits; ``"auto"`` lets the rows choose.

    Raises:
        DataError: the data set has no validation rows, or other labels.
        ModelError: the network is not what the card describes.
    """
    val = checked_rows(faces, "val", card.labels)
    auto = card.auto_views() if card.auto else None
    wanted = [*([] if views == AUTO else [int(views)]), *([auto.few, auto.many] if auto else [])]
    numbers = sorted({*CALIBRATED_VIEWS, *wanted})
    inputs = to_input(network_crops(val.images, card.input_size, card.channels), card.mean, card.std)
    alone = partial(run, open_network(onnx, card, threads=0))
    raw = {n: average_logits(alone, inputs, n) for n in numbers}
    fitted = calibrate(raw, val.labels, views, card.prior, prior_power, auto)
    return replace(
        card,
        views=views,
        auto=asdict(fitted.auto),
        temperatures=fitted.temperatures,
        prior=fitted.prior,
        prior_power=fitted.prior_power,
        uncertain_below=fitted.certainty.threshold,
        calibrated_on=f"the {len(val.labels):,} validation faces of {faces.name}",
        scores=fitted.scores,
    )


def scored(onnx: Path, card: ModelCard, stored: FaceSet, data: Path, leaks: Mapping[str, Leak]) -> ModelCard:
    """The card with the scores of the test rows, read as `mien.load` reads; written beside the network.

    Args:
        onnx: The network.
        card: Its card, calibrated.
        stored: A data set of the card's labels; each table of scores names it.
        data: The file that it lies in.
        leaks: What of its validation and test rows the network has learned from, where that is known.

    The clean score is left out where ``leaks`` are not known: near copies in the training part of this data
    set say nothing of what the network learned from.

    Raises:
        DataError: the data set has no test rows, or other labels.
    """
    test = checked_rows(stored.in_label_order(card.labels), "test", card.labels)
    card.write(onnx.with_suffix(".json"))
    model, mask = Classifier(onnx, threads=0), clean_mask(data, "test") if leaks else None
    probs = model.probs(network_crops(test.images, card.input_size, card.channels))
    whole, clean = scores_of(probs, test, mask)
    leak = leaks["test"].to_dict() if leaks else None
    about = {"data": stored.name, "data_hash": stored.content_hash(), "leak": leak}
    scores: dict[str, Any] = {"test": about | whole.to_dict()}
    if clean:
        scores["test_clean"] = about | clean.to_dict()
    speed = {"cpu": {"ms_a_face": _ms_a_face(onnx, test.images), "threads": 1, "processor": _processor()}}
    on = f"{card.calibrated_on}; {leaks['val']}" if leaks.get("val") else card.calibrated_on
    card = replace(card, scores=scores | card.scores | speed, calibrated_on=on)
    card.write(onnx.with_suffix(".json"))
    return card


def _ms_a_face(onnx: Path, images: NDArray[np.uint8]) -> float:
    """CPU time of one face in the views of the card, 32 one by one on one thread; the median of 5 rounds."""
    model = Classifier(onnx)
    crops, taken = network_crops(images[:32], model.card.input_size, model.card.channels), []
    for _ in range(5):
        start = time.process_time()
        for i in range(len(crops)):
            model.probs(crops[i : i + 1])
        taken.append(1000 * (time.process_time() - start) / len(crops))
    return round(float(np.median(taken)), 2)


def _processor() -> str:
    """What the machine calls its processor."""
    names = Path("/proc/cpuinfo")
    lines = names.read_text(encoding="utf-8").splitlines() if names.is_file() else []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor() or platform.machine()
