"""Read images in worker processes: threads would hold Python's GIL for a seventh of the work."""

import os
import pickle
import traceback
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, BinaryIO

from mien import errors
from mien.core.bounds import leave_signals_to_parent
from mien.core.child import Child, ChildPool
from mien.core.images import ImageSource
from mien.core.read_batch import Answer, Given, Reader, read_batch
from mien.errors import ImageError, MienError


@dataclass(frozen=True, slots=True)
class Failure:
    """An error that crosses to the parent; ``kind`` names a class of `mien.errors`, or is empty for a bug."""

    kind: str
    text: str

    @classmethod
    def of(cls, error: MienError) -> "Failure":
        """Of an error of mien, or of its nearest kind in mien where a detector has a kind of its own."""
        kinds = (kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
        return cls(next(kinds), str(error))

    def error(self) -> Exception:
        """The error, to be raised."""
        if not self.kind:
            return RuntimeError(f"a process that reads images failed:\n{self.text}")
        kind: type[MienError] = getattr(errors, self.kind)
        return kind.__new__(kind, self.text)  # past the arguments that some kinds make their text of


class ReadingPool(ChildPool["_Child"]):
    """Some processes that read images for this one; a ``with`` statement or `close` ends them.

    Args:
        reader: Is pickled; each process opens its network again.
        n_processes: How many; each starts with its first batch.
        keep_pixels: Whether answers hold the images.
        limit_s: Seconds for a batch, and for each of its images alone where the batch needs more; ``None``
            waits without end.

    Raises:
        MienError: ``reader`` cannot be pickled.
    """

    def __init__(
        self, reader: Reader, n_processes: int, *, keep_pixels: bool = False, limit_s: float | None = None
    ) -> None:
        try:
            setup = pickle.dumps((reader, keep_pixels))
        except Exception as error:  # of the caller's own detector
            raise MienError(
                f"the analyzer cannot be sent to other processes ({error}); use workers=1, or a detector "
                "whose class is at the top level of a module"
            ) from error
        super().__init__(lambda: _Child(setup, limit_s), n_processes, "mien-reading")
        self._limit_s = limit_s

    def submit(self, images: Sequence[Given]) -> "Future[list[Answer]]":
        """The answers of a batch, once it was read; its images must be such that `lasting` would give them.

        An image whose reading ends the process, as for want of memory, or takes longer than the limit, is
        tried once more alone, and then gets an answer with an error.
        """
        return self._threads.submit(self._read, list(images))

    def _read(self, images: list[Given]) -> list[Answer]:
        good = [image for image in images if not isinstance(image, ImageError)]
        answers = iter(self._ask(good) if good else [])
        return [Answer(error=i) if isinstance(i, ImageError) else next(answers) for i in images]

    def _ask(self, images: list[ImageSource]) -> list[Answer]:
        child = self._child()
        try:
            return child.ask(images)
        except (EOFError, OSError, pickle.UnpicklingError):
            code = child.close()
        if self._is_closed:
            return []
        if len(images) > 1:
            return [answer for image in images for answer in self._ask([image])]
        name = repr(os.fsdecode(images[0])) if isinstance(images[0], str | os.PathLike) else "the image"
        if child.was_stuck:
            return [Answer(error=ImageError(f"{name} was not read within {self._limit_s:g} s; leave it out"))]
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        text = f"{name} ended the process that read it ({how}); read it alone, or with fewer processes"
        return [Answer(error=ImageError(text))]


class _Child(Child):
    def __init__(self, setup: bytes, limit_s: float | None) -> None:
        super().__init__(work, limit_s=limit_s)
        self._setup: bytes | None = setup

    def ask(self, images: Sequence[ImageSource]) -> list[Answer]:
        """The answers to a batch.

        Raises:
            EOFError: the process ended, or was ended because the limit had passed.
        """
        if self._setup is not None:  # it opens its network, which no image is to blame for
            self._exchange(self._setup)
            self._setup = None
        with self.limited():
            answers: list[Answer] = self._exchange(pickle.dumps(images))
        return answers

    def _exchange(self, message: bytes) -> Any:
        self.to.write(message)
        self.to.flush()
        answer = pickle.load(self.back)
        if isinstance(answer, Failure):
            raise answer.error()
        return answer


def work() -> None:
    """What the process does: batches in, answers out, until its input ends."""
    leave_signals_to_parent()
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come between the answers
    try:
        _answer(source, sink)
    except BrokenPipeError:  # the parent was killed, and nobody waits for what the buffer holds
        os._exit(1)


def _answer(source: BinaryIO, sink: BinaryIO) -> None:
    try:
        reader, keep_pixels = pickle.load(source)
    except MienError as error:
        _send(sink, Failure.of(error))
        return
    except Exception:
        _send(sink, Failure("MienError", _cannot_open()))
        return
    _send(sink, None)
    while True:
        try:
            images = pickle.load(source)
        except (EOFError, pickle.UnpicklingError):  # the parent ended, perhaps within a batch
            return
        try:
            answer: Any = read_batch(reader, images, keep_pixels=keep_pixels)
        except MienError as error:
            answer = Failure.of(error)
        except Exception:
            answer = Failure("", traceback.format_exc())
        _send(sink, answer)


def _send(sink: BinaryIO, answer: Any) -> None:
    pickle.dump(answer, sink)
    sink.flush()


def _cannot_open() -> str:
    reason = traceback.format_exc().strip().splitlines()[-1]
    return (
        f"another process cannot open the analyzer ({reason}); use workers=1, or put the class of your "
        "detector into a module"
    )
