"""mien under `benchmarks/peers.py`."""

from importlib.metadata import version

import common
import numpy as np

import mien

job = common.read_job()
analyzer = mien.Analyzer(mien.load(job["model"], views=job["views"]))


def photo(image: np.ndarray) -> int:
    return len(analyzer.read(image))


def face(crop: np.ndarray) -> str:
    probs = analyzer.classifier.classify(crop)
    return max(probs, key=probs.get)


common.run(job, photo, face, {"mien": version("mien"), "model": analyzer.classifier.card.name})
