"""JAFFE: expressions posed in a laboratory, recognised by the names of files."""

import re
from pathlib import Path

from mien.core.emotions import JAFFE
from mien.data.class_folders import files_below
from mien.data.listing import Entry, Listing, Problem
from mien.errors import DataError

_JAFFE_CODES = ("AN", "DI", "FE", "HA", "NE", "SA", "SU")
_JAFFE_NAME = re.compile(r"([A-Z]{2})\.([A-Z]{2})\d?\.\d+\.tiff?", re.IGNORECASE)


def list_jaffe(path: Path) -> Listing:
    """JAFFE: a folder of ``KA.AN1.39.tiff``; KA is the person, AN the emotion.

    Raises:
        DataError: no such file is there, or a folder cannot be listed.

    Source: Lyons et al., "Coding Facial Expressions with Gabor Wavelets", 1998.
    """
    if not path.is_dir():
        raise DataError(f"no folder at {path}")
    found = [
        (file, match.group(1).upper(), match.group(2).upper())
        for file in sorted(file for file, _ in files_below(path))
        if (match := _JAFFE_NAME.fullmatch(file.name))
    ]
    if not found:
        raise DataError(f"{path} is not JAFFE: expected files such as KA.AN1.39.tiff")
    return Listing("jaffe", JAFFE, lambda: map(_jaffe_entry, found), len(found), persons=True)


def _jaffe_entry(found: tuple[Path, str, str]) -> Entry:
    file, person, emotion = found
    if emotion not in _JAFFE_CODES:
        known = ", ".join(_JAFFE_CODES)
        problem = Problem("label out of range", f"expected {known}, got '{emotion}'")
        return Entry(file, None, person=person, problem=problem)
    return Entry(file, _JAFFE_CODES.index(emotion), person=person)
