"""What is told of a watched video: the shares of each person, and the plot over time."""

import json

import numpy as np
import pytest

pytest.importorskip("av", reason="needs PyAV")

from mien.core.draw import COLOURS
from mien.core.events import events_of
from mien.core.timeline import columns
from mien.errors import MienError
from mien.workflows.video.plot import MORE_COLOURS, colours, draw, plot
from mien.workflows.video.summary import N_BINS, Summary


def test_a_plot_shows_the_time_seen_in_the_colour_of_the_emotion(watched, tmp_path) -> None:
    summary = watched[1].summary
    image = np.asarray(draw(summary))
    assert (image == (240, 228, 66)).all(axis=2).sum() > 0.3 * 1250 * 150  # half of all is happy
    plot(summary, tmp_path / "timeline.png")
    assert (tmp_path / "timeline.png").stat().st_size > 1000
    with pytest.raises(MienError, match=r"a plot is a \.png"):
        plot(summary, tmp_path / "timeline.txt")


def test_labels_of_a_plot_have_colours_of_their_own() -> None:
    named = dict(zip(labels := ("awe", "happy", "calm", "bored", "pride"), colours(labels), strict=True))
    assert named["happy"] == COLOURS["happy"]
    assert len(set(named.values())) == 5
    assert not {*MORE_COLOURS} & {*COLOURS.values()}
    assert len({*MORE_COLOURS}) == len(MORE_COLOURS)


def test_a_summary_has_shares_that_sum_to_one(watched) -> None:
    persons = watched[1].summary.to_dict()["persons"]
    assert [person["track"] for person in persons] == [1, 2]
    for person in persons:
        assert sum(person["shares"].values()) == pytest.approx(1, abs=1e-3)
        assert person["expressiveness"] == pytest.approx(
            1 - 0.125, abs=1e-3
        )  # of the model that is always so
    assert json.dumps(persons)


def test_bins_merge_so_that_a_long_video_takes_no_more_memory() -> None:
    summary = Summary(("happy", "neutral"))
    row = dict.fromkeys(columns(summary.labels), None) | {"p_smooth_happy": 0.25, "p_smooth_neutral": 0.75}
    for n in range(5000):
        summary.add_cells(row | {"time_s": n * 1.0, "frame": n, "track": 1, "label": "neutral"})
    person = summary.persons[1]
    assert len(person.bins) <= N_BINS
    assert summary.bin_s * N_BINS >= 5000
    assert all(sums[0] / sums[-1] == pytest.approx(0.25) for sums in person.bins.values())
    assert (person.seconds, person.expressiveness) == pytest.approx((4999, 0.25))
    summary.finish()
    assert (person.seconds, summary.seconds) == pytest.approx((5000, 5000))


def test_the_summary_counts_each_frame_until_the_next_one_as_events_do() -> None:
    summary = Summary(("happy", "neutral"))
    row = dict.fromkeys(columns(summary.labels), 0.5) | {"uncertain": False}
    rows = [row | {"time_s": n, "frame": n, "track": 1 + n // 3, "label": "happy"} for n in range(6)]
    for cells in rows:
        summary.add_cells(cells)
    summary.finish()
    events = {event.track: event.end_s - event.start_s for event in events_of(rows)}
    assert {track: person.seconds for track, person in summary.persons.items()} == events == {1: 3, 2: 3}
    assert summary.seconds == 6
    alone = Summary(summary.labels)
    alone.add_cells(rows[0])
    alone.finish()
    (event,) = events_of(rows[:1])
    assert alone.persons[1].seconds == alone.seconds == event.end_s == 0.04
    assert alone.persons[1].shares == {"happy": 1.0}
