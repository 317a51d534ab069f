"""Which files in a folder are videos, by their suffix."""

VIDEO_SUFFIXES = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".vob"),
        *(".3gp", ".3g2", ".wmv", ".asf", ".flv", ".f4v", ".ogv", ".mxf", ".dv", ".mjpeg", ".mjpg"),
    }
)
"""What counts as a video in a folder; a file that is named itself is one whatever its suffix."""
