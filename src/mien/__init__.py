"""mien reads emotions from faces, and measures how accurate it is.

>>> import mien
>>> for reading in mien.read("photo.jpg"):
...     print(reading.emotion, reading.confidence, reading.box)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mien.core.analyzer import Analyzer, read
    from mien.core.cards import ModelCard
    from mien.core.classifier import Classifier, load
    from mien.core.detection import Detector, DetectorSettings
    from mien.core.draw import annotate
    from mien.core.images import ImageLimits, open_image
    from mien.core.model_store import DEFAULT_MODEL, list_models
    from mien.core.readings import Readings, to_frame, to_rows
    from mien.core.results import Box, Face, Landmarks, Quality, Reading
    from mien.core.smoothing import Smoother, SmoothingSettings
    from mien.core.tracking import Tracker, TrackerSettings, appearance_of
    from mien.errors import MienError
    from mien.workflows.video.job import WatchJob, watch_video
    from mien.workflows.video.pick import Pick
    from mien.workflows.video.watcher import WatchSettings

__version__ = "0.1.0"

_HOMES = {
    "DEFAULT_MODEL": "mien.core.model_store",
    "Analyzer": "mien.core.analyzer",
    "Box": "mien.core.results",
    "Classifier": "mien.core.classifier",
    "Detector": "mien.core.detection",
    "DetectorSettings": "mien.core.detection",
    "Face": "mien.core.results",
    "ImageLimits": "mien.core.images",
    "Landmarks": "mien.core.results",
    "MienError": "mien.errors",
    "ModelCard": "mien.core.cards",
    "Pick": "mien.workflows.video.pick",
    "Quality": "mien.core.results",
    "Reading": "mien.core.results",
    "Readings": "mien.core.readings",
    "Smoother": "mien.core.smoothing",
    "SmoothingSettings": "mien.core.smoothing",
    "Tracker": "mien.core.tracking",
    "TrackerSettings": "mien.core.tracking",
    "WatchJob": "mien.workflows.video.job",
    "WatchSettings": "mien.workflows.video.watcher",
    "annotate": "mien.core.draw",
    "appearance_of": "mien.core.tracking",
    "list_models": "mien.core.model_store",
    "load": "mien.core.classifier",
    "open_image": "mien.core.images",
    "read": "mien.core.analyzer",
    "to_frame": "mien.core.readings",
    "to_rows": "mien.core.readings",
    "watch_video": "mien.workflows.video.job",
}

__all__ = [
    "DEFAULT_MODEL",
    "Analyzer",
    "Box",
    "Classifier",
    "Detector",
    "DetectorSettings",
    "Face",
    "ImageLimits",
    "Landmarks",
    "MienError",
    "ModelCard",
    "Pick",
    "Quality",
    "Reading",
    "Readings",
    "Smoother",
    "SmoothingSettings",
    "Tracker",
    "TrackerSettings",
    "WatchJob",
    "WatchSettings",
    "annotate",
    "appearance_of",
    "list_models",
    "load",
    "open_image",
    "read",
    "to_frame",
    "to_rows",
    "watch_video",
]


if not TYPE_CHECKING:  # a checker that saw it would take any misspelt name

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used, so that ``import mien`` costs next to nothing."""
        if name not in _HOMES:
            from mien.names import nearest

            is_method = name == "read_many"
            added = "; it is a method: mien.Analyzer().read_many" if is_method else nearest(name, _HOMES)
            raise AttributeError(f"module 'mien' has no attribute '{name}'{added}")
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
