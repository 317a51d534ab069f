"""What reads pictures, videos and live pictures for all requests: one network, some threads."""

import asyncio
import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.core.analyzer import Analyzer
from mien.core.detection import Mtcnn, MtcnnSettings
from mien.core.draw import annotate
from mien.core.images import ImageLimits, open_image
from mien.core.results import Reading
from mien.core.smoothing import SmoothingSettings
from mien.core.store import find_model
from mien.core.timeline import TimelineRow
from mien.errors import MienError
from mien.web import schemas
from mien.web.batching import BatchedClassifier
from mien.web.errors import to_dict
from mien.web.limits import LimitedFinder
from mien.web.settings import Settings
from mien.workflows.video_frames import Frame
from mien.workflows.watch import Watcher, WatchSettings, video_views

LIVE_SIDE = 640
LIVE_PIXELS = 4_000_000
FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG"}

Pixels = NDArray[np.uint8]
T = TypeVar("T")


class Engine:
    """Reads; `close` ends its threads.

    Args:
        settings: See there.
        report: Gets the number of faces of each batch.

    Raises:
        ModelError: the model cannot be found, verified or run.
    """

    def __init__(self, settings: Settings, report: Callable[[int], object] | None = None) -> None:
        self.settings = settings
        card = find_model(settings.model)[1]
        self.model = card.name
        self.video_views = video_views(card)
        self.classifier = BatchedClassifier(settings.model, report=report)
        self.video_classifier = (
            self.classifier
            if self.video_views == card.views
            else BatchedClassifier(settings.model, views=self.video_views, report=report)
        )
        self.labels = card.labels
        self.limits = ImageLimits(settings.max_bytes, settings.max_pixels)
        self.live_limits = ImageLimits(settings.max_frame_bytes, min(settings.max_pixels, LIVE_PIXELS))
        self.analyzer = Analyzer(self.classifier, self._finder(MtcnnSettings()), limits=self.limits)
        # More threads than cores: some of them wait for the network.
        self._pool = ThreadPoolExecutor(2 * (os.cpu_count() or 1) + 2, "mien-pictures")
        self._live_pool = ThreadPoolExecutor(2, "mien-live")  # so that they need not queue behind pictures

    def _finder(self, settings: MtcnnSettings) -> LimitedFinder:
        return LimitedFinder(Mtcnn(settings), self.settings.max_faces)

    async def read(self, name: str, data: bytes) -> schemas.Image:
        """The faces of a picture file.

        Raises:
            ImageError: it cannot be read.
            RefusedError: it shows too many faces.
        """
        pixels, readings = await _in(self._pool, lambda: self._read(data))
        return schemas.image(name, (pixels.shape[1], pixels.shape[0]), readings)

    async def read_or_tell(self, name: str, data: bytes) -> schemas.Image:
        """As `read`; what is wrong with the picture becomes part of the answer."""
        try:
            return await self.read(name, data)
        except MienError as error:
            info = schemas.ErrorInfo.model_validate(to_dict(error))
            return schemas.Image(name=name, width=None, height=None, faces=[], error=info)

    async def draw(self, data: bytes, kind: str) -> bytes:
        """The picture with its faces marked, as a file of the media type ``kind``.

        Raises:
            ImageError: it cannot be read.
            RefusedError: it shows too many faces.
        """
        return await _in(self._pool, lambda: self._draw(data, FORMATS[kind]))

    def _read(self, data: bytes) -> tuple[Pixels, tuple[Reading, ...]]:
        pixels = open_image(data, self.limits)
        return pixels, self.analyzer.read(pixels)

    def _draw(self, data: bytes, kind: str) -> bytes:
        pixels, readings = self._read(data)
        file = io.BytesIO()
        Image.fromarray(annotate(pixels, readings)).save(file, kind, quality=92)
        return file.getvalue()

    def watcher(self) -> Watcher:
        """What watches one video."""
        settings = WatchSettings(self.settings.model, self.video_views)
        finder = MtcnnSettings(min_face=settings.min_face, max_side=settings.max_side)
        return Watcher(settings, finder=self._finder(finder), classifier=self.video_classifier)

    def live_watcher(self) -> Watcher:
        """What watches one camera: each picture is answered at once, and the past alone smooths it."""
        smoothing = SmoothingSettings(ahead_s=0)
        settings = WatchSettings(self.settings.model, self.video_views, batch=1, smoothing=smoothing)
        finder = self._finder(MtcnnSettings(min_face=settings.min_face, max_side=LIVE_SIDE))
        return Watcher(settings, finder=finder, classifier=self.video_classifier)

    async def watch_live(
        self, watcher: Watcher, data: bytes, index: int, time_s: float
    ) -> tuple[tuple[int, int], tuple[TimelineRow, ...]]:
        """Size and rows of a live picture.

        Raises:
            ImageError: it cannot be read.
            RefusedError: it shows too many faces.
        """

        def work() -> tuple[tuple[int, int], tuple[TimelineRow, ...]]:
            pixels = open_image(data, self.live_limits)
            (ready,) = watcher.watch([Frame(index, time_s, pixels)])
            return (pixels.shape[1], pixels.shape[0]), tuple(row for one in ready for row in one.rows)

        return await _in(self._live_pool, work)

    def close(self) -> None:
        """End the threads, after what they do at the moment."""
        self._pool.shutdown(cancel_futures=True)
        self._live_pool.shutdown(cancel_futures=True)
        self.classifier.close()
        if self.video_classifier is not self.classifier:
            self.video_classifier.close()


async def _in(pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    """Do something on a thread of ``pool``."""
    return await asyncio.get_running_loop().run_in_executor(pool, work)
