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
        address = urlsplit(text, allow_fragments=False)
        if address.netloc.lower() in LOCAL_HOSTS and not address.query:
            return (
                url2pathname(address.path)
                if os.name == "nt"
                else unquote(address.path, errors="surrogateescape")
            )
        return text
    return os.path.expanduser(text) if text.startswith("~") and not os.path.lexists(text) else text
