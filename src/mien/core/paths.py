"""Paths as users give them: a path, one that begins with ``~``, or a ``file://`` address."""

import os
import re
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

FILE_ADDRESS = re.compile(r"file:/", re.IGNORECASE)
LOCAL_HOSTS = ("", "localhost")


def local_path(text: str) -> str:
    """The path that ``text`` stands for; what is no such form stays as it is.

    A file whose name begins with ``~`` comes before the home folder. An address of another machine stays an
    address.
    """
    if FILE_ADDRESS.match(text):
        try:
            address = urlsplit(text, allow_fragments=False)
        except ValueError:  # brackets that are no IPv6 host
            return text
        if "%00" in address.path:
            return text
        if address.netloc.lower() in LOCAL_HOSTS and not address.query:
            return (
                url2pathname(address.path)
                if os.name == "nt"
                else unquote(address.path, errors="surrogateescape")
            )
        return text
    return os.path.expanduser(text) if text.startswith("~") and not os.path.lexists(text) else text


def path_text(name: str) -> str:
    """A path as text; bytes of it that are not UTF-8 become a replacement character."""
    return name.encode(errors="surrogateescape").decode(errors="replace")


def cut_name(name: str, most_bytes: int) -> str:
    """A file name, or its beginning where it has more bytes than that; no character is halved."""
    while len(os.fsencode(name)) > most_bytes:
        name = name[:-1]
    return name
