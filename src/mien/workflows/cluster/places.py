"""Folders and images on paths that every machine reaches, and in object stores."""

from collections.abc import Iterator, Sequence
from os.path import abspath, isabs
from typing import Any

from mien.core.image_names import is_image
from mien.errors import MienError, needs_extra
from mien.workflows.find import Source
from mien.workflows.selection import Selection


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
        return fs.FileSystem.from_uri(address)  # type: ignore[no-any-return]
    except Exception as error:  # an unknown kind, or what the store itself says
        try:
            import fsspec

            system, path = fsspec.core.url_to_fs(address)
            return fs.PyFileSystem(fs.FSSpecHandler(system)), path
        except Exception:
            raise MienError(f"{address} cannot be opened: {error}") from error


def images_at(address: str, selection: Selection | None = None) -> Iterator[Source]:
    """The images below a URL, by the ends of their names, in order.

    Raises:
        MienError: it cannot be listed.
    """
    from pyarrow import fs

    selection = selection or Selection()
    system, top = open_folder(address)
    start = address.partition("://")[0] + "://"
    try:
        info = system.get_file_info(top)
        found = [info] if info.is_file else system.get_file_info(fs.FileSelector(top, recursive=True))
    except OSError as error:
        raise MienError(f"{address} cannot be listed: {error}") from error
    for one in sorted(found, key=lambda one: one.path):
        below, name = one.path.removeprefix(top).strip("/"), f"{start}{one.path}"
        if one.is_file and is_image(one.path) and selection.fits(below) and selection.in_shard(name):
            yield Source(name)


def placed(sources: Sequence[Source]) -> list[Source]:
    """Sources by names that mean the same on every machine: addresses, and whole paths.

    Each is named once, for its rows must be there once.
    """
    names: dict[str, Source] = {}
    for source in sources:
        name = source.name if "://" in source.name or isabs(source.name) else abspath(source.name)
        names.setdefault(name, Source(name, source.error, source.below))
    return list(names.values())


def write_whole(system: Any, path: str, data: bytes) -> None:
    """Write a file that is there whole or not at all, as objects of a store always are."""
    folder, _, name = path.rpartition("/")
    begun = f"{folder}/.mien-{name}" if system.type_name == "local" else path
    with system.open_output_stream(begun) as file:
        file.write(data)
    if begun != path:
        system.move(begun, path)
