"""Read files that mien wrote; any damage becomes a one-line error that names the file.

A file may be cut, damaged, edited by hand, of another version, or made to harm. All readers of such files
go through here, and keep what interprets the content inside `reading`, so that wrong types are reported too.
"""

import json
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mien.errors import DataError, MienError, MissingExtraError

MAX_DEPTH = 20
"""Levels of nesting; many more could exhaust the stack of what copies or prints the content."""
LONGEST_REASON = 160

NUMBER = (int, float)


class Maybe(NamedTuple):
    """A shape of what may be absent or null."""

    shape: Any


@contextmanager
def reading(
    path: object, verdict: str = "is damaged", *, advice: str = "", error: type[MienError] = DataError
) -> Iterator[None]:
    """Around all that reads and interprets a file of ours: what goes wrong becomes ``error`` of one line.

    Args:
        path: The file.
        verdict: What is then said of it, such as ``is not a quiz file or is damaged``.
        advice: What to do.
        error: What is raised.
    """
    try:
        yield
    except MissingExtraError:
        raise
    except Exception as e:  # parsers raise errors of their own, and foreign content any other
        if isinstance(e, MienError) and str(path) in str(e):
            raise
        said, unreadable = f"{verdict}: {reason(e)}", False
        if isinstance(e, OSError) and e.errno is not None and e.filename is not None:
            said, unreadable = f"cannot be read: {(e.strerror or '').lower()}", True
        raise error(f"{path} {said}{f'; {advice}' if advice and not unreadable else ''}") from e


def read_json(
    path: Path,
    verdict: str = "is damaged",
    *,
    shape: Any = None,
    advice: str = "",
    error: type[MienError] = DataError,
) -> Any:
    """What a JSON file holds, of a shape that `check_shape` takes, if any; raises as `reading`."""
    with reading(path, verdict, advice=advice, error=error):
        found = parse_json(path.read_text(encoding="utf-8"))
        if shape is not None:
            check_shape(found, shape)
    return found


def parse_json(text: str | bytes) -> Any:
    """What a JSON text holds.

    Raises:
        ValueError: it is none.
        RecursionError: it is nested deeper than `MAX_DEPTH` levels.
    """
    return _shallow(json.loads, text)


def parse_toml(text: str) -> dict[str, Any]:
    """What a TOML text holds, also with the mark that Windows puts before it; raises as `parse_json`."""
    table: dict[str, Any] = _shallow(tomllib.loads, text.removeprefix("\ufeff"))
    return table


def _shallow(parse: Callable[[Any], Any], text: str | bytes) -> Any:
    found = parse(text)
    if is_deep(found):
        raise RecursionError
    return found


def is_deep(value: object) -> bool:
    """Whether it is nested deeper than `MAX_DEPTH` levels."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH + 1):
        nested = [one for one in level if isinstance(one, dict | list)]
        if not nested:
            return False
        level = [part for one in nested for part in (one.values() if isinstance(one, dict) else one)]
    return True


def check_shape(value: Any, shape: Any, where: str = "") -> None:
    """Raise a ValueError where parsed JSON is not what is expected.

    Args:
        value: The JSON.
        shape: A type, several, a list of one shape or of the shape of each part, an object of shapes by key,
            or a `Maybe`. Keys that it does not name are free.
        where: Keys that led here, for the text.
    """
    if isinstance(shape, Maybe):
        if value is None:
            return
        shape = shape.shape
    kind = dict if isinstance(shape, dict) else list if isinstance(shape, list) else shape
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(KINDS[one] for one in kinds)
        raise ValueError(f"{where or 'it'} must be {wanted}, got {json.dumps(value)[:40]}")
    if isinstance(shape, list):
        shapes = shape if len(shape) > 1 else shape * len(value)
        if len(value) != len(shapes):
            raise ValueError(f"{where or 'it'} must have {len(shapes)} parts, got {len(value)}")
        for i, (one, inner) in enumerate(zip(value, shapes, strict=True)):
            check_shape(one, inner, f"{where}.{i}" if where else str(i))
    if isinstance(shape, dict):
        for key, inner in shape.items():
            if key not in value and not isinstance(inner, Maybe):
                raise KeyError(f"{where}.{key}" if where else key)
            check_shape(value.get(key), inner, f"{where}.{key}" if where else key)


KINDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}


def reason(error: BaseException) -> str:
    """What an error says, in part of a line."""
    if isinstance(error, MemoryError):
        return "it asks for more memory than there is"
    if isinstance(error, RecursionError):
        return f"it is nested deeper than {MAX_DEPTH} levels"
    text = (str(error).splitlines() or [""])[0].strip() or type(error).__name__
    if isinstance(error, KeyError):
        text = f"it lacks {text}"
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}…"
