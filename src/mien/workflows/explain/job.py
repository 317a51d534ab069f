"""A job of `mien explain`, and how its kinds of sheets are named, captioned and written."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.files import atomic_write
from mien.errors import MienError
from mien.workflows.explain.sheets import top_of_scale
from mien.workflows.explain.subject import METHODS, Classes, MapSettings, Report, Shown, Subject

N_FACES = {"sheet": 6, "pairs": 3, "mean": 20, "faithfulness": 200}
"""How many faces each kind takes by default: in all; of each direction of a pair; of each class; in all."""


@dataclass(frozen=True)
class Job:
    """What `explain` shall do.

    Args:
        model: A model's name, an ``.onnx`` path or a run folder.
        source: An image, or a data set file.
        to: A ``.png`` (its arrays lie beside it as ``.npz``), an ``.npz`` for arrays alone, or a folder.
        kinds: Of ``sheet``, ``filters``, ``activations``, ``pairs``, ``mean`` and ``faithfulness``.
        maps: Which maps, and how.
        chosen: The class to explain; empty takes the one that the model names.
        activations: Of which layer.
        is_face: The image is a cropped face.
        detector: What finds the faces of an image; empty takes the default one.
        split: Of the data set; empty takes ``val``.
        n: How many faces; ``None`` takes `N_FACES`.
        device: Where the network runs.
        half: Let a run's network answer in bfloat16.
    """

    model: str
    source: Path
    to: Path
    kinds: tuple[str, ...] = ("sheet",)
    maps: MapSettings = field(default_factory=MapSettings)
    chosen: str = ""
    activations: str = ""
    is_face: bool = False
    detector: str = ""
    split: str = ""
    n: int | None = None
    device: str = "cpu"
    half: bool = False

    def __post_init__(self) -> None:
        if self.to.suffix.lower() in (".jpg", ".jpeg", ".pdf", ".svg"):
            raise MienError(f"sheets are written as .png, arrays as .npz, or into a folder; got {self.to}")
        if "faithfulness" in self.kinds and self.arrays_alone:
            raise MienError(
                f"faithfulness makes a .png and a table, no .npz; name a .png or a folder, got {self.to}"
            )
        if len(self.kinds) > 1 and self.one_file:
            raise MienError(f"{' and '.join(self.kinds)} make several files; let --out name a folder")

    def number(self, kind: str) -> int:
        """How many faces a kind takes."""
        return self.n or N_FACES[kind]

    @property
    def one_file(self) -> bool:
        """Whether ``to`` is a file and not a folder."""
        return self.to.suffix.lower() in (".png", ".npz")

    @property
    def arrays_alone(self) -> bool:
        """Whether ``to`` is an ``.npz``."""
        return self.to.suffix.lower() == ".npz"

    def files(self, kind: str) -> tuple[Path, ...]:
        """What a kind writes: its image, and beside it its arrays or its table; or its arrays alone."""
        if self.arrays_alone:
            return (self.to,)
        image = self.to if self.one_file else self.to / f"{kind}.png"
        if kind != "faithfulness":
            return (image, image.with_suffix(".npz"))
        end = "" if image.stem.endswith(kind) else f"-{kind}"  # NAME.json alone may be a model's card
        return (image, image.with_name(f"{image.stem}{end}.json"))


@dataclass(frozen=True)
class Work:
    """A job with its model and its faces."""

    job: Job
    subject: Subject
    faces: Shown
    report: Report

    def classes(self, inputs: NDArray[np.float32]) -> Classes:
        """The class to explain of each face."""
        if self.job.chosen:
            return np.full(len(inputs), self.subject.class_of(self.job.chosen))
        return np.asarray(self.subject.predict(inputs).argmax(1))

    def write(self, kind: str, arrays: dict[str, Any], draw: Callable[[Path], object]) -> list[Path]:
        """Write the arrays and the image beside them, or the arrays alone where ``to`` is an ``.npz``."""
        *image, beside = self.job.files(kind)
        with atomic_write(beside) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, label_names=np.array(self.subject.labels), **arrays)
        for file in image:
            draw(file)
        return [*image, beside]


def caption(subject: Subject, faces: Shown, probs: NDArray[np.floating[Any]], i: int) -> str:
    """Two lines: the true class, where it is known, and what the model says."""
    named = int(probs[i].argmax())
    says = f"{subject.labels[named]} {100 * probs[i, named]:.0f} %"
    true = faces.names[i] if faces.labels is None else f"true {subject.labels[int(faces.labels[i])]}"
    return f"{true}\nread {says}"


def scale(method: str, values: NDArray[np.float32]) -> str:
    """Where the colours of a map end."""
    unit = {"nats": " nats", "logit": " logit"}.get(METHODS[method], "")
    return f"top {top_of_scale(values):.2g}{unit}"
