"""Paths as users give them: a path, one that begins with ``~``, or a ``file://`` address."""

import os
import re
from collections import Counter
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from mien.errors import MienError

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


def check_told_apart(names: Iterable[str]) -> None:
    """Raise a `MienError` where two of several different paths are the same as `path_text`."""
    for text, n in Counter(map(path_text, names)).items():
        if n > 1:
            raise MienError(
                f"{n:,} files are called {text!r} but for bytes that are not UTF-8, so that their rows could "
                "not be told apart; rename them"
            )


def cut_name(name: str, most_bytes: int) -> str:
    """A file name, or its beginning where it has more bytes than that; no character is halved."""
    while len(os.fsencode(name)) > most_bytes:
        name = name[:-1]
    return name
