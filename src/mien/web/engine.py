"""The engine that reads images, videos and live images for all requests: one network, some threads."""

import asyncio
import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.core.analyzer import Analyzer
from mien.core.detection import Detector, DetectorSettings, looks_for
from mien.core.detectors import make_detector
from mien.core.draw import MOST_JPEG_SIDE, annotate
from mien.core.model_store import find_model
from mien.core.smoothing import SmoothingSettings
from mien.core.timeline import TimelineRow
from mien.errors import ImageTooLargeError, MienError
from mien.web import schemas
from mien.web.batching import BatchedClassifier
from mien.web.bodies import Upload
from mien.web.decode_worker import DecodeLimits
from mien.web.decoding import CostlyError, Lane
from mien.web.errors import RefusedError, to_dict
from mien.web.limits import LimitedFinder
from mien.web.settings import Settings
from mien.workflows.video.frames import Frame
from mien.workflows.video.watcher import Watcher, WatchSettings, video_views

QUICK_PIXELS, QUICK_S = 8_000_000, 0.5
"""What has more pixels than that, or takes more computing to unpack, goes into the slow lane."""

MOST_PROCESSES, SLOW_NICENESS = 8, 5
LIVE_SIDE = 640
LIVE_PIXELS = 4_000_000
LIVE_BYTES = 2 * 2**20
FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG"}

Pixels = NDArray[np.uint8]
T = TypeVar("T")


class Engine:
    """Reads; `close` ends its threads.

    Args:
        settings: See there.
        report: Gets the number of faces of each batch.
        detector: Finds the faces of images; `image_detector` by default.

    Raises:
        ModelError: the model cannot be found, verified or run.
        MienError: there is no such detector or device.
    """

    def __init__(
        self,
        settings: Settings,
        report: Callable[[int], object] | None = None,
        detector: Detector | None = None,
    ) -> None:
        self.settings = settings
        card = find_model(settings.model)[1]
        self.model = card.name
        self.video_views = video_views(card)
        self.classifier = BatchedClassifier(settings.model, device=settings.device, report=report)
        self.video_classifier = (
            self.classifier
            if self.video_views == card.views
            else BatchedClassifier(
                settings.model, views=self.video_views, device=settings.device, report=report
            )
        )
        self.labels = card.labels
        if detector is None:
            detector = image_detector(settings)
        finder = LimitedFinder(detector, settings.max_faces)
        self.analyzer = Analyzer(self.classifier, finder)
        self.with_landmarks = Analyzer(self.classifier, finder, device=settings.device, landmarks=True)
        n_cores = os.cpu_count() or 1
        # More threads than cores: some of them wait for the network.
        self._pool = ThreadPoolExecutor(2 * n_cores + 2, "mien-images")
        self._live_pool = ThreadPoolExecutor(2, "mien-live")  # so that they need not queue behind images
        n_processes = min(max(n_cores, 2), MOST_PROCESSES)
        limits = DecodeLimits(settings.max_bytes, settings.max_pixels, settings.max_decode_s)
        quick = replace(
            limits, max_pixels=min(limits.max_pixels, QUICK_PIXELS), max_cpu_s=min(limits.max_cpu_s, QUICK_S)
        )
        live = replace(quick, max_bytes=LIVE_BYTES, max_pixels=min(limits.max_pixels, LIVE_PIXELS))
        self.quick = Lane(quick, n_processes, 2 * n_cores + 2)
        self.slow = Lane(replace(limits, niceness=SLOW_NICENESS), n_processes, n_processes + 1)
        self.live = Lane(live, 1, 2)

    def _finder(self, looks: DetectorSettings) -> LimitedFinder:
        return LimitedFinder(_detector(self.settings, looks), self.settings.max_faces)

    async def read(self, upload: Upload, *, landmarks: bool = False) -> schemas.Image:
        """The faces of an image file; with ``landmarks``, 68 points of each and what follows from them.

        Raises:
            ImageError: it cannot be read.
            RefusedError: it takes too much computing, or shows too many faces.
        """
        analyzer = self.with_landmarks if landmarks else self.analyzer
        (width, height), readings = await self._with_pixels(
            upload, lambda pixels: (pixels.shape[1::-1], analyzer.read(pixels))
        )
        return schemas.image(upload.name, (width, height), readings)

    async def read_or_tell(self, upload: Upload, *, landmarks: bool = False) -> schemas.Image:
        """As `read`; what is wrong with the image becomes part of the answer."""
        try:
            return await self.read(upload, landmarks=landmarks)
        except MienError as error:
            info = schemas.ErrorInfo.model_validate(to_dict(error))
            return schemas.Image(name=upload.name, width=None, height=None, faces=[], error=info)

    async def draw(self, upload: Upload, kind: str) -> bytes:
        """The image with its faces marked, as a file of the media type ``kind``.

        Raises:
            ImageError: it cannot be read.
            RefusedError: it takes too much computing, shows too many faces, or is too large for the kind.
        """
        return await self._with_pixels(upload, lambda pixels: self._draw(pixels, FORMATS[kind]))

    async def _with_pixels(self, upload: Upload, work: Callable[[Pixels], T]) -> T:
        """What ``work`` makes of an image, on a thread; errors call it by its name."""
        with upload.named():
            if upload.error:
                raise upload.error
            return await self._in_lane(upload, work)

    async def _in_lane(self, upload: Upload, work: Callable[[Pixels], T]) -> T:
        """As `_with_pixels`; what takes long to unpack has a lane of its own."""
        try:
            async with self.quick.turn(upload.client):
                pixels = await self.quick.decode(upload.data)
                return await _in(self._pool, lambda: work(pixels))
        except (CostlyError, ImageTooLargeError):
            pass
        try:
            async with self.slow.turn(upload.client):
                pixels = await self.slow.decode(upload.data)
                return await _in(self._pool, lambda: work(pixels))
        except CostlyError:
            raise _too_costly(self.settings.max_decode_s) from None

    def _draw(self, pixels: Pixels, kind: str) -> bytes:
        height, width = pixels.shape[:2]
        if kind == "JPEG" and max(height, width) > MOST_JPEG_SIDE:
            raise RefusedError(
                "not_acceptable",
                f"the image has {width} x {height} pixels, and JPEG at most {MOST_JPEG_SIDE:,} a side; "
                "ask for image/png, or as=png",
            )
        file = io.BytesIO()
        Image.fromarray(annotate(pixels, self.analyzer.read(pixels))).save(file, kind, quality=92)
        return file.getvalue()

    def watcher(self, *, landmarks: bool = False) -> Watcher:
        """What watches one video."""
        settings = WatchSettings(self.settings.model, self.video_views, landmarks=landmarks)
        finder = DetectorSettings(min_face=settings.min_face, max_side=settings.max_side)
        return Watcher(settings, finder=self._finder(finder), classifier=self.video_classifier)

    def live_watcher(self) -> Watcher:
        """What watches one camera: each image is answered at once, and the past alone smooths it."""
        smoothing = SmoothingSettings(ahead_s=0)
        settings = WatchSettings(self.settings.model, self.video_views, batch=1, smoothing=smoothing)
        finder = self._finder(DetectorSettings(min_face=settings.min_face, max_side=LIVE_SIDE))
        return Watcher(settings, finder=finder, classifier=self.video_classifier)

    async def watch_live(
        self, watcher: Watcher, data: bytes, index: int, time_s: float
    ) -> tuple[tuple[int, int], tuple[TimelineRow, ...]]:
        """Size and rows of a live image.

        Raises:
            ImageError: it cannot be read.
            RefusedError: it takes too much computing, or shows too many faces.
        """

        def work() -> tuple[tuple[int, int], tuple[TimelineRow, ...]]:
            (ready,) = watcher.watch([Frame(index, time_s, pixels)])
            return (pixels.shape[1], pixels.shape[0]), tuple(row for one in ready for row in one.rows)

        if not data:
            raise RefusedError("not_an_image", "the message holds no image; send each as a binary message")
        try:
            with Upload("image", data).named():
                pixels = await self.live.decode(data)
        except ImageTooLargeError as error:
            raise ImageTooLargeError(f"{str(error).partition(';')[0]}; send smaller frames") from None
        except CostlyError:
            raise _too_costly(self.live.limits.max_cpu_s) from None
        return await _in(self._live_pool, work)

    def close(self) -> None:
        """End the threads, after what they do at the moment."""
        self._pool.shutdown(cancel_futures=True)
        self._live_pool.shutdown(cancel_futures=True)
        for lane in (self.quick, self.slow, self.live):
            lane.close()
        self.classifier.close()
        if self.video_classifier is not self.classifier:
            self.video_classifier.close()


def image_detector(settings: Settings) -> Detector:
    """What finds the faces of images.

    Raises:
        MienError: there is no such detector.
    """
    return _detector(settings, looks_for(settings.min_face))


def _detector(settings: Settings, looks: DetectorSettings) -> Detector:
    return make_detector(settings.detector, replace(looks, device=settings.device))


async def _in(pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    """Do something on a thread of ``pool``."""
    return await asyncio.get_running_loop().run_in_executor(pool, work)


def _too_costly(most_s: float) -> RefusedError:
    return RefusedError(
        "too_costly",
        f"the image takes more than {most_s:g} s of CPU time to decode; save it again as PNG or JPEG",
    )
