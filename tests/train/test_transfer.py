"""Transferred networks: parameter counts against the papers, what is frozen, how faces are fed."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

pytest.importorskip("torchvision", reason="needs the train extra")
pytest.importorskip("timm", reason="needs the train extra")

from mien.errors import MienError, ModelError, RecipeError
from mien.train.recipe import NetSettings
from mien.train.transfer import TRANSFERRED, Transfer, Transferred, weighted_layers
from mien.train.zoo import build, make_transferred

SMALL = Transfer(backbone="resnet10t", size=32)  # 5 M numbers, the smallest with batch normalisation


def count(net: nn.Module, trained: bool = False) -> int:
    return sum(p.numel() for p in net.parameters() if p.requires_grad or not trained)


COUNTS = [
    ("vgg16-khanzada", 94_418_759, 79_704_071, 0),
    ("resnet50-khanzada", 23_508_032 + 12_595_207, 12_595_207, 53_120),  # batch normalisations alone
    ("senet50-khanzada", 26_039_024 + 12_595_207, 12_595_207, 18_805_120),
    ("chmura-vgg16", 15_440_839, 726_151, 0),
    ("face-transfer", 5_578_688 + 380_935, 380_935, 0),
    ("maastricht-googlenet", 5_607_079, 7_175, 5_599_904),
    ("transferred", 14_714_688 + 513 * 7, 513 * 7, 14_714_688),
    ("timm", 11_176_512 + 513 * 7, 513 * 7, 11_176_512),
]


@pytest.mark.parametrize(("name", "total", "head", "trained_backbone"), COUNTS)
def test_parameter_counts_are_those_of_the_papers(name, total, head, trained_backbone) -> None:
    with torch.device("meta"):
        net = build(NetSettings(name=name), 7)
        assert net(torch.zeros(2, 1, 48, 48)).shape == (2, 7)
    assert (count(net), count(net.head)) == (total, head)
    assert count(net.backbone, trained=True) == trained_backbone


@pytest.mark.parametrize("name", ["maastricht-googlenet", "vgg16-khanzada", "chmura-vgg16"])
def test_a_download_of_torchvisions_shape_fills_the_backbone(monkeypatch, name) -> None:
    """The files hold more than is used, such as GoogLeNet's auxiliary heads."""
    from torchvision import models

    def download(url: str, **_: object) -> dict[str, torch.Tensor]:
        make = getattr(models, url.rpartition("/")[2].partition("-")[0])
        options = {"init_weights": False} if "googlenet" in url else {}
        with torch.device("meta"):
            shapes = make(**options).state_dict()
        return {key: torch.full(t.shape, 0.5, dtype=t.dtype) for key, t in shapes.items()}

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    net = build(NetSettings(name=name, options={"pretrained": True}), 7)
    assert count(net) == next(total for other, total, *_ in COUNTS if other == name)
    assert all((t == 0.5).all() for key, t in net.backbone.state_dict().items() if key.endswith("weight"))


def test_every_transferred_network_has_its_count_here_and_in_the_reference() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "networks.md").read_text(encoding="utf-8")
    assert {name for name, *_ in COUNTS} == set(TRANSFERRED)
    for name, total, *_ in COUNTS:
        assert re.search(rf"^\| `{name}` \|.*?\| {total:,} \|", page, re.M), name


def layer_names(net: Transferred, trained: bool) -> list[str]:
    names = {m: n for n, m in net.backbone.named_modules()}
    return [
        names[m]
        for m in weighted_layers(net.backbone)
        if all(p.requires_grad == trained for p in m.parameters(recurse=False))
    ]


def test_the_papers_se_resnet_is_frozen_up_to_the_first_convolution_of_its_stage_4_block_5() -> None:
    with torch.device("meta"):
        net = make_transferred(7, TRANSFERRED["senet50-khanzada"])
    assert layer_names(net, trained=False)[-1] == "layer3.4.conv1"
    assert "layer3.3.bn3" in layer_names(net, trained=True)


@pytest.fixture(scope="module")
def small() -> Transferred:
    torch.manual_seed(0)
    return make_transferred(3, SMALL)


@pytest.mark.parametrize(("freeze", "n_fixed"), [("none", 0), (0, 0), (1, 1), (5, 5), ("all", 28)], ids=str)
def test_freezing_counts_layers_from_the_input(freeze: str | int, n_fixed: int) -> None:
    with torch.device("meta"):
        net = make_transferred(3, replace(SMALL, freeze=freeze))
    layers = weighted_layers(net.backbone)
    fixed = [all(not p.requires_grad for p in m.parameters(recurse=False)) for m in layers]
    assert fixed == [True] * n_fixed + [False] * (len(layers) - n_fixed)
    assert all(p.requires_grad for p in net.head.parameters())
    assert net.frozen == (freeze == "all")


@pytest.mark.parametrize("policy", ["frozen", "train"])
def test_batch_normalisation_of_the_frozen_part_follows_its_policy(policy: str) -> None:
    torch.manual_seed(0)
    net = make_transferred(3, replace(SMALL, freeze=6, batch_norm=policy)).train()
    before = {name: t.clone() for name, t in net.state_dict().items()}
    net(torch.rand(4, 1, 32, 32)).sum().backward()
    torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.1).step()
    changed = {name for name, t in net.state_dict().items() if not torch.equal(t, before[name])}
    layers = [n for m in weighted_layers(net.backbone)[:6] for n, k in net.named_modules() if k is m]
    norms = [n for n in layers if isinstance(net.get_submodule(n), nn.BatchNorm2d)]
    assert len(norms) == 3
    moved = {n for n in layers if any(name.startswith(f"{n}.") for name in changed)}
    assert moved == (set(norms) if policy == "train" else set())
    assert {f"{norms[0]}.running_mean" in changed, f"{norms[0]}.bias" in changed} == {policy == "train"}
    assert "head.0.weight" in changed
    assert any(name.endswith("running_mean") for name in changed), "the rest learns"


def test_a_frozen_backbone_gives_the_same_features_while_its_head_trains() -> None:
    net = make_transferred(3, replace(SMALL, freeze="all"))
    net.backbone.act1 = nn.Dropout(0.5)
    faces = torch.rand(4, 1, 32, 32)
    expected = net.eval().features(faces)
    net.train()
    assert net.head.training
    assert torch.equal(net.features(faces), expected)
    assert not net.features(faces).requires_grad


def test_a_gray_first_kernel_does_what_copies_of_the_face_do(small: Transferred) -> None:
    torch.manual_seed(0)
    gray = make_transferred(3, replace(SMALL, channels=1)).eval()
    faces = torch.rand(2, 1, 32, 32)
    assert next(gray.backbone.parameters()).shape[1] == 1
    torch.testing.assert_close(gray(faces), small.eval()(faces), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(small(faces), small(faces.repeat(1, 3, 1, 1)))


def test_features_in_place_of_faces_go_through_the_head_alone(small: Transferred) -> None:
    faces = torch.rand(2, 1, 32, 32)
    features = small.eval().features(faces)
    assert features.shape == (2, 512) == (2, small.n_features)
    assert torch.equal(small(features[..., None, None]), small(faces))


def test_faces_are_resized_and_smoothed_only_where_they_shrink(small: Transferred) -> None:
    seen: list[torch.Tensor] = []
    handle = small.backbone.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    stripes = torch.zeros(1, 1, 128, 128)
    stripes[..., ::4] = 1  # which plain bilinear sampling, between the second and third of four, never meets
    small.eval()(stripes)
    small(torch.ones(1, 1, 16, 16))
    small(stripes[..., :32, :32])
    handle.remove()
    assert [x.shape[-2:] for x in seen] == [(32, 32)] * 3
    torch.testing.assert_close(seen[0][..., 8:24], torch.full((1, 3, 32, 16), 0.25), atol=0.01, rtol=0)
    assert torch.equal(seen[1], torch.ones(1, 3, 32, 32))
    assert torch.equal(seen[2][:, 0], stripes[0, :, :32, :32]), "faces of the right size are left alone"


def test_the_head_has_the_widths_dropouts_and_activations_of_its_lists() -> None:
    with torch.device("meta"):
        head = make_transferred(7, TRANSFERRED["chmura-vgg16"]).head
    text = [
        f"{m.in_features}-{m.out_features}" if isinstance(m, nn.Linear) else type(m).__name__ for m in head
    ]
    assert text == ["512-1024", "ReLU", "1024-128", "ReLU", "Dropout", "128-512", "512-7"]


def test_timm_gives_any_network_its_own_pooling_or_none() -> None:
    pooled = make_transferred(7, Transfer(backbone="vit_tiny_patch16_224", size=224))
    flat = make_transferred(7, replace(SMALL, pool="flatten", size=64))
    assert (pooled.n_features, flat.n_features) == (192, 512 * 2 * 2)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"backbone": "resnet500"}, "no backbone named 'resnet500'; did you mean 'resnet50"),
        (
            {"backbone": "resnet50-caffe", "pretrained": True},
            "has no ImageNet weights to download: set net.init",
        ),
        ({"batch_norm": "off"}, "net.options.batch_norm must be one of frozen, train, got off"),
        ({"channels": 2}, "net.options.channels must be one of 1, 3, got 2"),
        ({"freeze": "some"}, "net.options.freeze must be none, all or a number of layers, got some"),
        ({"freeze": 99}, "freeze must be at most 13, the layers of 'vgg16', got 99"),
        ({"head": [64], "head_dropout": [0.5]}, "head_dropout must be one value or a list of 2, got 1"),
        ({"size": 16}, "'vgg16' cannot take faces of 16 px ("),
        ({"colour": 3}, "net.options of 'transferred': "),
        ({"backbone": "run:nowhere"}, "nowhere holds no run of `mien train`"),
    ],
    ids=lambda v: ",".join(map(str, v)) if isinstance(v, dict) else None,
)
def test_what_cannot_be_built_is_refused(options: dict[str, object], text: str) -> None:
    with torch.device("meta"), pytest.raises(MienError, match=re.escape(text)):
        build(NetSettings.model_validate({"name": "transferred", "options": options}), 7)


def test_colour_faces_are_refused_by_a_gray_network(small: Transferred) -> None:
    with torch.device("meta"):
        gray = make_transferred(7, Transfer(channels=1, size=48))
        with pytest.raises(ModelError, match=re.escape("faces of 1 channel(s), got (2, 3, 48, 48)")):
            gray(torch.zeros(2, 3, 48, 48))


def test_votes_have_no_head_here() -> None:
    with pytest.raises(RecipeError, match="network 'chmura-vgg16' has no head for votes"):
        build(NetSettings(name="chmura-vgg16"), 7, n_votes=10)


def test_a_normalised_head_sees_how_features_differ_and_not_their_size() -> None:
    """Without, half-dropped features of mean 1 and deviation 0.1 taught a head nothing: 28 % for 62."""
    options = {
        "backbone": "dlib-face",
        "size": 64,
        "channels": 1,
        "head": (8,),
        "head_norm": True,
        "freeze": "all",
    }
    net = build(NetSettings(name="transferred", options=options), 3).train()
    features = torch.randn(16, net.n_features, 1, 1, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(net(0.1 * features + 1), net(features), atol=0.01, rtol=0)
