"""The papers' networks: parameter counts against published figures, shapes, gradients, errors."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mien.errors import ModelError, RecipeError
from mien.train.papers import auc, cs230
from mien.train.recipe import NetSettings
from mien.train.transfer import TRANSFERRED
from mien.train.zoo import NETS, build

COUNTS = [
    ("s2d-resnet", {}, 7, 2_705_287),  # our own; worked by hand in test_nets
    ("cs230-base", {}, 11, 1_144_075),  # published 1,143,307, which no version of the code has
    ("cs230-base", {"size": 128}, 11, 4_289_803),  # published
    ("cs230-resnet", {}, 11, 2_613_227),  # published
    ("cs230-resnet", {"size": 128}, 11, 9_691_115),  # published
    ("cs230-densenet", {}, 11, 22_320_971),  # published
    ("cs230-densenet", {"mult": 1}, 11, 2_519_627),  # recomputed: the last committed code
    ("cs230-hybrid", {}, 11, 8_889_579),  # recomputed; published 11,961,579 is of a version that cannot run
    # 28,064 in convolutions, (4608 + 1) hidden, (hidden + 1) 7; published 37.8 M, and no width of the layer
    ("auc-baseline", {"hidden": 8192, "batch_norm": False}, 7, 28_064 + 4609 * 8192 + 8193 * 7),
    ("auc-baseline", {}, 7, 28_064 + 4609 * 1024 + 1025 * 7 + 4 * 2 * 32),
    ("khanzada-baseline", {}, 7, 2_434_921),  # published 2,437,355 counts 2,434 running statistics; see below
    ("khanzada-five-layer", {}, 7, 2_436_007 + 2 * (32 + 32 + 64)),  # published 2.4 M
    ("khanzada-five-layer-as-printed", {}, 7, 2_436_007 + 2 * (32 + 32 + 64)),
    ("cs231n-baseline", {}, 7, 26 * 32 + (24 * 24 * 32 + 1) * 100 + 101 * 7),  # not published
    ("cs231n-final", {}, 7, 417_575),  # recomputed; no count is published
    ("cs231n-final", {"same_pad": False}, 7, 212_775),
    ("cs231n-final-as-printed", {}, 7, 416_935),
    ("cs231n-final-as-printed", {"same_pad": False}, 7, 212_135),
    ("chmura-cnn", {}, 7, 22_386_119),  # published: "slightly more than 22 million"
    ("maastricht-cnn1", {}, 7, 2_812_307),  # recomputed from the code, as the next four
    ("maastricht-cnn2", {}, 7, 5_846_037),
    ("maastricht-cnn3", {}, 7, 5_854_147),
    ("maastricht-cnn3-as-printed", {}, 7, 5_854_147 + 121 * 120),
    ("maastricht-cnn4", {}, 7, 3_499_827),
    ("maastricht-xception", {}, 136, 2_630_888),  # torchsummary's figure in the authors' notebook
]
COUNTS += [
    ("s2d-vgg", {}, 7, 1_925_511),
    ("landmark-net", {}, 136, 638_612),
    ("dlib-face-resnet", {}, 7, 5_571_584 + 7_104 + 2 * 736 + 736 * 7 + 7),
    ("face-mobilenet", {}, 7, 3_184_512 + 21_888 + 2 * 1920 + 1920 * 7 + 7),
]
OWN = [name for name in NETS if name not in TRANSFERRED]
"""The others need torchvision or timm; see test_transfer."""


def make(name: str, n_classes: int = 7, **options: int | float | bool) -> nn.Module:
    return build(NetSettings(name=name, options=options), n_classes)


def case_id(value: object) -> str | None:
    if isinstance(value, dict):
        return ",".join(f"{k}={v}" for k, v in value.items()) or "default"
    return None


@pytest.mark.parametrize(("name", "options", "n_classes", "expected"), COUNTS, ids=case_id)
def test_the_parameter_count_is_that_of_the_paper(name, options, n_classes, expected) -> None:
    with torch.device("meta"):  # shapes alone
        net = make(name, n_classes, **options)
        size = getattr(net, "size", 48)
        assert net(torch.zeros(2, 1, size, size)).shape == (2, n_classes)
    assert sum(p.numel() for p in net.parameters()) == expected


def test_the_residual_network_of_128_px_learns_in_bfloat16_by_batches_of_32() -> None:
    """A product of these sizes in bfloat16 ends the process where the processor has AMX."""
    net = make("cs230-resnet", size=128)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert net.head(torch.zeros(32, 49_152)).isfinite().all()
        assert net.head[1](torch.zeros(2, 49_152)).dtype == torch.float32


def test_keras_counts_running_statistics_as_parameters_too() -> None:
    net = make("khanzada-baseline")
    running = sum(b.numel() for name, b in net.named_buffers() if "running" in name)
    assert sum(p.numel() for p in net.parameters()) + running == 2_437_355


def test_every_network_has_its_count_here_and_its_line_in_the_reference() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "networks.md"
    rows = dict(re.findall(r"^\| `([\w-]+)` \|.*?\| ([\d,]+) \|", page.read_text(encoding="utf-8"), re.M))
    assert {name for name, *_ in COUNTS} == set(OWN)
    assert set(rows) == set(NETS)
    defaults = {name: f"{count:,}" for name, options, _, count in COUNTS if not options}
    assert {name: rows[name] for name in OWN} == defaults


@pytest.mark.parametrize("name", OWN)
def test_one_step_on_gray_faces_gives_every_parameter_a_finite_gradient(name: str) -> None:
    torch.manual_seed(0)
    size = 24 if name == "chmura-cnn" else 48 if "maastricht-cnn" in name else 32
    any_side = ("s2d-resnet", "s2d-vgg", "dlib-face-resnet", "face-mobilenet", "landmark-net")
    net = make(name, 6) if name in any_side else make(name, 6, size=size)
    logits = net(torch.rand(2, 1, size, size))
    assert logits.shape == (2, 6)
    F.cross_entropy(logits, torch.tensor([0, 3])).backward()
    for parameter_name, parameter in net.named_parameters():
        assert parameter.grad is not None, f"{parameter_name} is not used"
        assert parameter.grad.isfinite().all(), parameter_name


@pytest.mark.parametrize(
    ("name", "options", "smallest"),
    [
        ("cs230-base", {}, 8),
        ("cs230-resnet", {}, 8),
        ("cs230-densenet", {}, 8),
        ("cs230-hybrid", {}, 8),
        ("auc-baseline", {}, 4),
        ("khanzada-baseline", {}, 8),
        ("khanzada-five-layer", {}, 8),
        ("khanzada-five-layer-as-printed", {}, 8),
        ("cs231n-baseline", {}, 2),
        ("cs231n-final", {}, 16),
        ("cs231n-final", {"same_pad": False}, 46),
        ("cs231n-final-as-printed", {"same_pad": False}, 46),
        ("chmura-cnn", {}, 14),
        ("maastricht-cnn1", {}, 15),
        ("maastricht-cnn4", {}, 11),
        ("maastricht-xception", {}, 1),
    ],
    ids=case_id,
)
def test_the_smallest_size_works_and_one_less_is_named(name, options, smallest) -> None:
    net = make(name, size=smallest, **options).eval()
    assert net(torch.rand(1, 1, smallest, smallest)).shape == (1, 7)
    with pytest.raises(
        RecipeError, match=f"needs faces of at least {smallest} px, got {smallest - 1}; set net"
    ):
        make(name, size=smallest - 1, **options)


@pytest.mark.parametrize("name", ["cs230-base", "cs230-resnet", "cs230-densenet", "cs230-hybrid"])
@pytest.mark.parametrize("size", [45, 48])
def test_maps_of_sizes_that_eight_does_not_divide_still_add_up(name: str, size: int) -> None:
    assert make(name, size=size, channels=1).eval()(torch.rand(1, 1, size, size)).shape == (1, 7)


@pytest.mark.parametrize("shape", [(2, 1, 40, 48), (2, 2, 48, 48), (2, 1, 64, 64)], ids=str)
def test_faces_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    copied = (shape[0], 3 if shape[1] == 1 else shape[1], *shape[2:])
    text = f"Cnn1 was built for faces (N, 3, 48, 48), got {copied}; make net.options.size"
    with pytest.raises(ModelError, match=re.escape(text)):
        make("maastricht-cnn1")(torch.zeros(shape))


def test_gray_faces_are_copied_to_every_channel() -> None:
    net, gray = make("maastricht-cnn1").eval(), torch.rand(2, 1, 48, 48)
    assert torch.equal(net(gray), net(gray.repeat(1, 3, 1, 1)))
    assert not torch.equal(net(gray), net(torch.rand(2, 3, 48, 48)))


def test_a_network_without_a_head_for_votes_says_so() -> None:
    with pytest.raises(
        RecipeError, match=r"network 'chmura-cnn' has no head for votes; set loss\.votes_weight=0"
    ):
        build(NetSettings(name="chmura-cnn"), 7, n_votes=10)


def test_older_maps_are_pooled_to_the_newest_and_added() -> None:
    maps = [torch.arange(n * n, dtype=torch.float).reshape(1, 1, n, n) for n in (8, 4, 2)]
    pooled_sum = cs230.PooledSum((1, 1, 1), 1)
    pooled_sum.convs = nn.ModuleList([nn.Identity()] * 3)
    # the largest of each quarter of the 8x8 map, of the 4x4 map, and the 2x2 map itself
    expected = torch.tensor([[27 + 5 + 0, 31 + 7 + 1], [59 + 13 + 2, 63 + 15 + 3]])
    assert torch.equal(pooled_sum(*maps)[0, 0], expected.float())


def test_a_4x4_convolution_is_padded_as_in_keras_by_one_before_and_two_after() -> None:
    pad, conv, *_ = auc.conv(1, 1, 4)
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[0, 0, 0, 0] = 1
        conv.bias.zero_()
    row = torch.arange(1.0, 5.0).expand(1, 1, 4, 4)
    assert conv(pad(row))[0, 0, 1:].tolist() == [[0, 1, 2, 3]] * 3


def test_printed_pooling_keeps_half_of_the_size_as_in_keras() -> None:
    pool = auc.FiveLayerAsPrinted(7).make_pool()
    assert pool(torch.arange(8.0).expand(1, 1, 8, 8))[0, 0].tolist() == [[2, 4, 6, 7]] * 4


@pytest.mark.parametrize("name", ["chmura-cnn", "auc-baseline", "khanzada-baseline", "khanzada-five-layer"])
def test_networks_that_came_from_keras_start_as_there(name: str) -> None:
    layer = make(name, size=16).head[0]
    bound = (6 / (layer.in_features + layer.out_features)) ** 0.5
    assert 0.99 * bound < layer.weight.abs().max() <= bound
    assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.01)
    assert not layer.bias.any()
