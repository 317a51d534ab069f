"""Scenes to train a detector on: cut-out faces of any size and roll, laid over images without a face."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from detector_net import N_OUTPUTS
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from mien.core.geometry import invert, similarity, transform
from mien.core.one_stage import STRIDE, UNIT
from mien.core.preprocess import FER2013_BOX, FER2013_POINTS, FER2013_SIZE

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]
Target = NDArray[np.float32]
Place = tuple[float, float, float]
"""Centre and side of a face, in pixels of the scene."""
Laid = tuple[Place, Floats | None]
"""A face's place, and its landmarks (5, 2) in the scene, None where they are unsure."""

SIDE = 160
DRAWN = (9.0, 110.0)  # sides of the faces in a scene
LEARNED = (17.0, 60.0)  # those that the network must find; the others are neither right nor wrong
MASK = 64
SPREAD, NEAR = 0.12, 0.22  # of the score's height, and where the places are learned: in sides of the face
CENTRE = np.array([FER2013_BOX[0] + FER2013_BOX[2], FER2013_BOX[1] + FER2013_BOX[3]]) / 2
BOX_SIDE = math.sqrt((FER2013_BOX[2] - FER2013_BOX[0]) * (FER2013_BOX[3] - FER2013_BOX[1]))
CELLS = (np.arange(SIDE // STRIDE) + 0.5) * STRIDE


@dataclass(frozen=True)
class Cutout:
    """A gray face at full, half, quarter size and so on, and where it lies in the full one.

    ``points`` are its five landmarks, or None where they are unsure.
    """

    levels: tuple[Pixels, ...]
    centre: Floats
    side: float
    points: Floats | None

    @property
    def length(self) -> int:
        return len(self.levels[0])

    def mirrored(self) -> "Cutout":
        flip = np.array([self.length, 0]), np.array([-1, 1])
        points = None if self.points is None else (flip[0] + flip[1] * self.points)[[1, 0, 2, 4, 3]]
        return Cutout(
            tuple(level[:, ::-1] for level in self.levels), flip[0] + flip[1] * self.centre, self.side, points
        )


def cutout(image: Pixels, points: Floats, is_sure: bool = True) -> Cutout:
    """A face (S, S) of known landmarks (5, 2); or of those that it usually has, where they are not sure."""
    to_image = similarity(FER2013_POINTS, points)
    levels = [image]
    while len(levels) < 4 and len(levels[-1]) >= 24:
        levels.append(np.asarray(Image.fromarray(levels[-1]).reduce(2)))
    side = BOX_SIDE * math.hypot(to_image[0, 0], to_image[1, 0])
    return Cutout(tuple(levels), transform(CENTRE[None], to_image)[0], side, points if is_sure else None)


class Scenes:
    """Makes scenes and their targets, with a random generator of its own.

    Args:
        faces: Groups of cut-outs; each group is drawn from equally often.
        backgrounds: Gray images without a face, of any size.
        seed: Of the generator.
        upright: Share of the faces that are turned by a few degrees alone; the rest lie at any roll.
    """

    def __init__(
        self,
        faces: Sequence[Sequence[Cutout]],
        backgrounds: Sequence[Pixels],
        seed: int = 0,
        upright: float = 0.4,
    ) -> None:
        self.faces, self.backgrounds, self.upright = faces, backgrounds, upright
        self.rng = np.random.default_rng(seed)

    def make(self) -> tuple[Pixels, Target]:
        """A scene, uint8 (160, 160), and its target, float32 (16, 20, 20), as `detector_loss` takes it."""
        scene, laid = self.make_laid()
        target = np.zeros((N_OUTPUTS + 2, len(CELLS), len(CELLS)), np.float32)
        for place, points in laid:
            add_face(target, place, points)
        return scene, target

    def make_laid(self) -> tuple[Pixels, list[Laid]]:
        """A scene, uint8 (160, 160), and the faces in it."""
        rng, scene, laid = self.rng, self.background(), list[Laid]()
        for _ in range(rng.choice(4, p=(0.4, 0.3, 0.2, 0.1))):
            self.lay_nothing(scene)
        for _ in range(rng.choice(6, p=(0.12, 0.25, 0.23, 0.2, 0.12, 0.08))):
            side = self.side()
            x, y = rng.uniform(-0.1 * side, SIDE + 0.1 * side, 2)
            if not any(max(abs(x - a), abs(y - b)) < 0.55 * (side + s) for (a, b, s), _ in laid):
                laid.append(((x, y, side), self.lay_face(scene, (x, y, side))))
        return self.photographed(scene), laid

    def make_empty(self) -> Pixels:
        """A scene without a face, uint8 (160, 160)."""
        scene = self.background()
        for _ in range(self.rng.integers(6)):
            self.lay_nothing(scene)
        return self.photographed(scene)

    def side(self) -> float:
        return math.exp(self.rng.uniform(*np.log(DRAWN)))

    def background(self) -> Pixels:
        rng = self.rng
        if rng.random() < 0.85:
            return self.nothing(SIDE)
        coarse = rng.integers(0, 256, rng.integers(1, 7, 2), dtype=np.uint8)
        return np.array(Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC))

    def nothing(self, side: int) -> Pixels:
        """A square cut of an image without a face, at a random size."""
        rng = self.rng
        image = self.backgrounds[rng.integers(len(self.backgrounds))]
        cut = int(min(*image.shape, max(24, side * math.exp(rng.uniform(math.log(0.4), math.log(4))))))
        top, left = (rng.integers(0, length - cut + 1) for length in image.shape)
        part = Image.fromarray(image[top : top + cut, left : left + cut])
        made = np.array(part.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0))
        return np.rot90(made, rng.integers(4)).copy() if rng.random() < 0.3 else made

    def lay_nothing(self, scene: Pixels) -> None:
        """Lay a piece without a face, with the edges that faces have, so that edges tell nothing."""
        piece = cutout(self.nothing(64), FER2013_POINTS * (64 / FER2013_SIZE))
        matrix = self.to_scene(piece, (*self.rng.uniform(0, SIDE, 2), self.side()))
        lay(scene, piece, matrix, self.mask(piece))

    def lay_face(self, scene: Pixels, place: Place) -> Floats | None:
        """Lay a face in its place; its landmarks in the scene, None where they are unsure."""
        rng = self.rng
        group = self.faces[rng.integers(len(self.faces))]
        face = group[rng.integers(len(group))]
        if rng.random() < 0.5:
            face = face.mirrored()
        matrix = self.to_scene(face, place)
        lay(scene, face, matrix, self.mask(face))
        if rng.random() < 0.12:
            self.hide(scene, place)
        return None if face.points is None else transform(face.points, matrix)

    def hide(self, scene: Pixels, place: Place) -> None:
        """Cover up to a half of a face by a piece of something else."""
        x, y, side = place
        turn, away = self.rng.uniform(0, 2 * math.pi), self.rng.uniform(0.5, 0.8) * side
        piece = cutout(self.nothing(64), FER2013_POINTS * (64 / FER2013_SIZE))
        across = side * self.rng.uniform(0.5, 1.0)
        place = (x + away * math.cos(turn), y + away * math.sin(turn), across)
        lay(scene, piece, self.to_scene(piece, place), np.full((MASK, MASK), 255, np.uint8))

    def to_scene(self, face: Cutout, place: Place) -> Floats:
        """The similarity (2, 3) that lays a face's centre in its place, at a random roll."""
        rng = self.rng
        turn = rng.normal(0, 0.25) if rng.random() < self.upright else rng.uniform(-math.pi, math.pi)
        scale = place[2] / face.side
        linear = scale * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        return np.column_stack([linear, np.array(place[:2]) - linear @ face.centre])

    def mask(self, face: Cutout) -> Pixels:
        """What is shown of a cut-out, (64, 64): all, a square or an ellipse around the face, any edge."""
        rng, unit = self.rng, MASK / face.length
        x, y, half = face.centre[0] * unit, face.centre[1] * unit, face.side * unit / 2
        image = Image.new("L", (MASK, MASK))
        pen, kind = ImageDraw.Draw(image), rng.random()
        if kind < 0.4:
            pen.rectangle((1, 1, MASK - 2, MASK - 2), fill=255)
        elif kind < 0.7:
            left, top, right, bottom = half * rng.uniform(1.0, 2.2, 4)
            pen.rectangle((x - left, y - top, x + right, y + bottom), fill=255)
        else:
            across, up, down = half * rng.uniform((1.0, 1.1, 1.1), (1.6, 1.9, 1.6))
            pen.ellipse((x - across, y - up, x + across, y + down), fill=255)
        if rng.random() < 0.6:
            image = image.filter(ImageFilter.GaussianBlur(half * rng.uniform(0.05, 0.4)))
        return np.asarray(image)

    def photographed(self, scene: Pixels) -> Pixels:
        """Another light, contrast, sharpness, noise and compression."""
        rng, image = self.rng, Image.fromarray(scene)
        if rng.random() < 0.25:
            image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.3)))
        values = np.asarray(image, np.float32) / 255
        values = values ** math.exp(rng.normal(0, 0.35))
        values = 0.5 + (values - 0.5) * rng.uniform(0.35, 1.25) + rng.normal(0, 0.12)
        if rng.random() < 0.3:
            values = values + rng.standard_normal(values.shape, np.float32) * rng.uniform(0.005, 0.07)
        out = np.uint8(np.clip(values * 255, 0, 255))
        if rng.random() < 0.15:
            packed = io.BytesIO()
            Image.fromarray(out).save(packed, "JPEG", quality=int(rng.integers(15, 80)))
            out = np.asarray(Image.open(packed))
        return out


def lay(scene: Pixels, face: Cutout, matrix: Floats, mask: Pixels) -> None:
    """Blend a cut-out over the scene where ``matrix`` brings it, as far as the mask shows it."""
    corners = np.array([(0, 0), (1, 0), (0, 1), (1, 1)]) * face.length
    reached = transform(corners, matrix)
    left, top = (max(0, int(v)) for v in reached.min(axis=0))
    right, bottom = (min(SIDE, math.ceil(v)) for v in reached.max(axis=0))
    if left >= right or top >= bottom:
        return
    level = min(len(face.levels) - 1, max(0, int(-math.log2(math.hypot(matrix[0, 0], matrix[1, 0])))))
    size, back = (right - left, bottom - top), invert(matrix)
    back[:, 2] += back[:, :2] @ (left, top)
    layer, shown = (
        np.asarray(
            Image.fromarray(np.ascontiguousarray(image)).transform(
                size,
                Image.Transform.AFFINE,
                tuple((back * (len(image) / face.length)).ravel()),
                Image.Resampling.BILINEAR,
            ),
            np.float32,
        )
        for image in (face.levels[level], mask)
    )
    part = scene[top:bottom, left:right]
    part[:] = np.uint8(part + (layer - part) * (shown / 255) + 0.5)


def add_face(target: Target, place: Place, points: Floats | None) -> None:
    """Write a face into a target: what its cells should answer, or that they may answer anything."""
    x, y, side = place
    across, down = (CELLS - x) / side, (CELLS - y) / side
    apart = np.hypot(across, down[:, None])
    column, row = int(x // STRIDE), int(y // STRIDE)
    is_inside = 0 <= column < len(CELLS) and 0 <= row < len(CELLS)
    if not is_inside or not LEARNED[0] <= side <= LEARNED[1]:
        target[0][apart < 0.5] = -1
        return
    height = np.exp(-(apart**2) / (2 * SPREAD**2))
    near = apart < NEAR
    near[row, column] = True
    target[0] = np.where(target[0] < 0, target[0], np.maximum(target[0], height))
    target[0, row, column] = 1
    target[14][near], target[15][near] = 1, points is not None
    target[1][near] = ((x - CELLS) / UNIT + 0 * CELLS[:, None])[near]
    target[2][near] = ((y - CELLS[:, None]) / UNIT + 0 * CELLS)[near]
    target[3][near] = math.log(side / UNIT)
    for i, (px, py) in enumerate(points if points is not None else ()):
        target[4 + 2 * i][near] = ((px - CELLS) / UNIT + 0 * CELLS[:, None])[near]
        target[5 + 2 * i][near] = ((py - CELLS[:, None]) / UNIT + 0 * CELLS)[near]
