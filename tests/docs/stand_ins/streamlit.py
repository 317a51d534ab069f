"""Stands in for Streamlit: a photo is uploaded already."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np


def cache_resource(make: Callable[[], Any]) -> Callable[[], Any]:
    return make


def file_uploader(label: str, kinds: list[str]) -> BytesIO:
    return BytesIO(Path("astronaut.png").read_bytes())


def image(image: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim != 3:
        raise AssertionError("not an image")


def bar_chart(values: dict[str, float]) -> None:
    if abs(sum(values.values()) - 1) > 1e-5:
        raise AssertionError("probabilities must sum to 1")
