"""The subject of `mien explain`: a model, faces, and maps of its answers."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.core.calibration import correct_prior, softmax
from mien.core.detection import Detector, find_faces
from mien.core.images import open_image
from mien.core.model_store import find_model, is_run
from mien.core.occlusion import Occluder, Predict, occlusion
from mien.core.preprocess import face_crop, luma, network_crops, to_input
from mien.core.session import open_network, run
from mien.errors import DataError, ImageError, MienError, ModelError, needs_extra
from mien.names import look_up

METHODS = {
    "gradient": "logit a unit of input",
    "smoothgrad": "logit a unit of input",
    "integrated": "logit",
    "gradcam": "no unit",
    "occlusion": "nats",
}
"""Methods of explanation, and the units of their maps. All but the last need the gradients of a run."""

Faces = NDArray[np.float32]
Classes = NDArray[np.integer[Any]]
Maps = dict[str, NDArray[np.float32]]
Report = Callable[[str, int, int], object]
"""Called with what is being done, how many faces are done, and of how many."""

CHUNK = 8
"""Faces between two reports."""


def silent(what: str, done: int, total: int) -> None:
    """A report that does nothing."""


@dataclass(frozen=True)
class Subject:
    """A model to explain. ``net`` is the network where the model is a run, else ``None``; ``half`` says
    that it answers in bfloat16.

    A face is asked about as it is, in one view: the shifted and mirrored views of `mien.core.tta` have no
    pixels of their own.
    """

    name: str
    labels: tuple[str, ...]
    input_size: int
    crop_scale: float
    mean: float
    std: float
    temperature: float
    predict: Predict
    channels: int = 1
    net: Any = None
    half: bool = False

    def crops(self, faces: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Faces (N, H, H) or (N, H, H, 3) of the side and the colours that the model sees."""
        return network_crops(faces, self.input_size, self.channels)

    def inputs(self, faces: NDArray[np.uint8]) -> Faces:
        """Normalised faces (N, channels, S, S) of such faces."""
        return to_input(self.crops(faces), self.mean, self.std)

    def probs(self, faces: Faces) -> NDArray[np.floating[Any]]:
        """Probabilities (N, C)."""
        return softmax(self.predict(faces), self.temperature)

    def class_of(self, name: str) -> int:
        """The position of a label.

        Raises:
            ModelError: the model has no such label.
        """
        return look_up({label: i for i, label in enumerate(self.labels)}, name, "class", ModelError)


@dataclass(frozen=True, slots=True)
class MapSettings:
    """Which maps, and how.

    Args:
        methods: Some of `METHODS`; empty takes all that the model allows.
        layer: Where Grad-CAM looks; empty takes the last convolutional map.
        occluder: What occlusion covers.
        fill: Gray of the occluder, 0-255; ``None`` leaves it at the mean of the training faces.
        seed: Of SmoothGrad's noise.
        exact: Take as many steps of integrated gradients as bring them within 1 % of their sum.
    """

    methods: tuple[str, ...] = ()
    layer: str = ""
    occluder: Occluder = field(default_factory=Occluder)
    fill: int | None = None
    seed: int = 0
    exact: bool = True

    def chosen(self, subject: Subject) -> tuple[str, ...]:
        """The methods to use.

        Raises:
            MienError: one of them is unknown, or needs gradients that the model has not.
        """
        allowed = tuple(METHODS) if subject.net is not None else ("occlusion",)
        for method in self.methods:
            look_up(METHODS, method, "method of explanation")
            if method not in allowed:
                raise MienError(
                    f"method '{method}' needs a run folder of `mien train`; "
                    f"'{subject.name}' is an ONNX file, which allows occlusion alone"
                )
        return self.methods or allowed

    def occluder_for(self, subject: Subject) -> Occluder:
        """The occluder, with its gray as the model's input has it."""
        if self.fill is None:
            return self.occluder
        return replace(self.occluder, fill=(self.fill / 255 - subject.mean) / subject.std)


def open_subject(model: str, device: str = "cpu", *, half: bool = False) -> Subject:
    """The model of a name, an ``.onnx`` path or a run folder.

    Args:
        model: As for `mien evaluate`.
        device: Where the network runs.
        half: Let a run's network answer in bfloat16; its gradients stay in single precision.

    Raises:
        ModelError: there is no such model.
        MienError: the device is unknown, or cannot be used here; or ``half`` is asked of an ONNX file.
        MissingExtraError: it is a run folder and torch is not installed.
    """
    if is_run(model):
        return _open_run(Path(model), device, half)
    weights, card = find_model(model)
    if half:
        raise MienError(f"--half needs a run folder of `mien train`; '{card.name}' is an ONNX file")
    session = open_network(weights, card, threads=0, device=device)
    return Subject(
        card.name,
        card.labels,
        card.input_size,
        card.crop_scale,
        card.mean,
        card.std,
        card.temperatures.get("1", 1.0),
        lambda faces: correct_prior(run(session, faces), card.prior, card.prior_power),
        card.channels,
    )


def _open_run(folder: Path, device: str, half: bool) -> Subject:
    with needs_extra("explaining a run", "explain"):
        from mien.train.attribution import predictor
        from mien.train.devices import pick_device
        from mien.train.trained_net import load_trained
    t = load_trained(folder, pick_device(device))
    predict = predictor(t.net, half=half)
    size, channels = t.input_size, t.channels
    return Subject(folder.name, t.labels, size, 1.0, t.mean, t.std, 1.0, predict, channels, t.net, half)


def shuffled_subject(subject: Subject) -> Subject:
    """A run's model with its weights in disorder; see `mien.train.attribution.shuffled`."""
    from mien.train.attribution import predictor, shuffled

    net = shuffled(subject.net)
    return replace(subject, net=net, predict=predictor(net, half=subject.half))


def make_maps(
    subject: Subject, faces: Faces, classes: Classes, settings: MapSettings, report: Report = silent
) -> Maps:
    """Maps (N, S, S) by the name of their method, of the class that ``classes`` names for each face."""
    return {
        method: _map(subject, faces, classes, (method, settings), report)
        for method in settings.chosen(subject)
    }


def _map(
    subject: Subject, faces: Faces, classes: Classes, how: tuple[str, MapSettings], report: Report
) -> NDArray[np.float32]:
    method, settings = how
    parts = []
    for start in range(0, len(faces), CHUNK):
        report(method, start, len(faces))
        some, wanted = faces[start : start + CHUNK], classes[start : start + CHUNK]
        if method == "occlusion":
            parts.append(occlusion(subject.predict, some, wanted, settings.occluder_for(subject)))
        else:
            from mien.train import attribution

            options = attribution.Settings(layer=settings.layer, seed=settings.seed)
            if not settings.exact:
                options = replace(options, max_steps=options.n_steps)
            parts.append(attribution.attribute(subject.net, some, wanted, method, options))
    report(method, len(faces), len(faces))
    return np.concatenate(parts)


# --- faces -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """Faces to explain.

    Attributes:
        crops: Gray (N, S, S) or RGB (N, S, S, 3), of any side.
        names: One for each.
        labels: True classes (N,), where they are known.
    """

    crops: NDArray[np.uint8]
    names: tuple[str, ...]
    labels: Classes | None = None

    def take(self, index: NDArray[np.integer[Any]]) -> "Shown":
        """Some of the faces."""
        labels = None if self.labels is None else self.labels[index]
        return Shown(self.crops[index], tuple(self.names[i] for i in index), labels)


def faces_of_image(subject: Subject, path: Path, detector: Detector | None) -> Shown:
    """The faces of an image, found and cropped as `mien read` does; without a detector the image is a face.

    Raises:
        ImageError: the image cannot be read, or no face is found on it.
        MienError: the detector returns what makes no sense.
    """
    image = open_image(path)
    size = subject.input_size
    if detector is None:
        face = Image.fromarray(image if subject.channels == 3 else luma(image))
        crop = np.asarray(face.resize((size, size), Image.Resampling.BILINEAR))
        return Shown(crop[None], (path.name,))
    found = find_faces(detector, image)
    if not found:
        raise ImageError(f"{path} shows no face that mien finds; add --face if the image is a cropped face")
    crops = np.stack([face_crop(image, face, size, subject.crop_scale, subject.channels) for face in found])
    return Shown(crops, tuple(f"face {i}" for i in range(1, len(found) + 1)))


def faces_of_store(subject: Subject, path: Path, split: str) -> Shown:
    """The faces of one split of a data set, which must have the model's labels.

    Raises:
        DataError: the split is empty, or the labels differ.
        MissingExtraError: h5py is not installed.
    """
    from mien.data.store import read_store
    from mien.workflows.scorer import checked_rows

    faces = checked_rows(read_store(path).in_label_order(subject.labels), split, subject.labels)
    return Shown(faces.images, tuple(f"row {row}" for row in faces.rows), faces.labels)


def drawn(faces: Shown, n: int, seed: int) -> Shown:
    """``n`` of the faces by chance, or all where there are fewer."""
    n_all = len(faces.crops)
    if n >= n_all:
        return faces
    return faces.take(np.sort(np.random.default_rng(seed).choice(n_all, n, replace=False)))


def is_store(path: Path) -> bool:
    """Whether a file is a data set and not an image, by its suffix.

    Raises:
        DataError: there is no such file.
    """
    if not path.is_file():
        raise DataError(f"{path} is not a file; give an image or a data set of `mien data import`")
    return path.suffix.lower() in (".h5", ".hdf5")
