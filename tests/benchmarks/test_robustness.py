"""The changes that the robustness benchmark makes to faces, against values worked by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mien.core.classifier import Classifier
from mien.data.records import FaceSet
from mien.data.store import write_store

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def bench(module_at: Callable[[str], ModuleType]) -> ModuleType:
    return module_at("benchmarks/robustness.py")


@pytest.fixture
def ramp() -> Any:
    """Gray that rises by 5 from left to right, 0 to 235, on 48 x 48 pixels."""
    return np.tile(np.arange(0, 240, 5, dtype=np.uint8), (48, 1))


@pytest.fixture
def dot() -> Any:
    """One bright block of 4 x 4 pixels, its middle at (36, 24) of 48 x 48."""
    face = np.zeros((48, 48), np.uint8)
    face[22:26, 34:38] = 255
    return face


def centre(face: Any) -> tuple[float, float]:
    weights = face / face.sum()
    places = np.arange(len(face)) + 0.5
    return float(weights.sum(0) @ places), float(weights.sum(1) @ places)


def test_brightness_is_added_and_clipped(bench, ramp):
    out = bench.brighter(ramp, 0.2, RNG)
    assert (out[0, 0], out[0, 20], out[0, 47]) == (51, 151, 255)
    assert bench.brighter(ramp, -0.2, RNG)[0, 20] == 49


def test_contrast_goes_about_the_faces_own_mean(bench, ramp):
    out = bench.contrast(ramp, 0.5, RNG)  # the mean is 117.5
    assert (out[0, 0], out[0, 47]) == (59, 176)
    assert bench.contrast(ramp, 1.0, RNG).tolist() == ramp.tolist()


def test_noise_has_the_wanted_spread_and_no_bias(bench):
    out = bench.noisy(np.full((48, 48), 128, np.uint8), 10, np.random.default_rng(1)).astype(float)
    assert out.std() == pytest.approx(10, abs=0.5)
    assert out.mean() == pytest.approx(128, abs=0.6)


def test_blur_keeps_the_place_and_spreads_by_its_sigma(bench, dot):
    out = bench.blurred(dot, 2.0, RNG).astype(float)
    assert centre(out) == pytest.approx((36, 24), abs=0.1)
    places = np.arange(48) + 0.5
    spread = (out.sum(0) / out.sum()) @ (places - 36) ** 2
    assert spread == pytest.approx(2.0**2 + (4**2) / 12, rel=0.15)  # variances of blur and block add


def test_blur_is_as_strong_on_a_larger_face(bench, ramp):
    edge = np.repeat(np.array([0, 255], np.uint8), 24)[None].repeat(48, 0)
    large = np.asarray(Image.fromarray(edge).resize((192, 192), Image.Resampling.NEAREST))
    shrunk = bench.blurred(large, 2.0, RNG)[::4, ::4]
    assert np.abs(shrunk[20, 26:] - bench.blurred(edge, 2.0, RNG)[20, 26:].astype(float)).max() < 15


def test_a_quarter_turn_moves_right_to_below(bench, dot):
    assert centre(bench.turned(dot, 90, RNG)) == pytest.approx((24, 36), abs=0.1)
    assert centre(bench.turned(dot, 0, RNG)) == pytest.approx((36, 24), abs=0.1)


def test_scale_is_about_the_middle(bench, dot):
    assert centre(bench.enlarged(dot, 1.5, RNG)) == pytest.approx((42, 24), abs=0.1)
    assert centre(bench.enlarged(dot, 0.5, RNG)) == pytest.approx((30, 24), abs=0.1)


def test_a_shift_has_its_length_in_any_direction(bench, dot):
    rng = np.random.default_rng(2)
    moves = np.array([centre(bench.shifted(dot, 4, rng)) for _ in range(20)]) - (36, 24)
    assert np.hypot(*moves.T) == pytest.approx(4, abs=0.15)
    assert {(x > 0, y > 0) for x, y in moves} == {(a, b) for a in (True, False) for b in (True, False)}


def test_half_of_the_face_gives_way_to_its_mean(bench, ramp):
    out = bench.half_hidden(ramp, "lower", RNG)
    assert (out[:24] == ramp[:24]).all()
    assert set(out[24:].ravel()) == {118}  # 117.5, to the even neighbour
    colour = np.stack([ramp, ramp // 2, ramp // 4], axis=-1)
    assert (bench.half_hidden(colour, "upper", RNG)[24:] == colour[24:]).all()
    assert len(np.unique(bench.half_hidden(colour, "upper", RNG)[:24].reshape(-1, 3), axis=0)) == 1


def test_a_worse_jpeg_is_further_from_the_face(bench):
    face = np.random.default_rng(3).integers(0, 256, (48, 48), dtype=np.uint8)
    gaps = [np.abs(bench.compressed(face, q, RNG).astype(int) - face).mean() for q in (90, 50, 10)]
    assert 0 < gaps[0] < gaps[1] < gaps[2]


def test_a_face_is_shrunk_without_aliasing(bench):
    stripes = np.tile(np.array([0, 255], np.uint8), (48, 24))
    out = bench.at_side(stripes, 24, RNG)
    assert out.shape == (24, 24)
    assert np.abs(out[:, 2:-2].astype(int) - 127).max() <= 2


def test_light_has_a_colour(bench, ramp):
    assert bench.tinted(ramp, "warm", RNG)[0, 40].tolist() == [200, 160, 110]
    assert bench.tinted(bench.tinted(ramp, "cool", RNG), "gray", RNG).shape == (48, 48)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("colour", [False, True], ids=["gray-store", "colour-store"])
def test_every_change_ends_as_what_the_network_takes(bench, ramp, channels, colour):
    face = np.stack([ramp] * 3, axis=-1) if colour else ramp
    faces = np.stack([face, face])

    class Model:
        class card:  # noqa: N801
            input_size = 40

    Model.card.channels = channels
    for family in bench.FAMILIES.values():
        for level in family.levels:
            out = bench.as_input(bench.changed(faces, family, level), Model)
            assert out.dtype == np.uint8
            assert out.shape == ((2, 40, 40) if channels == 1 else (2, 40, 40, 3))


def test_neutral_levels_change_nothing(bench, ramp):
    for name, family in bench.FAMILIES.items():
        if family.neutral is not None:
            assert family.neutral in family.levels
            same = family.change(ramp, family.neutral, np.random.default_rng(0)).astype(int)
            assert np.abs(same - ramp).max() <= 1, name


@pytest.fixture
def store(noise_faces: Callable[..., FaceSet], tmp_path: Path) -> Path:
    faces = noise_faces(40)
    faces.split[faces.split == 2] = 1
    write_store(faces, tmp_path / "faces.h5")
    return tmp_path / "faces.h5"


def test_lost_and_won_are_counted_against_the_unchanged_face(bench, tiny_home):
    class ByMean:
        """Happy where the face is bright, else sad."""

        labels = Classifier(tiny_home / "models" / "tiny.onnx").labels
        card = type("card", (), {"channels": 1, "input_size": 48})

        def probs(self, crops: Any) -> Any:
            bright = (crops.mean((1, 2)) > 100).astype(int)
            return np.eye(7)[np.where(bright, 3, 4)]

    faces = np.stack([np.full((48, 48), v, np.uint8) for v in (90, 90, 120, 120)])
    labels = np.array([4, 3, 3, 4])  # right, wrong, right, wrong
    brightness = {"brightness": bench.FAMILIES["brightness"]}
    rows = {row.level: row for row in bench.measure(ByMean(), faces, labels, brightness)}
    assert rows[None].accuracy == rows[0.0].accuracy == 0.5
    assert (rows[0.2].lost, rows[0.2].won) == (1, 1)  # 90 turns happy
    assert (rows[-0.2].lost, rows[-0.2].won) == (1, 1)  # 120 turns sad
    assert (rows[0.0].lost, rows[0.0].won) == (0, 0)


def test_json_table_and_figure_are_written(bench, store, tiny_home, tmp_path, capsys):
    bench.main([str(tiny_home / "models" / "tiny.onnx"), str(store), "--out", str(tmp_path / "out")])
    found = json.loads((tmp_path / "out" / "tiny-robustness.json").read_text())
    assert (found["n"], found["split"], found["views"]) == (20, "val", 1)
    assert len(found["rows"]) == 1 + sum(len(family.levels) for family in bench.FAMILIES.values())
    assert {row["accuracy"] for row in found["rows"]} == {found["rows"][0]["accuracy"]}  # it sees nothing
    with Image.open(tmp_path / "out" / "tiny-robustness.png") as drawn:
        width, height = drawn.size
    assert width > height > 500
    text = capsys.readouterr().out
    assert "tiny on 20 val faces of made-up, 1 view(s)" in text
    assert text.count("\n| rotation (degrees) |") == 4


def test_a_part_of_the_faces_is_drawn_the_same_every_time(bench, store, tiny_home, capsys):
    def told() -> str:
        bench.main([str(tiny_home / "models" / "tiny.onnx"), str(store), "--faces", "12"])
        return capsys.readouterr().out

    first = told()
    assert first.startswith("tiny on 12 val faces")
    assert told() == first
