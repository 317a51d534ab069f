"""Score the network of a row: on PublicTest, on PrivateTest where it is opened, and as its paper did."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.calibration import fit_temperature, softmax
from mien.core.landmarks import error_scores, point_errors
from mien.core.metrics import accuracy_interval
from mien.core.scores import Scores, score
from mien.data.records import FaceSet
from mien.errors import DataError
from mien.train.targets import points_of
from mien.train.trained_net import TrainedNet
from mien.workflows.figures import confusion_figure, examples_figure
from mien.workflows.papers.claims import POINT_ERROR, Row
from mien.workflows.run_folder import count_test_evaluation, write_predictions
from mien.workflows.scorer import checked_rows, scores_of

KEPT = (
    "n",
    "accuracy",
    "accuracy_interval",
    "balanced_accuracy",
    "balanced_accuracy_interval",
    "macro_f1",
    "macro_f1_interval",
    "weighted_f1",
    "cohen_kappa",
    "nll",
    "ece",
    "never_predicted",
    "label_names",
    "confusion",
)
"""What ``result.json`` holds of the scores."""
CLOSED = dict.fromkeys(("metric", "test_evaluations", "test", "clean", "leak"))
"""What a result lacks while PrivateTest is closed."""
TEST_PREDICTIONS = "predictions-test.csv"


def measure(
    row: Row, net: TrainedNet, faces: FaceSet, folder: Path, clean: NDArray[np.bool_] | None, open_test: bool
) -> dict[str, Any]:
    """Scores of PublicTest and, where it is opened, of PrivateTest: all of it, and its ``clean`` part.

    For a row that its paper measured on Training and PrivateTest together, that figure is measured too.
    Figures, predictions and the log of the test evaluations are written to ``folder``.
    """
    val = checked_rows(faces, "val", net.labels)
    logits = net.logits(val.images)
    temperature = fit_temperature(logits, val.labels)
    found: dict[str, Any] = {"metric": None, "temperature": temperature, **CLOSED}
    scores = score(softmax(logits, temperature), val.labels, net.labels)
    confusion_figure(scores, folder / "confusion-val.png")
    found["val"] = kept(scores)
    if not open_test:
        return found
    test = checked_rows(faces, "test", net.labels)
    found["test_evaluations"] = count_test_evaluation(folder)
    probs = softmax(net.logits(test.images), temperature)
    scores, of_clean = scores_of(probs, test, clean)
    confusion_figure(scores, folder / "confusion-test.png")
    found["test"], found["clean"] = kept(scores), kept(of_clean) if of_clean else None
    if row.leaky:
        right = int((probs.argmax(1) == test.labels).sum())
        found["leak"] = _leak(net, faces.select("train"), right, len(test))
    write_predictions(folder / TEST_PREDICTIONS, test, probs)
    examples_figure(test.images, test.labels, probs, net.labels, folder / "examples-test.png")
    return found


def kept(scores: Scores) -> dict[str, Any]:
    """What ``result.json`` keeps of scores."""
    whole = scores.to_dict()
    return {key: whole[key] for key in KEPT}


def _leak(net: TrainedNet, learned: FaceSet, test_right: int, n_test: int) -> dict[str, Any]:
    """The score as the paper took it, over the rows that were learned from and PrivateTest."""
    learned_right = int((net.logits(learned.images).argmax(1) == learned.labels).sum())
    right, n = learned_right + test_right, len(learned) + n_test
    return {
        "n": n,
        "accuracy": right / n,
        "accuracy_interval": accuracy_interval(right, n),
        "learned_n": len(learned),
        "learned_accuracy": learned_right / len(learned),
    }


def measure_points(net: TrainedNet, faces: FaceSet, folder: Path, open_test: bool) -> dict[str, Any]:
    """Mean error of the landmarks by the distance of the outer eye corners, on each source of the test faces.

    Raises:
        DataError: the faces have no landmarks, or there are no test faces.
    """
    found: dict[str, Any] = CLOSED | {"metric": POINT_ERROR}
    found["val"] = error_scores(_errors(net, faces.select("val")))
    if not open_test:
        return found
    test = faces.select("test")
    errors = _errors(net, test)
    found["test_evaluations"] = count_test_evaluation(folder)
    names = test.source_names or (faces.name,)
    codes = np.zeros(len(test), np.uint8) if test.sources is None else test.sources
    found["test"] = [
        {"source": name, **error_scores(errors[codes == code])}
        for code, name in enumerate(names)
        if (codes == code).any()
    ]
    return found


def _errors(net: TrainedNet, faces: FaceSet) -> NDArray[np.float64]:
    if faces.landmarks is None or not len(faces):
        raise DataError(f"'{faces.name}' has no faces with landmarks to validate and test by")
    return point_errors(points_of(net.logits(faces.images), faces.images.shape[1]), faces.landmarks)
