"""Folders and images on paths that every machine reaches, and in object stores."""

import re
from collections.abc import Iterable, Iterator, Sequence
from os.path import abspath, basename, isabs
from typing import Any
from urllib.parse import quote

from mien.core.image_names import is_image
from mien.core.paths import check_told_apart
from mien.errors import MienError, needs_extra
from mien.workflows.find import Source
from mien.workflows.selection import Selection

OF_ADDRESSES = ":/?#[]@!$&'()*+,;=%"
"""Characters that mean something in an address, beside letters, digits and ``-._~``."""
OPTIONS = re.compile(r"(?=\?|::\w+://)")
"""Where the path of an address ends: its options follow, or for fsspec what the path lies in."""


def open_folder(address: str) -> tuple[Any, str]:
    """The pyarrow file system of a path or URL, and the path in it.

    Raises:
        MienError: the address is of no kind that pyarrow or fsspec knows.
    """
    with needs_extra("reading on a cluster", "ray"):
        from pyarrow import fs
    if "://" not in address:
        return fs.LocalFileSystem(), abspath(address)
    try:
        return fs.FileSystem.from_uri(_quoted(address, OF_ADDRESSES))  # type: ignore[no-any-return]
    except Exception as error:  # an unknown kind, or what the store itself says
        try:
            import fsspec

            system, path = fsspec.core.url_to_fs(address)
            return fs.PyFileSystem(fs.FSSpecHandler(system)), path
        except Exception:
            raise MienError(f"{address} cannot be opened: {error}") from error


def _quoted(text: str, safe: str) -> str:
    return quote(text, safe=safe, errors="surrogateescape")


def images_at(address: str, selection: Selection | None = None) -> Iterator[Source]:
    """The images below a URL, by the ends of their names, without hidden ones, in order; or the one it names.

    Raises:
        MienError: it cannot be listed.
    """
    selection = selection or Selection()
    system, top = open_folder(address)
    from pyarrow import fs

    try:
        info = system.get_file_info(top)
        found = [] if info.is_file else system.get_file_info(fs.FileSelector(top, recursive=True))
    except OSError as error:
        raise MienError(f"{address} cannot be listed: {error}") from error
    if info.is_file:
        yield from _chosen(address, selection)
    is_quoted = not isinstance(system, fs.PyFileSystem)
    for one in sorted(found, key=lambda one: one.path):
        below = one.path.strip("/").removeprefix(top.strip("/")).strip("/")
        if one.is_file and is_image(below) and _is_taken(below, selection):
            name = _below(address, _in_address(below) if is_quoted else below)
            if selection.in_shard(name):
                yield Source(name)


def images_listed(addresses: Iterable[str], selection: Selection) -> Iterator[Source]:
    """The images of a list of URLs; one that is named like an image is not looked for before it is read.

    Yields:
        Images; also, with an error, what cannot be listed.
    """
    for address in addresses:
        if is_image(_path_of(address)):
            yield from _chosen(address, selection)
            continue
        try:
            yield from images_at(address, selection)
        except MienError as error:
            yield Source(address, str(error))


def _chosen(address: str, selection: Selection) -> Iterator[Source]:
    """The image that is named itself, unless it is left out."""
    if selection.fits(basename(_path_of(address))) and selection.in_shard(address):
        yield Source(address)


def _is_taken(below: str, selection: Selection) -> bool:
    """Whether a file is neither hidden nor left out, nor a folder that it lies in."""
    parts = below.split("/")
    folders = ["/".join(parts[:n]) for n in range(1, len(parts))]
    hidden = any(part.startswith(".") for part in parts)
    return not hidden and not any(map(selection.excludes, folders)) and selection.fits(below)


def _path_of(address: str) -> str:
    return OPTIONS.split(address, maxsplit=1)[0]


def _below(address: str, path: str) -> str:
    """The address of a path below another, with all that leads to the same store: host, account, options."""
    folder = _path_of(address)
    between = "" if folder.endswith("/") else "/"
    return f"{folder}{between}{path}{address[len(folder) :]}"


def _in_address(path: str) -> str:
    """A path whose characters mean themselves in an address; `open_folder` quotes the others."""
    return re.sub("[%?#]", lambda found: _quoted(found[0], ""), path)


def placed(sources: Sequence[Source]) -> list[Source]:
    """Sources by names that mean the same on every machine: addresses, and whole paths.

    Each is named once, for its rows must be there once.

    Raises:
        MienError: two have the same name but for bytes that are not UTF-8.
    """
    names: dict[str, Source] = {}
    for source in sources:
        name = source.name if "://" in source.name or isabs(source.name) else abspath(source.name)
        names.setdefault(name, Source(name, source.error, source.below))
    check_told_apart(names)
    return list(names.values())


def write_whole(system: Any, path: str, data: bytes) -> None:
    """Write a file atomically, as objects of a store always are."""
    folder, _, name = path.rpartition("/")
    begun = f"{folder}/.mien-{name}" if system.type_name == "local" else path
    with system.open_output_stream(begun) as file:
        file.write(data)
    if begun != path:
        system.move(begun, path)
