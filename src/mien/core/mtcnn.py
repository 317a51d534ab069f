"""Find faces and five landmarks in an image.

The networks are MTCNN's three: PNet scans a pyramid of the image for 12 x 12 windows that may hold a face,
RNet looks at those again at 24 x 24, ONet at 48 x 48 and places the landmarks. Each also corrects the box.

Source: Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks",
IEEE Signal Processing Letters 2016. The weights' origin and licence are in ``weights/mtcnn.json``.
"""

import functools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mien.core.arguments import check_numbers
from mien.core.detection import check_rgb, places_near
from mien.core.geometry import Boxes, box_areas, overlap, suppress
from mien.core.model_store import read_checked
from mien.core.results import Box, Face, Landmarks
from mien.core.session import open_session
from mien.errors import ImageError, MienError

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

WEIGHTS = Path(__file__).parent / "weights"
WINDOW, STRIDE = 12, 2  # of PNet, in pixels of a pyramid level
SIDES = {"rnet": 24, "onet": 48}
BATCH = 128
BAND_PIXELS = 1_000_000  # of a pyramid level that PNet sees at a time; it takes 200 bytes a pixel
SHRUNK_ROWS = 64  # of a shrunk image that are made at a time
CANVAS_PIXELS = 16_000_000  # of an image with its border, where that is more than four times the image
UPRIGHT_BONUS = 0.01
SAME_FACE = 0.4  # overlap, as a fraction of the smaller box, of one face found in two turns of the image
FILL = (127, 127, 127)  # outside the image: what the networks' normalisation turns to zero


@dataclass(frozen=True, slots=True)
class MtcnnSettings:
    """How thoroughly to look.

    Args:
        min_face: Side of the smallest face looked for, in pixels, after the image has been shrunk. Time
            goes with the inverse square.
        max_side: A larger image is first shrunk until its longest side has this many pixels, so that time
            is bounded; ``None`` never shrinks.
        smallest: Side of the smallest face looked for, in pixels of the image itself. It replaces
            ``max_side``: the image is shrunk just so far that such a face has ``min_face`` pixels, and time
            goes with its size. At least ``min_face``.
        thresholds: Least score, 0-1, to pass PNet, RNet and ONet.
        sure: A face is kept where ONet's score is above this, or the mean of its scores for the box that it
            corrected and for the mirror image of that. Real faces that the first look doubts mostly pass the
            second; hair, clocks and folds of cloth do not.
        factor: Size of a pyramid level relative to the one before, between 0 and 1.
        orientations: 1 looks at the image as it is; 4 also turns it by 90, 180 and 270 degrees, for four
            times the time, and takes each face in the rotation with its highest score.
        max_candidates: At most this many windows go from PNet to RNet, best first.
        threads: Threads of ONNX Runtime.
        device: What the networks run on; see `mien.core.providers`.
    """

    min_face: float = 40
    max_side: int | None = 1280
    smallest: float | None = None
    thresholds: tuple[float, float, float] = (0.5, 0.6, 0.3)
    sure: float = 0.8
    factor: float = 0.709
    orientations: int = 1
    max_candidates: int = 1000
    threads: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_numbers(self, "min_face", finite=True)
        if self.min_face < WINDOW:
            raise MienError(f"min_face must be at least {WINDOW} pixels, got {self.min_face}")
        if self.smallest is not None and not self.min_face <= self.smallest < float("inf"):
            raise MienError(f"smallest must be at least min_face, {self.min_face}, got {self.smallest}")
        if self.orientations not in (1, 4):
            raise MienError(f"orientations must be 1 or 4, got {self.orientations}")
        if not 0 < self.factor < 1:
            raise MienError(f"factor must lie between 0 and 1, got {self.factor}")


class Mtcnn:
    """Finds upright faces. Loads nothing before the first image; safe to share between threads."""

    def __init__(self, settings: MtcnnSettings | None = None) -> None:
        self.settings = settings or MtcnnSettings()

    def find(self, image: Pixels) -> tuple[Face, ...]:
        """The faces of one image, largest box first, with landmarks.

        Args:
            image: uint8 RGB (H, W, 3).

        Raises:
            ImageError: the array is not such an image.
            ModelError: a weight file is damaged.
        """
        work = self.shrunk(image)
        found = [self._turned(work, turn) for turn in range(self.settings.orientations)]
        boxes, scores, points = best_of_turns(found) if len(found) > 1 else found[0][:3]
        return faces_of(boxes, scores, points, work, image)

    def find_near(self, image: Pixels, boxes: Sequence[Box]) -> tuple[Face, ...]:
        """The faces at ``boxes`` or close to them, as in the next frame of a video; nothing else.

        Takes a tenth of the time of `find`. A face that moved by more than a third of its side may be missed.

        Raises:
            ImageError: the array is not an RGB image.
            MienError: see `places_near`.
        """
        work = self.shrunk(image)
        near = places_near(boxes, image)
        guesses = np.array([(b.x1, b.y1, b.x2, b.y2) for b in near], np.float32).reshape(-1, 4)
        guesses = (guesses / np.tile(growth(work, image), 2)).astype(np.float32)
        found, scores, points, _ = self._settle(work, guesses)
        return faces_of(found, scores, points, work, image)

    def landmarks_on_crop(self, crops: Pixels) -> tuple[Floats, Floats]:
        """Five landmarks of faces that are already cropped, FER2013's for example; nothing is searched for.

        Args:
            crops: uint8 (N, 48, 48) gray or (N, 48, 48, 3) RGB, one face filling each.

        Returns:
            Points float32 (N, 5, 2) in pixels of the crop, in the order of ``Landmarks``, and the confidence
            that the crop shows a face, float32 (N,), 0-1.
        """
        if crops.dtype != np.uint8 or crops.shape[1:] not in ((48, 48), (48, 48, 3)):
            raise ImageError(
                f"crops must be uint8 (N, 48, 48) or (N, 48, 48, 3), got {crops.dtype} {crops.shape}"
            )
        colour = crops if crops.ndim == 4 else np.repeat(crops[..., None], 3, axis=3)
        points, scores = self.place(colour)
        return points * 48, scores

    def shrunk(self, image: Pixels) -> Image.Image:
        """The image, checked and shrunk to the largest size that is searched."""
        check_rgb(image)
        return _shrink(np.ascontiguousarray(image), self.settings)

    def _turned(self, work: Image.Image, turn: int) -> "Found":
        """As `_cascade`, with the image turned by quarters; boxes and points are in ``work`` itself."""
        if not turn:
            return self._cascade(work)
        boxes, scores, points, surenesses = self._cascade(work.rotate(90 * turn, expand=True))
        corners = turn_back(boxes.reshape(-1, 2, 2), turn, work.size)
        boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        return boxes, scores, turn_back(points, turn, work.size), surenesses

    def _cascade(self, image: Image.Image) -> "Found":
        """The faces of ``image`` as it is."""
        return self._settle(image, self._proposals(image)[0])

    def _settle(self, image: Image.Image, boxes: Boxes) -> "Found":
        """As `_cascade`, from boxes (N, 4) that may hold faces: what RNet and ONet make of them."""
        boxes, scores = self._refine("rnet", image, boxes)
        boxes = boxes[suppress(boxes, scores, 0.7)]
        boxes, scores = self._refine("onet", image, boxes)
        keep = suppress(boxes, scores, 0.7, over="min")
        boxes, scores = boxes[keep], scores[keep]
        frames = square(boxes)
        points, surenesses = self.place(windows(image, frames, 48))
        points = frames[:, None, :2] + points * (frames[:, None, 2:] - frames[:, None, :2])
        scores = np.where(scores > self.settings.sure, scores, surenesses)
        kept = scores > self.settings.sure
        return boxes[kept], scores[kept], points[kept], surenesses[kept]

    def _proposals(self, image: Image.Image) -> tuple[Boxes, Floats]:
        settings = self.settings
        found = []
        for level in pyramid(image, settings.min_face, settings.factor):
            offsets, scores = self.scan(np.asarray(level))
            scale = np.array([level.width / image.width, level.height / image.height], np.float32)
            boxes, best = proposals(offsets, scores, settings.thresholds[0], settings.max_candidates)
            keep = suppress(boxes, best, 0.5)
            found.append((boxes[keep] / np.tile(scale, 2), best[keep]))
        if not found:
            return np.empty((0, 4), np.float32), np.empty(0, np.float32)
        boxes, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
        keep = suppress(boxes, scores, 0.7)[: settings.max_candidates]
        return boxes[keep], scores[keep]

    def scan(self, level: Pixels) -> tuple[Floats, Floats]:
        """PNet's offsets (h, w, 4) and scores (h, w) of a level, band by band to bound the memory."""
        height, width = level.shape[:2]
        n_rows = -(-(height - WINDOW) // STRIDE) + 1
        band = max(1, BAND_PIXELS // (STRIDE * width))
        parts = []
        for start in range(0, n_rows, band):
            end = min(start + band, n_rows)
            bottom = height if end == n_rows else STRIDE * (end - 1) + WINDOW
            parts.append(self.run_net("pnet", level[None, STRIDE * start : bottom]))
        offsets, scores = (np.concatenate([part[i][0] for part in parts]) for i in (0, 1))
        return offsets, scores

    def _refine(self, net: str, image: Image.Image, boxes: Boxes) -> tuple[Boxes, Floats]:
        """Look at ``boxes`` again with RNet or ONet: the corrected ones that pass, and their scores."""
        threshold = self.settings.thresholds[1 if net == "rnet" else 2]
        boxes = square(boxes)
        offsets, scores, *_ = self.run_net(net, windows(image, boxes, SIDES[net]))
        better = boxes + offsets * np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        keep = (scores > threshold) & (box_areas(better) >= 1)
        return better[keep], scores[keep]

    def place(self, crops: Pixels) -> tuple[Floats, Floats]:
        """Landmarks (N, 5, 2) as fractions of the crop, and scores (N,).

        Each is the mean of the face's and its mirror image's, which takes a tenth off the landmarks' error.
        """
        points, scores = self.run_onet(crops)
        mirrored, mirrored_scores = self.run_onet(np.ascontiguousarray(crops[:, :, ::-1]))
        mirrored = mirrored[:, [1, 0, 2, 4, 3]]
        mirrored[..., 0] = 1 - mirrored[..., 0]
        return np.float32(0.5) * (points + mirrored), np.float32(0.5) * (scores + mirrored_scores)

    def run_onet(self, crops: Pixels) -> tuple[Floats, Floats]:
        """ONet's landmarks (N, 5, 2), as fractions of the crop, and scores (N,)."""
        _, scores, points = self.run_net("onet", crops)
        return points, scores

    def run_net(self, net: str, images: Pixels) -> list[Floats]:
        """The network's outputs, in batches of bounded memory."""
        session = net_session(net, self.settings.threads, self.settings.device)
        starts = range(0, max(len(images), 1), BATCH)
        parts = [session.run(None, {"images": images[start : start + BATCH]}) for start in starts]
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


Found = tuple[Boxes, Floats, Floats, Floats]
"""Boxes (N, 4), scores (N,), points (N, 5, 2), and how sure a last look at each face is, (N,), 0-1."""


def pyramid(image: Image.Image, min_face: float, factor: float) -> Iterator[Image.Image]:
    """The image at ever smaller sizes: a face of ``min_face`` pixels fills PNet's window on the first.

    Each level is made from the one before: several times faster than from the image, and no face is lost.
    """
    scale, level = WINDOW / min_face, image
    while True:
        size_wh = round(image.width * scale), round(image.height * scale)
        if min(size_wh) < WINDOW:
            return
        level = level.resize(size_wh, Image.Resampling.BILINEAR)
        yield level
        scale *= factor


def proposals(offsets: Floats, scores: Floats, threshold: float, most: int) -> tuple[Boxes, Floats]:
    """PNet's answer (h, w, 4), (h, w) as boxes (N, 4) in pixels of the level and scores (N,), best first."""
    ys, xs = np.nonzero(scores > threshold)
    best = np.argsort(-scores[ys, xs], kind="stable")[:most]
    ys, xs = ys[best], xs[best]
    corner = np.stack([xs, ys], axis=1).astype(np.float32) * STRIDE
    boxes = np.concatenate([corner, corner + WINDOW], axis=1) + offsets[ys, xs] * WINDOW
    return boxes, scores[ys, xs]


def square(boxes: Boxes) -> Boxes:
    """Boxes grown about their centres until width and height are the larger of the two."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def windows(image: Image.Image, boxes: Boxes, side: int) -> Pixels:
    """What lies under square boxes, resized to uint8 (N, side, side, 3); gray outside the image."""
    reach = np.concatenate([-boxes[:, :2], boxes[:, 2:] - np.array(image.size, np.float32)])
    border = int(np.ceil(max(reach.max(initial=0), 0)))
    size_wh = image.width + 2 * border, image.height + 2 * border
    most = max(CANVAS_PIXELS, 4 * image.width * image.height)
    if size_wh[0] * size_wh[1] <= most:
        canvas = ImageOps.expand(image, border, FILL) if border else image
        shown = (_resized(canvas, box, side) for box in (boxes + border).tolist())
    else:
        shown = (_resized(*_on_canvas(image, box, side), side) for box in boxes.tolist())
    return np.frombuffer(b"".join(crop.tobytes() for crop in shown), np.uint8).reshape(-1, side, side, 3)


def _resized(image: Image.Image, box: Sequence[float], side: int) -> Image.Image:
    return image.resize((side, side), Image.Resampling.BILINEAR, (box[0], box[1], box[2], box[3]), 2.0)


def _on_canvas(image: Image.Image, box: Sequence[float], side: int) -> tuple[Image.Image, list[float]]:
    """A canvas that shows no more than a box needs, and the box on it."""
    margin = (box[2] - box[0]) / side + 1  # of the pixels next to the box that resizing mixes in
    left, top = (math.floor(v - margin) for v in box[:2])
    right, bottom = (math.ceil(v + margin) for v in box[2:])
    canvas = Image.new(image.mode, (right - left, bottom - top), FILL)
    canvas.paste(image, (-left, -top))
    return canvas, [box[0] - left, box[1] - top, box[2] - left, box[3] - top]


def turn_back(points: Floats, turn: int, size_wh: tuple[int, int]) -> Floats:
    """Points (..., 2) of an image turned ``turn`` quarters counter-clockwise, as points of the image."""
    x, y = points[..., 0], points[..., 1]
    width, height = size_wh
    back = {0: (x, y), 1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}[turn]
    return np.stack(back, axis=-1)


def best_of_turns(turns: Sequence[Found]) -> tuple[Boxes, Floats, Floats]:
    """Each face as found in one turn, that of the highest score of the last network; upright in doubt.

    The score before that look does not tell: lying faces get up to 0.99 of it in a wrong turn.
    """
    boxes, scores, points, surenesses = (np.concatenate(parts) for parts in zip(*turns, strict=True))
    turn = np.repeat(np.arange(len(turns)), [len(found[0]) for found in turns])
    same = (overlap(boxes, boxes, "min") > SAME_FACE) & (turn[:, None] != turn)
    kept: list[int] = []
    for i in np.argsort(-(surenesses + UPRIGHT_BONUS * (turn == 0)), kind="stable"):
        if not same[i, kept].any():
            kept.append(int(i))
    return boxes[kept], scores[kept], points[kept]


def _shrink(image: Pixels, settings: MtcnnSettings) -> Image.Image:
    height, width = image.shape[:2]
    longest = max(width, height)
    max_side: float | None = settings.max_side
    if settings.smallest is not None:
        max_side = longest * settings.min_face / settings.smallest
    if max_side is None or longest <= max_side:
        return Image.fromarray(image)
    small_wh = max(1, round(width * max_side / longest)), max(1, round(height * max_side / longest))
    return resized_in_bands(image, small_wh)


def resized_in_bands(image: Pixels, size_wh: tuple[int, int]) -> Image.Image:
    """A smaller image, band by band: a copy of the whole for Pillow takes a third of the time."""
    height, width = image.shape[:2]
    step = height / size_wh[1]
    reach = math.ceil(step) + 1  # the rows above and below that bilinear weights mix in
    small = Image.new("RGB", size_wh)
    for top in range(0, size_wh[1], SHRUNK_ROWS):
        bottom = min(top + SHRUNK_ROWS, size_wh[1])
        first = max(0, math.floor(top * step) - reach)
        band = Image.fromarray(image[first : math.ceil(bottom * step) + reach])
        box = 0, top * step - first, width, min(bottom * step - first, band.height)
        shown = band.resize((size_wh[0], bottom - top), Image.Resampling.BILINEAR, box, reducing_gap=2.0)
        small.paste(shown, (0, top))
    return small


def growth(work: Image.Image, image: Pixels) -> Floats:
    """By how much ``image`` is wider and higher, (2,), than ``work``, to which it was shrunk."""
    height, width = image.shape[:2]
    return np.array([width / work.width, height / work.height], np.float32)


def faces_of(
    boxes: Boxes, scores: Floats, points: Floats, work: Image.Image, image: Pixels
) -> tuple[Face, ...]:
    """Faces found in ``work`` as plain values in pixels of ``image``, which was shrunk to it.

    Their boxes are cut to the image, largest first; equal ones are in reading order.
    """
    height, width = image.shape[:2]
    scale_xy = growth(work, image)
    boxes, points = boxes * np.tile(scale_xy, 2), points * scale_xy
    boxes = np.clip(boxes, 0, np.tile(np.array((width, height), np.float32), 2))
    areas = box_areas(boxes)
    order = np.lexsort((boxes[:, 0], boxes[:, 1], -areas))
    return tuple(
        Face(
            box=Box(*boxes[i].tolist()),
            score=float(scores[i]),
            landmarks=Landmarks(*(tuple(point) for point in points[i].tolist())),
        )
        for i in order
        if areas[i] > 0
    )


@functools.cache
def net_session(net: str, threads: int, device: str = "cpu") -> ort.InferenceSession:
    """The network's session, opened on first use, after its SHA-256 was compared with the card."""
    name = f"mtcnn-{net}.onnx"
    expected = json.loads((WEIGHTS / "mtcnn.json").read_text("utf-8"))["sha256"][name]
    return open_session(read_checked(WEIGHTS / name, expected), threads, device)
