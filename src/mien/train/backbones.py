"""The networks of torchvision and timm without their last layer."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from torch import nn

from mien.errors import MissingExtraError, RecipeError, needs_extra
from mien.names import nearest
from mien.train.face_resnet import FaceBackbone
from mien.train.transfer import RUN, Transfer


def _vgg16(settings: Transfer) -> nn.Module:
    features: nn.Module = _torchvision().vgg16(weights=_weights(settings)).features
    return features


def _resnet50(settings: Transfer) -> nn.Module:
    return _headless(_torchvision().resnet50(weights=_weights(settings)), settings)


def _resnet50_caffe(settings: Transfer) -> nn.Module:
    """The strides and the pooling of He et al. 2015 in Caffe, which the VGGFace2 weights are for."""
    if settings.pretrained:
        raise RecipeError(
            "'resnet50-caffe' has no ImageNet weights to download: set net.init_from to a VGGFace2 "
            'checkpoint, or net.options.backbone="resnet50"'
        )
    net = _torchvision().resnet50()
    net.maxpool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
    for stage in (net.layer2, net.layer3, net.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    return _headless(net, settings)


def _googlenet(settings: Transfer) -> nn.Module:
    """Without auxiliary heads; keeps torchvision's change of normalisation where it has three channels."""
    heads = {} if settings.pretrained else {"aux_logits": False}  # ImageNet's file has them: no choice then
    net = _torchvision().googlenet(weights=_weights(settings), init_weights=False, **heads)
    net.aux_logits, net.aux1, net.aux2 = False, None, None
    net.transform_input = settings.channels == 3
    net.dropout = nn.Identity()
    return _headless(net, settings)


def _dlib_face(settings: Transfer) -> nn.Module:
    """dlib's face-recognition network, the mean of the map at five depths: its weights are a local file."""
    if settings.pretrained:
        raise RecipeError(
            "'dlib-face' is not downloaded: make a file with tools/convert_dlib_face.py and name it in "
            "net.init_from"
        )
    return FaceBackbone(channels=3)


def _headless(net: Any, settings: Transfer) -> nn.Module:
    net.fc = nn.Identity()
    if settings.pool == "flatten":
        net.avgpool = nn.Identity()
    return net  # type: ignore[no-any-return]


def timm_names() -> list[str]:
    """Every network of timm; none where it is not installed."""
    try:
        import timm
    except ImportError:
        return []
    return [str(name) for name in timm.list_models()]


def is_of_timm(name: str, known: Iterable[str]) -> bool:
    """Whether timm has a network of that name, which is not nearly one of the ``known``.

    Raises:
        MissingExtraError: timm is not installed, and would have to say.
    """
    try:
        import timm
    except ImportError as e:
        if get_close_matches(name, known, n=1, cutoff=0.85):
            return False
        raise MissingExtraError(f"network '{name}', unless it is misspelt,", "timm", "train") from e
    return bool(timm.is_model(name))


def from_timm(settings: Transfer) -> nn.Module:
    with needs_extra(f"network '{settings.backbone}'", "train", "timm"):
        import timm
    if not timm.is_model(settings.backbone):
        known = [*BACKBONES, *timm_names()]
        raise RecipeError(
            f"no backbone named '{settings.backbone}'{nearest(settings.backbone, known)} "
            f"(known: {', '.join(BACKBONES)}, every name of timm, and {RUN}FOLDER)"
        )
    pooled: dict[str, Any] = {} if settings.pool == "avg" else {"global_pool": ""}
    net: nn.Module = timm.create_model(
        settings.backbone, pretrained=settings.pretrained, num_classes=0, **pooled
    )
    return net


BACKBONES: dict[str, Callable[[Transfer], nn.Module]] = {
    "vgg16": _vgg16,
    "resnet50": _resnet50,
    "resnet50-caffe": _resnet50_caffe,
    "googlenet": _googlenet,
    "dlib-face": _dlib_face,
}


def _torchvision() -> Any:
    with needs_extra("a network of torchvision", "train", "torchvision"):
        return import_module("torchvision.models")


def _weights(settings: Transfer) -> str | None:
    return "IMAGENET1K_V1" if settings.pretrained else None


def sum_first_kernel(net: nn.Module) -> None:
    """Make a network for colour take gray: as if the gray face were copied to each of its input channels."""
    conv = next((m for m in net.modules() if isinstance(m, nn.Conv2d)), None)
    if conv is None or conv.in_channels != 3:
        raise RecipeError("the backbone's first layer has no weights for colour; set net.options.channels=3")
    conv.weight = nn.Parameter(conv.weight.detach().sum(1, keepdim=True))
    conv.in_channels = 1
