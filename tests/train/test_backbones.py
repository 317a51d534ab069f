"""The backbones of torchvision and timm, and what is said where they cannot be had."""

import re

import pytest
import torch

pytest.importorskip("torchvision", reason="needs the train extra")
pytest.importorskip("timm", reason="needs the train extra")

from mien.errors import MissingExtraError, ModelError
from mien.train import backbones
from mien.train.backbones import BACKBONES
from mien.train.recipe import NetSettings
from mien.train.transfer import Transfer
from mien.train.zoo import build, make_transferred


def test_the_classic_resnet50_strides_in_its_first_convolutions_and_pools_without_padding() -> None:
    with torch.device("meta"):
        net = BACKBONES["resnet50-caffe"](Transfer())
        x = net.maxpool(torch.zeros(1, 64, 99, 99))
        assert x.shape[-1] == 49  # as Keras' unpadded pooling of 99, from faces of 197 px
        block = net.layer3[0]
        assert block.conv1(torch.zeros(1, 512, 25, 25)).shape[-1] == 13
        assert block.conv2(torch.zeros(1, 256, 13, 13)).shape[-1] == 13


def test_a_download_that_fails_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(**_: object) -> None:
        raise OSError("name or service not known")

    monkeypatch.setattr("torchvision.models.vgg16", offline)
    settings = NetSettings(name="transferred", options={"pretrained": True})
    text = "weights of 'vgg16' cannot be loaded (name or service not known); set net.init_from to a local"
    with pytest.raises(ModelError, match=re.escape(text)):
        build(settings, 7)


def test_a_network_with_weights_of_its_own_downloads_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "_weights", lambda s: pytest.fail("asked") if s.pretrained else None)
    with torch.device("meta"):
        build(NetSettings(name="transferred", options={"pretrained": True}), 7, fresh=False)


@pytest.mark.parametrize(("backbone", "package"), [("vgg16", "torchvision"), ("resnet18", "timm")])
def test_a_missing_package_is_named(backbone: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("torchvision.models", "timm"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingExtraError, match=rf'needs {package}; run: pip install "mien\[train\]"'):
        make_transferred(7, Transfer(backbone=backbone))
