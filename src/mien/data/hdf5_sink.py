"""A file for HDF5 output that does not crash the process when the disk is full.

A file that HDF5 could not write it cannot close either, and h5py then ends the process with a segmentation
fault. So the first error is kept, HDF5 sees success, and the error is raised at the end.
"""

import io
from pathlib import Path
from types import TracebackType
from typing import Any


class Sink(io.FileIO):
    """An existing file that is emptied and written; give it to ``h5py.File``, and leave that block first."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self.error: BaseException | None = None

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view) and self.error is None:
            try:
                done += super().write(view[done:])
            except BaseException as error:  # Ctrl-C too
                self.error = error
        return len(view)

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0

    def check(self) -> None:
        """Raise the error that was kept, if there is one."""
        if self.error is not None:
            raise self.error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self.check()
