"""What a face detector is, and each of them by name."""

from collections.abc import Callable, Sequence
from typing import Protocol

from mien.core.mtcnn import Mtcnn, Pixels
from mien.core.results import Face


class Detector(Protocol):
    """Anything that finds faces; images are uint8 RGB (H, W, 3), upright, of any size."""

    def find(self, image: Pixels) -> tuple[Face, ...]:
        """The faces of one image, largest box first; empty where there is none."""
        ...

    def find_many(self, images: Sequence[Pixels]) -> list[tuple[Face, ...]]:
        """The faces of each image, in the order of the images."""
        ...


DETECTORS: dict[str, Callable[[], Detector]] = {"mtcnn": Mtcnn}
