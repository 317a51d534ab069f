"""Import any number of images into one store: on all cores, in bounded memory, and resumable.

What is done lies in a folder ``.x.h5.part`` beside the store: a small store for each few thousand entries,
written whole and named by the position after it, with a JSON of what was left out. HDF5 has no journal: a
file that grows can be lost to a kill, whole parts cannot. They are joined at the end, when the disk holds the
images twice.
"""

import csv
import hashlib
import json
import os
import shutil
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mien import __version__
from mien.core.cores import free_cores
from mien.core.files import atomic_write, refusals, write_text
from mien.core.locks import sole
from mien.core.own_files import read_json, reading
from mien.core.paths import path_text
from mien.core.progress import Progress, silent
from mien.data.image_loading import ImageLoader, ImageSettings, LoadedImage
from mien.data.listing import Entry, Listing, Problem
from mien.data.records import SPLITS, FaceSet, LabelMap
from mien.data.store import read_columns, read_store, write_parts, write_store
from mien.errors import DataError

_BATCH = 32  # entries a thread takes at once
_PART_BYTES = 64 * 2**20
_PART_ENTRIES = 4096


@dataclass(frozen=True, slots=True)
class Target:
    """What the labels become.

    Attributes:
        label_names: the labels of the store.
        codes: for each label of the listing, its index in ``label_names``, or None to drop it.
        label_map: what is stored of it; None where labels stay as they are.
    """

    label_names: tuple[str, ...]
    codes: tuple[int | None, ...]
    label_map: LabelMap | None = None


def ingest_images(
    listing: Listing,
    to: Path,
    settings: ImageSettings,
    *,
    target: Target | None = None,
    source_sha256: str = "",
    progress: Progress = silent,
) -> Counter[str]:
    """Open every image of ``listing`` and write the store ``to``; the same call goes on after a kill.

    An image that cannot be used is left out and listed with the reason in ``x.skipped.csv`` beside ``x.h5``.
    Of identical files (SHA-256; with face boxes, the same box too) the first is kept.

    Args:
        listing: What a reader found.
        to: The store; its folder must exist.
        settings: What every image becomes.
        target: What the labels become; by default they stay.
        source_sha256: Of the file that lists the images, hex.
        progress: Called with the entries done and their total.

    Returns:
        How many were left out, by reason.

    Raises:
        DataError: no image is left, or a file cannot be written.
    """
    names = listing.label_names
    target = target or Target(names, tuple(range(len(names))))
    with refusals(to), sole(_beside(to, "lock")) as other:
        if other:
            raise DataError(f"another process imports into {to} ({other}); wait for it, or name another file")
        ingestion = Ingestion(listing, settings, target, _beside(to, "part"))
        ingestion.run(progress)
        skipped = ingestion.skipped()
        write_skipped(skipped, to)
        ingestion.join(to, source_sha256)
    return Counter(reason for _, _, reason, _ in skipped)


def _beside(to: Path, what: str) -> Path:
    """What an import keeps beside ``to``; hidden, so that it is no part of a source that ``to`` lies in."""
    return to.with_name(f".{to.name}.{what}")


class _Files:
    """The first entry of every file that was taken in; with face boxes, of every face."""

    def __init__(self, by_box: bool) -> None:
        self.by_box = by_box
        self._first: dict[bytes, tuple[str, int | None, str]] = {}

    def add(self, entry: Entry, sha256: bytes) -> Problem | None:
        """None where the file is new, or what it repeats."""
        key = sha256 + repr(entry.box).encode() if self.by_box else sha256
        this = (str(entry.path), entry.label, entry.split)
        first = self._first.setdefault(key, this)
        if first is this:
            return None
        parts = zip(("label", "split"), first[1:], this[1:], strict=True)
        differs = "".join(f", of another {what}" for what, a, b in parts if a != b)
        return Problem("duplicate", f"of {first[0]}{differs}")


class Ingestion:
    """The state of one import: the files seen, the persons met, and the parts on disk."""

    def __init__(self, listing: Listing, settings: ImageSettings, target: Target, folder: Path) -> None:
        self.listing, self.settings, self.target, self.folder = listing, settings, target, folder
        self.loader = ImageLoader(settings)
        self._forget()
        bytes_each = int(np.prod(settings.shape))
        self.per_part = max(_BATCH, min(_PART_ENTRIES, _PART_BYTES // bytes_each))

    def run(self, progress: Progress) -> None:
        """Write every part that is missing."""
        entries = self.listing.entries()
        done = self._resume(entries)
        if done < 0:
            entries, done = self.listing.entries(), 0
        pool = ThreadPoolExecutor(cores := free_cores())
        try:
            loaded = self._loaded(entries, pool, 2 * cores)
            while part := _tracked(islice(loaded, self.per_part), progress, done, self.listing.total):
                self._write_part(part, done)
                done += len(part)
        finally:
            pool.shutdown(cancel_futures=True)
        progress(done, done)

    def skipped(self) -> list[list[Any]]:
        """Position, path, reason and detail of every entry that was left out."""
        return [row for part in self._parts() for row in _notes(part)["skipped"]]

    def join(self, to: Path, source_sha256: str) -> None:
        """Make one store of the parts and remove them."""
        parts = self._parts()
        sizes = [len(read_columns(part, "rows")["rows"]) for part in parts]
        if not sum(sizes):
            shutil.rmtree(self.folder)  # the same command may find the images the next time
            if not parts:
                raise DataError(f"no image could be imported: {self.listing.name} lists none")
            raise DataError(f"no image could be imported; {skipped_list(to)} says why")
        persons = tuple(self.persons) if self.listing.persons else None
        faces = (
            replace(_faces_of(part), person_names=persons)
            for part, size in zip(parts, sizes, strict=True)
            if size
        )
        write_parts(faces, sum(sizes), to, source_sha256=source_sha256)
        shutil.rmtree(self.folder)

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.h5"))

    def _resume(self, entries: Iterator[Entry]) -> int:
        """How many entries are done, having passed over them; -1 where the parts are of something else."""
        settings = {
            "name": self.listing.name,
            "labels": self.listing.label_names,
            "target": asdict(self.target),
            "images": asdict(self.settings),
            "version": __version__,
        }
        wanted = json.dumps(settings)
        marker = self.folder / "import.json"
        if marker.is_file() and marker.read_bytes() == wanted.encode():
            with suppress(DataError):  # of a damaged part: begin again
                done = self._pass_over(entries)
                if done >= 0:
                    return done
        try:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir()
            marker.write_bytes(wanted.encode())
        except OSError as e:
            raise DataError(f"{self.folder} cannot be written: {e.strerror}") from e
        self._forget()
        return -1

    def _forget(self) -> None:
        self.files = _Files(by_box=not self.settings.whole)
        self.persons: dict[str, int] = {}

    def _pass_over(self, entries: Iterator[Entry]) -> int:
        done = 0
        for part in self._parts():
            batch = list(islice(entries, int(part.stem) - done))
            if _digest(batch) != _notes(part)["entries"]:
                return -1
            self._meet(batch)
            columns = read_columns(part, "rows", "file_sha256")
            with reading(part):
                for row, sha256 in zip(columns["rows"].tolist(), columns["file_sha256"], strict=True):
                    self.files.add(batch[row - done], sha256.tobytes())
            done = int(part.stem)
        return done

    def _meet(self, entries: list[Entry]) -> None:
        for entry in entries:
            if entry.person:
                self.persons.setdefault(entry.person, len(self.persons))

    def _loaded(
        self, entries: Iterator[Entry], pool: ThreadPoolExecutor, window: int
    ) -> Iterator[tuple[Entry, LoadedImage | Problem]]:
        """Every entry with its image, in order; so many batches are under way that no thread waits."""
        pending: deque[tuple[list[Entry], Future[list[LoadedImage | Problem]]]] = deque()
        while True:
            while len(pending) < window and (batch := list(islice(entries, _BATCH))):
                pending.append((batch, pool.submit(self._load_all, batch)))
            if not pending:
                return
            batch, future = pending.popleft()
            yield from zip(batch, future.result(), strict=True)

    def _load_all(self, entries: list[Entry]) -> list[LoadedImage | Problem]:
        return [self._load(entry) for entry in entries]

    def _load(self, entry: Entry) -> LoadedImage | Problem:
        if entry.problem is None:
            if entry.label is None:
                return Problem("no label")
            if self.target.codes[entry.label] is None:
                name = self.listing.label_names[entry.label]
                return Problem("label without counterpart", name)
        return self.loader.load(entry)

    def _write_part(self, part: list[tuple[Entry, LoadedImage | Problem]], start: int) -> None:
        kept: list[tuple[int, Entry, LoadedImage]] = []
        skipped: list[list[Any]] = []
        for position, (entry, found) in enumerate(part, start):
            if isinstance(found, LoadedImage):
                found = self.files.add(entry, found.sha256) or found
            if isinstance(found, Problem):
                skipped.append([position, str(entry.path), found.reason, found.detail])
            else:
                kept.append((position, entry, found))
        entries = [entry for entry, _ in part]
        self._meet(entries)
        path = self.folder / f"{start + len(part):012}.h5"
        write_text(path.with_suffix(".json"), json.dumps({"entries": _digest(entries), "skipped": skipped}))
        write_store(self._face_set(kept), path)

    def _face_set(self, kept: list[tuple[int, Entry, LoadedImage]]) -> FaceSet:
        listing, n = self.listing, len(kept)
        entries, images = [entry for _, entry, _ in kept], [image for _, _, image in kept]
        optional: dict[str, Any] = {}
        if listing.persons:
            codes = [self.persons.get(entry.person, -1) for entry in entries]
            optional |= {"persons": np.array(codes, np.int32), "person_names": tuple(self.persons)}
        if listing.valence_arousal:
            values = [(entry.valence, entry.arousal) for entry in entries]
            optional["valence_arousal"] = np.array(values, np.float32).reshape(n, 2)
        if listing.n_landmarks:
            unknown = np.full((listing.n_landmarks, 2), np.nan, np.float32)
            points = [unknown if image.landmarks is None else image.landmarks for image in images]
            optional["landmarks"] = np.array(points, np.float32).reshape(n, *unknown.shape)
        labels = [self.target.codes[entry.label or 0] for entry in entries]
        digests = b"".join(image.sha256 for image in images)
        return FaceSet(
            images=np.array([p.pixels for p in images], np.uint8).reshape(n, *self.settings.shape),
            labels=np.array(labels, np.int64),
            split=np.array([SPLITS.index(entry.split) for entry in entries], np.uint8),
            rows=np.array([position for position, _, _ in kept], np.int64),
            label_names=self.target.label_names,
            name=listing.name,
            file_sha256=np.frombuffer(digests, np.uint8).reshape(n, 32),
            label_map=self.target.label_map,
            **optional,
        )


def _faces_of(part: Path) -> FaceSet:
    try:
        return read_store(part)
    except DataError as e:
        part.unlink(missing_ok=True)
        raise DataError(f"{part} was damaged; run the command again to start over") from e


def _tracked(
    loaded: Iterator[tuple[Entry, LoadedImage | Problem]], progress: Progress, done: int, total: int
) -> list[tuple[Entry, LoadedImage | Problem]]:
    part = []
    for one in loaded:
        part.append(one)
        if len(part) % _BATCH == 0:
            progress(done + len(part), total)
    return part


def _digest(entries: list[Entry]) -> str:
    """Tells whether a reader gives the same entries as before the kill, and the same files lie there."""
    digest = hashlib.sha256()
    for e in entries:
        said = (e.label, e.split, e.person, e.box, e.valence, e.arousal, e.problem)
        digest.update(repr((os.path.abspath(e.path), _stamp(e.path), said)).encode())
        if e.landmarks is not None:
            digest.update(e.landmarks.tobytes())
    return digest.hexdigest()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes with a file, or with who may read it; None where it is not there."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # a name that no system takes
        return None
    return status.st_size, status.st_mtime_ns, status.st_mode


def _notes(part: Path) -> dict[str, Any]:
    shape = {"entries": str, "skipped": [[int, str, str, str]]}
    notes: dict[str, Any] = read_json(part.with_suffix(".json"), shape=shape)
    return notes


def skipped_list(to: Path) -> Path:
    """The list of what the import of a store left out."""
    return to.with_suffix(".skipped.csv")


def write_skipped(skipped: list[list[Any]], to: Path) -> None:
    """Write `skipped_list`, or remove that of an earlier import where nothing was left out.

    Args:
        skipped: Position, path, reason and detail of each entry.
        to: The store.
    """
    path = skipped_list(to)
    path.unlink(missing_ok=True)
    if skipped:
        with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["row", "path", "reason", "detail"], *_as_text(skipped)])


def _as_text(rows: list[list[Any]]) -> Iterator[list[Any]]:
    """Rows whose names of files that are not UTF-8 can be written."""
    return ([path_text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
