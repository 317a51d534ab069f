"""The state of an unfinished run: its settings, and the consistent length of its files."""

import json
from collections.abc import Collection, Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

from mien.core.files import sweep, write_text
from mien.core.own_files import Maybe, check_shape, parse_json, reading
from mien.errors import MienError
from mien.workflows.rows.row_file import RowFile


class RunState:
    """A file ``FILE.state`` that is there from before the files of rows to the end of a run.

    Args:
        path: The first file of rows.
        identity: What must be the same for rows to continue others, by the name that people know it by.
        resume: Go on with what an earlier run left; without it, such a run is an error.

    Attributes:
        stored: What `save` got last, of the run to go on with; ``None`` where a new one begins.
        is_done: Whether there is nothing to go on with, because an earlier run came to the end.

    Raises:
        MienError: an unfinished run is there and ``resume`` is false, or it was another run.
        DataError: the file is damaged.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], *, resume: bool) -> None:
        self.path = state_of(path)
        self.identity: dict[str, Any] = json.loads(json.dumps(identity))
        self.stored: dict[str, Any] | None = None
        self.is_done = False
        sweep(path.parent)  # also where the run is refused
        if self.path.exists():
            if not resume:
                raise MienError(f"{path} is not finished; add --resume to continue, or delete {self.path}")
            self.stored = self._read()
        elif resume:
            self.is_done = path.exists()

    def _read(self) -> dict[str, Any]:
        with reading(self.path, advice="delete it and start again"):
            digest, _, text = self.path.read_text(encoding="utf-8").partition("\n")
            if digest != _digest(text):
                raise ValueError("it is truncated or was changed")
            held = parse_json(text)
            check_shape(held, {"run": {}, "state": {"offsets": Maybe({})}})
        differing = [name for name, value in self.identity.items() if held["run"].get(name) != value]
        if differing:
            raise MienError(f"the stopped run had another {', '.join(differing)}; resume it with the same")
        return dict(held["state"])

    def begin(self, files: Iterable[RowFile], state: Mapping[str, Any]) -> None:
        """Keep ``state``, unless one is there, and begin the files; a run killed here is not taken for whole.

        Where a file cannot be written, a new run leaves no state.
        """
        is_new = self.stored is None and not self.is_done
        if is_new and not self.path.exists():
            self.save(state)
        try:
            for file in files:
                file.begin()
        except BaseException:
            if is_new:
                self.end()
            raise

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep ``state``, JSON-ready; call it when the rows that it tells of are on the disk."""
        text = json.dumps({"run": self.identity, "state": state})
        write_text(self.path, f"{_digest(text)}\n{text}")

    def end(self) -> None:
        """The run came to its end."""
        self.path.unlink(missing_ok=True)


def state_of(path: Path) -> Path:
    """Where the state of a run lies whose first file of rows is ``path``, until the run is whole."""
    return path.with_name(f"{path.name}.state")


def check_resume(files: Collection[Path], *, resume: bool) -> None:
    """Raise a MienError where a run shall go on that has no file."""
    if resume and not files:
        raise MienError("--resume needs the file that the stopped run wrote; name it with --out")


def refuse_to_annotate(what: str, path: Path) -> NoReturn:
    """Raise where a run whose first file of rows is ``path`` shall go on, and annotate too.

    Raises:
        MienError: always.
    """
    raise MienError(
        f"{what} cannot be continued; leave --annotate out, or delete {state_of(path)} and leave --resume out"
    )


def _digest(text: str) -> str:
    """Tells a damaged state from a sound one."""
    return sha256(text.encode()).hexdigest()
