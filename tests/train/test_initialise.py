"""Checkpoints of mien, torchvision and VGGFace: which tensors they set, and what is refused."""

import pickle
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("torchvision", reason="needs the train extra")
pytest.importorskip("timm", reason="needs the train extra")

from safetensors.torch import save_file
from torchvision import models

from mien.errors import ModelError
from mien.train.checkpoints import load_tensors, save_tensors
from mien.train.initialise import canonical, load_initial
from mien.train.nets import SpaceToDepthResNet
from mien.train.transfer import Transfer
from mien.train.zoo import make_transferred


class Block(nn.Module):
    """One block of a ResNet, under the names of torchvision."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 4, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(nn.Sequential())
        inner = self.layer1[0]
        inner.conv1, inner.bn1 = nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)


def tensors_of(net: nn.Module, seed: int = 1) -> dict[str, Tensor]:
    """Other values for everything that the net holds."""
    rng = torch.Generator().manual_seed(seed)
    return {
        n: torch.rand(t.shape, generator=rng) if t.is_floating_point() else t
        for n, t in net.state_dict().items()
    }


CAFFE = {
    "conv1.weight": "conv1_7x7_s2.weight",
    "bn1.weight": "conv1_7x7_s2_bn.weight",
    "bn1.bias": "conv1_7x7_s2_bn.bias",
    "bn1.running_mean": "conv1_7x7_s2_bn.running_mean",
    "bn1.running_var": "conv1_7x7_s2_bn.running_var",
    "layer1.0.conv1.weight": "conv2_1_1x1_reduce.weight",
    "layer1.0.bn1.weight": "conv2_1_1x1_reduce_bn.weight",
    "layer1.0.bn1.bias": "conv2_1_1x1_reduce_bn.bias",
    "layer1.0.bn1.running_mean": "conv2_1_1x1_reduce_bn.running_mean",
    "layer1.0.bn1.running_var": "conv2_1_1x1_reduce_bn.running_var",
}
"""Of the VGGFace2 export of the authors, https://github.com/ox-vgg/vgg_face2."""


@pytest.mark.parametrize("kind", ["plain", "module.", "backbone.", "module.features.", "caffe"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_names_agree_with_any_prefix_and_in_caffes_words(kind: str, suffix: str, tmp_path: Path) -> None:
    net = Block()
    given = {n: t for n, t in tensors_of(net).items() if n in CAFFE}
    rename = CAFFE.get if kind == "caffe" else lambda n: n if kind == "plain" else kind + n
    stored = {rename(n): t for n, t in given.items()} | {"fc.weight": torch.zeros(8631, 4)}
    path = tmp_path / f"faces{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": stored, "epoch": 3}, path)
    else:
        save_file(stored, path)
    report = load_initial(net, str(path))
    assert all(torch.equal(net.state_dict()[n], t) for n, t in given.items())
    assert set(report.matched) == set(CAFFE)
    assert report.missing == ("head.weight", "head.bias")
    assert report.left == ("fc.weight",)
    assert (
        str(report) == f"{path}: 10 of 12 tensors set; as drawn: head.weight, head.bias; not used: fc.weight"
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("conv1/7x7_s2/bn.bias", "bn1.bias"),
        ("conv5_3_3x3.weight", "layer4.2.conv2.weight"),
        ("conv5_3_3x3_bn.weight", "layer4.2.bn2.weight"),
        ("conv4_6_1x1_increase_bn.running_var", "layer3.5.bn3.running_var"),
        ("conv3_1_1x1_proj.weight", "layer2.0.downsample.0.weight"),
        ("conv3_1_1x1_proj_bn.weight", "layer2.0.downsample.1.weight"),
        ("conv2_3_1x1_down.bias", "layer1.2.se.fc1.bias"),
        ("conv2_3_1x1_up.weight", "layer1.2.se.fc2.weight"),
        ("layer1.2.conv5.weight", "layer1.2.se.fc2.weight"),
        ("backbone.layer1.2.se_module.fc1.bias", "layer1.2.se.fc1.bias"),
        ("backbone.layer0.conv1.weight", "conv1.weight"),
        ("module.model.layer4.2.conv3.weight", "layer4.2.conv3.weight"),
        ("head.0.weight", "head.0.weight"),
    ],
)
def test_each_name_has_one_canonical_form(name: str, expected: str) -> None:
    assert canonical(name) == expected


def test_the_thirteen_convolutions_of_vgg_face_are_found_in_their_order() -> None:
    with torch.device("meta"):
        features = models.vgg16().features
    places = [n for n, m in features.named_children() if isinstance(m, nn.Conv2d)]
    names = [f"conv{g}_{i}.weight" for g, n in enumerate((2, 2, 3, 3, 3), start=1) for i in range(1, n + 1)]
    assert [canonical(name) for name in names] == [f"{place}.weight" for place in places]


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (models.resnet50, Transfer(backbone="resnet50")),
        (models.resnet50, Transfer(backbone="resnet50-caffe")),
        (models.vgg16, Transfer(backbone="vgg16", size=32)),
        (lambda: models.googlenet(init_weights=False), Transfer(backbone="googlenet")),
    ],
    ids=["resnet50", "resnet50-caffe", "vgg16", "googlenet"],
)
def test_a_whole_file_of_torchvision_sets_every_tensor_of_its_backbone(make, settings) -> None:
    with torch.device("meta"):
        file, net = make().state_dict(), make_transferred(7, settings)
    found = {canonical(name): t.shape for name, t in file.items()}
    backbone = {n: t.shape for n, t in net.state_dict().items() if n.startswith("backbone.")}
    assert {canonical(n): shape for n, shape in backbone.items()}.items() <= found.items()


def test_a_kernel_for_colour_is_summed_for_a_gray_network(tmp_path: Path) -> None:
    given = tensors_of(Block(3))
    torch.save(given, tmp_path / "colour.pt")
    gray = Block(1)
    load_initial(gray, str(tmp_path / "colour.pt"))
    assert torch.equal(gray.conv1.weight, given["conv1.weight"].sum(1, keepdim=True))


def test_a_run_folder_starts_a_network_for_other_emotions(tmp_path: Path) -> None:
    old, new = (SpaceToDepthResNet(n, widths=(8, 16), blocks=(1, 1)) for n in (7, 8))
    drawn = new.head.weight.detach().clone()
    save_tensors(tmp_path / "weights.safetensors", tensors_of(old), {"net": {}})
    report = load_initial(new, str(tmp_path))
    assert report.missing == ("head.weight", "head.bias")
    assert torch.equal(new.stem[0].weight, tensors_of(old)["stem.0.weight"])
    assert torch.equal(new.head.weight, drawn)


class Harm:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("harm"),)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            {"a": torch.zeros(2, 2), "b": torch.zeros(1)},
            "holds no weights for this network: it has a, b, the",
        ),
        ({"bn1.bias": torch.zeros(4)}, "holds no weights for this network: it has bn1.bias"),
        (
            {"conv1.weight": torch.zeros(64, 3, 7, 7)},
            "of another network; 1 tensor(s) do not fit: conv1.weight: expected (4, 3, 3, 3), got conv1",
        ),
        ({"head.weight": torch.zeros(3, 9)}, "do not fit: head.weight: expected (3, 4)"),
        ([1, 2], "holds a list, not tensors by name"),
        ({"conv1.weight": Harm()}, "holds more than tensors, or is damaged; save its state_dict alone"),
    ],
    ids=["other names", "no weights", "other shape", "other inputs", "no names", "code"],
)
def test_what_does_not_fit_is_refused_in_one_line(content, text, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    net, before = Block(), Block().state_dict()
    net.load_state_dict(before)
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ModelError, match=re.escape(text)) as caught:
        load_initial(net, "x.pth")
    assert "\n" not in str(caught.value)
    assert not Path("harm").exists(), "code of the file was run"
    assert all(torch.equal(t, before[n]) for n, t in net.state_dict().items())


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("missing.pth", None, "no checkpoint at missing.pth; give a .safetensors, .pth or .pt file"),
        ("x.h5", b"HDF", "is not a checkpoint for mien: .safetensors, .pth"),
        ("x.pth", b"", "x.pth cannot be read"),
        ("x.pth", pickle.dumps({"conv1.weight": [1]})[:-4], "x.pth holds more than tensors, or is damaged"),
        ("x.safetensors", b"12345678{", "x.safetensors cannot be read"),
    ],
    ids=["missing", "another suffix", "empty", "cut short", "cut short safetensors"],
)
def test_files_that_are_no_checkpoints_are_refused(name, content, text, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_bytes(content)
    with pytest.raises(ModelError, match=re.escape(text)):
        load_initial(Block(), name)


def test_a_checkpoint_is_written_by_no_file_but_our_own_temporary_one(tmp_path, monkeypatch) -> None:
    import safetensors.torch as tensors

    monkeypatch.setattr(tensors, "serialize_file", None)
    save_tensors(tmp_path / "a.safetensors", {"w": torch.ones(2)}, {})
    assert load_tensors(tmp_path / "a.safetensors")[0]["w"].tolist() == [1, 1]
