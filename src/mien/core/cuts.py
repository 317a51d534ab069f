"""Hard cuts: the frames of a video at which another shot begins.

A frame is shrunk to a small gray image of mean 0 and length 1, so that light and contrast do not count. A
cut is where it correlates with the one before much less than those before did with theirs: motion lowers
the correlation of many frames, a cut that of one. Frames that show nothing, black or white, are passed
over; what comes after is compared with what was before.

docs/decisions/0017-hard-cuts.md has the figures beside PySceneDetect's.
"""

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 12
DROP = 0.4
"""How much less a frame correlates with the one before than the last `RECENT` frames did, at a cut."""
RECENT = 4
BLANK = 3.0  # standard deviation of the small image, of 255, under which a frame shows nothing
ENOUGH = 96  # pixels a side from which averages are made


class CutFinder:
    """Takes the frames of a video in their order."""

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None
        self._recent: deque[float] = deque(maxlen=RECENT)

    def is_cut(self, image: NDArray[np.uint8]) -> bool:
        """Whether a new shot begins with this frame, RGB uint8 (H, W, 3)."""
        small = _small(image)
        if small is None:
            return False
        last, self._last = self._last, small
        if last is None:
            return False
        differs = 1 - float(small @ last)
        usual = sum(self._recent) / len(self._recent) if self._recent else 0.0
        self._recent.append(differs)  # also at a cut: what moves behind it is no other one
        return differs - usual > DROP

    def to_dict(self) -> dict[str, Any]:
        """The state that later results depend on, JSON-ready."""
        return {"last": None if self._last is None else self._last.tolist(), "recent": list(self._recent)}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `to_dict` gave."""
        self._last = None if state["last"] is None else np.array(state["last"], np.float32)
        self._recent = deque(state["recent"], maxlen=RECENT)


def _small(image: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """The small image as a vector; ``None`` where it shows nothing."""
    step = max(1, min(image.shape[:2]) // ENOUGH)
    some = Image.fromarray(np.ascontiguousarray(image[::step, ::step])).convert("L")
    cells = np.asarray(some.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32).ravel()
    cells -= cells.mean()
    length = float(np.linalg.norm(cells))
    return None if length < BLANK * SIDE else np.asarray(cells / np.float32(length), np.float32)
