"""Detect faces at any roll angle with one network, and refine and verify them with a second one.

The first network answers a grid over the gray image: is the middle of a face here, where exactly, how large,
and where are its eyes, nose and mouth corners. These turn each face upright for the refinement network,
which looks twice: both networks' scores decide, and its landmarks are taken. They take the place of the
pyramid, the three networks and the four turns of the image of `mien.core.mtcnn`.
"""

import functools
import json
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

from mien.core.detection import DetectorSettings, Pixels, places_near
from mien.core.geometry import Boxes, invert, non_max_suppression, similarity, stretch, transform, warp
from mien.core.landmarks import MIRRORED
from mien.core.model_store import SHIPPED, read_checked
from mien.core.preprocess import FER2013_BOX, FER2013_POINTS
from mien.core.results import Box, Face
from mien.core.search_scale import FILL, faces_of, least_face, shrunk
from mien.core.session import open_session, run

Floats = NDArray[np.float32]
Look = Callable[[Pixels], tuple[Floats, Floats]]
NAME = "one-stage"
WEIGHTS, REFINE_WEIGHTS = f"{NAME}-net.onnx", f"{NAME}-refine.onnx"
STRIDE, UNIT, DEEPEST = 8, 32.0, 32  # pixels from cell to cell, of a length of 1, and that divide the sides
SMALLEST, LARGEST = 24.0, 56.0  # sides of the faces that one level of the pyramid is for
FACTOR = SMALLEST / LARGEST
WINDOW = 96  # around a face of usual size, when it is known about where it is
COARSEST = 40  # pixels of the image as it is to one of the window's
TILE, OVERLAP, EDGE = 1280, 256, 64  # of a level that is larger than the image, in its pixels
MAYBE = 0.1  # the refinement network's score of a face that is worth another look
CONVINCED = 0.9  # its least score at the last look: shining clasps and folds of cloth have less
JUDGED = (0.86, 0.31, 0.43, 0.6)
"""Weights of the log-odds of three scores, and a constant; see `face_probability`."""
NEIGHBOURS = np.indices((3, 3)).reshape(2, 9)
SAME_PLACE = 0.4  # overlap, as a fraction of both boxes together, of candidates of which one is looked at
SAME_FACE = 0.4  # overlap, as a fraction of the smaller box, of which one is told
FRAME = 48  # side of the refinement network's input
NONE, NO_POINTS = np.empty(0, np.float32), np.empty((0, 5, 2), np.float32)
CENTRE = (FER2013_BOX[:2] + FER2013_BOX[2:]) / 2
WIDTH, HEIGHT = FER2013_BOX[2:] - FER2013_BOX[:2]
REFINE_POINTS = (FER2013_POINTS - CENTRE) * (0.85 * FRAME / HEIGHT) + FRAME / 2
"""Where the usual face has its landmarks in that input: its box is 85 % as high, in the middle."""
REFINE_UNIT = 4.8  # pixels of it to a length of 1 in the refinement network's answers


class OneStage:
    """Finds faces at any roll. Loads nothing before the first image; safe to share between threads.

    Where faces below 24 pixels are looked for, the image is enlarged until such a face has 24.
    """

    threshold = 0.13
    """Least score of the first network, 0-1, for a face to be looked at again."""
    sure = 0.8
    """Least probability of a face by the scores of all looks at it; see `face_probability`."""
    most = 1000
    """At most this many faces are looked at again, best first."""

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
        work = shrunk(image, self.settings).convert("L")
        return self._settled(image, work, self.candidates(work))

    def candidates(self, gray: Image.Image) -> list[tuple[Floats, Floats]]:
        """Scores (N,) and landmarks (N, 5, 2), in pixels, of what may be faces, by the image's size."""
        scale, found = SMALLEST / self.min_face, []
        if scale > 1:
            found += list(self._enlarged(gray, scale))
            scale *= FACTOR
        for level in levels(gray, scale):
            grown = np.array([gray.width / level.width, gray.height / level.height], np.float32)
            scores, places = self._scan(level)
            found.append((scores, places * grown))
        return found

    def _scan(self, level: Image.Image) -> tuple[Floats, Floats]:
        """Scores (N,) and landmarks (N, 5, 2), in pixels, of what may be faces of a gray image."""
        (cells,) = self.run_net(padded(np.asarray(level))[None])
        return decoded(cells, self.threshold)

    def _enlarged(self, gray: Image.Image, scale: float) -> Iterator[tuple[Floats, Floats]]:
        """As `_scan`, in pixels of ``gray``, of the image at a larger size; tile by tile to bound the memory.

        What lies at an edge that cuts the image is left to the next tile, which shows more around it.
        """
        size_wh = round(gray.width * scale), round(gray.height * scale)
        x, y = gray.width / size_wh[0], gray.height / size_wh[1]
        for x1, y1, x2, y2 in tiles(size_wh):
            box = (x * x1, y * y1, min(x * x2, gray.width), min(y * y2, gray.height))
            scores, places = self._scan(gray.resize((x2 - x1, y2 - y1), Image.Resampling.BILINEAR, box))
            places = places + np.array((x1, y1), np.float32)
            low = [v + EDGE * (v > 0) for v in (x1, y1)]
            high = [v - EDGE * (v < side) for v, side in zip((x2, y2), size_wh, strict=True)]
            middles = places.mean(axis=1)
            whole = ((middles >= low) & (middles <= high)).all(axis=1)
            yield scores[whole], places[whole] * np.array((x, y), np.float32)

    def find_near(self, image: Pixels, boxes: Sequence[Box]) -> tuple[Face, ...]:
        """The faces at ``boxes`` or close to them, as in the next frame of a video; nothing else.

        Raises:
            ImageError: the array is not an RGB image.
            MienError: see `places_near`.
        """
        work = shrunk(image, self.settings).convert("L")
        scale = max(work.size) / max(image.shape[:2])
        matrices = [window_matrix(box, scale) for box in places_near(boxes, image)]
        shown = np.array([window(work, matrix) for matrix in matrices], np.uint8)
        found = []
        for cells, matrix in zip(self.run_net(shown.reshape(-1, WINDOW, WINDOW)), matrices, strict=True):
            scores, places = decoded(cells, self.threshold)
            found.append((scores, transform(places, invert(matrix)).astype(np.float32)))
        return self._settled(image, work, found)

    def _settled(
        self, image: Pixels, work: Image.Image, found: Sequence[tuple[Floats, Floats]]
    ) -> tuple[Face, ...]:
        """What is made of scores (N,) and landmarks (N, 5, 2) in ``work``, which may be the same faces."""
        scores, points = (np.concatenate(parts) for parts in zip(*found, (NONE, NO_POINTS), strict=True))
        most = np.argsort(-scores, kind="stable")[: self.most]
        most = most[non_max_suppression(boxes_of(points[most]), scores[most], SAME_PLACE)]
        halves = [work]
        points, first = placed(halves, points[most], self.refine)
        most, points, first = most[first > MAYBE], points[first > MAYBE], first[first > MAYBE]
        points, second = placed(halves, points, self.refine_mirrored)  # it sees them better framed now
        sure = face_probability(scores[most], first, second)
        is_face = (sure > self.sure) & (second >= CONVINCED)
        points, sure = points[is_face], sure[is_face]
        boxes = boxes_of(points)
        best = kept_best(boxes, sure)
        return faces_of(boxes[best], sure[best], points[best], work, image)

    def refine(self, faces: Pixels) -> tuple[Floats, Floats]:
        """Landmarks (N, 5, 2), in pixels, and scores (N,) of gray faces (N, 48, 48) by `REFINE_POINTS`."""
        session = network_session(REFINE_WEIGHTS, self.settings.threads, self.settings.device)
        answers = run(session, faces[:, None].astype(np.float32))
        scores = 1 / (1 + np.exp(-answers[:, 0]))
        return answered_points(answers), np.asarray(scores, np.float32)

    def refine_mirrored(self, faces: Pixels) -> tuple[Floats, Floats]:
        """As `refine`, the mean of each face's and its mirror image's."""
        points, scores = self.refine(np.concatenate([faces, faces[:, :, ::-1]]))
        n = len(faces)
        mirrored = points[n:, MIRRORED[5]]
        mirrored[..., 0] = FRAME - mirrored[..., 0]
        return np.float32(0.5) * (points[:n] + mirrored), np.float32(0.5) * (scores[:n] + scores[n:])

    def run_net(self, gray: Pixels | Floats) -> Floats:
        """The cells (N, 14, h / 8, w / 8) of gray images (N, h, w) whose sides are multiples of 32."""
        session = network_session(WEIGHTS, self.settings.threads, self.settings.device)
        return run(session, gray[:, None].astype(np.float32, copy=False))


def levels(gray: Image.Image, scale: float) -> Iterator[Image.Image]:
    """The image at ever smaller sizes: the smallest faces looked for have 24 pixels on the first."""
    level = gray
    while True:
        size_wh = max(1, round(gray.width * scale)), max(1, round(gray.height * scale))
        level = level.resize(size_wh, Image.Resampling.BILINEAR, reducing_gap=3.0)
        yield level
        if max(size_wh) <= LARGEST:
            return
        scale *= FACTOR


def tiles(size_wh: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Boxes (x1, y1, x2, y2) that cover a level; each begins where a cell of the deepest grid does."""
    for y in range(0, max(1, size_wh[1] - OVERLAP), TILE - OVERLAP):
        for x in range(0, max(1, size_wh[0] - OVERLAP), TILE - OVERLAP):
            yield x, y, min(x + TILE, size_wh[0]), min(y + TILE, size_wh[1])


def padded(gray: Pixels) -> Floats:
    """The image, its right and lower edge continued to multiples of 32."""
    height, width = gray.shape
    whole = np.empty((height + -height % DEEPEST, width + -width % DEEPEST), np.float32)
    whole[:height, :width] = gray
    whole[:height, width:] = whole[:height, width - 1 : width]
    whole[height:] = whole[height - 1]
    return whole


def decoded(cells: Floats, threshold: float) -> tuple[Floats, Floats]:
    """Scores (N,) and landmarks (N, 5, 2), in pixels, of the cells that pass and beat their neighbours.

    Args:
        cells: What the network answers of one image, (14, h, w).
        threshold: Least score, between 0 and 1.
    """
    logits = cells[0]
    rows, columns = np.nonzero(logits > math.log(threshold / (1 - threshold)))
    if not len(rows):
        return NONE, NO_POINTS
    around = np.full((logits.shape[0] + 2, logits.shape[1] + 2), -np.inf, np.float32)
    around[1:-1, 1:-1] = logits
    highest = around[rows[:, None] + NEIGHBOURS[0], columns[:, None] + NEIGHBOURS[1]].max(axis=1)
    best = logits[rows, columns] >= highest
    rows, columns = rows[best], columns[best]
    middles = (np.stack([columns, rows], axis=1).astype(np.float32) + np.float32(0.5)) * STRIDE
    points = (cells[4:, rows, columns].T.reshape(-1, 5, 2) * UNIT + middles[:, None]).astype(np.float32)
    spread = np.abs(points - points.mean(axis=1, keepdims=True)).mean(axis=(1, 2))
    is_face = spread > 1  # pixels; so small, or not a number, it has no direction
    return 1 / (1 + np.exp(-logits[rows, columns][is_face])), points[is_face]


def window_matrix(box: Box, scale: float) -> NDArray[np.float64]:
    """The map (2, 3) from an image ``scale`` as large as the box's to a window around it."""
    zoom = math.sqrt(SMALLEST * LARGEST) / max(box.width, box.height)
    x, y = box.center
    return np.array([[zoom / scale, 0, WINDOW / 2 - zoom * x], [0, zoom / scale, WINDOW / 2 - zoom * y]])


def window(gray: Image.Image, matrix: NDArray[np.float64]) -> Pixels:
    """The window, uint8 (96, 96), to which a map (2, 3) brings a gray image.

    Around a face of thousands of pixels a smaller image is looked at, so that the memory is bounded.
    """
    by = max(1, int(stretch(invert(matrix)) / COARSEST))
    if by > 1:
        gray, matrix = gray.reduce(by), matrix * np.array([by, by, 1])
    return warp(np.asarray(gray), matrix, (WINDOW, WINDOW))


def frames(halves: list[Image.Image], backs: Sequence[NDArray[np.float64]]) -> Pixels:
    """What a gray image shows at N frames, uint8 (N, 48, 48).

    Args:
        halves: The image, and what was made of it so far by halving it again and again; more may come in.
        backs: A map (2, 3) of each frame into the image.
    """
    shown = np.empty((len(backs), FRAME, FRAME), np.uint8)
    for out, back in zip(shown, backs, strict=True):
        level = max(0, int(math.log2(stretch(back))))
        while len(halves) <= level:
            halves.append(halves[-1].reduce(2))
        size, data = (FRAME, FRAME), tuple((back / 2**level).ravel().tolist())
        out[:] = np.asarray(
            halves[level].transform(
                size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR, fillcolor=FILL[0]
            )
        )
    return shown


def placed(halves: list[Image.Image], points: NDArray[np.floating], look: Look) -> tuple[Floats, Floats]:
    """Landmarks (N, 5, 2) and scores (N,) that ``look`` gives faces whose landmarks are about known."""
    backs = [invert(matrix) for matrix in similarity(points, REFINE_POINTS)]
    found, scores = look(frames(halves, backs))
    there = [transform(five, back) for five, back in zip(found, backs, strict=True)]
    return np.array(there, np.float32).reshape(-1, 5, 2), scores


def answered_points(answers: Floats) -> Floats:
    """Landmarks (N, 5, 2), in pixels of the frame, of the refinement network's answers (N, 11)."""
    return np.asarray(REFINE_POINTS + REFINE_UNIT * answers[:, 1:].reshape(-1, 5, 2), np.float32)


def face_probability(*scores: Floats) -> Floats:
    """How probable a face is, 0-1, by the scores of the three looks at it (N,): a logistic regression."""
    odds = (np.log(p / (1 - p)) for p in (np.clip(one, 1e-4, 1 - 1e-4) for one in scores))
    total = sum(weight * one for weight, one in zip(JUDGED, odds, strict=False)) + JUDGED[-1]
    return np.asarray(1 / (1 + np.exp(-total)), np.float32)


def kept_best(boxes: Boxes, scores: Floats) -> NDArray[np.intp]:
    """The best of the faces that share a place, best first."""
    return non_max_suppression(boxes, scores, SAME_FACE, over="min")


def boxes_of(points: Floats) -> Boxes:
    """The upright boxes (N, 4) around faces of five landmarks: each of the ellipse in the turned box."""
    turned = similarity(FER2013_POINTS, points)
    a, b = turned[:, 0, 0], turned[:, 0, 1]
    half = np.stack([np.hypot(WIDTH * a, HEIGHT * b), np.hypot(WIDTH * b, HEIGHT * a)], axis=1) / 2
    middle = turned[..., :2] @ CENTRE + turned[..., 2]
    return np.concatenate([middle - half, middle + half], axis=1).astype(np.float32)


@functools.cache
def network_session(weights: str, threads: int, device: str = "cpu") -> ort.InferenceSession:
    """A network's session, opened on first use, after its SHA-256 was compared with its card."""
    card = json.loads((SHIPPED / f"{NAME}.json").read_text("utf-8"))
    return open_session(read_checked(SHIPPED / weights, card["sha256"][weights]), threads, device)
