"""Actors that read images: one core each, with a child process that a faulty image may crash."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mien.core.images import ImageSource
from mien.core.read_batch import Answer
from mien.core.reading_pool import ReadingPool
from mien.errors import ImageError, MienError
from mien.workflows.cluster.parts import Part, PartDone, arrow_table, as_parquet, done_in, result_of
from mien.workflows.cluster.places import open_folder, write_whole
from mien.workflows.find import Source
from mien.workflows.read import ImageResult, ReadSettings, build_analyzer
from mien.workflows.read_outputs import columns, to_rows

LIMIT_S = 300.0
"""For a batch of images, and where it takes longer for each of them alone: then it gets an error."""
BATCH = 8
"""Images whose faces go through the network together."""
AHEAD = 2
"""Batches that wait for the process, so that it never waits for a store."""


class _Images:
    """Reads images in a process, which begins again where one ends it or takes longer than ``limit_s``."""

    def __init__(self, settings: ReadSettings, limit_s: float) -> None:
        analyzer = build_analyzer(settings)
        self.labels, self.max_bytes = analyzer.classifier.labels, analyzer.limits.max_bytes
        self.pool = ReadingPool(analyzer, 1, limit_s=limit_s)

    def read(self, images: Sequence[ImageSource]) -> Iterator[Answer]:
        """An answer for each path, URL, file of bytes or array, in order."""
        waiting: deque[Any] = deque()
        for start in range(0, len(images), BATCH):
            opened = [_opened(image, self.max_bytes) for image in images[start : start + BATCH]]
            good = [image for image in opened if not isinstance(image, ImageError)]
            waiting.append((opened, self.pool.submit(good)))
            if len(waiting) > AHEAD:
                yield from _answers(*waiting.popleft())
        for opened, future in waiting:
            yield from _answers(opened, future)


def _answers(opened: Sequence[ImageSource | ImageError], future: Any) -> Iterator[Answer]:
    answers = iter(future.result())
    return (Answer(error=one) if isinstance(one, ImageError) else next(answers) for one in opened)


def _opened(image: ImageSource, max_bytes: int) -> ImageSource | ImageError:
    """The image itself, or its bytes where it has an address of a store."""
    if not isinstance(image, str) or "://" not in image:
        return image
    try:
        system, path = open_folder(image)
        with system.open_input_stream(path) as file:
            return bytes(file.read(max_bytes + 1))
    except (OSError, MienError) as error:
        return ImageError(f"'{image}' cannot be read: {str(error).splitlines()[0]}")


class PartReader:
    """An actor that reads parts into files.

    Args:
        settings: How images are read.
        folder: Gets the files.
        labels: Of the driver's model, which the columns are called by.
        limit_s: See `LIMIT_S`.
    """

    def __init__(
        self, settings: ReadSettings, folder: str, labels: Sequence[str], limit_s: float = LIMIT_S
    ) -> None:
        self.images, self.labels = _Images(settings, limit_s), labels
        self.landmarks = settings.landmarks
        self.system, self.folder = open_folder(folder)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        done = [self._tried(Part.from_text(text)) for text in batch["part"]]
        names = PartDone.__dataclass_fields__
        return {name: [getattr(one, name) for one in done] for name in names}

    def _tried(self, part: Part) -> PartDone:
        try:
            return self.read(part)
        except MienError as error:
            return PartDone(error=str(error))
        except Exception as error:  # a bug, as of the user's own detector, or what the store says
            lines = str(error).strip().splitlines() or [type(error).__name__]
            return PartDone(error=f"a worker failed: {lines[-1]}")

    def read(self, part: Part) -> PartDone:
        """Read a part and write its rows; one whose file is there was read by an actor that died then.

        Raises:
            MienError: what is wrong is not an image, but the model, the detector or the folder.
        """
        path = f"{self.folder}/{part.name}"
        if self.system.get_file_info(path).is_file:
            return done_in(self.system, [path])[0]
        answers = self.images.read([source.name for source in part.sources if source.error is None])
        results = [
            ImageResult(source.name, error=source.error) if source.error else result_of(source, next(answers))
            for source in part.sources
        ]
        rows = [row for one in results for row in to_rows(one, self.labels, landmarks=self.landmarks)]
        names = columns(self.labels, landmarks=self.landmarks)
        write_whole(self.system, path, as_parquet(rows, names))
        n_faces = sum(len(one.readings) for one in results)
        return PartDone(len(results), n_faces, sum(one.error is not None for one in results))

    def close(self) -> None:
        """End the process."""
        self.images.pool.close()


class BatchReader:
    """An actor that turns batches of images into batches of rows.

    Args:
        settings: How images are read.
        column: Holds the images.
        keep: Further columns that each row of an image gets; none that rows have themselves.
        limit_s: See `LIMIT_S`.
    """

    def __init__(
        self, settings: ReadSettings, column: str, keep: Sequence[str] = (), limit_s: float = LIMIT_S
    ) -> None:
        self.images, self.column, self.keep = _Images(settings, limit_s), column, keep
        self.landmarks = settings.landmarks

    def __call__(self, batch: Mapping[str, Any]) -> Any:
        import pyarrow as pa

        absent = [name for name in (self.column, *self.keep) if name not in batch]
        if absent:
            raise MienError(f"the data set has no column '{absent[0]}', but {', '.join(batch)}")
        images, labels = list(batch[self.column]), self.images.labels
        named = bool(images) and isinstance(images[0], str)
        names = columns(labels, landmarks=self.landmarks)
        taken = [name for name in self.keep if name in names and self._differs(name, named)]
        if taken:
            raise MienError(f"rows have a column '{taken[0]}' of their own; rename that of the data set")
        rows, places = [], []
        for place, answer in enumerate(self.images.read(images)):
            result = result_of(Source(images[place] if named else ""), answer)
            made = to_rows(result, labels, landmarks=self.landmarks)
            rows += made
            places += [place] * len(made)
        table = arrow_table(rows, names)
        if not named:
            table = table.drop_columns(["path"])
        for position, name in enumerate(name for name in self.keep if name not in table.column_names):
            table = table.add_column(position, name, pa.array([batch[name][place] for place in places]))
        return table

    def _differs(self, name: str, named: bool) -> bool:
        """Whether a column of that name would hold something else; rows have the images' paths, or none."""
        return name != "path" or (named and self.column != "path")

    def close(self) -> None:
        """End the process."""
        self.images.pool.close()
