"""The shipped model on real photographs, and on files that mean harm."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from mien.core.cards import read_card
from mien.core.model_store import SHIPPED

pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif(not (SHIPPED / "fer2013-medium.onnx").is_file(), reason="no emotion model is shipped"),
]

import mien


@pytest.fixture(scope="module")
def analyzer() -> mien.Analyzer:
    return mien.Analyzer()


def hopper() -> Path:
    matplotlib = pytest.importorskip("matplotlib", reason="needs matplotlib for a photo of a face")
    return Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")


def test_the_astronaut_has_one_face_and_is_happy(analyzer: mien.Analyzer, astronaut: Any) -> None:
    (reading,) = analyzer.read(astronaut)
    assert reading.emotion == "happy"
    x, y = reading.box.center
    assert abs(x - 222) < 15
    assert abs(y - 115) < 20
    assert sum(reading.probs) == pytest.approx(1, abs=1e-5)


def test_grace_hopper_has_one_face_on_her_face(analyzer: mien.Analyzer) -> None:
    (reading,) = analyzer.read(hopper())
    x, y = reading.box.center
    assert abs(x - 270) < 30
    assert abs(y - 190) < 40


@pytest.mark.parametrize("name", ["coffee", "brick", "grass", "page"])
def test_an_image_without_a_face_has_no_reading(analyzer: mien.Analyzer, name: str) -> None:
    data = pytest.importorskip("skimage.data", reason="needs scikit-image for images")
    image = getattr(data, name)()
    assert analyzer.read(image) == ()


@pytest.mark.parametrize("kind", ["path", "bytes", "pillow", "array"])
def test_every_kind_of_source_gives_the_same_reading(
    analyzer: mien.Analyzer, astronaut: Any, kind: str, tmp_path: Path
) -> None:
    from PIL import Image

    Image.fromarray(astronaut).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as pillow:
        sources = {
            "path": tmp_path / "a.png",
            "bytes": (tmp_path / "a.png").read_bytes(),
            "pillow": pillow,
            "array": astronaut,
        }
        assert analyzer.read(sources[kind]) == analyzer.read(astronaut)


def test_many_images_together_read_as_each_alone(analyzer: mien.Analyzer, astronaut: Any) -> None:
    images = [astronaut, np.zeros((50, 60, 3), np.uint8), np.ascontiguousarray(astronaut[:, ::-1])] * 2
    together = list(analyzer.read_many(images, batch=4))
    alone = [analyzer.read(image) for image in images]
    assert [len(readings) for readings in together] == [1, 0, 1] * 2
    for a, b in zip(together, alone, strict=True):
        assert [r.box for r in a] == [r.box for r in b]
        np.testing.assert_allclose([r.probs for r in a], [r.probs for r in b], atol=1e-5)


def test_quality_tells_a_good_face_from_a_blurred_one(astronaut: Any) -> None:
    pixels = mien.open_image(astronaut)
    good = mien.read(pixels)[0].quality
    blurred = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(6))
    bad = mien.read(blurred)[0].quality
    assert good is not None
    assert bad is not None
    assert good.score > 0.9 > bad.score + 0.2
    assert good.inside == 1
    assert mien.Analyzer(min_quality=bad.score + 1e-6).read(blurred) == ()
    assert len(mien.Analyzer(min_quality=bad.score).read(blurred)) == 1


def test_a_hidden_mouth_is_told_where_landmarks_are_asked_for(astronaut: Any) -> None:
    (whole,) = mien.read(astronaut, landmarks=True)
    covered = np.array(astronaut)
    mouth = np.array(whole.landmarks68)[48:68].mean(axis=0).astype(int)
    covered[mouth[1] - 22 : mouth[1] + 30, mouth[0] - 45 : mouth[0] + 45] = 90
    (hidden, *_) = mien.read(covered, landmarks=True)
    assert whole.quality is not None
    assert hidden.quality is not None
    assert whole.quality.occluded < 0.3 < 0.7 < hidden.quality.occluded <= 1
    assert hidden.to_dict()["quality"]["occluded"] == hidden.quality.occluded
    assert mien.to_rows([hidden])[0]["quality_occluded"] == pytest.approx(hidden.quality.occluded, abs=1e-4)
    plain = mien.read(astronaut)[0].quality
    assert plain == replace(whole.quality, occluded=None)
    assert "occluded" not in plain.to_dict()


def test_min_score_leaves_out_less_sure_faces(astronaut: Any) -> None:
    (reading,) = mien.Analyzer().read(astronaut)
    assert mien.Analyzer(min_score=min(1.0, reading.detection_score + 1e-6)).read(astronaut) == ()


def test_an_unknown_model_is_refused_before_any_image() -> None:
    with pytest.raises(mien.MienError, match="no model named 'nope'"):
        mien.Analyzer("nope")


def test_a_model_that_cannot_be_opened_is_refused_at_each_image(astronaut: Any, tmp_path: Path) -> None:
    weights = tmp_path / "short.onnx"
    shutil.copy(SHIPPED / "fer2013-medium.onnx", weights)
    card = read_card(SHIPPED / "fer2013-medium.json")
    replace(card, name="short", labels=card.labels[1:], prior=(), prior_power=0.0).write(
        weights.with_suffix(".json")
    )
    analyzer = mien.Analyzer(weights)
    for _ in range(2):
        with pytest.raises(mien.MienError, match=r"network of 'short' maps .* to 7, its card says .* to 6"):
            analyzer.read(astronaut)


def test_a_network_whose_opening_was_lost_in_a_fork_is_opened_anew(
    astronaut: Any, analyzer: mien.Analyzer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mien.core.analyzer._Opening.run", lambda self: None)
    assert mien.Analyzer().read(astronaut) == analyzer.read(astronaut)


def test_two_thousand_damaged_files_give_a_reading_or_a_clear_error(
    mutants: Callable[..., Iterator[tuple[str, bytes]]],
) -> None:
    psutil = pytest.importorskip("psutil", reason="needs psutil to weigh the process")
    process, read, texts, used = psutil.Process(), 0, [], []
    for i, (_, data) in enumerate(mutants(n=2000, seed=1)):
        try:
            mien.read(data)
            read += 1
        except mien.MienError as e:
            texts.append(str(e))
        if i % 250 == 249:
            used.append(process.memory_info().rss / 2**20)
    assert read > 100
    assert len(texts) > 100
    assert [text for text in texts if "\n" in text or not text] == []
    assert used[-1] - used[1] < 40, f"memory grew, MiB: {used}"
