"""Which files in a folder are images: by their suffix, or without one by their first bytes."""

import os

from mien.core.image_formats import HEAD, format_of

JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"})
PHONE_SUFFIXES = frozenset({".heic", ".heif", ".hif", ".avif"})
SUFFIXES = JPEG_SUFFIXES | PHONE_SUFFIXES
SUFFIXES |= {".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
"""What counts as an image in a folder; a file that is named itself is read whatever its suffix."""

SURE_FORMATS = frozenset({"JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "HEIC"})
"""Formats whose first bytes no text begins with by chance."""


def is_image(path: str) -> bool:
    """Whether the suffix is one of an image."""
    return os.path.splitext(path)[1].lower() in SUFFIXES


def looks_like_an_image(path: str, *, sure: bool = True) -> bool:
    """Whether the first bytes are those of an image; ``sure`` leaves out those that text may have too."""
    try:
        if not os.path.isfile(path):  # a pipe might never end
            return False
        with open(path, "rb") as file:
            found = format_of(file.read(HEAD))
    except OSError:
        return False
    return found in SURE_FORMATS if sure else found is not None


def is_image_file(path: str) -> bool:
    """Whether a file in a folder counts as an image."""
    return is_image(path) or (not os.path.splitext(path)[1] and looks_like_an_image(path))
