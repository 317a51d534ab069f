"""Which frames of a video are read."""

import math
import re
from dataclasses import dataclass

from mien.core.arguments import check_numbers
from mien.errors import MienError

EVERY = re.compile(r"(\d+(?:\.\d+)?)\s*(s|ms|frames?)")
LEAST_STEP_S, LARGEST_STEP_S = 1e-4, 1e9
MOST_FRAMES = 10**9


@dataclass(frozen=True, slots=True)
class Pick:
    """Which frames are read.

    Args:
        every_s: The first frame of each such stretch of the clock, seconds; 0 takes all.
        every_frames: Those whose number is a multiple.
        start_s: From this time on, seconds.
        end_s: Before this time; ``None`` goes to the end.
    """

    every_s: float = 0.0
    every_frames: int = 1
    start_s: float | None = None
    end_s: float | None = None

    def __post_init__(self) -> None:
        check_numbers(self, "every_s", "every_frames")
        check_numbers(self, "start_s", "end_s", least=-math.inf)
        if self.every_s and not LEAST_STEP_S <= self.every_s <= LARGEST_STEP_S:
            raise MienError(
                f"a step must last {LEAST_STEP_S:g} s to {LARGEST_STEP_S:g} s, or 0 for every frame; "
                f"got {self.every_s:g} s"
            )
        if not 1 <= self.every_frames <= MOST_FRAMES or self.every_frames != int(self.every_frames):
            raise MienError(f"a step must be 1 to {MOST_FRAMES:,} whole frames, got {self.every_frames:g}")
        for name, time_s in (("start", self.start_s), ("end", self.end_s)):
            if time_s is not None and not math.isfinite(time_s):
                raise MienError(f"the {name} must be a number of seconds, got {time_s}")
        if self.end_s is not None and self.end_s <= (self.start_s or 0.0):
            raise MienError(
                f"the end must lie after the start, got {self.start_s or 0.0:g} s to {self.end_s:g} s"
            )

    def wants(self, index: int, time_s: float, before_s: float | None) -> bool:
        """Whether a frame is read, given its number, its time and that of the frame before it."""
        if (self.start_s is not None and time_s < self.start_s) or index % self.every_frames:
            return False
        if not self.every_s or before_s is None or (self.start_s is not None and before_s < self.start_s):
            return True
        return _stretch(time_s, self.every_s) != _stretch(before_s, self.every_s)

    def step_s(self, rate: float | None) -> float:
        """Seconds from one frame that is read to the next, in a video of so many frames a second."""
        return max(self.every_s, self.every_frames / rate if rate else 0.0)

    def covers(self, time_s: float) -> bool:
        """Whether a time lies in the stretch that is read."""
        start_s = -math.inf if self.start_s is None else self.start_s
        return start_s <= time_s < (math.inf if self.end_s is None else self.end_s)

    def __str__(self) -> str:
        """``from 60 s on``, ``before 2 s``, ``from 1 s to 2 s``; empty for the whole video."""
        if self.end_s is None:
            return "" if self.start_s is None else f"from {self.start_s:g} s on"
        return (
            f"before {self.end_s:g} s" if not self.start_s else f"from {self.start_s:g} s to {self.end_s:g} s"
        )


def _stretch(time_s: float, every_s: float) -> int:
    return math.floor(time_s / every_s + 1e-6)


def parse_every(text: str) -> tuple[float, int]:
    """``every_s`` and ``every_frames`` of a `Pick` from what a person wrote: ``0.2s``, ``40ms``, ``5frames``.

    Raises:
        MienError: it is neither, or next to nothing, or endless.
    """
    match = EVERY.fullmatch(text.strip().lower())
    number = float(match[1]) if match else 0.0
    unit = match[2] if match else ""
    if unit.startswith("f") and 1 <= number <= MOST_FRAMES and number == int(number):
        return 0.0, int(number)
    step_s = number / 1000 if unit == "ms" else number
    if unit in ("s", "ms") and LEAST_STEP_S <= step_s <= LARGEST_STEP_S:
        return step_s, 1
    raise MienError(f"every takes a time or a number of frames, such as 0.2s or 5frames; got '{text[:40]}'")
