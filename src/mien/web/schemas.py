"""The responses of the service, for its OpenAPI description and for checks of its own responses."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mien.core.results import Reading

FACE: dict[str, Any] = {
    "box": {"x1": 179.1, "y1": 62.4, "x2": 265.3, "y2": 173.0},
    "landmarks": {
        "left_eye": [203.1, 101.2],
        "right_eye": [243.8, 101.0],
        "nose": [222.6, 127.4],
        "left_mouth": [205.5, 142.3],
        "right_mouth": [240.4, 141.9],
    },
    "detection_score": 0.9998,
    "emotion": "happy",
    "confidence": 0.93,
    "uncertain": False,
    "quality": {"score": 1.0, "size": 97.7, "blur": 0.31, "pose": 4.1, "inside": 1.0},
    "probabilities": {"angry": 0.01, "happy": 0.93, "neutral": 0.02, "sad": 0.02, "surprise": 0.02},
}
IMAGE: dict[str, Any] = {"name": "astronaut.png", "width": 512, "height": 512, "faces": [FACE], "error": None}
ROW: dict[str, Any] = {
    "time_s": 0.04,
    "frame": 1,
    "track": 1,
    "x1": 179.1,
    "y1": 62.4,
    "x2": 265.3,
    "y2": 173.0,
    "detection_score": 0.9998,
    "quality": 1.0,
    "quality_size": 97.9,
    "quality_blur": 0.12,
    "quality_pose": 4.1,
    "label": "happy",
    "uncertain": False,
    "p_happy": 0.93,
    "p_smooth_happy": 0.91,
    "valence": 0.74,
    "arousal": 0.46,
}
PERSON: dict[str, Any] = {
    "track": 1,
    "first_s": 0.0,
    "last_s": 7.96,
    "seconds": 8.0,
    "expressiveness": 0.81,
    "shares": {"happy": 0.9, "neutral": 0.1},
}
Point = tuple[float, float]


class ErrorInfo(BaseModel):
    """What went wrong."""

    code: str = Field(examples=["too_large"])
    message: str = Field(examples=["'photo.png' has 9000 x 9000 pixels, more than the limit of 50,000,000"])


class ErrorAnswer(BaseModel):
    """The body of every answer whose status is 400 or more."""

    error: ErrorInfo


class Box(BaseModel):
    """Pixels of the upright image; (x1, y1) is the top left corner."""

    x1: float
    y1: float
    x2: float
    y2: float


class Landmarks(BaseModel):
    """Five points in pixels of the upright image; left and right are the viewer's."""

    left_eye: Point
    right_eye: Point
    nose: Point
    left_mouth: Point
    right_mouth: Point


class Quality(BaseModel):
    """How well a face can be read."""

    score: float = Field(description="The share of a good face's accuracy above chance that is left, 0-1.")
    size: float = Field(description="Side in pixels of a square of the box's area.")
    blur: float = Field(description="0 sharp to 1 blurred, as the network sees the face.")
    pose: float | None = Field(description="Degrees by which the head is turned off the camera, roughly.")
    inside: float = Field(description="Share of the crop that lies in the image, 0-1.")
    occluded: float | None = Field(
        None, description="With `landmarks=true`: how probable it is that a part is hidden, 0-1."
    )


class Pose(BaseModel):
    """How a head is turned, degrees; 0, 0, 0 looks into the camera."""

    roll: float
    yaw: float
    pitch: float


class Face(BaseModel):
    """A face with the expression that people would see in it."""

    box: Box
    landmarks: Landmarks | None
    detection_score: float = Field(description="The detector's confidence, 0-1.")
    emotion: str = Field(description="The most probable emotion.")
    confidence: float = Field(description="Its probability.")
    uncertain: bool = Field(description="Whether `confidence` lies below the model's `uncertain_below`.")
    quality: Quality | None
    probabilities: dict[str, float] = Field(description="Calibrated; they sum to 1.")
    landmarks68: list[Point] | None = Field(
        None, description="With `landmarks=true`: the points of iBUG 300-W, pixels of the upright image."
    )
    pose: Pose | None = Field(None, description="With `landmarks=true`.")


class Image(BaseModel):
    """One image of a request: its faces, largest first, or what is wrong with it."""

    model_config = ConfigDict(json_schema_extra={"example": IMAGE})

    name: str
    width: int | None
    height: int | None
    faces: list[Face]
    error: ErrorInfo | None = None


class ReadAnswer(BaseModel):
    """The images of a request, in their order."""

    model_config = ConfigDict(json_schema_extra={"example": {"model": "fer2013-medium", "images": [IMAGE]}})

    model: str
    images: list[Image]


class Person(BaseModel):
    """One person of a video."""

    model_config = ConfigDict(json_schema_extra={"example": PERSON})

    track: int
    first_s: float
    last_s: float
    seconds: float = Field(description="Time seen.")
    expressiveness: float = Field(description="Mean probability of any emotion but neutral, 0-1.")
    shares: dict[str, float] = Field(description="Share of the time seen under each label.")


class JobAnswer(BaseModel):
    """How far a video is."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "kX2v0Qm8sZtr1Yfa",
                "state": "running",
                "time_s": 3.2,
                "duration_s": 8.0,
                "frames": 80,
                "rows": 80,
                "persons": [PERSON],
                "error": None,
            }
        }
    )

    id: str
    state: Literal["waiting", "running", "done", "failed"]
    time_s: float = Field(description="Time of the last frame read, seconds of the video's clock.")
    duration_s: float | None = Field(description="Length of the video, where it tells.")
    frames: int
    rows: int
    persons: list[Person]
    error: ErrorInfo | None = Field(None, description="Why it failed; the rows until then are kept.")


class RowsAnswer(BaseModel):
    """Some rows of a video: a person on a frame, or a frame without a face, whose other cells are null."""

    model_config = ConfigDict(json_schema_extra={"example": {"rows": [ROW], "next": 703, "end": False}})

    rows: list[dict[str, Any]]
    next: int = Field(description="Pass it as `after` to get the rows that follow.")
    end: bool = Field(description="Whether none will follow.")


class Model(BaseModel):
    """A model's card without how it was trained."""

    name: str
    served: bool = Field(description="Whether this service reads with it.")
    summary: str
    labels: list[str]
    licence: str
    intended_use: str
    unfit_use: str
    limits: str
    uncertain_below: float = Field(description="Answers less probable than this are `uncertain`.")
    calibrated_on: str = Field(description="What the probabilities were calibrated on; may be empty.")
    scores: dict[str, Any]


class ModelsAnswer(BaseModel):
    """The models on this machine."""

    models: list[Model]


class Health(BaseModel):
    """Says that the service answers."""

    status: Literal["ok"] = "ok"
    version: str = Field(examples=["0.1.0"])


def image(name: str, size_wh: tuple[int, int], readings: Sequence[Reading]) -> Image:
    """The answer for an image."""
    faces = [Face.model_validate(reading.to_dict()) for reading in readings]
    return Image(name=name, width=size_wh[0], height=size_wh[1], faces=faces, error=None)
