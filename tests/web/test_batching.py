from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs mien[web]")

from mien.core.classifier import Classifier
from mien.web import batching
from mien.web.batching import BatchedClassifier

MODEL = "fer2013-medium"


@pytest.fixture
def batches(monkeypatch) -> list[int]:
    """The sizes of batches; a wide window, so that threads of a slow machine meet in one."""
    monkeypatch.setattr(batching, "WINDOW_S", 0.5)
    return []


@pytest.fixture
def shared(batches):
    classifier = BatchedClassifier(MODEL, views=1, report=batches.append)
    yield classifier
    classifier.close()


def test_faces_of_concurrent_requests_go_through_the_network_together(shared, batches):
    rng = np.random.default_rng(0)
    asked = [rng.integers(0, 256, (n, 48, 48), np.uint8) for n in (1, 3, 2, 1)]
    alone = Classifier(MODEL, views=1)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(shared.probs, asked))
    assert sum(batches) == 7
    assert len(batches) < 4
    for crops, probs in zip(asked, answers, strict=True):
        assert probs == pytest.approx(alone.probs(crops), abs=1e-6)


def test_a_batch_that_is_full_does_not_wait(shared, batches, monkeypatch):
    monkeypatch.setattr(batching, "WINDOW_S", 3600)
    assert len(shared.probs(np.zeros((batching.MAX_FACES, 48, 48), np.uint8))) == batching.MAX_FACES


def test_no_face_asks_nothing(shared, batches):
    assert shared.probs(np.zeros((0, 48, 48), np.uint8)).shape == (0, 7)
    assert batches == []


def test_an_error_reaches_all_who_asked_and_the_next_are_answered(shared, monkeypatch):
    def fails(_, crops):
        raise RuntimeError("out of memory")

    crops = np.zeros((1, 48, 48), np.uint8)
    with monkeypatch.context() as broken, ThreadPoolExecutor(2) as pool:
        broken.setattr(Classifier, "probs", fails)
        asked = [pool.submit(shared.probs, crops) for _ in range(2)]
        for one in asked:
            with pytest.raises(RuntimeError, match="out of memory"):
                one.result()
    assert shared.probs(crops).shape == (1, 7)


def test_what_was_asked_before_the_end_is_answered(batches):
    classifier = BatchedClassifier(MODEL, views=1, report=batches.append)
    started = Event()

    def ask():
        started.set()
        return classifier.probs(np.zeros((1, 48, 48), np.uint8))

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        started.wait()
        while classifier.queue.empty() and not asked.done() and not batches:
            pass
        classifier.close()
        assert asked.result().shape == (1, 7)
