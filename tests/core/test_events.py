"""Events of a timeline: where they begin, end and go on, worked by hand."""

import pytest

from mien.core.events import events_of

Seen = dict[int, str]
"""Who is seen on a frame: number to label."""


def rows_of(frames: list[tuple[float, Seen]], p: float = 0.8) -> list[dict]:
    rows = []
    for number, (time_s, seen) in enumerate(frames):
        empty = {"time_s": time_s, "frame": number, "track": None, "label": None}
        shown = {"p_smooth_happy": p, "p_smooth_sad": 1 - p, "valence": 0.5, "arousal": -0.25}
        rows += [{**empty, "track": track, "label": label, **shown} for track, label in seen.items()] or [
            empty
        ]
    return rows


def spans(frames: list[tuple[float, Seen]]) -> list[tuple]:
    return [
        (event.track, event.emotion, round(event.start_s, 6), round(event.end_s, 6))
        for event in events_of(rows_of(frames))
    ]


HAPPY, SAD, NOBODY = {1: "happy"}, {1: "sad"}, {}


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([(0.0, HAPPY), (0.1, HAPPY), (0.2, SAD)], [(1, "happy", 0, 0.2), (1, "sad", 0.2, 0.3)]),
        ([(0.0, HAPPY)], [(1, "happy", 0, 0.04)]),
        ([(0.0, HAPPY), (0.1, NOBODY), (0.2, NOBODY)], [(1, "happy", 0, 0.1)]),
        ([(0.0, HAPPY), (0.1, NOBODY), (0.2, HAPPY)], [(1, "happy", 0, 0.3)]),
        (
            [(0.0, HAPPY), (0.1, HAPPY), (0.2, NOBODY), (0.9, HAPPY)],
            [(1, "happy", 0, 0.2), (1, "happy", 0.9, 1.6)],
        ),
        ([(0.0, HAPPY), (0.1, {2: "happy"})], [(1, "happy", 0, 0.1), (2, "happy", 0.1, 0.2)]),
        (
            [(0.0, {1: "happy", 2: "sad"}), (0.1, {1: "uncertain", 2: "sad"})],
            [(1, "happy", 0, 0.1), (2, "sad", 0, 0.2), (1, "uncertain", 0.1, 0.2)],
        ),
        ([(0.0, HAPPY), (0.1, HAPPY), (60.0, SAD)], [(1, "happy", 0, 1.1), (1, "sad", 60, 61)]),
    ],
    ids=["change", "one frame", "gone", "bridged", "long gone", "cut", "two people", "hole"],
)
def test_an_event_lasts_from_its_first_frame_to_the_next_of_another(frames, expected) -> None:
    assert spans(frames) == expected


def test_an_event_has_the_means_of_its_rows() -> None:
    rows = rows_of([(0.0, HAPPY)], 0.9) + [
        {**row, "frame": 1, "time_s": 0.1} for row in rows_of([(0.0, HAPPY)], 0.7)
    ]
    (event,) = events_of(rows)
    assert (event.probability, event.valence, event.arousal) == pytest.approx((0.8, 0.5, -0.25))


def test_an_uncertain_event_has_the_mean_of_the_likeliest_emotion() -> None:
    (event,) = events_of(rows_of([(0.0, {1: "uncertain"})], p=0.4))
    assert (event.emotion, event.probability) == ("uncertain", 0.6)


def test_no_rows_are_no_events() -> None:
    assert events_of([]) == []
    assert events_of(rows_of([(0.0, NOBODY), (0.1, NOBODY)])) == []
