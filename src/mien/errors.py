"""Every deliberate error of mien. The text says what was expected, what came, and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class MienError(Exception):
    """Root of all errors that mien raises on purpose; the command line prints its text on one line."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and pickled by its text: some kinds make it of other arguments, which are gone."""
        return type(self).__new__, (type(self), *self.args), self.__dict__


class ImageError(MienError):
    """An image cannot be read: missing, truncated, too large, or not an image."""


class ImageTooLargeError(ImageError):
    """An image has more bytes or pixels than its limits allow, or more work than they would take."""


class VideoError(MienError):
    """A video cannot be read to its end: missing, truncated, damaged, without images, or not a video."""


class VideoTooLargeError(VideoError):
    """A video has frames with more pixels than its limits allow."""


class DataError(MienError):
    """A data set file is malformed, incomplete, or does not hold what was asked for."""


class ModelError(MienError):
    """A model or its card cannot be found, verified, or fed."""


class RecipeError(MienError):
    """A training recipe has mistakes; the text lists all of them."""


class OutputError(MienError, OSError):
    """A file cannot be written: no room, no permission, a folder in its place."""

    def __init__(self, path: object, reason: str, number: int | None = None) -> None:
        super().__init__(number, reason, str(path))
        self.text = f"{path} cannot be written: {reason[:1].lower()}{reason[1:]}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.filename, self.strerror, self.errno)

    def __str__(self) -> str:
        return self.text


class MissingExtraError(MienError):
    """A feature needs an optional extra that is not installed."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(f'{what} needs {package}; run: pip install "mien[{extra}]"')


@contextmanager
def needs_extra(what: str, extra: str = "train", package: str = "") -> Iterator[None]:
    """Around imports: a module that is absent, too old or broken becomes the error of ``what``."""
    try:
        yield
    except ImportError as e:
        raise MissingExtraError(what, package or str(e.name), extra) from e
