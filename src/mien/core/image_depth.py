"""Convert 16-bit pixels to 8 bits, also if a sensor used only the lower 10, 12 or 14 bits."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from mien.core import tiff
from mien.errors import ImageError

FULL_SCALES = (255, 1023, 4095, 16383, 65535)
"""Largest values of sensors; an image is scaled by the smallest that holds its brightest pixel."""

GRAY_AND_ALPHA = "LA;16B"
ORDERS = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
OTHER_BYTE = {
    f"{bands};16{order}": f"{bands};16{other}"
    for bands in ("RGB", "RGBX", "RGBA")
    for order, other in ORDERS.items()
} | {GRAY_AND_ALPHA: "RGBA"}
"""Pillow keeps the upper byte of each value; in the other byte order that is the lower one. Gray and alpha
have no other order, but their four bytes can be had as four channels."""


def gray_of_16_bits(image: Image.Image, name: str) -> NDArray[np.uint8]:
    """Gray uint8 (H, W, 3), rounded, of an image of mode I or I;16; a transparent gray is white.

    Raises:
        ImageError: values lie outside 0-65535.
    """
    gray = np.asarray(image).astype(np.int32, copy=False)
    if gray.min() < 0 or gray.max() > 65535:
        raise ImageError(f"{name} has gray values outside 0-65535; save it with 8 or 16 bits")
    scaled = _scaled(gray)
    if getattr(image, "tag_v2", {}).get(tiff.PHOTOMETRIC) == tiff.WHITE_IS_ZERO:  # Pillow inverts 8 bits only
        scaled = 255 - scaled
    if isinstance(clear := image.info.get("transparency"), int):
        scaled[gray == clear] = 255
    return np.repeat(scaled[..., None], 3, axis=2)


def colours_of_16_bits(
    image: Image.Image, rawmode: str | None, decode: Callable[[], ImageFile.ImageFile]
) -> Image.Image:
    """``image``, or one of scaled values where the upper bytes of its 16-bit values do not tell all.

    So it is where colours or alpha use only the lower bits, or where one colour is transparent.

    Args:
        image: Loaded; RGB or RGBA of the upper bytes.
        rawmode: How Pillow unpacked the values; see `rawmode_of`.
        decode: Opens the file again, not loaded yet.
    """
    if rawmode not in OTHER_BYTE:
        return image
    highest = np.asarray(image.getextrema())[:, 1]
    alpha = highest[3] if image.mode == "RGBA" else FULL_SCALES[0]
    clear = image.info.get("transparency")
    if clear is None and min(highest[:3].max(), alpha) > FULL_SCALES[-2] >> 8:
        return image
    with decode() as file:
        file.tile = [tile._replace(args=_other_byte(tile.args)) for tile in file.tile]
        file.load()
        lower = np.asarray(file)
    if rawmode == GRAY_AND_ALPHA:
        values = lower.view(">u2")
    else:
        values = np.asarray(image).astype(np.uint16) << 8 | lower
    n_colours = 1 if rawmode == GRAY_AND_ALPHA else 3
    parts = [values[..., :n_colours], values[..., n_colours:]]
    if clear is not None:
        parts[1] = np.uint16(FULL_SCALES[-1]) * (values != clear).any(axis=2, keepdims=True)
    return Image.fromarray(np.concatenate([_scaled(part) for part in parts if part.size], axis=2))


def rawmode_of(image: Image.Image) -> str | None:
    """How Pillow will unpack the values of a file that is open and not loaded yet."""
    tiles = getattr(image, "tile", ())
    args = tiles[0][3] if tiles else None
    return args[0] if isinstance(args, tuple) and args else args if isinstance(args, str) else None


def _other_byte(args: Any) -> Any:
    if isinstance(args, tuple):
        return (OTHER_BYTE[args[0]], *args[1:])
    return OTHER_BYTE[args]


def _scaled(values: NDArray[np.integer]) -> NDArray[np.uint8]:
    full = next(scale for scale in FULL_SCALES if scale >= values.max())
    table = (np.arange(full + 1) * 510 + full) // (2 * full)
    return np.take(table.astype(np.uint8), values)
