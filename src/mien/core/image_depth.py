"""Pixels of 16 bits as 8, also where a sensor of 10, 12 or 14 bits filled only the lower ones."""

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

LITTLE = sys.byteorder == "little"
OTHER_BYTE = {
    "RGB;16B": "RGB;16L",
    "RGB;16L": "RGB;16B",
    "RGB;16N": "RGB;16B" if LITTLE else "RGB;16L",
}
"""Pillow keeps the upper byte of each value; in the other byte order that is the lower one."""


def gray_of_16_bits(image: Image.Image, name: str) -> NDArray[np.uint8]:
    """Gray uint8 (H, W, 3), rounded, of an image of mode I or I;16.

    Raises:
        ImageError: values lie outside 0-65535.
    """
    gray = np.asarray(image).astype(np.int32, copy=False)
    if gray.min() < 0 or gray.max() > 65535:
        raise ImageError(f"{name} has gray values outside 0-65535; save it with 8 or 16 bits")
    scaled = _scaled(gray)
    if getattr(image, "tag_v2", {}).get(tiff.PHOTOMETRIC) == tiff.WHITE_IS_ZERO:  # Pillow inverts 8 bits only
        scaled = 255 - scaled
    return np.repeat(scaled[..., None], 3, axis=2)


def rgb_of_16_bits(
    upper: NDArray[np.uint8], rawmode: str | None, decode: Callable[[], ImageFile.ImageFile]
) -> NDArray[np.uint8]:
    """``upper``, or the scaled image where its 16-bit values use only the lower bits.

    Args:
        upper: RGB (H, W, 3), the upper byte of each value.
        rawmode: How Pillow unpacked the values; see `rawmode_of`.
        decode: Opens the file again, not loaded yet.
    """
    if rawmode not in OTHER_BYTE or upper.max() > FULL_SCALES[-2] >> 8:
        return upper
    with decode() as image:
        image.tile = [tile._replace(args=_other_byte(tile.args)) for tile in image.tile]
        image.load()
        lower = np.asarray(image)
    return _scaled(upper.astype(np.int32) << 8 | lower)


def rawmode_of(image: Image.Image) -> str | None:
    """How Pillow will unpack the values of a file that is open and not loaded yet."""
    tiles = getattr(image, "tile", ())
    args = tiles[0][3] if tiles else None
    return args[0] if isinstance(args, tuple) and args else args if isinstance(args, str) else None


def _other_byte(args: Any) -> Any:
    if isinstance(args, tuple):
        return (OTHER_BYTE[args[0]], *args[1:])
    return OTHER_BYTE[args]


def _scaled(values: NDArray[np.int32]) -> NDArray[np.uint8]:
    full = next(scale for scale in FULL_SCALES if scale >= values.max())
    return ((values * 510 + full) // (2 * full)).astype(np.uint8)
