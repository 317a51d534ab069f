"""Watch a video: who is there, where, and with what emotion, frame by frame.

The whole image is searched for faces a few times a second, and whenever someone is missing; in between,
each known face is looked for where it should be by now. Faces of several frames go through the network
together. Rows come a little later than their frames, because smoothing looks ahead.
"""

import math
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, field, replace
from typing import Any

import numpy as np

from mien.core.arguments import check_kind, check_numbers, check_share, check_whole, checked_settings
from mien.core.cards import ModelCard
from mien.core.classifier import Classifier
from mien.core.cuts import CutFinder
from mien.core.detection import (
    DEFAULT_DETECTOR,
    LEAST_FACE,
    Detector,
    DetectorSettings,
    Pixels,
    checked_faces,
    near_finder,
)
from mien.core.detectors import detector_identity, make_detector
from mien.core.geometry import overlap
from mien.core.landmark_finder import LandmarkFinder
from mien.core.model_store import DEFAULT_MODEL, find_model
from mien.core.read_batch import crop_faces
from mien.core.results import Box, Face, Landmarks, Quality, Reading
from mien.core.smoothing import Smoother, SmoothingSettings
from mien.core.timeline import Person, TimelineRow
from mien.core.tracking import Tracker, TrackerSettings, appearance_of
from mien.core.tta import Views
from mien.workflows.video.frames import Frame

MOST_HELD = 8192
"""Frames that wait for their future at most; a clock that hardly moves would have all of them wait."""
MOST_HELD_BYTES = 2**30
"""Of the images of frames that wait, where they are kept; beyond it smoothing looks less far ahead."""
SURE_CUT_S = 0.11
"""Between frames that are further apart motion looks like a cut too; there the faces must differ as well."""
Points = tuple[tuple[float, float], ...]
SAME_FACE = 0.6  # share of the smaller box from which two found faces are one


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """How a video is watched.

    Args:
        model: A model's name or the path of its ``.onnx`` file.
        views: Views of each face that are averaged: 1, 2, 10, or ``"auto"``; ``None`` takes `video_views`.
        detector: A detector's name, or your own as ``package.module:Class``; see `mien.Detector`.
        device: What the networks run on; see `Classifier`.
        min_face: Faces of about this side in pixels and larger are looked for, in an image of at most
            ``max_side``; smaller ones may be found too.
        min_score: Faces whose detection score (0-1) is lower are left out.
        min_quality: Faces that can be read less well (0-1) are left out; see `Quality.score`.
        max_side: Larger images are searched at this size.
        scan_s: Seconds between searches of the whole image while no one is missing.
        batch: Frames whose faces go through the network together.
        smoothing: See there; its threshold is the model card's unless it is given.
        tracking: See there.
        landmarks: Place 68 landmarks on each face, as ``landmarks68`` of its reading, and tell from them
            whether a part of it is hidden.
    """

    model: str | os.PathLike[str] = DEFAULT_MODEL
    views: Views | None = None
    detector: str = DEFAULT_DETECTOR
    device: str = "cpu"
    min_face: float = 40
    min_score: float = 0.0
    min_quality: float = 0.0
    max_side: int = 960
    scan_s: float = 0.2
    batch: int = 8
    smoothing: SmoothingSettings = field(default_factory=SmoothingSettings)
    tracking: TrackerSettings = field(default_factory=TrackerSettings)
    landmarks: bool = False

    def __post_init__(self) -> None:
        check_share(self.min_score, "min_score")
        check_share(self.min_quality, "min_quality")
        check_numbers(self, "min_face", least=LEAST_FACE, finite=True)
        check_numbers(self, "min_score", "min_quality", "scan_s")  # plain from here on
        check_numbers(self, "max_side", "batch", least=1, finite=True)
        check_whole(self.batch, "batch")
        check_kind(self.smoothing, "smoothing", SmoothingSettings)
        check_kind(self.tracking, "tracking", TrackerSettings)
        check_kind(self.landmarks, "landmarks", bool)

    def identity(self) -> dict[str, Any]:
        """What must be the same for rows to continue others."""
        told = {"model": os.fspath(self.model), "detector": detector_identity(self.detector)}
        return asdict(self) | told


def video_views(card: ModelCard) -> Views:
    """Views of a face on moving images: the card's own, but no more than two.

    Smoothing over frames averages already what more views of one frame would, and two cost a fifth of ten.
    """
    return 2 if card.views not in (1, 2) and "2" in card.temperatures else card.views


@dataclass(frozen=True, slots=True)
class Watched:
    """A frame with its rows: one a person, or a single one without a person."""

    rows: tuple[TimelineRow, ...]
    pixels: Pixels | None


@dataclass(slots=True)
class _Seen:
    """A frame between detection and its rows."""

    index: int
    time_s: float
    pixels: Pixels | None
    tracks: list[int] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    qualities: list[Quality] = field(default_factory=list)


@dataclass(slots=True)
class _Face:
    """A face that waits for the network."""

    track: int
    face: Face
    crop: Pixels
    quality: Quality
    points: Points | None
    changed: bool


class Watcher:
    """Turns frames into rows; what it remembers can be saved between two batches.

    Args:
        settings: See there.
        finder: Finds faces.
        classifier: Reads emotions.

    Raises:
        ModelError: the model cannot be found or verified.
        MienError: ``settings`` are something else.
    """

    def __init__(
        self,
        settings: WatchSettings | None = None,
        *,
        finder: Detector | None = None,
        classifier: Classifier | None = None,
    ) -> None:
        self.settings = checked_settings(settings, WatchSettings)
        self.classifier = classifier or _classifier(self.settings)
        self.finder = finder or _finder(self.settings)
        self._find_near = near_finder(self.finder)
        self._landmarks = LandmarkFinder(device=self.settings.device)
        self.labels = self.classifier.labels
        self.tracker = Tracker(self.settings.tracking)
        self.smoother = Smoother(self.labels, self.settings.smoothing, self.classifier.card.uncertain_below)
        self.cuts = CutFinder()
        self.last_index = -1
        self._scan_s: float | None = None
        self._last_s: float | None = None
        self._size_wh: Sequence[int] = ()
        self._batch: list[tuple[_Seen, list[_Face]]] = []
        self._seen: deque[_Seen] = deque()
        self._held_bytes = 0
        self._only: Frame | None = None

    def watch(self, frames: Iterable[Frame], *, keep_pixels: bool = False) -> Iterator[list[Watched]]:
        """Rows in the order of the frames, after each batch those that are ready; call `finish` for the rest.

        After each answer `to_dict` holds what is needed to go on behind it.

        Args:
            frames: In the order of time.
            keep_pixels: Give the images back with their rows. At most 1 GB of them waits; where a long look
                ahead at large or many frames needs more, smoothing looks less far ahead.
        """
        for frame in frames:
            self._only = frame if self.last_index < 0 else None
            self._batch.append(self._look(frame, keep_pixels))
            if len(self._batch) == self.settings.batch:
                yield self._read()

    def finish(self) -> list[Watched]:
        """The rows of the frames that waited for a future that will not come.

        In a single frame nobody can be seen twice, so that doubtful faces are taken; not with a ``batch`` of
        1, which has given its rows already.
        """
        if self._only is not None and self._batch:
            self.tracker = Tracker(self.settings.tracking, step_s=math.inf)
            ((seen, _),) = self._batch
            self._batch = [self._look(self._only, seen.pixels is not None)]
        return self._read() + [self._rows() for _ in range(len(self._seen))]

    def _look(self, frame: Frame, keep_pixels: bool) -> tuple[_Seen, list[_Face]]:
        """Find the faces of a frame and say whose they are; no face is followed through a hard cut."""
        self._fit(frame)
        gap_s = math.inf if self._last_s is None else frame.time_s - self._last_s
        may_be_cut = self.cuts.is_cut(frame.pixels) and gap_s <= self.settings.tracking.short_gap_s
        if may_be_cut:
            self._scan_s = None
            if gap_s <= SURE_CUT_S:
                self.tracker.end()
        found = [f for f in self._find(frame) if f.score >= self.settings.min_score]
        kept = crop_faces(self.classifier, frame.pixels, found, self.settings.min_quality)
        if self.settings.landmarks:
            kept = kept.with_points(self._landmarks.find(frame.pixels, kept.faces))
        appearances = [appearance_of(crop) for crop in kept.crops]
        tracks = self.tracker.step(
            frame.time_s,
            [f.box for f in kept.faces],
            [f.score for f in kept.faces],
            appearances,
            may_be_cut=may_be_cut,
        )
        self._last_s, self.last_index = frame.time_s, frame.index
        known = [
            _Face(
                track.number,
                kept.faces[i],
                kept.crops[i],
                kept.qualities[i],
                _points(kept.points[i]) if kept.points else None,
                track.changed,
            )
            for i, track in enumerate(tracks)
            if track is not None
        ]
        seen = _Seen(frame.index, frame.time_s, frame.pixels if keep_pixels else None)
        return seen, sorted(known, key=lambda one: one.track)

    def _fit(self, frame: Frame) -> None:
        """Follow faces in frames of another size: where a video call has more or less bandwidth."""
        last, self._size_wh = self._size_wh, (frame.pixels.shape[1], frame.pixels.shape[0])
        if last and tuple(last) != self._size_wh:
            self.tracker.scale(self._size_wh[0] / last[0], self._size_wh[1] / last[1])

    def _find(self, frame: Frame) -> list[Face]:
        """The faces of a frame: those that are followed, and after a search also new ones."""
        tracks, last_s = self.tracker.tracks, self._last_s
        near: list[Face] = []
        if tracks and last_s is not None and self._find_near:
            near = self._checked(self._find_near(frame.pixels, self.tracker.expected(frame.time_s)))
            all_there = len(near) >= len(tracks) and not self.tracker.lost(last_s)
            is_due = self._scan_s is None or frame.time_s - self._scan_s >= self.settings.scan_s - 1e-6
            if all_there and not is_due:
                return near
        self._scan_s = frame.time_s
        found = self._checked(self.finder.find(frame.pixels))
        return [*found, *(face for face in near if not _is_among(face, found))]

    def _checked(self, found: Iterable[Face]) -> list[Face]:
        return checked_faces(found, f"detector {type(self.finder).__name__}")

    def _read(self) -> list[Watched]:
        """Name the emotions of the batch, and give the rows that are ready."""
        batch, self._batch = self._batch, []
        faces = [face for _, found in batch for face in found]
        crops = [face.crop for face in faces]
        probs = iter(self.classifier.probs(np.stack(crops)) if crops else np.zeros((0, len(self.labels))))
        for seen, found in batch:
            for one in found:
                reading = self.classifier.reading(one.face, next(probs), one.quality)
                reading = replace(reading, landmarks68=one.points)
                seen.tracks.append(one.track)
                seen.readings.append(reading)
                seen.qualities.append(one.quality)
                self.smoother.add(one.track, seen.time_s, reading.probs, again=one.changed)
            self._seen.append(seen)
            self._held_bytes += _n_bytes(seen)
        ready = []
        ahead_s = self.settings.smoothing.ahead_s
        while self._seen and (
            self._seen[0].time_s + ahead_s <= self._seen[-1].time_s
            or len(self._seen) > MOST_HELD
            or self._held_bytes > MOST_HELD_BYTES
        ):
            ready.append(self._rows())
        self.smoother.forget([track.number for track in self.tracker.tracks])
        return ready

    def _rows(self) -> Watched:
        """The rows of the frame that has waited longest."""
        seen, persons = self._seen.popleft(), []
        self._held_bytes -= _n_bytes(seen)
        for track, reading, quality in zip(seen.tracks, seen.readings, seen.qualities, strict=True):
            label, probs = self.smoother.answer(track)
            persons.append(Person(track, reading, quality, label, probs))
        rows = tuple(TimelineRow(seen.time_s, seen.index, person) for person in persons)
        rows = rows or (TimelineRow(seen.time_s, seen.index),)
        return Watched(rows, seen.pixels)

    def to_dict(self) -> dict[str, Any]:
        """What later rows depend on, JSON-ready; not the images."""
        return {
            "last_index": self.last_index,
            "scan_s": self._scan_s,
            "last_s": self._last_s,
            "size_wh": self._size_wh,
            "tracker": self.tracker.to_dict(),
            "cuts": self.cuts.to_dict(),
            "smoother": self.smoother.to_dict(),
            "seen": [_seen_to_dict(seen) for seen in self._seen],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `to_dict` gave; the next frame is the one after ``last_index``."""
        self._batch, self._held_bytes = [], 0
        self._size_wh = state["size_wh"]
        self.last_index, self._scan_s, self._last_s = state["last_index"], state["scan_s"], state["last_s"]
        self.tracker.restore(state["tracker"])
        self.cuts.restore(state["cuts"])
        self.smoother.restore(state["smoother"])
        self._seen = deque(_seen_from_dict(seen, self.classifier) for seen in state["seen"])


def _finder(settings: WatchSettings) -> Detector:
    looks = DetectorSettings(settings.min_face, settings.max_side, device=settings.device)
    return make_detector(settings.detector, looks)


def _classifier(settings: WatchSettings) -> Classifier:
    views = settings.views
    if views is None:
        views = video_views(find_model(settings.model)[1])
    return Classifier(settings.model, views=views, device=settings.device)


def _points(points: Sequence[Sequence[float]]) -> Points:
    """In hundredths of a pixel, as boxes are written, so that a run's state stays small."""
    return tuple((round(x, 2), round(y, 2)) for x, y in points)


def _n_bytes(seen: _Seen) -> int:
    return 0 if seen.pixels is None else seen.pixels.nbytes


def _is_among(face: Face, faces: Sequence[Face]) -> bool:
    boxes = [np.array([(f.box.x1, f.box.y1, f.box.x2, f.box.y2)], np.float32) for f in (face, *faces)]
    return any(overlap(boxes[0], box, over="min")[0, 0] > SAME_FACE for box in boxes[1:])


def _seen_to_dict(seen: _Seen) -> dict[str, Any]:
    faces = [
        {
            "track": track,
            "box": list(reading.box.to_dict().values()),
            "score": reading.detection_score,
            "landmarks": reading.landmarks.points if reading.landmarks else None,
            "probs": reading.probs,
            "quality": astuple(quality),
            "landmarks68": reading.landmarks68,
        }
        for track, reading, quality in zip(seen.tracks, seen.readings, seen.qualities, strict=True)
    ]
    return {"index": seen.index, "time_s": seen.time_s, "faces": faces}


def _seen_from_dict(state: dict[str, Any], classifier: Classifier) -> _Seen:
    seen = _Seen(state["index"], state["time_s"], None)
    for one in state["faces"]:
        points = one["landmarks"]
        landmarks = Landmarks(*(tuple(point) for point in points)) if points else None
        face = Face(Box(*one["box"]), one["score"], landmarks)
        seen.tracks.append(one["track"])
        quality = Quality(*one["quality"])
        reading = classifier.reading(face, np.array(one["probs"]), quality)
        placed = one["landmarks68"]
        seen.readings.append(replace(reading, landmarks68=_points(placed) if placed else None))
        seen.qualities.append(quality)
    return seen
