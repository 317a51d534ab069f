"""Stands in for OpenCV: a camera that gives one image twice, in BGR, and a window that knows it again."""

from pathlib import Path

import numpy as np
from PIL import Image

COLOR_BGR2RGB = COLOR_RGB2BGR = 4
FRAME = np.asarray(Image.open(Path("astronaut.png")).convert("RGB"))[:, :, ::-1]


class VideoCapture:
    def __init__(self, number: int) -> None:
        self.left = 2

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        return (True, FRAME.copy()) if self.left >= 0 else (False, None)

    def release(self) -> None:
        if self.left >= 0:
            raise AssertionError("the loop ended before the camera did")


def cvtColor(image: np.ndarray, code: int) -> np.ndarray:  # noqa: N802 - OpenCV's name
    return np.ascontiguousarray(image[:, :, ::-1])


def imshow(title: str, image: np.ndarray) -> None:
    if not (image[-1] == FRAME[-1]).all():
        raise AssertionError("the window shows another image, or its colours are not BGR")
    if (image == FRAME).all():
        raise AssertionError("nothing is marked")


def waitKey(milliseconds: int) -> int:  # noqa: N802 - OpenCV's name
    return -1
