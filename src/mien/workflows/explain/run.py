"""Explain what a network sees: maps over faces, filters, activations, confused pairs, means, faithfulness."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mien.core.detection import DEFAULT_DETECTOR
from mien.core.detectors import make_detector
from mien.core.files import write_json
from mien.core.model_store import card_file, is_run
from mien.core.outputs import check_apart, check_output, check_output_folder
from mien.errors import DataError, MienError
from mien.workflows.explain.faithfulness import SINGLE_RANKINGS, Faithfulness, measure, random_beaten
from mien.workflows.explain.job import Job, Work, caption, scale
from mien.workflows.explain.sheets import (
    Sheet,
    Tile,
    activations_figure,
    draw_sheet,
    faithfulness_figure,
    filters_figure,
)
from mien.workflows.explain.split_sheets import mean_sheet, pairs_sheet
from mien.workflows.explain.subject import (
    Report,
    Subject,
    drawn,
    faces_of_image,
    faces_of_store,
    is_store,
    make_maps,
    open_subject,
    silent,
)
from mien.workflows.run_folder import count_test_evaluation


@dataclass(frozen=True)
class Explained:
    """What `explain` wrote, and what it measured."""

    files: tuple[Path, ...]
    faithfulness: Faithfulness | None = None


def explain(job: Job, report: Report = silent) -> Explained:
    """Make the sheets of a job.

    Raises:
        ModelError: there is no such model, class or layer.
        DataError: the data set cannot be read, or has other labels; or there is no such file.
        OutputError: a file cannot be written, or is one that is read: the image, the data set, the model.
        ImageError: the image cannot be read, or shows no face.
        MienError: there is no such detector, the model does not allow a method, an option does not go with
            the source or the methods, or the kinds do not fit into one file.
        MissingExtraError: matplotlib, h5py, torch or captum is not installed.
    """
    _check_files(job)
    detector = make_detector(job.detector or DEFAULT_DETECTOR)  # of a face too: a wrong name is told
    job = _with_split(job)
    subject = open_subject(job.model, job.device, half=job.half)
    methods = job.maps.chosen(subject)
    if job.maps.layer and "gradcam" not in methods:
        raise MienError(
            f"a layer is for gradcam, and what is drawn is {', '.join(methods)}; leave --layer out"
        )
    if is_store(job.source):
        faces = faces_of_store(subject, job.source, job.split)
        count_test_evaluation(Path(job.model) if subject.net is not None else None, job.split)
    elif {"pairs", "mean", "faithfulness"} & set(job.kinds):
        raise DataError(f"{job.source} is not a data set; pairs, means and faithfulness need one (.h5)")
    else:
        faces = faces_of_image(subject, job.source, None if job.is_face else detector)
    work = Work(job, subject, faces, report)
    (job.to.parent if job.one_file else job.to).mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    found = None
    for kind in job.kinds:
        if kind == "faithfulness":
            found, written = _faithfulness(work)
        else:
            written = KINDS[kind](work)
        files += written
    return Explained(tuple(files), found)


def _with_split(job: Job) -> Job:
    """The job with its split by name.

    Raises:
        DataError: there is no such file.
        MienError: an option was given of which its kind of source takes no notice.
    """
    if is_store(job.source):
        what, idle = (
            "a data set of faces that are cropped",
            {"--face": job.is_face, "--detector": job.detector},
        )
    else:
        what, idle = "an image, which has no splits", {"--split": job.split}
    given = [option for option, value in idle.items() if value]
    if given:
        raise MienError(f"{job.source} is {what}; leave {' and '.join(given)} out")
    return replace(job, split=job.split or "val")


def _check_files(job: Job) -> None:
    """Every file of a job must be one that can be written, and none that it reads."""
    if not job.one_file:
        check_output_folder(job.to)
    cards = [] if is_run(job.model) else [card_file(job.model)]
    sources = [job.source, *cards, *(card.with_suffix(".onnx") for card in cards)]
    for file in (file for kind in job.kinds for file in job.files(kind)):
        check_output(file, makes_folder=True)
        check_apart(file, sources)


def _sheet(work: Work) -> list[Path]:
    subject, faces = work.subject, drawn(work.faces, work.job.number("sheet"), work.job.maps.seed)
    inputs = subject.inputs(faces.crops)
    classes, probs = work.classes(inputs), subject.probs(inputs)
    maps = make_maps(subject, inputs, classes, work.job.maps, work.report)
    work.report("deletion", 0, len(inputs))
    beaten = random_beaten(subject, inputs, classes, maps)
    crops = subject.crops(faces.crops)
    sheet = Sheet(
        f"{subject.name}: why {work.job.chosen or 'the named class'}? Each map from 0 to its top. "
        "Below it: against how many random orders the network loses the class sooner when parts are taken "
        "away in the order of the map; red where that is no better than random.",
        ["face", *maps],
    )
    for i, crop in enumerate(crops):
        row = [Tile(crop, None, caption(subject, faces, probs, i))]
        for method, found in maps.items():
            text, beats = scale(method, found[i]), f"beats {beaten[method][i]} of {SINGLE_RANKINGS} random"
            weak = 2 * beaten[method][i] <= SINGLE_RANKINGS
            row.append(Tile(crop, found[i], text if weak else f"{text}\n{beats}", beats if weak else ""))
        sheet.rows.append(row)
    arrays = {"faces": crops, "probs": probs, "classes": classes, "names": np.array(faces.names), **maps}
    if faces.labels is not None:
        arrays["labels"] = faces.labels
    return work.write("sheet", arrays, lambda file: draw_sheet(sheet, file))


def _filters(work: Work) -> list[Path]:
    from mien.train.attribution import first_filters

    filters = first_filters(_net(work.subject, "filters"))
    gray = work.faces.crops.ndim == 3 and filters.shape[1] == 3
    shown = filters.sum(axis=1, keepdims=True) if gray else filters  # a gray face is copied to all channels
    shape = " x ".join(map(str, filters.shape[2:]))
    title = f"{work.subject.name}: the {len(filters)} filters of the first convolution, {shape}"
    title += ", summed over the three copies of a gray face" if gray else ""
    return work.write("filters", {"filters": filters}, lambda file: filters_figure(shown, title, file))


def _activations(work: Work) -> list[Path]:
    from mien.train.attribution import activations

    layer = work.job.activations
    net = _net(work.subject, "activations")
    faces = drawn(work.faces, 1, work.job.maps.seed)
    inputs = work.subject.inputs(faces.crops)
    values = activations(net, inputs, layer)
    crop = work.subject.crops(faces.crops)[0]
    face = caption(work.subject, faces, work.subject.probs(inputs), 0).replace("\n", ", ")
    title = f"{work.subject.name}, layer {layer}, {face}"
    arrays = {"face": crop, "values": values[0]}
    return work.write("activations", arrays, lambda file: activations_figure(values[0], crop, title, file))


def _faithfulness(work: Work) -> tuple[Faithfulness, list[Path]]:
    job, subject = work.job, work.subject
    faces = drawn(work.faces, job.number("faithfulness"), job.maps.seed)
    found = measure(subject, subject.inputs(faces.crops), job.maps, seed=job.maps.seed, report=work.report)
    image, table = job.files("faithfulness")
    about = {"model": subject.name, "data": job.source.name, "split": job.split, "seed": job.maps.seed}
    write_json(table, {**about, **found.to_dict()})
    faithfulness_figure(found, f"{subject.name} on {job.split}", image)
    return found, [image, table]


KINDS: dict[str, Callable[[Work], list[Path]]] = {
    "sheet": _sheet,
    "filters": _filters,
    "activations": _activations,
    "pairs": pairs_sheet,
    "mean": mean_sheet,
}


def _net(subject: Subject, what: str) -> Any:
    if subject.net is None:
        raise MienError(f"{what} need a run folder of `mien train`; '{subject.name}' is an ONNX file")
    return subject.net
