"""What reading an image returns: plain, frozen values."""

from dataclasses import dataclass
from typing import Any

from mien.core.pose import Pose, head_pose


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels of the upright image; (x1, y1) is the top left corner, (x2, y2) is exclusive."""

    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def width(self) -> float:
        """Pixels from left to right."""
        return self.x2 - self.x1

    @property
    def height(self) -> float:
        """Pixels from top to bottom."""
        return self.y2 - self.y1

    @property
    def center(self) -> tuple[float, float]:
        """x and y of the middle, pixels."""
        return (self.x1 + self.x2) / 2, (self.y1 + self.y2) / 2

    def to_dict(self) -> dict[str, float]:
        """A JSON-ready dict: x1, y1, x2, y2."""
        return {"x1": self.x1, "y1": self.y1, "x2": self.x2, "y2": self.y2}


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Five points in pixels of the upright image; left and right are the viewer's."""

    left_eye: tuple[float, float]
    right_eye: tuple[float, float]
    nose: tuple[float, float]
    left_mouth: tuple[float, float]
    right_mouth: tuple[float, float]

    @property
    def points(self) -> tuple[tuple[float, float], ...]:
        """The five points in the order of the fields."""
        return self.left_eye, self.right_eye, self.nose, self.left_mouth, self.right_mouth

    def to_dict(self) -> dict[str, list[float]]:
        """A JSON-ready dict: [x, y] by the name of the point."""
        names = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
        return {name: list(point) for name, point in zip(names, self.points, strict=True)}


@dataclass(frozen=True, slots=True)
class Face:
    """A face that a detector found.

    Attributes:
        box: Where it is, in pixels of the image.
        score: The detector's confidence, 0-1.
        landmarks: Eyes, nose and corners of the mouth, where the detector places them.
        is_crop: The box is a crop already, as data sets of faces have them: the network sees all of it.
    """

    box: Box
    score: float
    landmarks: Landmarks | None = None
    is_crop: bool = False


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a face can be read.

    Attributes:
        size: Side in pixels of a square of the box's area.
        blur: 0 sharp to 1 blurred, of the face at 48 x 48 pixels; see `mien.core.quality.blur`.
        pose: Degrees by which the head is turned off the camera, roughly; ``None`` without landmarks.
        inside: Share of the crop that lies in the image, 0-1; the rest is cut by its border.
        score: The share of a good face's accuracy that is left, 0-1; see `mien.core.quality.score`.
        occluded: How probable it is that a part of the face is hidden, 0-1, where 68 landmarks were asked
            for; see `mien.core.quality.occluded`. It does not enter the score.
    """

    size: float
    blur: float
    pose: float | None
    inside: float
    score: float
    occluded: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """A JSON-ready dict of the attributes; ``occluded`` only where it is known."""
        known = {name: getattr(self, name) for name in ("score", "size", "blur", "pose", "inside")}
        return known if self.occluded is None else known | {"occluded": self.occluded}


def is_uncertain(confidence: float, threshold: float) -> bool:
    """Whether an answer is too weak to be named: the one rule of images and videos.

    Args:
        confidence: The probability of the answer.
        threshold: Of the model's card, ``uncertain_below``.
    """
    return confidence < threshold


@dataclass(frozen=True, slots=True)
class Reading:
    """One face with its emotion; ``probs`` are calibrated, sum to 1 and follow ``labels``.

    ``uncertain_below`` is the threshold of the model's card; 0 calls nothing uncertain. ``landmarks68`` are
    the points of iBUG 300-W in pixels of the upright image, where they were asked for; ``quality`` says how
    well the face can be read, where an image was read.
    """

    face: Face
    labels: tuple[str, ...]
    probs: tuple[float, ...]
    uncertain_below: float = 0.0
    landmarks68: tuple[tuple[float, float], ...] | None = None
    quality: Quality | None = None

    @property
    def box(self) -> Box:
        """Where the face is."""
        return self.face.box

    @property
    def landmarks(self) -> Landmarks | None:
        """The five points of the face, where the detector gives them."""
        return self.face.landmarks

    @property
    def detection_score(self) -> float:
        """How sure the detector is that this is a face, 0-1."""
        return self.face.score

    @property
    def probabilities(self) -> dict[str, float]:
        """Emotion name to calibrated probability, in the order of the model's labels."""
        return dict(zip(self.labels, self.probs, strict=True))

    @property
    def emotion(self) -> str:
        """The most probable emotion; the first in the model's order where several are."""
        return self.labels[self.probs.index(max(self.probs))]

    @property
    def confidence(self) -> float:
        """The probability of ``emotion``."""
        return max(self.probs)

    @property
    def uncertain(self) -> bool:
        """Whether ``confidence`` is below the model's threshold: treat ``emotion`` as a guess."""
        return is_uncertain(self.confidence, self.uncertain_below)

    @property
    def pose(self) -> Pose | None:
        """How the head is turned, where ``landmarks68`` were asked for."""
        return None if self.landmarks68 is None else head_pose(self.landmarks68)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict; ``landmarks68`` and ``pose`` only where landmarks were asked for."""
        more: dict[str, Any] = {}
        if self.landmarks68 is not None and self.pose is not None:
            more = {"landmarks68": [list(point) for point in self.landmarks68], "pose": self.pose.to_dict()}
        return {
            "box": self.box.to_dict(),
            "landmarks": self.landmarks.to_dict() if self.landmarks else None,
            "detection_score": self.detection_score,
            "emotion": self.emotion,
            "confidence": self.confidence,
            "uncertain": self.uncertain,
            "quality": self.quality.to_dict() if self.quality else None,
            "probabilities": self.probabilities,
            **more,
        }
