"""Smoothing over time: against means and exponentials worked by hand."""

import json
import math

import numpy as np
import pytest

from mien.core.results import Box, Face, Reading
from mien.core.smoothing import UNCERTAIN, Smoother, SmoothingSettings
from mien.core.tracking import Tracker
from mien.errors import MienError

LABELS = ("happy", "sad", "neutral")
HAPPY, SAD = (0.8, 0.1, 0.1), (0.1, 0.8, 0.1)


def run(times: list[float], probs: list, settings: SmoothingSettings, cuts: tuple[int, ...] = ()) -> list:
    """(label, smoothed probabilities) of each moment of one person."""
    smoother = Smoother(LABELS, settings)
    for i, (time_s, row) in enumerate(zip(times, probs, strict=True)):
        smoother.add(1, time_s, row, again=i in cuts)
    return [smoother.answer(1) for _ in times]


def weighted(rows: list, weights: list[float]) -> np.ndarray:
    """The normalised geometric mean of probabilities."""
    mean = np.exp(np.average(np.log(rows), axis=0, weights=weights))
    return mean / mean.sum()


def test_weights_fade_with_the_real_time_between_frames() -> None:
    settings = SmoothingSettings(time_s=0.5, ahead_s=0.0)
    answers = run([0.0, 0.1, 0.7], [HAPPY, SAD, SAD], settings)
    expected = weighted([HAPPY, SAD, SAD], [math.exp(-0.7 / 0.5), math.exp(-0.6 / 0.5), 1.0])
    assert answers[2][1] == pytest.approx(expected)
    assert answers[0][1] == pytest.approx(HAPPY)


def test_a_look_ahead_weighs_the_future_like_the_past_and_ends_where_it_should() -> None:
    settings = SmoothingSettings(time_s=0.5, ahead_s=0.3)
    answers = run([0.0, 0.2, 0.4, 0.6], [HAPPY, HAPPY, SAD, SAD], settings)
    near = math.exp(-0.2 / 0.5)
    assert answers[1][1] == pytest.approx(weighted([HAPPY, HAPPY, SAD], [near, 1.0, near]))


def test_a_step_is_not_delayed_by_a_symmetric_mean() -> None:
    times = [n / 25 for n in range(50)]
    answers = run(times, [HAPPY] * 25 + [SAD] * 25, SmoothingSettings(margin=0.0, threshold=0.0))
    assert [label for label, _ in answers] == ["happy"] * 25 + ["sad"] * 25


def test_a_single_wrong_frame_does_not_change_the_label() -> None:
    probs = [HAPPY] * 10 + [SAD] + [HAPPY] * 10
    for ahead_s in (0.0, 0.6):
        answers = run([n / 25 for n in range(21)], probs, SmoothingSettings(ahead_s=ahead_s))
        assert {label for label, _ in answers} == {"happy"}


def test_nothing_passes_a_cut() -> None:
    answers = run([0.0, 0.04, 0.08, 0.12], [HAPPY, HAPPY, SAD, SAD], SmoothingSettings(), cuts=(2,))
    assert answers[1][1] == pytest.approx(HAPPY)
    assert answers[2][1] == pytest.approx(SAD)
    assert [label for label, _ in answers] == ["happy", "happy", "sad", "sad"]


def test_without_a_time_constant_probabilities_stay_as_they_are() -> None:
    answers = run([0.0, 0.04], [HAPPY, SAD], SmoothingSettings(time_s=0.0))
    assert answers[0][1] == pytest.approx(HAPPY)
    assert answers[1][1] == pytest.approx(SAD)


@pytest.mark.parametrize(
    ("last", "probs", "label"),
    [
        (None, (0.45, 0.35, 0.2), "happy"),
        ("sad", (0.45, 0.36, 0.19), "sad"),
        ("sad", (0.5, 0.36, 0.14), "happy"),
        ("sad", (0.40, 0.33, 0.27), "happy"),
        (None, (0.39, 0.31, 0.3), UNCERTAIN),
        (UNCERTAIN, (0.42, 0.3, 0.28), UNCERTAIN),
        (UNCERTAIN, (0.46, 0.3, 0.24), "happy"),
    ],
    ids=["first", "held", "overtaken", "too weak to be held", "doubt", "doubt held", "doubt ended"],
)
def test_a_label_holds_until_another_is_clearly_better(last, probs, label) -> None:
    smoother = Smoother(LABELS, SmoothingSettings(margin=0.1, threshold=0.4))
    assert smoother.next_label(last, np.array(probs)) == label


def test_a_class_called_uncertain_is_held_like_any_other() -> None:
    smoother = Smoother(("happy", UNCERTAIN), SmoothingSettings(margin=0.1), threshold=0.3)
    assert smoother.next_label(UNCERTAIN, np.array([0.54, 0.46])) == UNCERTAIN
    assert smoother.next_label(UNCERTAIN, np.array([0.56, 0.44])) == "happy"


def test_the_threshold_comes_from_the_card_unless_it_is_given() -> None:
    assert Smoother(LABELS, threshold=0.45).threshold == 0.45
    assert Smoother(LABELS, SmoothingSettings(threshold=0.2), threshold=0.45).threshold == 0.2


@pytest.mark.parametrize("top", [0.5, 0.4999])
def test_a_first_moment_is_uncertain_in_a_video_just_where_it_is_in_an_image(top: float) -> None:
    probs = (top, (1 - top) / 2, (1 - top) / 2)
    reading = Reading(Face(Box(0, 0, 9, 9), 1.0), LABELS, probs, uncertain_below=0.5)
    label = Smoother(LABELS, threshold=0.5).next_label(None, np.array(probs))
    assert (label == UNCERTAIN) is reading.uncertain is (top < 0.5)


def test_people_are_smoothed_apart() -> None:
    smoother = Smoother(LABELS)
    for n in range(5):
        smoother.add(1, n / 25, HAPPY)
        smoother.add(2, n / 25, SAD)
    assert smoother.answer(1)[1] == pytest.approx(HAPPY)
    assert smoother.answer(2)[1] == pytest.approx(SAD)


def test_a_restored_smoother_gives_the_same_bits() -> None:
    rng = np.random.default_rng(3)
    probs = rng.dirichlet([1, 1, 1], 40).tolist()
    one, other = Smoother(LABELS), Smoother(LABELS)
    for n in range(20):
        one.add(5, n * 0.033, probs[n])
        if n >= 10:
            one.answer(5)
    other.restore(json.loads(json.dumps(one.to_dict())))
    for n in range(20, 40):
        one.add(5, n * 0.033, probs[n])
        other.add(5, n * 0.033, probs[n])
        assert one.answer(5) == other.answer(5)


def test_a_zero_probability_cannot_rule_an_emotion_out_for_good() -> None:
    answers = run([0.0, 0.01, 0.02], [(0.0, 1.0, 0.0), HAPPY, HAPPY], SmoothingSettings(ahead_s=0.0))
    assert all(np.isfinite(probs).all() for _, probs in answers)
    assert sum(answers[2][1]) == pytest.approx(1)


@pytest.mark.parametrize(
    "probs", [(math.nan, 0.1, 0.9), (0.9, 0.1), 0.7, (2.3, -1.0, 0.4)], ids=["nan", "few", "scalar", "logits"]
)
def test_what_is_no_row_of_probabilities_is_refused_and_spoils_nothing(probs) -> None:
    smoother = Smoother(LABELS)
    smoother.add(1, 0.0, HAPPY)
    with pytest.raises(MienError, match=r"^probs must be 3 numbers in 0\.\.1, got "):
        smoother.add(1, 0.04, probs)
    with pytest.raises(MienError, match=r"^time_s must be a finite number, got nan$"):
        smoother.add(1, math.nan, HAPPY)
    with pytest.raises(MienError, match=r"^time_s must not go back, got -1 after 0 for person 1; another"):
        smoother.add(1, -1.0, HAPPY)
    label, smoothed = smoother.answer(1)
    assert label == "happy"
    assert smoothed == pytest.approx(HAPPY)
    for nobody in (1, 2):
        with pytest.raises(MienError, match=f"^no moment of person {nobody} waits for an answer; add one"):
            smoother.answer(nobody)
    with pytest.raises(MienError, match=r"^time_s must not go back"):
        smoother.add(1, -1.0, HAPPY)


@pytest.mark.parametrize("settings", [{}, {"time_s": 0.5}])
def test_a_dict_in_place_of_settings_is_told(settings) -> None:
    with pytest.raises(MienError, match=r"^settings must be a SmoothingSettings, got {"):
        Smoother(("a", "b"), settings)
    with pytest.raises(MienError, match=r"^settings must be a TrackerSettings, got {"):
        Tracker(settings)
