"""Damaged videos, lying headers, odd clocks and huge frames, in a process of their own."""

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("av", reason="needs PyAV")


def test_a_short_campaign_ends_no_process_and_raises_nothing_foreign(module_at: Callable[[str], Any]) -> None:
    """`python benchmarks/hostile.py videos` reads hundreds."""
    tally = module_at("benchmarks/hostile.py").campaign(60, seed=3, what="videos")
    assert tally.n_tried == 60
    assert tally.n_opened > 15
    assert tally.n_refused > 15
    assert (tally.signals, tally.foreign) == ([], [])


def test_the_same_seed_makes_the_same_videos(module_at: Callable[[str], Any]) -> None:
    mutations = module_at("tests/workflows/video/mutations.py")
    one, other = mutations.sound_files(), mutations.sound_files()
    assert one == other
    made = [[mutations.mutant(i, seed, one) for i in range(30)] for seed in (3, 3, 4)]
    assert made[0] == made[1] != made[2]
