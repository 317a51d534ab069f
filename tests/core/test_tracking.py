"""Faces keep their numbers: against SciPy's assignment and paths worked by hand."""

import json
import math

import numpy as np
import pytest

import mien
from mien.core.results import Box
from mien.core.tracking import NEVER, Tracker, TrackerSettings, appearance_of, assign
from mien.errors import MienError

FPS = 25
RNG = np.random.default_rng(7)
LOOKS = [appearance_of(RNG.integers(0, 256, (48, 48), np.uint8)) for _ in range(3)]
LOOKS.append((LOOKS[1] + LOOKS[2]) / np.float32(np.linalg.norm(LOOKS[1] + LOOKS[2])))  # like two of them


def box(x: float, y: float = 100.0, side: float = 80.0) -> Box:
    return Box(x, y, x + side, y + side)


def numbers(tracker: Tracker, time_s: float, faces: list[tuple[Box, int]], score: float = 0.99) -> list[int]:
    """The numbers of faces, each a box and the index of its appearance; 0 for one that is doubtful."""
    boxes, appearances = [b for b, _ in faces], [LOOKS[i] for _, i in faces]
    return [t.number if t else 0 for t in tracker.step(time_s, boxes, [score] * len(faces), appearances)]


@pytest.mark.parametrize("seed", range(20))
def test_pairs_cost_as_little_as_scipy_makes_them(seed: int) -> None:
    optimize = pytest.importorskip("scipy.optimize", reason="needs SciPy to compare with")
    rng = np.random.default_rng(seed)
    costs = rng.random(rng.integers(0, 8, 2))
    costs[rng.random(costs.shape) < 0.3] = NEVER
    pairs = assign(costs)
    rows, columns = optimize.linear_sum_assignment(costs)
    expected = [costs[i, j] for i, j in zip(rows, columns, strict=True) if costs[i, j] < NEVER]
    assert len(pairs) == len(expected)
    assert sum(costs[pair] for pair in pairs) == pytest.approx(sum(expected))
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)


def test_two_people_who_cross_keep_their_numbers_though_one_is_hidden() -> None:
    tracker, seen = Tracker(), []
    for n in range(4 * FPS):
        time_s = n / FPS
        front, back = 100 + 120 * time_s, 500 - 120 * time_s
        hidden = abs(front - back) < 70
        faces = [(box(front), 0)] + ([] if hidden else [(box(back), 1)])
        seen.append(numbers(tracker, time_s, faces))
    assert [2] not in seen
    assert {tuple(frame) for frame in seen} == {(1, 2), (1,)}


def test_looks_tell_two_faces_apart_where_places_do_not() -> None:
    tracker = Tracker()
    assert numbers(tracker, 0.0, [(box(100), 0), (box(190), 1)]) == [1, 2]
    assert numbers(tracker, 0.4, [(box(145), 1), (box(146), 0)]) == [2, 1]


@pytest.mark.parametrize(("gap_s", "number"), [(1.0, 1), (4.5, 1), (5.5, 2)], ids=["1 s", "4.5 s", "5.5 s"])
def test_a_face_that_comes_back_within_patience_keeps_its_number(gap_s: float, number: int) -> None:
    tracker = Tracker()
    for n in range(10):
        numbers(tracker, n / FPS, [(box(100), 0)])
    numbers(tracker, 0.4, [])
    assert numbers(tracker, 9 / FPS + gap_s, [(box(104), 0)]) == [number]


@pytest.mark.parametrize("score", [0.9, 0.99])
def test_half_a_face_that_comes_from_behind_another_waits_until_it_is_known(score: float) -> None:
    tracker = Tracker()
    numbers(tracker, 0.0, [(box(100), 0), (box(220), 1)])
    for n in range(1, 20):
        numbers(tracker, n / FPS, [(box(100 + 6 * n), 0)])
    assert numbers(tracker, 0.80, [(box(220), 0), (box(150), 2)], score) == [1, 0]
    assert numbers(tracker, 0.84, [(box(226), 0), (box(150), 2)], score) == [1, 0]
    assert numbers(tracker, 0.88, [(box(232), 0), (box(150), 1)], score) == [1, 2]


def test_a_known_face_comes_before_a_doubtful_one_at_the_very_place() -> None:
    tracker = Tracker()
    numbers(tracker, 0.0, [(box(100), 0), (box(220), 1)])
    for n in range(1, 20):
        numbers(tracker, n / FPS, [(box(100 + 6 * n), 0)])
    assert numbers(tracker, 0.80, [(box(220), 0), (box(150), 2)]) == [1, 0]
    assert numbers(tracker, 0.84, [(box(226), 0), (box(150), 3)]) == [1, 2]


def test_a_doubtful_face_beside_a_known_one_gets_its_number_at_the_second_sight() -> None:
    tracker = Tracker()
    numbers(tracker, 0.0, [(box(100), 0)])
    told = [numbers(tracker, n / FPS, [(box(100), 0), (box(150), 1)], 0.9) for n in range(1, 4)]
    assert told == [[1, 0], [1, 2], [1, 2]]


def test_a_stranger_who_stays_where_another_is_hidden_gets_a_number_in_the_end() -> None:
    tracker, told = Tracker(), []
    numbers(tracker, 0.0, [(box(100), 0), (box(220), 1)])
    for n in range(1, 20):
        numbers(tracker, n / FPS, [(box(100 + 6 * n), 0)])
    for n in range(20, 40):
        told.append(numbers(tracker, n / FPS, [(box(220), 0), (box(150), 2)])[1])
    assert told == [0] * 13 + [3] * 7


def test_another_face_at_the_same_place_after_a_gap_gets_a_new_number() -> None:
    tracker = Tracker()
    numbers(tracker, 0.0, [(box(100), 0)])
    assert numbers(tracker, 1.0, [(box(100), 1)]) == [2]


def test_where_a_shot_may_have_begun_only_a_face_that_looks_alike_keeps_its_number() -> None:
    tracker = Tracker()
    boxes = [box(100), box(300), box(500)]
    tracker.step(0.0, boxes, [0.99] * 3, LOOKS[:3])
    looks = [LOOKS[0], LOOKS[2], LOOKS[2]]
    found = tracker.step(0.3, boxes[:2], [0.99] * 2, looks[:2], may_be_cut=True)
    assert [track.number for track in found if track] == [1, 4]
    assert numbers(tracker, 0.6, [(boxes[0], 0), (boxes[2], 2)]) == [1, 5]


def test_a_sudden_other_look_at_the_same_place_is_told_as_a_change() -> None:
    tracker = Tracker()
    changed = []
    for n, appearance in enumerate((0, 0, 1, 1)):
        (track,) = tracker.step(n / FPS, [box(100)], [0.99], [LOOKS[appearance]])
        changed.append(track.changed)
    assert changed == [True, False, True, False]
    assert tracker.n_numbers == 1


def test_a_doubtful_face_gets_its_number_when_it_is_seen_again() -> None:
    tracker = Tracker()
    assert numbers(tracker, 0.0, [(box(100), 0)], score=0.85) == [0]
    assert numbers(tracker, 0.04, [(box(101), 0)], score=0.85) == [1]
    tracker = Tracker()
    assert numbers(tracker, 0.0, [(box(100), 0)], score=0.85) == [0]
    assert numbers(tracker, 0.04, [], score=0.85) == []
    assert numbers(tracker, 1.0, [(box(100), 0)], score=0.85) == [0]


@pytest.mark.parametrize("gap_s", [0.2, 0.3, 1.0, 4.0])
def test_a_doubtful_face_gets_its_number_at_the_second_sight_however_far_frames_are_apart(gap_s) -> None:
    tracker = Tracker()
    told = [numbers(tracker, n * gap_s, [(box(100), 0)], score=0.85) for n in range(5)]
    assert told == [[0], [1], [1], [1], [1]]


def test_a_doubtful_face_is_taken_where_frames_are_too_far_apart_to_see_anyone_twice() -> None:
    tracker = Tracker(TrackerSettings(patience_s=1.0))
    assert [numbers(tracker, n * 1.5, [(box(100), 0)], score=0.85) for n in range(3)] == [[0], [1], [2]]


def test_a_face_keeps_its_number_where_a_known_step_is_longer_than_patience() -> None:
    tracker = Tracker(step_s=6.0)
    assert [numbers(tracker, n * 6, [(box(100), 0)], score=0.85) for n in range(3)] == [[1], [1], [1]]
    assert numbers(tracker, 30.0, [(box(100), 0)]) == [2]


def test_a_hidden_face_is_expected_where_its_speed_takes_it() -> None:
    tracker = Tracker()
    for n in range(2 * FPS):
        numbers(tracker, n / FPS, [(box(100 + 50 * n / FPS), 0)])
    (expected,) = tracker.expected(49 / FPS + 0.4)
    assert expected.x1 == pytest.approx(100 + 50 * (49 / FPS + 0.4), abs=0.5)
    (coasted,) = tracker.expected(49 / FPS + 3.0)
    assert coasted.x1 == pytest.approx(100 + 50 * (49 / FPS + 1.0), abs=0.5)


def test_speed_is_averaged_by_real_time_not_by_frames() -> None:
    speeds = []
    for times in ([0.0, 0.1, 0.2, 0.3], [0.0, 0.3]):
        tracker = Tracker(TrackerSettings(speed_s=0.2))
        for time_s in times:
            numbers(tracker, time_s, [(box(100 + 90 * time_s), 0)])
        speeds.append(tracker.tracks[0].speed[0])
    assert speeds == pytest.approx([90 * (1 - math.exp(-0.3 / 0.2))] * 2)


def test_time_constants_of_0_take_the_last_speed_and_look_alone() -> None:
    tracker = Tracker(TrackerSettings(speed_s=0, appearance_s=0))
    for time_s, left in ((0.0, 100), (0.1, 101), (0.2, 104)):
        numbers(tracker, time_s, [(box(left), 0)])
    (track,) = tracker.tracks
    assert track.speed[0] == pytest.approx(30)
    np.testing.assert_allclose(track.appearance, track.last_appearance, atol=1e-6)


def test_a_restored_tracker_goes_on_as_the_one_that_was_saved() -> None:
    one, other = Tracker(), Tracker()
    for n in range(12):
        numbers(one, n / FPS, [(box(100 + 3 * n), 0), (box(400 - 3 * n), 1)])
    other.restore(json.loads(json.dumps(one.to_dict())))
    assert other.to_dict() == one.to_dict()
    for n in range(12, 24):
        faces = [(box(100 + 3 * n), 0), (box(400 - 3 * n), 1), (box(250, 10), 2)]
        assert numbers(one, n / FPS, faces) == numbers(other, n / FPS, faces) == [1, 2, 3]
    assert one.to_dict() == other.to_dict()


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (
            (0.5, [], [], []),
            "^time_s must not go back, got 0.5 after 1; another video needs another Track",
        ),
        ((math.nan, [], [], []), "^time_s must be a finite number, got nan$"),
        (
            (2.0, [box(1)], [0.99], []),
            "^expected a score and an appearance for each of 1 boxes, got 1 and",
        ),
        (
            (2.0, [(1, 1, 9, 9)], [0.99], LOOKS[:1]),
            r"^boxes must be mien.Box objects .*, got \(1, 1, 9",
        ),
        ((2.0, [box(math.nan)], [0.99], LOOKS[:1]), r"^boxes must be .* finite numbers, got Box\(x1=nan"),
        ((2.0, [box(1)], [0.99], [np.zeros((48, 48))]), "^appearances must be what mien.appearance_of gives"),
    ],
)
def test_what_is_no_next_frame_is_refused_and_spoils_nothing(step: tuple, text: str) -> None:
    tracker = Tracker()
    numbers(tracker, 1.0, [(box(100), 0)])
    before = tracker.to_dict()
    with pytest.raises(MienError, match=text):
        tracker.step(*step)
    assert tracker.to_dict() == before


def test_a_look_ignores_light_and_contrast() -> None:
    face = RNG.integers(60, 120, (48, 48), np.uint8)
    assert appearance_of(face) @ appearance_of(2 * face + 10) == pytest.approx(1, abs=0.01)
    assert np.linalg.norm(appearance_of(np.full((48, 48), 9, np.uint8))) == 0


def test_a_look_is_the_same_of_a_face_in_gray_and_in_colour() -> None:
    gray = RNG.integers(0, 256, (48, 48), np.uint8)
    assert np.array_equal(mien.appearance_of(np.stack([gray] * 3, axis=2)), mien.appearance_of(gray))
