"""CK+: expressions posed in a laboratory, recognised by the names of files and folders."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mien.core.emotions import CKPLUS
from mien.core.paths import path_text
from mien.data.class_folders import folders_in, visible
from mien.data.listing import Entry, Listing, Problem, label_problem
from mien.errors import DataError

_EMOTION_FOLDERS = ("Emotion", "Emotion_labels")
_CKPLUS_PICTURES = "cohn-kanade-images"


def list_ckplus(path: Path, peaks: int = 1) -> Listing:
    """CK+: ``cohn-kanade-images/S005/001/*.png`` and ``Emotion/S005/001/*_emotion.txt``; persons are S005.

    A sequence goes from neutral to its peak, and the label is that of the last frame.

    Args:
        path: The folder that holds the two.
        peaks: How many frames of a sequence, from the last one back, carry its label.

    Raises:
        DataError: the folders are not there, one cannot be listed, or ``peaks`` is less than 1.

    Source: Lucey et al., "The Extended Cohn-Kanade Dataset (CK+)", 2010.
    """
    if peaks < 1:
        raise DataError(f"a sequence needs at least 1 peak frame, got {peaks}")
    images = path / _CKPLUS_PICTURES
    labels = next((path / name for name in _EMOTION_FOLDERS if (path / name).is_dir()), None)
    if labels is None or not images.is_dir():
        raise DataError(f"{path} is not CK+: expected {_CKPLUS_PICTURES}/ and Emotion/ in it")
    persons = [folder for folder in folders_in(images) if folder.name.startswith("S")]
    sequences = [sequence for person in persons for sequence in folders_in(person)]
    frames = [[file for file in visible(one) if file.suffix.lower() == ".png"][-peaks:] for one in sequences]
    entries = partial(_ckplus_entries, frames, labels)
    return Listing("ckplus", CKPLUS, entries, sum(map(len, frames)), persons=True)


def _ckplus_entries(frames: list[list[Path]], labels: Path) -> Iterator[Entry]:
    for sequence in frames:
        label, problem = _ckplus_label(labels, sequence[-1]) if sequence else (None, None)
        for file in sequence:
            yield Entry(file, label, person=path_text(file.parts[-3]), problem=problem)


def _ckplus_label(labels: Path, last: Path) -> tuple[int | None, Problem | None]:
    person, take = last.parts[-3:-1]
    file = labels / person / take / f"{last.stem}_emotion.txt"
    try:
        if not file.is_file():  # 266 of the 593 sequences fit no prototype
            return None, Problem("no label", f"no {file.name}")
        text = file.read_text(errors="replace")
    except OSError as e:
        return None, Problem("unreadable file", f"{file.name}: {e.strerror}")
    try:
        label = float(text)
    except ValueError:
        return None, label_problem(text, len(CKPLUS))
    if label not in range(len(CKPLUS)):
        return None, label_problem(text, len(CKPLUS))
    return int(label), None
