"""Look through a stored data set, and show the worst of it on one page that stays on this machine."""

import base64
import io
import os
from collections.abc import Callable, Iterable, Iterator
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from mien.core.files import whole_file
from mien.data.audit import Audit, audit
from mien.data.duplicates import SAME_PICTURE, find_near_duplicates
from mien.data.records import SPLITS
from mien.data.store import read_info, read_near_duplicates, read_store, write_store
from mien.errors import DataError

_SHOWN = 48  # pictures or pairs a section: enough to judge, and the page stays near a megabyte

_STYLE = """
:root { color-scheme: light dark; --ink: light-dark(#1c1e21, #e8e8e6); --soft: light-dark(#6a6f76, #9aa0a6);
  --paper: light-dark(#fcfcfa, #17181a); --line: light-dark(#e3e3de, #33363a);
  --warn: light-dark(#a33a12, #ff9d73); }
body { margin: 0 auto; max-width: 70rem; padding: 2rem 1.25rem 4rem; color: var(--ink);
  background: var(--paper); font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.7rem; } h2 { margin: 2.5rem 0 .25rem; font-size: 1.2rem; }
p { margin: .25rem 0 1rem; color: var(--soft); max-width: 46rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem 1rem .35rem 0; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child { text-align: left; font-weight: 500; } thead th { color: var(--soft); font-size: .85rem; }
.wall { display: flex; flex-wrap: wrap; gap: .75rem; }
.group { display: flex; gap: 2px; padding: .4rem; border: 1px solid var(--line); border-radius: .4rem; }
figure { margin: 0; width: 76px; font-size: .72rem; line-height: 1.3; text-align: center;
  color: var(--soft); }
figure img { width: 72px; height: 72px; border-radius: .2rem; image-rendering: pixelated; }
figcaption b { display: block; font-weight: 600; color: var(--ink); }
.differ figcaption b { color: var(--warn); }
"""


def audit_data(
    store: str | os.PathLike[str],
    page: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Audit a store; where it lacks the near duplicates, search them and keep them in it.

    Args:
        store: A data set that ``import_data`` wrote.
        page: An HTML page to write, with pictures inside and nothing loaded from elsewhere; or None.
        progress: Called with the faces searched and their total, where a search is needed.

    Raises:
        DataError: the store cannot be read, or the page cannot be written.
    """
    if page is not None and not Path(page).parent.is_dir():
        raise DataError(f"no folder {Path(page).parent} to write {Path(page).name} in; create it first")
    faces, near = read_store(store), read_near_duplicates(store)
    if near is None:
        near = find_near_duplicates(faces, progress=progress)
        write_store(faces, store, source_sha256=read_info(store).source_sha256, near=near)
    found = audit(faces, near)
    if page is not None:
        _write_text(Path(page), audit_page(found))
    return found


def audit_page(found: Audit) -> str:
    """The findings as one self-contained HTML page.

    It holds face pictures of the data set: to look at, and not to publish where the data's terms forbid it.
    """
    name = escape(found.faces.name)
    body = [f"<h1>Audit of {name}</h1>", _count_table(found)]
    body += _section("Blank pictures", "One gray value everywhere.", ([i] for i in found.blanks), found)
    if found.non_faces is not None:
        about = "More than half of the FER+ raters said so."
        body += _section("Not a face", about, ([i] for i in found.non_faces), found)
    about = "Pixel for pixel the same, yet labelled differently: nobody can be right about all."
    body += _section("Identical pictures that contradict each other", about, found.conflicts, found)
    about = (
        f"A validation or test face beside the training face most like it, at a correlation of {SAME_PICTURE}"
        " or more. Pairs with different labels come first."
    )
    body += _section("Near copies across the splits", about, _near_pairs(found), found)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Audit of {name}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _count_table(found: Audit) -> str:
    cells = "".join(
        f"<tr><th scope='row'>{escape(text)}</th>"
        + "".join(f"<td>{counts[split]:,}</td>" if split in counts else "<td>–</td>" for split in SPLITS)
        + "</tr>"
        for text, counts in found.table().items()
    )
    head = "".join(f"<th scope='col'>{split}</th>" for split in SPLITS)
    same = found.summary()["identical"]
    return (
        f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{cells}</tbody></table>\n"
        f"<p>{same['redundant_copies']:,} pictures repeat another exactly, in {same['groups']:,} groups; "
        f"{same['groups_with_conflicting_labels']:,} groups carry different labels.</p>"
    )


def _section(title: str, about: str, groups: Iterable[Iterable[int]], found: Audit) -> Iterator[str]:
    all_groups = [list(group) for group in groups]
    shown = [_group(group, found) for group in all_groups[:_SHOWN]]
    number = f"{len(all_groups):,}" + (f", the first {_SHOWN} shown" if len(all_groups) > _SHOWN else "")
    yield f"<h2>{title} ({number})</h2>\n<p>{about}</p>\n<div class='wall'>{''.join(shown)}</div>"


def _group(positions: list[int], found: Audit) -> str:
    faces = found.faces
    differ = " differ" if len({int(faces.labels[i]) for i in positions}) > 1 else ""
    figures = []
    for i in positions[:12]:
        label, where = faces.label_names[faces.labels[i]], f"{SPLITS[faces.split[i]]} {faces.rows[i]}"
        figures.append(
            f"<figure><img alt='face {where}, labelled {escape(label)}' src='{_data_uri(faces.images[i])}'>"
            f"<figcaption><b>{escape(label)}</b>{where}</figcaption></figure>"
        )
    return f"<div class='group{differ}'>{''.join(figures)}</div>"


def _near_pairs(found: Audit) -> list[tuple[int, int]]:
    near = found.near
    chosen = np.flatnonzero((near.ncc >= SAME_PICTURE) & ~near.exact)
    here, there = found.positions_of(near.rows[chosen]), found.positions_of(near.nearest[chosen])
    agree = found.faces.labels[here] == found.faces.labels[there]
    order = np.lexsort((-near.ncc[chosen], agree))
    return [(int(here[i]), int(there[i])) for i in order]


def _data_uri(image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _write_text(path: Path, text: str) -> None:
    try:
        with whole_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as e:
        raise DataError(f"{path} cannot be written: {e.strerror}") from e
