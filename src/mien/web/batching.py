"""One network for all requests: the faces that arrive within some milliseconds go through it together."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread

import numpy as np
from numpy.typing import NDArray

from mien.core.classifier import Classifier, Crops
from mien.core.tta import Views

WINDOW_S = 0.003
MAX_FACES = 64
"""A batch is not waited for any longer than this, nor when it has so many faces."""


@dataclass(slots=True)
class _Asked:
    crops: NDArray[np.uint8]
    answer: Future[NDArray[np.float32]] = field(default_factory=Future)


class BatchedClassifier(Classifier):
    """A `Classifier` that many threads share; its answers are those it would give each alone.

    Args:
        name_or_path: See `Classifier`.
        views: See `Classifier`.
        device: See `Classifier`.
        report: Gets the number of faces of each batch, on the network's thread.

    Raises:
        ModelError: the model cannot be found, verified or run.
    """

    def __init__(
        self,
        name_or_path: str,
        *,
        views: Views | None = None,
        device: str = "cpu",
        report: Callable[[int], object] | None = None,
    ) -> None:
        super().__init__(name_or_path, views=views, device=device)
        self._report = report
        self.queue: SimpleQueue[_Asked | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="mien-network", daemon=True)
        self._thread.start()

    def probs(self, crops: Crops) -> NDArray[np.float32]:
        """Calibrated probabilities (N, C); waits for the batch that the crops are in."""
        stacked = self._stacked(crops)
        if not len(stacked):
            return super().probs(stacked)
        asked = _Asked(stacked)
        self.queue.put(asked)
        return asked.answer.result()

    def close(self) -> None:
        """End the thread; call it when no request waits for an answer."""
        self.queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next_batch():
            try:
                probs = super().probs(np.concatenate([asked.crops for asked in batch]))
            except BaseException as error:  # whoever asked shall see it; this thread goes on
                for asked in batch:
                    asked.answer.set_exception(error)
                continue
            if self._report:
                self._report(len(probs))
            ends = np.cumsum([len(asked.crops) for asked in batch])
            for asked, part in zip(batch, np.split(probs, ends[:-1]), strict=True):
                asked.answer.set_result(part)

    def _next_batch(self) -> list[_Asked]:
        """The first that is asked, and what follows within the window; empty at the end."""
        asked = self.queue.get()
        batch: list[_Asked] = []
        until = time.monotonic() + WINDOW_S
        while asked is not None:
            batch.append(asked)
            if sum(len(one.crops) for one in batch) >= MAX_FACES:
                break
            try:
                asked = self.queue.get(timeout=max(until - time.monotonic(), 0))
            except Empty:
                break
        else:
            if batch:
                self.queue.put(None)  # answer these first
        return batch
