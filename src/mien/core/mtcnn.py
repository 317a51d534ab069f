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

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mien.core.detection import DetectorSettings, places_near
from mien.core.geometry import Boxes, box_areas, non_max_suppression, overlap
from mien.core.model_store import SHIPPED, read_checked
from mien.core.results import Box, Face
from mien.core.search_scale import FILL, faces_of, growth, least_face, shrunk
from mien.core.session import open_session
from mien.errors import ImageError

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

WINDOW, STRIDE = 12, 2  # of PNet, in pixels of a pyramid level
SIDES = {"rnet": 24, "onet": 48}
THRESHOLDS = {"pnet": 0.5, "rnet": 0.6, "onet": 0.3}  # least score to pass a network
SURE = 0.8
"""A face is kept where ONet's score is above this, or the mean of its scores for the box that it corrected
and for the mirror image of that. Real faces that the first look doubts mostly pass the second; hair, clocks
and folds of cloth do not."""
FACTOR = 0.709  # size of a pyramid level relative to the one before
MOST = 1000  # windows that go from PNet to RNet, best first
BATCH = 128
BAND_PIXELS = 1_000_000  # of a pyramid level that PNet sees at a time; it takes 200 bytes a pixel
CANVAS_PIXELS = 16_000_000  # of an image with its border, where that is more than four times the image
UPRIGHT_BONUS = 0.01
SAME_FACE = 0.4  # overlap, as a fraction of the smaller box, of one face found in two turns of the image


class Mtcnn:
    """Finds upright faces. Loads nothing before the first image; safe to share between threads."""

    def __init__(self, settings: DetectorSettings | None = None) -> None:
        self.settings = settings or DetectorSettings()
        self.min_face = least_face(self.settings)

    def find(self, image: Pixels) -> tuple[Face, ...]:
        """The faces of one image, largest box first, with landmarks.

        Args:
            image: uint8 RGB (H, W, 3).

        Raises:
            ImageError: the array is not such an image.
            ModelError: a weight file is damaged.
        """
        work = shrunk(image, self.settings)
        found = [self._turned(work, turn) for turn in range(4 if self.settings.rotated else 1)]
        boxes, scores, points = best_of_turns(found) if len(found) > 1 else found[0][:3]
        return faces_of(boxes, scores, points, work, image)

    def find_near(self, image: Pixels, boxes: Sequence[Box]) -> tuple[Face, ...]:
        """The faces at ``boxes`` or close to them, as in the next frame of a video; nothing else.

        Takes a tenth of the time of `find`. A face that moved by more than a third of its side may be missed.

        Raises:
            ImageError: the array is not an RGB image.
            MienError: see `places_near`.
        """
        work = shrunk(image, self.settings)
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
        boxes = boxes[non_max_suppression(boxes, scores, 0.7)]
        boxes, scores = self._refine("onet", image, boxes)
        keep = non_max_suppression(boxes, scores, 0.7, over="min")
        boxes, scores = boxes[keep], scores[keep]
        frames = square(boxes)
        points, surenesses = self.place(windows(image, frames, 48))
        points = frames[:, None, :2] + points * (frames[:, None, 2:] - frames[:, None, :2])
        scores = np.where(scores > SURE, scores, surenesses)
        kept = scores > SURE
        return boxes[kept], scores[kept], points[kept], surenesses[kept]

    def _proposals(self, image: Image.Image) -> tuple[Boxes, Floats]:
        found = []
        for level in pyramid(image, self.min_face):
            offsets, scores = self.scan(np.asarray(level))
            scale = np.array([level.width / image.width, level.height / image.height], np.float32)
            boxes, best = proposals(offsets, scores, THRESHOLDS["pnet"], MOST)
            keep = non_max_suppression(boxes, best, 0.5)
            found.append((boxes[keep] / np.tile(scale, 2), best[keep]))
        if not found:
            return np.empty((0, 4), np.float32), np.empty(0, np.float32)
        boxes, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
        keep = non_max_suppression(boxes, scores, 0.7)[:MOST]
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
        boxes = square(boxes)
        offsets, scores, *_ = self.run_net(net, windows(image, boxes, SIDES[net]))
        better = boxes + offsets * np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        keep = (scores > THRESHOLDS[net]) & (box_areas(better) >= 1)
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


def pyramid(image: Image.Image, min_face: float) -> Iterator[Image.Image]:
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
        scale *= FACTOR


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


@functools.cache
def net_session(net: str, threads: int, device: str = "cpu") -> ort.InferenceSession:
    """The network's session, opened on first use, after its SHA-256 was compared with the card."""
    name = f"mtcnn-{net}.onnx"
    expected = json.loads((SHIPPED / "mtcnn.json").read_text("utf-8"))["sha256"][name]
    return open_session(read_checked(SHIPPED / name, expected), threads, device)
