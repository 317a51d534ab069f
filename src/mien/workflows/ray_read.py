"""Read many images on a Ray cluster: an actor a core, a Parquet file for each part, every image once."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from os.path import abspath, isabs
from typing import Any

from mien.core.analyzer import Analyzer
from mien.core.image_names import is_image
from mien.core.images import ImageSource
from mien.core.read_batch import Answer, read_batch
from mien.errors import DataError, ImageError, MienError, needs_extra
from mien.workflows.find import Source
from mien.workflows.read import ImageResult, ReadSettings, build_analyzer
from mien.workflows.read_outputs import columns, path_text, to_rows
from mien.workflows.rows.formats import parquet_schema
from mien.workflows.selection import Selection

RUN = "run.json"
PART_SIZE = 256
"""Images of a part: what the death of a worker costs at most, and what a file of rows holds."""
LEAST_PARTS = 64
"""Parts of a small run, so that all actors end at about the same time."""
ADVICE = "name an empty --out, or delete it to start over"


@dataclass(frozen=True, slots=True)
class RayJob:
    """What is read on a cluster.

    Args:
        folder: Where parts go: a folder or address that every machine reaches.
        settings: How images are read.
        address: Of the cluster; ``auto`` for the one of this machine, ``local`` to start one here.
        actors: How many read at the same time; ``None`` takes all CPUs of the cluster.
        resume: Go on with what lies in ``folder``.
    """

    folder: str
    settings: ReadSettings = field(default_factory=ReadSettings)
    address: str = "auto"
    actors: int | None = None
    resume: bool = False


@dataclass(frozen=True, slots=True)
class PartDone:
    """A part whose file is there."""

    n_images: int
    n_faces: int
    n_failed: int


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


def read_on_ray(job: RayJob, sources: Sequence[Source]) -> Iterator[PartDone]:
    """Read images by a Ray cluster; their rows lie in ``job.folder`` as Parquet, a file a part.

    A part is written whole, under a name that follows from its paths. So what a killed worker began another
    one does again, a killed driver leaves whole parts, and ``resume`` reads what no part has.

    Args:
        job: See there.
        sources: Images, each once.

    Yields:
        Each part, first those of an earlier run together.

    Raises:
        MienError: the folder holds another run, or there is no such cluster.
    """
    with needs_extra("reading on a cluster", "ray"):
        import ray
    analyzer = build_analyzer(job.settings)
    card = analyzer.classifier.card
    own = not ray.is_initialized()
    if own:
        _connect(job.address)
    try:
        wanted = max(min(PART_SIZE, len(sources) // LEAST_PARTS), 1)
        earlier, done, size = begin_run(job, card.sha256, wanted)
        if earlier.n_images:
            yield earlier
        left = [source for source in sources if path_text(source.name) not in done]
        parts = [Part(tuple(left[start : start + size])) for start in range(0, len(left), size)]
        if parts:
            yield from _read_parts(job, parts, card.labels)
    finally:
        if own:
            ray.shutdown()


def _read_parts(job: RayJob, parts: Sequence[Part], labels: Sequence[str]) -> Iterator[PartDone]:
    import ray

    actors = job.actors or max(int(ray.cluster_resources().get("CPU", 1)), 1)
    pool = ray.data.ActorPoolStrategy(size=min(actors, len(parts)))
    maker = (job.settings, job.folder, tuple(labels))
    given = ray.data.from_items([{"part": part.to_text()} for part in parts], override_num_blocks=len(parts))
    read = given.map_batches(PartReader, fn_constructor_args=maker, batch_size=1, compute=pool, num_cpus=1)
    for row in read.iter_rows():
        yield PartDone(**{name: int(value) for name, value in row.items()})


def _connect(address: str) -> None:
    import logging

    import ray

    try:
        ray.init(None if address == "local" else address, logging_level=logging.ERROR, log_to_driver=False)
    except Exception as error:  # Ray raises plain ones too
        reason = str(error).splitlines()[0]
        text = f"there is no Ray cluster at '{address}' ({reason}); --ray local starts one"
        if address == "local":
            text = f"Ray cannot start here ({reason}); its logs are in /tmp/ray/session_latest/logs"
        raise MienError(text) from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def begin_run(job: RayJob, sha256: str, size: int) -> tuple[PartDone, set[str], int]:
    """What an earlier run read, and its images of a part, after a check that it was the same kind of run.

    Parts of the same size hold the same images again, so what a worker of the killed run may still write is
    what the new run writes.
    """
    from pyarrow import fs

    system, folder = open_folder(job.folder)
    kept = {name: value for name, value in asdict(job.settings).items() if name not in ("model", "device")}
    identity = json.loads(json.dumps({"model": sha256, "settings": kept}))
    system.create_dir(folder, recursive=True)
    there = system.get_file_info(fs.FileSelector(folder))
    run = f"{folder}/{RUN}"
    if not any(one.base_name == RUN for one in there):
        if any(one.base_name.endswith(".parquet") for one in there):
            raise MienError(f"{job.folder} holds Parquet files of something else; {ADVICE}")
        _write(system, run, json.dumps(identity | {"part_size": size}).encode())
        return PartDone(0, 0, 0), set(), size
    if not job.resume:
        raise MienError(f"{job.folder} holds a run already; add --resume to go on, or {ADVICE}")
    try:
        with system.open_input_file(run) as file:
            held = json.loads(file.read())
        differing = [name for name, value in identity.items() if held[name] != value]
        size = max(int(held["part_size"]), 1)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{job.folder}/{RUN} is damaged; {ADVICE}") from error
    if differing:
        raise MienError(f"the stopped run had another {', '.join(differing)}; resume it as it was begun")
    return *_done(system, [one.path for one in there if one.base_name.startswith("part-")]), size


def _done(system: Any, parts: Sequence[str]) -> tuple[PartDone, set[str]]:
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


def _write(system: Any, path: str, data: bytes) -> None:
    """A file that is there whole or not at all, as objects of a store always are."""
    folder, _, name = path.rpartition("/")
    begun = f"{folder}/.mien-{name}" if system.type_name == "local" else path
    with system.open_output_stream(begun) as file:
        file.write(data)
    if begun != path:
        system.move(begun, path)


class PartReader:
    """An actor: one analyzer, one core."""

    def __init__(self, settings: ReadSettings, folder: str, labels: tuple[str, ...]) -> None:
        self.analyzer, self.labels = build_analyzer(settings), labels
        self.system, self.folder = open_folder(folder)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[int]]:
        done = [self.read(Part.from_text(text)) for text in batch["part"]]
        return {name: [getattr(one, name) for one in done] for name in ("n_images", "n_faces", "n_failed")}

    def read(self, part: Part) -> PartDone:
        """Read a part and write its rows; one whose file is there was read by an actor that died then."""
        path = f"{self.folder}/{part.name}"
        if self.system.get_file_info(path).is_file:
            return _done(self.system, [path])[0]
        good = [source for source in part.sources if source.error is None]
        answers = iter(read_images_of(self.analyzer, [source.name for source in good]))
        results = [
            ImageResult(source.name, error=source.error) if source.error else _result(source, next(answers))
            for source in part.sources
        ]
        rows = [row for result in results for row in to_rows(result, self.labels)]
        _write(self.system, path, _parquet(rows, columns(self.labels)))
        n_faces, n_failed = (
            sum(len(one.readings) for one in results),
            sum(one.error is not None for one in results),
        )
        return PartDone(len(results), n_faces, n_failed)


def _result(source: Source, answer: Answer) -> ImageResult:
    error = None if answer.error is None else str(answer.error)
    return ImageResult(source.name, answer.readings, None, error, source.below, answer.size_wh)


def _parquet(rows: Sequence[Sequence[Any]], names: Sequence[str]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = parquet_schema(names)
    cells = [[row[place] for row in rows] for place in range(len(names))]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table([pa.array(c, f.type) for c, f in zip(cells, schema, strict=True)], schema), sink)
    return bytes(sink.getvalue())


def read_images_of(analyzer: Analyzer, names: Sequence[str], batch: int = 8) -> Iterator[Answer]:
    """An answer for each path or URL, in order; the faces of a batch go through the network together."""
    for start in range(0, len(names), batch):
        opened = [_opened(name, analyzer.limits.max_bytes) for name in names[start : start + batch]]
        answers = iter(read_batch(analyzer, [one for one in opened if not isinstance(one, ImageError)]))
        yield from (Answer(error=one) if isinstance(one, ImageError) else next(answers) for one in opened)


def _opened(name: str, max_bytes: int) -> ImageSource | ImageError:
    if "://" not in name:
        return name
    try:
        system, path = open_folder(name)
        with system.open_input_stream(path) as file:
            return bytes(file.read(max_bytes + 1))
    except (OSError, MienError) as error:
        return ImageError(f"'{name}' cannot be read: {str(error).splitlines()[0]}")


def placed(sources: Sequence[Source]) -> list[Source]:
    """Sources by names that mean the same on every machine: addresses, and whole paths.

    Each is named once, for its rows must be there once.
    """
    names: dict[str, Source] = {}
    for source in sources:
        name = source.name if "://" in source.name or isabs(source.name) else abspath(source.name)
        names.setdefault(name, Source(name, source.error, source.below))
    return list(names.values())


def read_dataset(
    dataset: Any,
    *,
    column: str = "path",
    settings: ReadSettings | None = None,
    keep: Sequence[str] = (),
    batch: int = 32,
    actors: int | None = None,
) -> Any:
    """Rows of the faces of a Ray Dataset's images, as another Dataset; nothing is computed until it is used.

    Args:
        dataset: Has a column of paths or URLs, or of bytes of image files, as ``ray.data.read_binary_files``
            gives, or of arrays (H, W, 3).
        column: Its name.
        settings: How images are read.
        keep: Further columns that each row of an image gets.
        batch: Images that an actor gets at once.
        actors: How many read at the same time; ``None`` takes all CPUs of the cluster.

    Returns:
        One row a face with the columns of `mien read`, ``path`` where the images are paths; one with
        ``error`` where an image cannot be read, and one with empty cells where there is no face.
    """
    with needs_extra("reading on a cluster", "ray"):
        import ray
    n_actors = actors or max(int(ray.cluster_resources().get("CPU", 1)), 1)
    return dataset.map_batches(
        _BatchReader,
        fn_constructor_args=(settings or ReadSettings(), column, tuple(keep)),
        batch_size=batch,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=n_actors),
        num_cpus=1,
    )


class _BatchReader:
    """An actor that turns batches of images into batches of rows."""

    def __init__(self, settings: ReadSettings, column: str, keep: tuple[str, ...]) -> None:
        self.analyzer, self.column, self.keep = build_analyzer(settings), column, keep
        self.labels = self.analyzer.classifier.labels

    def __call__(self, batch: Mapping[str, Any]) -> Any:
        import pyarrow as pa

        images = list(batch[self.column])
        named = bool(images) and isinstance(images[0], str)
        answers = read_images_of(self.analyzer, images) if named else read_batch(self.analyzer, images)
        names = columns(self.labels)
        rows, places = [], []
        for place, answer in enumerate(answers):
            made = _rows_of(images[place] if named else "", answer, self.labels)
            rows += made
            places += [place] * len(made)
        schema = parquet_schema(names)
        table = {f.name: pa.array([row[n] for row in rows], f.type) for n, f in enumerate(schema)}
        if not named:
            del table["path"]
        kept = {name: pa.array([batch[name][place] for place in places]) for name in self.keep}
        return pa.table({**kept, **table})


def _rows_of(name: str, answer: Answer, labels: Sequence[str]) -> list[Sequence[Any]]:
    return list(to_rows(_result(Source(name), answer), labels))
