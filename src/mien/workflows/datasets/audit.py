"""Audit a stored data set, and show the worst faces on one page that stays on this machine."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from mien.core.files import write_text
from mien.core.outputs import check_output
from mien.core.progress import Progress, silent
from mien.data.audit import Audit, audit
from mien.data.duplicates import SAME_IMAGE, find_near_duplicates
from mien.data.records import SPLITS, FaceSet
from mien.data.store import read_info, read_near_duplicates, read_store, write_store
from mien.errors import DataError
from mien.workflows.html_pages import PAGES, render

_SHOWN = 48  # images or pairs a section: enough to judge, and the page stays near a megabyte


def audit_data(
    store: str | os.PathLike[str],
    page: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
) -> Audit:
    """Audit a store; where it lacks the near duplicates, search them and keep them in it.

    Args:
        store: A data set that ``import_data`` wrote.
        page: An HTML page to write, with images inside and nothing loaded from elsewhere; or None.
        progress: Called with the faces searched and their total, where a search is needed.

    Returns:
        The findings; where a search could not be kept, a note says why.

    Raises:
        DataError: the store cannot be read, or was replaced during the search.
        OutputError: the page cannot be written.
    """
    if page is not None:
        check_output(page, ends=PAGES)
    info, faces, near = read_info(store), read_store(store), read_near_duplicates(store)
    note = ""
    if near is None:
        near = find_near_duplicates(faces, progress=progress)
        if read_info(store) != info:
            raise DataError(f"{store} was replaced while its faces were compared; audit it again")
        try:
            write_store(faces, store, source_sha256=info.source_sha256, near=near)
        except DataError as e:  # such as a folder that is only read from
            note = f"the search is not kept, and scores have no clean part: {e}"
    found = replace(audit(faces, near), note=note)
    if page is not None:
        write_text(page, audit_page(found))
    return found


def audit_page(found: Audit) -> str:
    """The findings as one self-contained HTML page.

    It holds face images of the data set: to look at, and not to publish where the data's terms forbid it.
    """
    same = found.summary()["identical"]
    rows = [
        [text, *(f"{counts[split]:,}" if split in counts else "–" for split in SPLITS)]
        for text, counts in found.table().items()
    ]
    values = {
        "title": f"Audit of {found.faces.name}",
        "name": found.faces.name,
        "head": ["", *SPLITS],
        "rows": rows,
        "summary": f"{same['redundant_copies']:,} images repeat another exactly, in {same['groups']:,} "
        f"groups; {same['groups_with_conflicting_labels']:,} groups carry different labels.",
        "sections": list(_sections(found)),
    }
    return render("audit.html", values)


def _sections(found: Audit) -> Iterator[dict[str, Any]]:
    yield _section("Blank images", "One gray value everywhere.", ([i] for i in found.blanks), found)
    if found.non_faces is not None:
        about = "More than half of the FER+ raters said so."
        yield _section("Not a face", about, ([i] for i in found.non_faces), found)
    about = "Pixel for pixel the same, yet labelled differently: no one can be right about all."
    yield _section("Identical images that contradict each other", about, found.conflicts, found)
    about = (
        f"A validation or test face beside the training face most like it, at a correlation of {SAME_IMAGE}"
        " or more. Pairs with different labels come first."
    )
    yield _section("Near copies across the splits", about, _near_pairs(found), found)


def _section(title: str, about: str, groups: Iterable[Iterable[int]], found: Audit) -> dict[str, Any]:
    all_groups = [list(group) for group in groups]
    number = f"{len(all_groups):,}" + (f", the first {_SHOWN} shown" if len(all_groups) > _SHOWN else "")
    shown = [_group(group, found.faces) for group in all_groups[:_SHOWN]]
    return {"title": title, "about": about, "number": number, "groups": shown}


def _group(positions: list[int], faces: FaceSet) -> dict[str, Any]:
    shown = [
        {
            "label": faces.label_names[faces.labels[i]],
            "where": f"{SPLITS[faces.split[i]]} {faces.rows[i]}",
            "image": faces.images[i],
        }
        for i in positions[:12]
    ]
    return {"faces": shown, "differ": len({int(faces.labels[i]) for i in positions}) > 1}


def _near_pairs(found: Audit) -> list[tuple[int, int]]:
    near = found.near
    chosen = np.flatnonzero((near.ncc >= SAME_IMAGE) & ~near.exact)
    here, there = found.positions_of(near.rows[chosen]), found.positions_of(near.nearest[chosen])
    agree = found.faces.labels[here] == found.faces.labels[there]
    order = np.lexsort((-near.ncc[chosen], agree))
    return [(int(here[i]), int(there[i])) for i in order]
