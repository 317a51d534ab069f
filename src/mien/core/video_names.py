"""Which files are videos: in a folder by their suffix, alone by their first bytes."""

import re

VIDEO_SUFFIXES = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".vob"),
        *(".3gp", ".3g2", ".wmv", ".asf", ".flv", ".f4v", ".ogv", ".mxf", ".dv", ".mjpeg", ".mjpg"),
    }
)
"""What counts as a video in a folder; a file that is named itself is one whatever its suffix."""

STARTS = re.compile(
    rb".{4}ftyp(?!crx |M4[AB] )|.{4}(moov|mdat|wide)|\x1aE\xdf\xa3|RIFF.{4}AVI |\0\0\x01[\xba\xb3]|FLV\x01"
    rb"|0&\xb2u\x8ef\xcf\x11",
    re.DOTALL,
)
"""MP4 and QuickTime, but no camera's raw file and no sound alone; Matroska; AVI; MPEG; FLV; ASF."""


def looks_like_a_video(head: bytes) -> bool:
    """Whether first bytes that are of no image's format are those of a video."""
    return STARTS.match(head) is not None
