"""The watcher frame by frame: searches, batches, numbers of people, memory, detectors of others."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("av", reason="needs PyAV")

from mien.core.results import Box, Face
from mien.core.smoothing import SmoothingSettings
from mien.errors import MienError
from mien.workflows.video.frames import Frame
from mien.workflows.video.job import watch_video
from mien.workflows.video.watcher import Watcher, WatchSettings

NAN, INF = float("nan"), float("inf")


class Square:
    """Finds one bright square, and counts how often it searched."""

    def __init__(self) -> None:
        self.n_searches = 0

    def find(self, image):
        self.n_searches += 1
        return self.find_near(image, ())

    def find_near(self, image, boxes):
        ys, xs = np.nonzero(image[..., 0] > 128)
        if not len(xs):
            return ()
        return (Face(Box(float(xs[0]), float(ys[0]), float(xs[-1] + 1), float(ys[-1] + 1)), 0.99),)


def squares(times: list[float]) -> list[Frame]:
    frames = []
    for i, t in enumerate(times):
        pixels = np.zeros((120, 200, 3), np.uint8)
        left = 10 + int(40 * t)
        pixels[30:80, left : left + 50] = 140 + np.arange(50)[None, :, None]
        frames.append(Frame(i, t, pixels))
    return frames


def test_the_whole_image_is_searched_a_few_times_a_second_only(settings) -> None:
    finder = Square()
    watcher = Watcher(settings, finder=finder)
    frames = squares([n / 25 for n in range(50)])
    rows = [row for ready in watcher.watch(frames) for w in ready for row in w.rows]
    rows += [row for w in watcher.finish() for row in w.rows]
    assert finder.n_searches == 10  # each 0.2 s of 2 s
    assert [(row.frame, row.person.track) for row in rows] == [(n, 1) for n in range(50)]


@pytest.mark.parametrize(("fps", "told"), [(3, [1] * 6 + [2] * 6), (25, [*range(1, 7)] + [7] * 6)])
def test_motion_between_frames_far_apart_is_no_cut_but_another_face_is(
    fps, told, settings, monkeypatch
) -> None:
    """Each of the first frames differs wholly; from the seventh on another face is at the place."""
    watcher, rng = Watcher(settings, finder=Square()), np.random.default_rng(2)
    monkeypatch.setattr(watcher.cuts, "is_cut", lambda image: image[0, 0, 1] > 0)
    frames = squares([0.0] * 12)
    for n, frame in enumerate(frames):
        frame.pixels[0, 0, 1] = n <= 6
        if n >= 6:
            frame.pixels[30:80, 10:60] = 140 + 8 * rng.integers(0, 9)
            frame.pixels[40:70:, 20:35, 1:] = 10
    rows = [
        row
        for ready in watcher.watch([replace(frame, time_s=n / fps) for n, frame in enumerate(frames)])
        for w in ready
        for row in w.rows
    ]
    rows += [row for w in watcher.finish() for row in w.rows]
    assert [row.person.track for row in rows] == told


def test_people_keep_their_numbers_where_frames_change_their_size(settings, clips) -> None:
    """As in the recording of a call with more and less bandwidth; also across a stop at the change."""
    first = Watcher(settings)
    frames = []
    for n, (time_s, pixels) in enumerate(clips.still(0.9, fps=10, faces=2, size_wh=(640, 240))):
        size_wh = (640, 240) if n // 3 % 2 else (960, 360)
        frames.append(Frame(n, time_s, np.asarray(Image.fromarray(pixels).resize(size_wh))))
    seen = [one for ready in first.watch(frames[:3]) for one in ready] + first.finish()
    later = Watcher(settings)
    later.restore(json.loads(json.dumps(first.to_dict())))
    seen += [one for ready in later.watch(frames[3:]) for one in ready] + later.finish()
    assert [[row.person.track for row in one.rows] for one in seen] == [[1, 2]] * 9


def test_frames_whose_clock_hardly_moves_do_not_gather_in_memory(settings, monkeypatch) -> None:
    monkeypatch.setattr("mien.workflows.video.watcher.MOST_HELD", 32)
    watcher, held = Watcher(settings, finder=Square()), 0
    for ready in watcher.watch(squares([n * 1e-6 for n in range(64)])):
        held += settings.batch - len(ready)
        assert held <= 32


@pytest.mark.parametrize("keep", [True, False])
def test_images_that_wait_for_a_long_look_ahead_are_bounded_in_bytes(keep, settings, monkeypatch) -> None:
    monkeypatch.setattr("mien.workflows.video.watcher.MOST_HELD_BYTES", 20 * 120 * 200 * 3)
    far = replace(settings, smoothing=SmoothingSettings(ahead_s=60.0))
    watcher, held = Watcher(far, finder=Square()), 0
    for ready in watcher.watch(squares([n / 25 for n in range(48)]), keep_pixels=keep):
        held += settings.batch - len(ready)
        assert held == (min(watcher.last_index + 1, 20) if keep else watcher.last_index + 1)
    assert len(watcher.finish()) == held


@pytest.mark.parametrize("batch", [2.5, 0, True])
def test_a_batch_is_a_whole_number_of_frames(batch) -> None:
    with pytest.raises(MienError, match="batch"):
        WatchSettings(batch=batch)


@pytest.mark.parametrize(
    "smoothing", [{"time_s": NAN}, {"time_s": -1}, {"time_s": INF}, {"ahead_s": INF}], ids=str
)
def test_a_smoothing_without_end_is_refused(smoothing) -> None:
    with pytest.raises(MienError, match=r"of smoothing must lie in 0\.\.60 s"):
        WatchSettings(smoothing=SmoothingSettings(**smoothing))


def test_batches_do_not_change_rows(settings) -> None:
    frames = squares([n / 10 for n in range(20)])
    answers = []
    for batch in (1, 3, 64):
        watcher = Watcher(replace(settings, batch=batch), finder=Square())
        rows = [row for ready in watcher.watch(frames) for w in ready for row in w.rows]
        rows += [row for w in watcher.finish() for row in w.rows]
        answers.append([row.cells(watcher.labels) for row in rows])
    assert answers[0] == answers[1] == answers[2]


def test_readings_of_a_video_have_quality_landmarks_and_pose_also_after_a_state(small, settings) -> None:
    seen = []
    watch_video(small, replace(settings, landmarks=True), on_watched=seen.append)
    persons = [row.person for watched in seen for row in watched.rows if row.person]
    assert len(persons) == 24
    for person in persons:
        assert person.reading.quality == person.quality
        assert len(person.reading.landmarks68) == 68
        assert person.reading.pose is not None
    watcher, later = (Watcher(settings, finder=Square()) for _ in range(2))
    list(watcher.watch(squares([n / 10 for n in range(8)])))
    state = watcher.to_dict()
    placed = state["seen"][0]["faces"][0] | {"landmarks68": [[1.0, 2.0]] * 68}
    state["seen"] = [state["seen"][0] | {"faces": [placed]}]
    later.restore(json.loads(json.dumps(state)))
    reading = later.finish()[0].rows[0].person.reading
    assert reading.landmarks68 == ((1.0, 2.0),) * 68
    assert reading.quality is not None


def test_a_detector_that_searches_whole_images_alone_follows_as_well(settings) -> None:
    class SearchesOnly:
        """A detector without ``find_near``."""

        def __init__(self) -> None:
            self.n_searches = 0

        def find(self, image):
            self.n_searches += 1
            return Square().find(image)

    finder = SearchesOnly()
    watcher = Watcher(settings, finder=finder)
    rows = [
        row for ready in watcher.watch(squares([n / 25 for n in range(50)])) for w in ready for row in w.rows
    ]
    rows += [row for w in watcher.finish() for row in w.rows]
    assert finder.n_searches == 50
    assert [(row.frame, row.person.track) for row in rows] == [(n, 1) for n in range(50)]


def test_a_doubtful_face_is_taken_where_there_is_one_frame_alone(settings) -> None:
    class Doubtful:
        def find(self, image):
            return [Face(Box(10.0, 10.0, 60.0, 60.0), 0.99), Face(Box(120.0, 10.0, 170.0, 60.0), 0.8)]

    told = {}
    for n_frames in (1, 2):
        watcher = Watcher(settings, finder=Doubtful())
        assert list(watcher.watch(squares([n / 25 for n in range(n_frames)]))) == []
        told[n_frames] = [[row.person.track for row in watched.rows] for watched in watcher.finish()]
    assert told == {1: [[1, 2]], 2: [[1], [1, 2]]}


def test_a_detector_that_answers_nonsense_is_named(settings) -> None:
    class Nonsense:
        def find(self, image):
            return [(1, 2, 3, 4)]

    with pytest.raises(MienError, match=r"detector Nonsense must return mien\.Face objects, got tuple"):
        list(Watcher(replace(settings, batch=1), finder=Nonsense()).watch(squares([0.0])))
