"""From face crops to calibrated emotion probabilities."""

import os
from collections.abc import Sequence
from functools import partial
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.core.arguments import check_threads
from mien.core.calibration import correct_prior, softmax
from mien.core.images import DEFAULT_LIMITS, RGB, ImageLimits, ImageSource, as_rgb, open_image
from mien.core.model_store import DEFAULT_MODEL, find_model, lasting_name
from mien.core.preprocess import face_crop, to_input
from mien.core.providers import checked_device
from mien.core.results import Face, Quality, Reading
from mien.core.session import open_network, run
from mien.core.tta import AUTO, Views, auto_logits, average_logits, checked_views
from mien.errors import ModelError

Crops = NDArray[np.uint8] | Sequence[NDArray[np.uint8]]
"""Faces as a network takes them: an array (N, S, S), or RGB (N, S, S, 3), or a list of N such crops."""


class Classifier:
    """A network with its card, ready to classify emotions.

    A pickled one opens its file again where it is unpickled.

    Args:
        name_or_path: A model's name (see ``mien models``) or the path of its ``.onnx`` file.
        views: Views of each face to average (1, 2, 5, 10, 12 or 18), or ``"auto"``: few of every face, more
            where those leave it in doubt; ``None`` takes the card's.
        threads: CPU threads; 0 lets ONNX Runtime choose.
        device: What the network runs on: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"coreml"``, ``"openvino"`` or
            ``"directml"``, as far as the installed ONNX Runtime has it; ``"auto"`` is CUDA if it is there.

    Raises:
        ModelError: the model cannot be found, verified or run.
        MienError: ``views`` are none of those, or the device cannot be used.
    """

    def __init__(
        self,
        name_or_path: str | os.PathLike[str] = DEFAULT_MODEL,
        *,
        views: Views | None = None,
        threads: int = 1,
        device: str = "cpu",
    ) -> None:
        weights, self.card = find_model(name_or_path)
        self.threads = check_threads(threads)
        self._source = lasting_name(name_or_path)
        self.views = checked_views(self.card.views if views is None else views)
        self.temperature = self.card.temperature(self.views)
        self._auto = self.card.auto_views() if self.views == AUTO else None
        self.device = checked_device(device)
        self.session = open_network(weights, self.card, threads, self.device)

    def __reduce__(self) -> tuple[Any, ...]:
        again = partial(Classifier, self._source, views=self.views, threads=self.threads, device=self.device)
        return again, ()

    def __repr__(self) -> str:
        return f"<Classifier {self.card.name!r}, views {self.views}, on {self.device}>"

    @property
    def labels(self) -> tuple[str, ...]:
        """Emotions in the order of the probabilities."""
        return self.card.labels

    def logits(self, crops: Crops) -> NDArray[np.float32]:
        """Scores (N, C) before the temperature: averaged over the views, less the card's share of the prior.

        Args:
            crops: uint8, gray (N, S, S), or RGB (N, S, S, 3), as the card says; or a list of N crops.

        Raises:
            ModelError: the crops have another shape or type.
        """
        stacked = self._stacked(crops)
        if not len(stacked):
            return np.zeros((0, len(self.labels)), np.float32)
        faces = to_input(stacked, self.card.mean, self.card.std)
        scores = partial(average_logits, partial(run, self.session))
        if not self._auto:
            return self._without_prior(scores(faces, int(self.views)))
        temperature = self._auto.temperature

        def probs(logits: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
            return softmax(self._without_prior(logits), temperature)

        return self._without_prior(auto_logits(scores, faces, self._auto, probs)[0])

    def _stacked(self, crops: Crops) -> NDArray[np.uint8]:
        """One array (N, S, S), or (N, S, S, 3), of an array or a list of crops.

        Raises:
            ModelError: they are no crops, or of another shape or type.
        """
        size = self.card.input_size
        wanted = (size, size) if self.card.channels == 1 else (size, size, 3)
        shape = ", ".join(map(str, wanted))
        if isinstance(crops, list | tuple):
            for i, crop in enumerate(crops):
                if not isinstance(crop, np.ndarray) or crop.shape != wanted or crop.dtype != np.uint8:
                    raise ModelError(f"crops must be uint8 ({shape}) each, got {_kind(crop)} at place {i}")
            return np.stack(crops) if crops else np.zeros((0, *wanted), np.uint8)
        if not isinstance(crops, np.ndarray) or crops.shape[1:] != wanted or crops.dtype != np.uint8:
            raise ModelError(f"crops must be uint8 (N, {shape}), got {_kind(crops)}")
        return crops

    def _without_prior(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        return correct_prior(logits, self.card.prior, self.card.prior_power)

    def probs(self, crops: Crops) -> NDArray[np.float32]:
        """Calibrated probabilities (N, C); see `logits`."""
        return softmax(self.logits(crops), self.temperature)

    def crop(self, image: NDArray[np.uint8], face: Face) -> NDArray[np.uint8]:
        """A face of an RGB image (H, W, 3) as the network takes it; see `face_crop`."""
        card = self.card
        return face_crop(image, face, card.input_size, card.crop_scale, card.channels)

    def reading(
        self, face: Face, probs: NDArray[np.floating[Any]], quality: Quality | None = None
    ) -> Reading:
        """A face with its probabilities (C,), under the labels and the threshold of the card."""
        return Reading(face, self.labels, tuple(probs.tolist()), self.card.uncertain_below, quality=quality)

    @overload
    def classify(  # type: ignore[overload-overlap]
        self, face: ImageSource, *, limits: ImageLimits = ..., color: str = ...
    ) -> dict[str, float]: ...

    @overload
    def classify(
        self, face: Sequence[ImageSource], *, limits: ImageLimits = ..., color: str = ...
    ) -> list[dict[str, float]]: ...

    def classify(
        self,
        face: ImageSource | Sequence[ImageSource],
        *,
        limits: ImageLimits = DEFAULT_LIMITS,
        color: str = RGB,
    ) -> dict[str, float] | list[dict[str, float]]:
        """Probabilities by emotion for one image that is a face already, such as a row of FER2013.

        Args:
            face: The image; or a sequence of images, which go through the network together.
            limits: How large an image may be.
            color: ``"bgr"`` for the arrays of OpenCV; ignored if the image is not an array.

        Returns:
            Emotion to probability; or a list of such, in the order of the images.

        Raises:
            ImageError: an image cannot be read.
        """
        is_bytes = isinstance(face, str | bytes | bytearray | memoryview)  # these are sequences too
        faces: Sequence[Any] = face if isinstance(face, Sequence) and not is_bytes else [face]
        probs = self.probs([self._whole(as_rgb(one, color), limits) for one in faces])
        named = [dict(zip(self.labels, row, strict=True)) for row in probs.tolist()]
        return named if faces is face else named[0]

    def _whole(self, face: ImageSource, limits: ImageLimits) -> NDArray[np.uint8]:
        """An image that is a face already, as the network takes it."""
        size, is_gray = self.card.input_size, self.card.channels == 1
        if is_gray and isinstance(face, np.ndarray) and face.shape == (size, size) and face.dtype == np.uint8:
            return np.asarray(face)  # to gray and to its own size would change no pixel, and cost 50 us
        image = Image.fromarray(open_image(face, limits)).convert("L" if is_gray else "RGB")
        return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def load(
    name_or_path: str | os.PathLike[str] = DEFAULT_MODEL,
    *,
    views: Views | None = None,
    threads: int = 1,
    device: str = "cpu",
) -> Classifier:
    """The model of a name or path; see `Classifier`."""
    return Classifier(name_or_path, views=views, threads=threads, device=device)


def _kind(value: object) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
