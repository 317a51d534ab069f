"""The rows of the papers: networks, ensembles and people, with their published and corrected figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from mien.core.own_files import NUMBER, Maybe, check_shape, parse_json, parse_toml, reading
from mien.errors import MienError
from mien.names import look_up

ROWS = Path(__file__).parents[2] / "recipes" / "papers" / "rows.toml"
LEAKY = "Training + PrivateTest"
"""Prefix of `Row.on` for rows that one paper measured on: it trained on nearly nine in ten of them."""


@dataclass(frozen=True, slots=True)
class Paper:
    """A paper: its title, its code, what all its networks share, and our training data."""

    title: str
    code: str
    data: str
    spec: str


@dataclass(frozen=True, slots=True)
class Row:
    """What a paper says of one network, ensemble or person.

    Attributes:
        name: Unique, begins with the paper's.
        paper: Key of `Paper`.
        what: A short description.
        published: The printed figure; ``-`` if there is none.
        on: The rows that it was measured on.
        holds: The corrected figure, as far as known.
        source: Section, table or figure of the paper, and file of the code.
        spec: Details of this row.
        note: Why ``holds`` differs from ``published``.
        recipe: The recipe of `mien train` that retrains it; empty if there is none.
        set: Changes to the recipe.
        derived: The data set to make from FER2013 first, see `mien.workflows.papers.derived`.
        members: Rows whose networks vote for it; with ``views``, the row whose network it scores again.
        views: Views per face with which another row's network is scored; 1 for a network of its own.
        why: Why it is not trained here.
        needs: The first of `NEEDS` that is missing.
    """

    name: str
    paper: str
    what: str
    published: str
    on: str
    holds: str
    source: str
    kind: Literal["network", "ensemble", "human"] = "network"
    spec: str = ""
    note: str = ""
    recipe: str = ""
    set: tuple[str, ...] = ()
    derived: Literal["", "face", "mouth", "answers"] = ""
    members: tuple[str, ...] = ()
    views: int = 1
    why: str = ""
    needs: Literal["", "gpu", "weights", "data", "people", "recipe"] = ""

    @property
    def leaky(self) -> bool:
        """Whether the paper measured on rows that the network was trained on."""
        return self.on.startswith(LEAKY)

    @property
    def command(self) -> str:
        """The command that trains and scores it; empty if there is none."""
        return f"mien papers run {self.name}" if self.recipe or self.members else ""

    @property
    def made_by(self) -> str:
        """The command of the toolkit behind it, such as ``mien train maastricht-cnn1``."""
        if self.views > 1:
            return f"mien evaluate runs/{self.members[0]} fer2013.h5 --views {self.views}"
        if self.members:
            return f"mien ensemble {' '.join(f'runs/{name}' for name in self.members)} --data fer2013.h5"
        changes = f" --set {' --set '.join(self.set)}" if self.set else ""
        return f"mien train {self.recipe}{changes}" if self.recipe else "none"


@cache
def papers() -> Mapping[str, Paper]:
    """The papers by their short names."""
    return {name: Paper(**_whole(table)) for name, table in _table()["papers"].items()}


@cache
def rows() -> Mapping[str, Row]:
    """Every row by its name, paper after paper."""
    found = {}
    for name, table in _table()["rows"].items():
        changes, members = (tuple(table.pop(key, ())) for key in ("set", "members"))
        paper = name.split("-")[0]
        views = table.pop("views", 1)
        found[name] = Row(name, paper, set=changes, members=members, views=views, **_whole(table))
    return found


def row(name: str) -> Row:
    """The row of a name.

    Raises:
        MienError: there is none; the text gives the nearest.
    """
    return look_up(rows(), name, "row")


def chosen(names: list[str], everything: bool) -> list[Row]:
    """The rows of these names, or all that can be run here, those that others vote in last.

    Raises:
        MienError: no row has one of the names, a row has no recipe, or nothing is asked for.
    """
    if everything == bool(names):
        raise MienError("give rows, such as maastricht-cnn1, or --all; `mien papers` lists them")
    if everything:
        all_rows = (one for one in rows().values() if one.command and not one.why)
        return sorted(all_rows, key=lambda one: bool(one.members))
    found = [row(name) for name in names]
    for one in found:
        if not one.command:
            raise MienError(f"'{one.name}' cannot be trained: {one.why}")
    return found


def leaky_rows() -> list[Row]:
    """The rows that can be trained and whose paper measured on training faces of the network."""
    return [one for one in rows().values() if one.leaky and one.recipe]


def read_result(folder: Path) -> dict[str, Any] | None:
    """What ``result.json`` of a run folder holds, or None where there is none."""
    path = folder / "result.json"
    return checked_result(path) if path.is_file() else None


def checked_result(path: Path) -> dict[str, Any]:
    """What a ``result.json`` holds.

    Raises:
        DataError: it is damaged.
    """
    with reading(path, advice="give `mien papers run` of the row again, after deleting it"):
        found: dict[str, Any] = parse_json(path.read_text(encoding="utf-8"))
        check_shape(found, RESULT | POINTS if found.get("metric") == POINT_ERROR else RESULT)
    found["environment"] = dict.fromkeys(ENVIRONMENT) | found["environment"]
    return dict.fromkeys(RESULT) | found


NEEDS = {
    "": "a run",
    "gpu": "a GPU",
    "weights": "weights that mien does not have",
    "data": "other data",
    "people": "people",
    "recipe": "a recipe that no paper prints",
}
"""What a row waits for, by `Row.needs`: of several things the first."""

_SCORES = {
    "accuracy": NUMBER,
    "accuracy_interval": [NUMBER, NUMBER],
    "balanced_accuracy": NUMBER,
    "macro_f1": NUMBER,
}
ENVIRONMENT = {"gpu": Maybe(str), "machine": Maybe(str), "threads": int, "commit": Maybe(str)}
RESULT = {
    "changes": [str],
    "epochs": NUMBER,
    "epochs_wanted": NUMBER,
    "finished": bool,
    "seconds": NUMBER,
    "environment": ENVIRONMENT,
    "test_evaluations": Maybe(int),
    "metric": Maybe(str),
    "val": _SCORES,
    "test": Maybe({**_SCORES, "never_predicted": [str]}),
    "clean": Maybe({"accuracy": NUMBER}),
    "leak": Maybe({"accuracy": NUMBER, "accuracy_interval": [NUMBER, NUMBER]}),
}
"""The shape of ``result.json``."""
POINT_ERROR = "point-error"
"""``metric`` of a network of landmarks; see `mien.core.landmarks.error_scores`."""
_ERRORS = {"n": int, "error": NUMBER, "error_interval": [NUMBER, NUMBER], "failures": NUMBER}
POINTS = {"metric": str, "val": _ERRORS, "test": Maybe([{"source": str, **_ERRORS}])}
"""What differs where the metric is `POINT_ERROR`: the test faces are scored source by source."""


def _table() -> dict[str, Any]:
    with reading(ROWS, advice="install mien again"):
        return parse_toml(ROWS.read_text(encoding="utf-8"))


def _whole(table: dict[str, str]) -> dict[str, Any]:
    """Texts on one line each."""
    return {key: " ".join(text.split()) for key, text in table.items()}
