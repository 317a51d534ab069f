"""Hints to the right command for a file that was given to another one."""

import os
import re
import shlex
from collections.abc import Sequence
from glob import escape, glob
from itertools import islice
from typing import NamedTuple

TABLES = (".csv", ".tsv")
STORES = (".h5", ".hdf5")
ARCHIVES = (".zip", ".gz", ".tgz", ".tar", ".rar", ".7z")


class Kind(NamedTuple):
    """A kind of file, the commands that take it, and what to do with it elsewhere; ``{}`` is the path."""

    name: str
    taken_by: frozenset[str]
    advice: str


BY_OPTION = ("train", "targets", "search", "ensemble", "average", "release", "report", "papers", "quiz")
"""Commands that take a data set as ``--data``."""
WITHOUT_OPTION = ("data", "model", "image", "images", "video", "input", "file", "path", "folder", "run")
"""Options that users try where a command takes an argument."""

OTHER_NAMES = {
    **dict.fromkeys(("predict", "detect", "analyze", "analyse", "classify"), "read"),
    **dict.fromkeys(("video", "camera", "webcam", "stream"), "watch"),
    **dict.fromkeys(("eval", "test", "score"), "evaluate"),
    **dict.fromkeys(("finetune", "fine-tune"), "train fine-tune"),
    **dict.fromkeys(("server", "api", "web"), "serve"),
    **{name: f"data {name}" for name in ("import", "audit", "show", "join", "split", "crop")},
    "export": "release",
    "fit": "train",
    "tune": "search",
    "compare": "report",
    "list": "models",
    "help": "--help",
    "version": "--version",
}
"""Commands that users try, which have another name here."""

WORK = "features search evaluate ensemble explain quiz report release targets papers"
"""Commands that work on data sets, models and runs."""

KINDS = {
    "image": Kind("an image", frozenset(("read", "landmarks", "explain")), "mien read {}"),
    "video": Kind("a video", frozenset(("watch",)), "mien watch {}"),
    "table": Kind(
        "a table",
        frozenset(("data", "targets", "agreement")),
        "mien data import csv {}, or of pixels fer2013",
    ),
    "store": Kind("a data set", frozenset(f"data train calibrate {WORK}".split()), "mien data show {}"),
    "model": Kind("a model", frozenset(f"calibrate {WORK}".split()), "mien read --model {} PHOTO.jpg"),
    "recipe": Kind("a recipe", frozenset(("train", "targets", "search", "papers")), "mien train {}"),
    "archive": Kind("an archive", frozenset(), "unpack it first"),
}

FOLDER = "mien data import folders {}"
"""What makes a data set of a folder of images."""


def kind_of(path: str) -> str | None:
    """Which of `KINDS` a file is; None where that is unknown. An image is known by its first bytes."""
    from mien.core.image_names import is_image, looks_like_an_image
    from mien.core.video_names import VIDEO_SUFFIXES

    suffix = os.path.splitext(path)[1].lower()
    by_suffix = {
        **dict.fromkeys(VIDEO_SUFFIXES, "video"),
        **dict.fromkeys(TABLES, "table"),
        **dict.fromkeys(STORES, "store"),
        **dict.fromkeys(ARCHIVES, "archive"),
        ".onnx": "model",
        ".toml": "recipe",
    }
    if suffix in by_suffix:
        return by_suffix[suffix]
    return "image" if looks_like_an_image(path, sure=not is_image(path)) else None


def other_command(command: str, path: str) -> str:
    """``"; this is a video: mien watch v.mp4"`` where another command takes ``path``; otherwise nothing."""
    if os.path.isdir(path):
        from mien.core.run_names import RECIPE, is_run_folder

        if is_run_folder(path):  # a run, with its figures
            return ""
        if command == "watch" and _holds_images(path):
            return f"; this is a folder of images: mien read {shlex.quote(path)}"
        if command == "search" or command not in ("train", *WORK.split()):
            return ""
        if runs := sorted(glob(os.path.join(escape(path), "*", RECIPE))):
            return f"; it is a folder of runs, such as {shlex.quote(os.path.dirname(runs[0]))}"
        is_of_images = _holds_images(path)
        made = FOLDER.format(shlex.quote(path))
        return f"; this is a folder of images: {made} makes a data set of it" if is_of_images else ""
    kind = KINDS.get(kind_of(path) or "") if os.path.isfile(path) else None
    if kind is KINDS["store"] and command in BY_OPTION:
        return f"; a data set is given by an option: --data {shlex.quote(path)}"
    if kind is None or command in kind.taken_by:
        return ""
    return f"; this is {kind.name}: {kind.advice.format(shlex.quote(path))}"


def hint(command: str, arguments: Sequence[str], said: str) -> str:
    """What to add to an error of a command: of its first argument that another command takes."""
    before = ""
    for argument in arguments:
        is_value = before.startswith("-")  # of an option
        before = argument
        if is_value or argument.startswith("-"):
            continue
        added = other_command(command, argument)
        if added:
            named = re.search(r"mien \w+( import \w+)?", added)
            return "" if named and named[0] in said else added
    return ""


def usage_hint(command: str, arguments: Sequence[str], said: str, option: str | None) -> str:
    """What to add to an error of the command line itself; ``option`` is the one that it is about."""
    if not said:  # Typer's own text: an argument is missing
        return _import_hint(arguments) if command == "data" and arguments else ""
    if option is None:
        return hint(command, arguments, said)
    is_argument = said.startswith("No such") and option.removeprefix("--") in WITHOUT_OPTION
    return f"; this is an argument, leave out '{option}'" if is_argument else ""


def _import_hint(arguments: Sequence[str]) -> str:
    """What `mien data import` takes, where the kind of what was named is left out."""
    path = arguments[-1]
    kind = "folders" if os.path.isdir(path) else "csv" if path.lower().endswith(TABLES) else None
    if arguments[0] != "import" or kind is None:
        return ""
    return f"Name the kind first, such as: mien data import {kind} {shlex.quote(path)}"


def _holds_images(folder: str) -> bool:
    """Whether there is an image among the first files."""
    from mien.core.image_names import is_image

    files = (name for _, _, names in os.walk(folder) for name in names)
    return any(is_image(name) for name in islice(files, 200))
