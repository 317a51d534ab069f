"""A quiz of faces, for people: one SQLite file with the faces, who takes part, and every answer.

The pixels lie in the file, so all people, and later a model, see the same faces, and the report needs no data
set. Each answer is a transaction of its own: whatever kills the server or the page, none that was given is
lost, and each person goes on at the next face.
"""

import json
import os
import secrets
import shlex
import sqlite3
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.files import atomic_write
from mien.core.outputs import check_output
from mien.core.own_files import parse_json, reading
from mien.data.audit import blank, not_a_face
from mien.data.ferplus import with_raters_votes
from mien.data.records import SPLITS, FaceSet
from mien.data.store import read_info, read_store
from mien.errors import DataError, MienError

APPLICATION = 0x6D69656E
"""SQLite's ``application_id`` of a quiz file: "mien"."""
FORMAT = 1

TRAINING, ASKED = "training", "asked"
"""The two parts: examples, whose label is shown after the answer, and the faces that count."""

LONGEST_NAME = 60
JOINERS = {0x200C: None, 0x200D: None}
"""What names of some scripts need between letters, and no one sees."""
LONGEST_MS = 24 * 3600 * 1000

SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE faces (part TEXT, place INTEGER, source_row INTEGER NOT NULL, label INTEGER NOT NULL,
  pixels BLOB NOT NULL, votes BLOB, PRIMARY KEY (part, place));
CREATE TABLE people (name TEXT PRIMARY KEY COLLATE NOCASE, training INTEGER NOT NULL, began TEXT NOT NULL);
CREATE TABLE answers (person TEXT NOT NULL REFERENCES people, part TEXT NOT NULL,
  place INTEGER NOT NULL, label INTEGER NOT NULL, ms INTEGER NOT NULL, at TEXT NOT NULL,
  PRIMARY KEY (person, part, place));
"""


@dataclass(frozen=True)
class Draw:
    """Which faces are drawn.

    Attributes:
        n: Faces that are asked.
        training: Examples for those who get some first: training rows, as many of each label as can be.
        seed: The same seed draws the same faces.
        split: Where the asked faces come from: ``train``, ``val`` or ``test``.
    """

    n: int = 100
    training: int = 64
    seed: int = 0
    split: str = "test"


@dataclass(frozen=True)
class Step:
    """Where a person stands: at face ``place`` (from 0) of ``total`` in ``part``, or at the end.

    ``training`` is how many labelled examples the person gets first.
    """

    person: str
    part: str
    place: int
    total: int
    training: int
    done: bool


@dataclass(frozen=True, eq=False)
class Person:
    """What one person answered.

    Attributes:
        name: As it was given first.
        training: How many labelled examples came first.
        answers: int64 (N,), index into the label names, for the asked faces; -1 where there is none yet.
        ms: int64 (N,), milliseconds each answer took; -1 where there is none yet.
    """

    name: str
    training: int
    answers: NDArray[np.int64]
    ms: NDArray[np.int64]


def open_quiz(
    path: str | os.PathLike[str], data: str | os.PathLike[str] | None = None, draw: Draw | None = None
) -> "Quiz":
    """The quiz of a file; where it is missing, ``draw`` makes it from ``data``.

    Raises:
        DataError: the data set cannot be read or has too few faces; the file is no quiz, or of other faces.
        MienError: the file cannot be written.
    """
    draw = draw or Draw()
    check_output(path)
    if data is not None and not Path(path).exists():
        make_quiz(data, path, draw)
    if data is None:
        return Quiz(path)
    content_hash = read_info(data).content_hash
    quiz = Quiz(path)
    held = Draw(quiz.totals[ASKED], draw.training, quiz.seed, quiz.split)
    if held == draw and quiz.content_hash == content_hash:
        return quiz
    quiz.close()
    of = "" if held != draw else f" of another data set, '{quiz.name}'"
    raise DataError(
        f"{path} asks {held.n} faces of {held.split} by seed {held.seed}{of}; leave out --data to continue "
        "with them, or name another file with --out"
    )


def make_quiz(data: str | os.PathLike[str], to: str | os.PathLike[str], draw: Draw) -> None:
    """Draw faces of a data set at random into a new quiz file.

    Blank images, and those that most FER+ raters call no face, are left out: no one could answer. So are
    votes that a scheme of FER+ left: they do not tell how many raters said what.

    Raises:
        DataError: the data set cannot be read or has too few faces.
        MienError: the file cannot be written.
    """
    faces = read_store(data)
    visible = with_raters_votes(faces).take(~(blank(faces) | not_a_face(faces)))
    rng = np.random.default_rng(draw.seed)
    asked = visible.select(draw.split)
    if not 1 <= draw.n <= len(asked):
        raise DataError(
            f"'{faces.name}' has {len(asked):,} {draw.split} faces to ask, cannot draw {draw.n:,}"
        )
    asked = asked.take(rng.permutation(len(asked))[: draw.n])
    learnt = visible.select("train")
    learnt = learnt.take(~np.isin(learnt.rows, asked.rows))
    learnt = learnt.take(_even_order(learnt, rng)[: draw.training])
    about = {
        "id": secrets.token_hex(8),
        "name": faces.name,
        "content_hash": faces.content_hash(),
        "split": draw.split,
        "seed": draw.seed,
        "label_names": faces.label_names,
        "vote_names": visible.vote_names,
        "shape": faces.images.shape[1:],
        "n": {ASKED: len(asked), TRAINING: len(learnt)},
    }
    marks = f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {FORMAT};"
    try:
        with atomic_write(to, replace=False) as temporary, closing(sqlite3.connect(temporary)) as db, db:
            db.execute("PRAGMA journal_mode = MEMORY")  # what fails is removed, and a journal would stay
            db.executescript(marks + SCHEMA)
            db.executemany("INSERT INTO about VALUES (?, ?)", [(k, json.dumps(v)) for k, v in about.items()])
            for part, chosen in ((ASKED, asked), (TRAINING, learnt)):
                db.executemany("INSERT INTO faces VALUES (?, ?, ?, ?, ?, ?)", _face_rows(part, chosen))
    except sqlite3.Error as e:
        raise MienError(f"{to} cannot be written: {str(e).lower()}; check the folder") from e


def _even_order(faces: FaceSet, rng: np.random.Generator) -> NDArray[np.int64]:
    """A random order in which every label comes once before any comes twice, as long as there are faces."""
    mixed = rng.permutation(len(faces))
    labels = faces.labels[mixed]
    turn = np.zeros(len(faces), np.int64)
    for label in range(len(faces.label_names)):
        turn[labels == label] = np.arange((labels == label).sum())
    return mixed[np.argsort(turn, kind="stable")]


def _face_rows(part: str, faces: FaceSet) -> list[tuple[Any, ...]]:
    votes = [None] * len(faces) if faces.votes is None else [row.tobytes() for row in faces.votes]
    each = enumerate(zip(faces.rows.tolist(), faces.labels.tolist(), faces.images, votes, strict=True))
    return [(part, place, row, label, image.tobytes(), vote) for place, (row, label, image, vote) in each]


def _key(name: str) -> str:
    """What is the same for names that count as the same."""
    folded = unicodedata.normalize("NFC", name.translate(JOINERS)).casefold()
    return unicodedata.normalize("NFC", " ".join(folded.split()))


class Quiz:
    """An open quiz file; may be used by several threads.

    Raises:
        DataError: the file is missing, damaged, or no quiz.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            out = shlex.quote(os.fspath(path))
            raise DataError(f"no quiz at {path}; make one: mien quiz --data fer2013.h5 --out {out}")
        self._lock = threading.Lock()
        with self._reading():
            self.database = sqlite3.connect(
                self.path, check_same_thread=False, isolation_level=None, timeout=10
            )
        try:
            with self._reading():
                self._check()
            self.people()
        except DataError:
            self.close()
            raise

    def _reading(self) -> AbstractContextManager[None]:
        return reading(self.path, "is not a quiz file or is damaged")

    def _check(self) -> None:
        found = (self._one("PRAGMA application_id"), self._one("PRAGMA user_version"))
        if found[0] != APPLICATION:
            raise DataError(f"{self.path} is an SQLite file, but not a quiz that mien wrote")
        if found[1] != FORMAT:
            raise DataError(f"{self.path} has format {found[1]}, this version reads {FORMAT}")
        foreign = self._one("SELECT count(*) FROM sqlite_master WHERE type IN ('view', 'trigger')")
        if foreign:
            raise ValueError("it holds views or triggers, which mien never makes")
        about = {key: parse_json(value) for key, value in self._all("SELECT key, value FROM about")}
        self.name, self.content_hash = str(about["name"]), str(about["content_hash"])
        self.split, self.seed = str(about["split"]), int(about["seed"])
        # tells the page which quiz it goes on with; files of mien 0.1.0 have none
        self.id = str(about.get("id", f"{self.content_hash[:12]}-{self.split}-{self.seed}"))
        self.label_names: tuple[str, ...] = tuple(map(str, about["label_names"]))
        self.totals: dict[str, int] = {part: int(about["n"][part]) for part in (TRAINING, ASKED)}
        names = about["vote_names"]
        self._vote_names = None if names is None else tuple(map(str, names))
        self._shape = tuple(map(int, about["shape"]))
        self._faces = {part: self._read_faces(part) for part in self.totals}

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    def faces(self, part: str = ASKED) -> FaceSet:
        """The faces of a part, in their order."""
        return self._faces[part]

    def begin(self, name: str = "", *, training: int = 0, known_only: bool = False) -> Step:
        """Let a person begin, or continue where they stopped.

        Args:
            name: Case does not count, in any script; empty takes a new name, such as ``person 3``.
            training: How many labelled examples a new person gets first; who began keeps what they had.
            known_only: Refuse a name that has not begun.

        Raises:
            MienError: the name is too long, cannot be shown, or is unknown.
        """
        name = " ".join(name.split())
        if len(name) > LONGEST_NAME:
            raise MienError(f"a name has at most {LONGEST_NAME} letters, got {len(name)}")
        if not name.translate(JOINERS).isprintable():
            raise MienError(f"a name must consist of printable characters, got {name!a}")
        with self._change():
            if not _key(name):
                taken = {_key(known) for (known,) in self._all("SELECT name FROM people")}
                name = next(one for i in range(1, len(taken) + 2) if (one := f"person {i}") not in taken)
            elif known_only and not self._known(name):
                raise MienError(f"no participant called '{name}' exists; leave the name empty to begin")
            if not self._known(name):
                self.database.execute(
                    "INSERT INTO people VALUES (?, ?, datetime('now'))",
                    (name, min(training, self.totals[TRAINING])),
                )
            return self._step(name)

    def _known(self, name: str) -> tuple[str, int] | None:
        """Name and examples of a person who has begun, by this name or one that counts as the same."""
        people = self._all("SELECT name, training FROM people")
        same = [(known, training) for known, training in people if _key(known) == _key(name)]
        return min(same, key=lambda one: one[0] != name, default=None)

    def answer(self, name: str, part: str, place: int, label: int, ms: int) -> Step:
        """Save an answer; when this returns, it is on the disk.

        Args:
            name: Who has begun.
            part: Of the face.
            place: Of the face; it must be the person's next.
            label: Index into ``label_names``.
            ms: Milliseconds between seeing and answering.

        Raises:
            MienError: the person has not begun, the face is not their next, or there is no such label.
        """
        if not 0 <= label < len(self.label_names):
            raise MienError(f"a label must lie in 0..{len(self.label_names) - 1}, got {label}")
        with self._change():
            step = self._step(name)
            if step.done or (part, place) != (step.part, step.place):
                raise MienError(f"face {place + 1} is not the next of {step.person}; load the page again")
            self.database.execute(
                "INSERT INTO answers VALUES (?, ?, ?, ?, ?, datetime('now'))",
                (step.person, part, place, label, min(max(ms, 0), LONGEST_MS)),
            )
            return self._step(name)

    def undo(self, name: str) -> Step:
        """Take back the person's last answer to an asked face; with none, nothing changes.

        Answers to examples stay: their label was shown.

        Raises:
            MienError: the person has not begun.
        """
        with self._change():
            step = self._step(name)
            self.database.execute(
                "DELETE FROM answers WHERE person = ? AND part = ? AND place = ?",
                (step.person, ASKED, step.place - 1),
            )
            return self._step(name)

    def people(self) -> tuple[Person, ...]:
        """Everyone who has begun, in the order of beginning."""
        with self._lock, self._reading():
            people = self._all("SELECT name, training FROM people ORDER BY rowid")
            return tuple(self._person(name, training) for name, training in people)

    def _person(self, name: str, training: int) -> Person:
        answers, ms = np.full((2, self.totals[ASKED]), -1, np.int64)
        limits = {TRAINING: self.totals[TRAINING], ASKED: len(answers)}
        query = "SELECT part, place, label, ms FROM answers WHERE person = ?"
        for part, place, label, took in self._all(query, name):
            if not (0 <= place < limits[part] and 0 <= label < len(self.label_names) and took >= 0):
                raise ValueError(f"an answer of {name} has an invalid face, label or time")
            if part == ASKED:
                answers[place], ms[place] = label, took
        if not 0 <= training <= limits[TRAINING]:
            raise ValueError(f"{name} cannot have had {training} examples")
        return Person(name, training, answers, ms)

    @contextmanager
    def _change(self) -> Iterator[None]:
        """One transaction: all of it is on the disk at the end, or nothing."""
        try:
            with self._lock, self.database:
                self.database.execute("BEGIN IMMEDIATE")
                yield
        except sqlite3.Error as e:
            raise MienError(f"not saved in {self.path}: {e}; try again") from e

    def _step(self, name: str) -> Step:
        found = self._known(name)
        if found is None:
            raise MienError(f"no participant called '{name}' exists; load the page again")
        person, training = found
        count = "SELECT COUNT(*) FROM answers WHERE person = ? AND part = ?"
        place = self._one(count, person, TRAINING)
        if place < training:
            return Step(person, TRAINING, place, training, training, done=False)
        place, total = self._one(count, person, ASKED), self.totals[ASKED]
        return Step(person, ASKED, place, total, training, done=place >= total)

    def _read_faces(self, part: str) -> FaceSet:
        query = "SELECT source_row, label, pixels, votes FROM faces WHERE part = ? ORDER BY place"
        rows = self._all(query, part)
        if len(rows) != self.totals[part]:
            raise DataError(f"{self.path} is damaged: {self.totals[part]} faces expected, got {len(rows)}")
        images = [np.frombuffer(pixels, np.uint8).reshape(self._shape) for _, _, pixels, _ in rows]
        votes = None
        if self._vote_names is not None:
            votes = np.array([list(vote) for *_, vote in rows], np.uint8).reshape(-1, len(self._vote_names))
        split = self.split if part == ASKED else "train"
        return FaceSet(
            images=np.array(images, np.uint8).reshape(-1, *self._shape),
            labels=np.array([label for _, label, _, _ in rows], np.int64),
            split=np.full(len(rows), SPLITS.index(split), np.uint8),
            rows=np.array([row for row, *_ in rows], np.int64),
            label_names=self.label_names,
            name=self.name,
            votes=votes,
            vote_names=self._vote_names,
        )

    def _all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self.database.execute(query, values).fetchall()

    def _one(self, query: str, *values: object) -> Any:
        return self.database.execute(query, values).fetchone()[0]
