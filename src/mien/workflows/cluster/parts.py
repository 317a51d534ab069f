"""Some images that are read together, and the Parquet file of their rows."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from mien.core.paths import path_text
from mien.core.read_batch import Answer
from mien.errors import DataError
from mien.workflows.find import Source
from mien.workflows.read import ImageResult
from mien.workflows.rows.formats import parquet_schema


@dataclass(frozen=True, slots=True)
class PartDone:
    """A part whose file is there, or the ``error`` for which it cannot be: of the run, not of an image."""

    n_images: int = 0
    n_faces: int = 0
    n_failed: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """Some images that are read together; the name follows from their paths."""

    sources: tuple[Source, ...]

    @property
    def name(self) -> str:
        """Of its file: the same images give the same name, so what is read twice is there once."""
        text = "\0".join(path_text(source.name) for source in self.sources)
        return f"part-{blake2b(text.encode(), digest_size=8).hexdigest()}.parquet"

    def to_text(self) -> str:
        """As an actor gets it: text, which Ray need not pickle."""
        return json.dumps([(source.name, source.error, source.below) for source in self.sources])

    @classmethod
    def from_text(cls, text: str) -> "Part":
        """The part that `to_text` wrote."""
        return cls(tuple(Source(*cells) for cells in json.loads(text)))


def done_in(system: Any, parts: Sequence[str]) -> tuple[PartDone, set[str]]:
    """What the files of parts hold together, and the paths of their images.

    Raises:
        DataError: one is damaged.
    """
    import pyarrow.parquet as pq

    done: set[str] = set()
    n_faces = n_failed = 0
    for path in parts:
        try:
            with system.open_input_file(path) as file:
                table = pq.read_table(file, columns=["path", "face", "error"])
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{path} is damaged ({str(error).splitlines()[0]}); delete it") from error
        done.update(table["path"].to_pylist())
        n_faces += len(table) - table["face"].null_count
        n_failed += len(table) - table["error"].null_count
    return PartDone(len(done), n_faces, n_failed), done


def result_of(source: Source, answer: Answer) -> ImageResult:
    """What reading an image gave, under its name."""
    error = None if answer.error is None else str(answer.error)
    return ImageResult(source.name, answer.readings, None, error, source.below, answer.size_wh)


def arrow_table(rows: Sequence[Sequence[Any]], names: Sequence[str]) -> Any:
    """Rows under their columns, as pyarrow holds them."""
    import pyarrow as pa

    schema = parquet_schema(names)
    cells = [[row[place] for row in rows] for place in range(len(names))]
    return pa.table([pa.array(c, f.type) for c, f in zip(cells, schema, strict=True)], schema)


def as_parquet(rows: Sequence[Sequence[Any]], names: Sequence[str]) -> bytes:
    """Such a table as a file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(arrow_table(rows, names), sink)
    return bytes(sink.getvalue())
