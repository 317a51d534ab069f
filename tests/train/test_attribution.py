"""Gradient maps, against finite differences, sums and maps worked by hand."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("captum", reason="needs the train extra")

from torch import nn

from mien.core.occlusion import Occluder, occlusion
from mien.core.session import open_session, run
from mien.errors import MienError, ModelError
from mien.train import attribution
from mien.train.attribution import (
    METHODS,
    Settings,
    activations,
    attribute,
    first_filters,
    last_map,
    map_layers,
    predictor,
    shuffled,
)
from mien.train.nets import SpaceToDepthResNet
from mien.train.recipe import NetSettings
from mien.train.zoo import build


def small_net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    ).eval()


def some_faces(n: int = 3, size: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 1, size, size)).astype(np.float32)


CLASSES = np.array([0, 2, 1])


def test_the_gradient_agrees_with_finite_differences_in_float64() -> None:
    net, faces = small_net().double(), some_faces().astype(np.float64)
    found = attribute(net, faces, CLASSES, "gradient", Settings())
    step = 1e-6
    for y, x in ((0, 0), (3, 7), (11, 5)):
        ends = []
        for sign in (1, -1):
            moved = faces.copy()
            moved[:, 0, y, x] += sign * step
            ends.append(net(torch.from_numpy(moved)).detach().numpy()[range(3), CLASSES])
        slope = (ends[0] - ends[1]) / (2 * step)
        assert found[:, y, x] == pytest.approx(np.abs(slope), rel=1e-5, abs=1e-8)


def test_integrated_gradients_sum_to_what_the_logit_gains_within_a_hundredth() -> None:
    torch.manual_seed(1)
    net = SpaceToDepthResNet(3, widths=(8, 16), blocks=(1, 1)).eval()
    for parameter in net.parameters():  # away from the start, at which blocks are their shortcuts
        parameter.data += 0.3 * torch.randn_like(parameter)
    faces = some_faces(size=16)
    found = attribute(net, faces, CLASSES, "integrated", Settings())
    with torch.no_grad():
        whole, blank = net(torch.from_numpy(faces)).numpy(), net(torch.zeros(1, 1, 16, 16)).numpy()
    assert found.sum((1, 2)) == pytest.approx((whole - blank)[range(3), CLASSES], rel=0.01)


def test_steps_are_doubled_for_the_faces_that_miss_their_sum(monkeypatch) -> None:
    import captum.attr

    asked = []
    original = captum.attr.IntegratedGradients.attribute

    def spy(self, inputs, *rest, **options):
        asked.append((len(inputs), options["n_steps"]))
        return original(self, inputs, *rest, **options)

    monkeypatch.setattr(captum.attr.IntegratedGradients, "attribute", spy)
    monkeypatch.setattr(attribution, "TOLERANCE", -1.0)  # none is ever near enough
    attribute(small_net(), some_faces(), CLASSES, "integrated", Settings(n_steps=4, max_steps=16))
    assert asked == [(3, 4), (3, 8), (3, 16)]


def test_of_a_linear_network_every_map_is_known() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2, bias=False))
    weights = net[1].weight.detach().numpy().reshape(2, 4, 4)
    faces, classes = some_faces(2, 4), np.array([1, 0])
    found = {
        m: attribute(net, faces, classes, m, Settings()) for m in ("gradient", "smoothgrad", "integrated")
    }
    assert found["gradient"] == pytest.approx(np.abs(weights[classes]), abs=1e-6)
    assert found["smoothgrad"] == pytest.approx(np.abs(weights[classes]), abs=1e-6)
    assert found["integrated"] == pytest.approx(weights[classes] * faces[:, 0], abs=1e-5)


def test_gradcam_is_the_rectified_sum_of_maps_weighted_by_their_mean_gradient() -> None:
    net, faces = small_net(), some_faces()
    found = attribute(net, faces, CLASSES, "gradcam", Settings())
    maps = net[:5](torch.from_numpy(faces)).relu()  # (3, 6, 6, 6); the head averages, so gradients are even
    weights = net[8].weight[CLASSES] / 36
    cam = torch.einsum("nchw,nc->nhw", maps, weights).relu()[:, None]
    wanted = nn.functional.interpolate(cam, (12, 12), mode="bilinear")[:, 0]
    assert found == pytest.approx(wanted.detach().numpy(), abs=1e-6)


def test_smoothgrad_is_the_same_for_the_same_seed_and_leaves_torch_s_generator_alone() -> None:
    net, faces = small_net(), some_faces()
    state = torch.get_rng_state()
    first = attribute(net, faces, CLASSES, "smoothgrad", Settings())
    alone = attribute(net, faces[1:2], CLASSES[1:2], "smoothgrad", Settings())
    assert torch.equal(torch.get_rng_state(), state)
    assert alone[0] == pytest.approx(first[1], abs=1e-6)
    assert not np.allclose(attribute(net, faces, CLASSES, "smoothgrad", Settings(seed=1)), first)


LAST_MAPS = {
    "s2d-resnet": "stages.4",
    "cs230-base": "body.2.1",
    "cs230-hybrid": "inception.join",
    "auc-baseline": "body.12",
    "cs231n-final": "body.14",
    "chmura-cnn": "body.13",
    "maastricht-cnn1": "body.4",
}


@pytest.mark.parametrize("name", LAST_MAPS)
def test_the_last_map_of_a_network_is_found_and_explains(name: str) -> None:
    options = {"size": 48} if name.startswith("cs230") else {}
    net, faces = build(NetSettings(name=name, options=options), 7).eval(), some_faces(1, 48)
    assert last_map(net, torch.from_numpy(faces)) == LAST_MAPS[name]
    for method in METHODS if name == "s2d-resnet" else ("gradient", "gradcam"):
        found = attribute(net, faces, np.array([3]), method, Settings(n_noisy=2, n_steps=2, max_steps=2))
        assert found.shape == (1, 48, 48)
        assert np.isfinite(found).all()


def test_a_convolution_behind_the_pooling_is_no_map() -> None:
    body = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU())
    head = (
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Conv2d(4, 8, 1),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 7),
    )
    net = torch.nn.Sequential(body, *head).eval()
    assert last_map(net, torch.from_numpy(some_faces(1, 48))) == "0.1"


def test_nothing_of_the_network_is_changed_by_explaining_it() -> None:
    net = small_net().train()
    before = {name: t.clone() for name, t in net.state_dict().items()}
    for method in METHODS:
        attribute(net, some_faces(), CLASSES, method, Settings(n_noisy=2, n_steps=2, max_steps=2))
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())
    assert net.training
    assert net[2].inplace
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


def test_activations_are_what_the_named_layer_gives() -> None:
    net, faces = small_net(), some_faces()
    found = activations(net, faces, "1")
    assert found == pytest.approx(net[:2](torch.from_numpy(faces)).detach().numpy(), abs=1e-6)
    assert found.min() < 0  # the activation after it, which works in place, has not touched it
    assert map_layers(net, torch.from_numpy(faces)) == ["0", "1", "2", "3", "4", "5", "6"]


def test_the_filters_are_those_of_the_first_convolution() -> None:
    net = small_net()
    assert np.array_equal(first_filters(net), net[0].weight.detach().numpy())


def test_shuffling_moves_the_numbers_of_each_tensor_and_keeps_the_network() -> None:
    net = small_net()
    mixed = shuffled(net)
    for before, after in zip(net.parameters(), mixed.parameters(), strict=True):
        assert torch.equal(before.flatten().sort().values, after.flatten().sort().values)
    assert not torch.equal(net[4].weight, mixed[4].weight)
    assert torch.equal(shuffled(net)[4].weight, mixed[4].weight)


def as_onnx(net: nn.Module, path: Path) -> Path:
    """`small_net` written by hand: torch's own exporter takes many seconds to start."""
    onnx = pytest.importorskip("onnx", reason="needs the train extra")
    from onnx import helper, numpy_helper

    weights = {name: numpy_helper.from_array(t.numpy(), name) for name, t in net.state_dict().items()}
    names = {kind: [n for n in weights if n.startswith(f"{i}.")] for i, kind in ((1, "bn"), (4, "conv"))}
    nodes = [
        helper.make_node("Conv", ["x", "0.weight", "0.bias"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["a", *names["bn"][:4]], ["b"], epsilon=1e-5),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("MaxPool", ["c"], ["d"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["d", *names["conv"]], ["e"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["e"], ["f"]),
        helper.make_node("GlobalAveragePool", ["f"], ["g"]),
        helper.make_node("Flatten", ["g"], ["h"]),
        helper.make_node("Gemm", ["h", "8.weight", "8.bias"], ["y"], transB=1),
    ]
    ends = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in ("x", "y")]
    used = [t for n, t in weights.items() if "num_batches" not in n]
    graph = helper.make_graph(nodes, "small", ends[:1], ends[1:], used)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def test_occlusion_from_onnx_equals_occlusion_from_torch(tmp_path: Path) -> None:
    net, faces = small_net(), some_faces()
    session = open_session(as_onnx(net, tmp_path / "net.onnx"))
    from_torch = occlusion(predictor(net), faces, CLASSES, Occluder(4, 2))
    from_onnx = occlusion(lambda x: run(session, x), faces, CLASSES, Occluder(4, 2))
    assert np.abs(from_torch).max() > 0.01
    assert from_onnx == pytest.approx(from_torch, abs=1e-6)


def test_half_precision_answers_nearly_the_same() -> None:
    net, faces = small_net(), some_faces()
    assert predictor(net, half=True)(faces) == pytest.approx(predictor(net)(faces), abs=0.02)


@pytest.mark.parametrize(
    ("method", "layer", "error", "text"),
    [
        ("gradcamm", "", MienError, "no method of explanation named 'gradcamm'; did you mean 'gradcam'"),
        ("gradcam", "11", ModelError, "no layer named '11'"),
        ("gradcam", "8", ModelError, "layer '8' gives no map; choose one of 0, 1, 2, 3, 4, 5, 6"),
    ],
    ids=["method", "layer", "no map"],
)
def test_a_mistake_says_what_there_is(method: str, layer: str, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        attribute(small_net(), some_faces(), CLASSES, method, Settings(layer=layer))


def test_a_network_without_convolutions_has_no_last_map() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    with pytest.raises(ModelError, match="no map of a convolution; name a layer"):
        last_map(net, torch.zeros(1, 1, 4, 4))
    with pytest.raises(ModelError, match="no convolution, so no filters"):
        first_filters(net)
