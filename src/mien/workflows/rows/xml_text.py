"""Text for an XML file."""

import re

FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML 1.0 file may hold, escaped or not (section 2.2): control characters, halves of pairs."""


def for_xml(text: str) -> str:
    """The text with a replacement character for each that XML forbids."""
    return FORBIDDEN.sub("\ufffd", text)
