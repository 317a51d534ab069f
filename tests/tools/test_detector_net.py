"""The network that finds faces, against the file that ships, and its loss, against sums worked by hand."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="needs the train extra")
onnx = pytest.importorskip("onnx", reason="needs the train extra")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from detector_net import DetectorNet, detector_loss

from mien.core.model_store import SHIPPED
from mien.core.one_stage import WEIGHTS, OneStage


def shipped_numbers():
    """Weights and biases of the shipped file's convolutions, by the names that they had in the network."""
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(SHIPPED / WEIGHTS).graph.initializer}
    numbers = {name: array for name, array in stored.items() if name.startswith("out.")}
    for name in (name.removesuffix("_quantized") for name in stored if name.endswith("_quantized")):
        whole = stored[f"{name}_quantized"]
        scale = stored[f"{name}_scale" if name.endswith("weight") else f"{name}_quantized_scale"]
        numbers[name] = whole * scale.reshape(-1, *[1] * (whole.ndim - 1))
    return numbers


def test_the_network_answers_as_the_shipped_one_with_its_weights(astronaut):
    net, numbers = DetectorNet().eval(), shipped_numbers()
    layers = dict(net.named_modules())
    assert {f"{n}.weight" for n, m in layers.items() if isinstance(m, torch.nn.Conv2d)} == {
        name for name in numbers if name.endswith("weight")
    }
    for layer in layers.values():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(layer.weight)  # the file has them in the convolutions before
    with torch.no_grad():
        for name, array in numbers.items():
            layer, kind = name.rsplit(".", 1)
            if kind == "bias" and layers[layer].bias is None:
                layer = layer[:-1] + "1"  # the normalisation behind it
            getattr(layers[layer], kind).copy_(torch.tensor(array))
        gray = np.asarray(Image.fromarray(astronaut).convert("L").resize((160, 128)))
        (got,) = net(torch.from_numpy(gray[None, None].astype(np.float32))).numpy()
    (wanted,) = OneStage().run_net(gray[None])
    apart = np.abs(got - wanted).mean(axis=(1, 2))
    assert apart[0] < 0.08, "logits, which spread by 0.8 here"
    assert apart[1:].max() < 0.02, "places, which spread by 0.13"


def test_the_network_answers_a_cell_every_eight_pixels():
    assert DetectorNet()(torch.zeros(2, 1, 96, 64)).shape == (2, 14, 12, 8)


def nothing(cells):
    """What a network answers of two images of a row of cells, and a target without a face."""
    return torch.zeros(2, 14, 1, cells), torch.zeros(2, 16, 1, cells)


def test_the_loss_of_scores_is_that_of_objects_as_points_by_face():
    answers, target = nothing(3)
    answers[:, 0, 0] = torch.tensor([[0.7, -0.4, 2.0], [-1.1, 0.9, -0.2]])
    target[:, 0, 0] = torch.tensor([[1, 0.6, -1], [1, 0, 0.25]])
    p = [[1 / (1 + math.exp(-logit)) for logit in row] for row in answers[:, 0, 0].tolist()]
    at_centres = sum((1 - q) ** 2 * -math.log(q) for q in (p[0][0], p[1][0]))
    elsewhere = sum(
        (1 - height) ** 4 * q**2 * -math.log(1 - q)
        for q, height in ((p[0][1], 0.6), (p[1][1], 0), (p[1][2], 0.25))
    )
    score, places = detector_loss(answers, target)
    assert score.item() == pytest.approx((at_centres + elsewhere) / 2)
    assert places == 0


def test_the_loss_of_places_is_a_mean_by_cell_of_gaps_in_sides_of_the_face():
    def off_by(gap):
        return abs(gap) - 0.025 if abs(gap) > 0.05 else gap**2 / 0.1

    answers, target = nothing(4)
    target[1, 14, 0, :3], target[1, 15, 0, :2] = 1, 1  # of the last that is learned, no landmarks
    target[1, 3, 0] = math.log(2)
    target[1, :3, 0] = torch.tensor([0.0, 0.3, -0.2])[:, None]
    target[1, 4:14, 0] = torch.arange(10)[:, None] / 10
    answers[1, 1:, 0] = target[1, 1:14, 0]
    gaps = torch.zeros(14)
    gaps[[1, 2, 3, 4, 13]] = torch.tensor([0.3, -0.04, 0.2, 0.05, -0.6])
    answers[1, :, 0] += gaps[:, None]
    box = off_by(0.3 / 2) + off_by(0.04 / 2) + off_by(0.2)  # the side's logarithm has no length
    marks = off_by(0.05 / 2) + off_by(0.6 / 2)
    assert detector_loss(answers, target)[1].item() == pytest.approx(box + marks * 2 / 3)


def test_without_a_face_a_loss_is_a_sum_over_the_cells():
    answers, target = nothing(3)
    score, places = detector_loss(answers, target)
    assert score.item() == pytest.approx(6 * 0.5**2 * math.log(2))
    assert places == 0


def test_answers_in_half_precision_lose_no_more_than_their_own_digits():
    answers, target = nothing(200)
    answers[:, 0] = torch.linspace(-8, 8, 200)
    target[:, 0, 0, 150] = 1
    halved = answers.bfloat16()
    wanted = detector_loss(halved.float(), target)
    assert torch.equal(torch.stack(detector_loss(halved, target)), torch.stack(wanted))
