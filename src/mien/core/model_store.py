"""Find a model by name or path, and check that its weights match its card."""

import hashlib
import os
import shlex
import shutil
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from mien.core.cards import ModelCard, read_card
from mien.core.files import refusals, sync, sync_folder
from mien.core.paths import local_path
from mien.core.run_names import is_run_folder
from mien.errors import ModelError
from mien.names import look_up

DEFAULT_MODEL = "fer2013-medium"
"""The model that is used where none is named."""

SHIPPED = Path(__file__).parent / "weights"


def user_models() -> Path:
    """Where `mien release` puts models: ``$MIEN_HOME/models``, or ``~/.local/share/mien/models``.

    A ``~`` in the variable means the home folder here too, for not every program that sets it is a shell.

    Raises:
        ModelError: neither is known, as for a user without a home folder.
    """
    home = os.environ.get("MIEN_HOME")
    try:
        base = Path(home).expanduser().absolute() if home else Path.home() / ".local" / "share" / "mien"
        return base / "models"
    except RuntimeError as e:
        raise ModelError("this user has no home folder; set MIEN_HOME to the folder for models") from e


def check_model_name(name: str) -> None:
    """Raise where a name cannot be a model's, which is a file's name too.

    Raises:
        ModelError: it has other characters than letters, digits, '-', '_' and '.', begins with '-' or '.',
            or ends like the name of a file, under which no model would be looked up.
    """
    if _is_path(name):
        raise ModelError(f"'{name}' cannot name a model; leave out '{Path(name).suffix}'")
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name[0] in ".-":
        raise ModelError(f"'{name}' cannot name a model; use letters, digits, '-', '_' and '.'")


def folder_for(name: str, to: Path | None = None) -> Path:
    """The folder for a new model of a name.

    Args:
        name: What the model shall be called.
        to: A folder; by default `user_models`.

    Raises:
        ModelError: the name cannot be a model's; or a shipped one has it, or is found by it, and would be
            hidden.
    """
    check_model_name(name)
    folder = to or user_models()
    is_searched = folder.resolve() in [one.resolve() for one in _own_folders()]
    meant = [whole for whole in _models_in(SHIPPED) if _means(name, whole)]
    if is_searched and len(meant) == 1:
        raise ModelError(
            f"'{name}' is the shipped model {meant[0]}, which the new one would replace; choose another "
            f"name, such as 'my_{name.replace('-', '_')}', or another folder with --out"
        )
    return folder


def when_made(card: Path) -> str:
    """The local time at which the card of a model was written; empty where there is none."""
    if not card.is_file():
        return ""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(card.stat().st_mtime))


def list_models() -> dict[str, Path]:
    """Card files by model name; a user's model hides a shipped one of the same name."""
    found: dict[str, Path] = {}
    for folder in (SHIPPED, *_own_folders()):
        found |= _models_in(folder)
    return found


def _own_folders() -> list[Path]:
    """`user_models`, for all who have a home folder."""
    try:
        return [user_models()]
    except ModelError:
        return []


def _models_in(folder: Path) -> dict[str, Path]:
    cards = sorted(folder.glob("*.json"))
    return {card.stem: card for card in cards if card.with_suffix(".onnx").is_file()}


def listed_card(path: Path) -> ModelCard:
    """A card of `list_models`, under the name by which it is found: its file may have been renamed or copied.

    Raises:
        ModelError: see `mien.core.cards.read_card`.
    """
    return replace(read_card(path), name=path.stem)


def find_model(name_or_path: str | os.PathLike[str] = DEFAULT_MODEL) -> tuple[Path, ModelCard]:
    """The ``.onnx`` file of a model and its card.

    Args:
        name_or_path: A name from `list_models`, a part of one between hyphens that no other has (``nano`` for
            ``fer2013-nano``), or the path (also ``~/...``) of an ``.onnx`` or ``.json`` file.

    Raises:
        ModelError: there is no such model, or several; a file of it is missing, or the weights do not match
            the card.
    """
    card_path = card_file(name_or_path)
    weights = card_path.with_suffix(".onnx")
    card = read_card(card_path) if _is_path(name_or_path) else listed_card(card_path)
    for file in (weights, _previous(weights)):
        if file.is_file() and sha256(file) == card.sha256:
            return file, card
    raise ModelError(
        f"{weights} is not the file that its card describes (sha256 differs); fetch or release both again"
    )


def card_file(name_or_path: str | os.PathLike[str]) -> Path:
    """The card of a model whose two files are there, unread; raises as `find_model`."""
    if not isinstance(name_or_path, str | os.PathLike):
        raise ModelError(f"a model must be a name or a path, got {type(name_or_path).__name__}")
    if _is_path(name_or_path):
        card = Path(local_path(os.fspath(name_or_path))).with_suffix(".json")
    else:
        known = list_models()
        name = _whole_name(str(name_or_path), known)
        if name not in known and is_run_folder(name):
            make = f"mien release {shlex.quote(name)} --name NAME"
            raise ModelError(f"{name} is a run folder and no model; {make} makes one of it")
        if name not in known and not _models_in(SHIPPED):
            raise ModelError(f"mien's models are not in {SHIPPED}; install mien with all its files, unzipped")
        card = look_up(known, name, "model", ModelError)
    for file in (card, card.with_suffix(".onnx")):
        if not file.is_file():
            raise ModelError(f"{file} is missing; a model is an .onnx file with its .json card beside it")
    return card


def is_run(model: str) -> bool:
    """Whether a run folder is meant: one that holds a run, or a folder that has no model's name."""
    if is_run_folder(model):
        return True
    return Path(model).is_dir() and not any(_means(model, whole) for whole in list_models())


def lasting_name(name_or_path: str | os.PathLike[str]) -> str:
    """What means the same model from every folder: its whole name, or the path of its card from the root.

    Links are not followed: what they lead to may have another name, or no card beside it.

    Raises:
        ModelError: see `find_model`.
    """
    card = card_file(name_or_path)
    return str(card.absolute()) if _is_path(name_or_path) else card.stem


def model_state(name_or_path: str | os.PathLike[str]) -> tuple[str, tuple[int, ...]]:
    """The path of a model's card from the root, and numbers that change where one of its files is replaced.

    Raises:
        ModelError: see `find_model`.
    """
    card = card_file(name_or_path).absolute()
    found = [file.stat() for file in (card, card.with_suffix(".onnx"))]
    return str(card), tuple(n for one in found for n in (one.st_mtime_ns, one.st_size))


def _is_path(name_or_path: str | os.PathLike[str]) -> bool:
    return Path(name_or_path).suffix in (".onnx", ".json")


def read_checked(path: Path, expected: str) -> bytes:
    """A weight file of the package, after its SHA-256 was compared with the one in its card.

    Raises:
        ModelError: it is another file.
    """
    packed = path.read_bytes()
    if hashlib.sha256(packed).hexdigest() != expected:
        raise ModelError(f"{path.name} is not the file its card describes (sha256 differs); reinstall mien")
    return packed


def put_model(weights: Path, folder: Path) -> Path:
    """Move a new network and the card beside it into a folder, in the place of one of that name.

    Two files cannot be replaced at once. Until the new card is there, the network of the old one is kept
    beside it, where `find_model` looks for it, so a kill at any moment leaves a whole model.

    Returns:
        The network's new path.
    """
    target = folder / weights.name
    previous = _previous(target)
    with refusals(target):
        for file in (weights, weights.with_suffix(".json")):
            sync(file)
        with suppress(ModelError):  # what is no whole model need not be kept
            old, _ = find_model(target)
            if old != previous:
                shutil.copyfile(old, previous)
                sync(previous)
        os.replace(weights, target)
        os.replace(weights.with_suffix(".json"), target.with_suffix(".json"))
        sync_folder(folder)
        previous.unlink(missing_ok=True)
    return target


def _previous(weights: Path) -> Path:
    return weights.with_suffix(".previous")


def _means(name: str, whole: str) -> bool:
    """Whether a name is the whole one of a model, or a part of it between hyphens."""
    return name in (whole, *whole.split("-"))


def _whole_name(name: str, known: Collection[str]) -> str:
    """The one model that ``name`` is short for; ``name`` itself where it is whole, or no part of any."""
    fitting = [whole for whole in known if _means(name, whole)]
    if name in known or not fitting:
        return name
    if len(fitting) > 1:
        raise ModelError(f"'{name}' matches several models: {', '.join(sorted(fitting))}; give one of them")
    return fitting[0]


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
