"""Every network by name."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn

from mien.errors import RecipeError
from mien.names import look_up, nearest
from mien.train import nets
from mien.train.face_resnet import FaceResNet
from mien.train.papers import auc, chmura, cs230, cs231n, maastricht
from mien.train.papers.face_net import FaceNet
from mien.train.recipe import NetSettings
from mien.train.transfer import TRANSFERRED, Transfer, Transferred

NETS: dict[str, Callable[..., nn.Module] | Transfer] = {
    "s2d-resnet": nets.SpaceToDepthResNet,
    "s2d-vgg": nets.SpaceToDepthVgg,
    "dlib-face-resnet": FaceResNet,
    "cs230-base": cs230.Base,
    "cs230-resnet": cs230.ResNet,
    "cs230-densenet": cs230.DenseNet,
    "cs230-hybrid": cs230.Hybrid,
    "auc-baseline": auc.AucBaseline,
    "khanzada-baseline": auc.KhanzadaBaseline,
    "khanzada-five-layer": auc.FiveLayer,
    "khanzada-five-layer-as-printed": auc.FiveLayerAsPrinted,
    "cs231n-baseline": cs231n.Baseline,
    "cs231n-final": cs231n.Final,
    "cs231n-final-as-printed": cs231n.FinalAsPrinted,
    "chmura-cnn": chmura.Cnn,
    "maastricht-cnn1": maastricht.Cnn1,
    "maastricht-cnn2": maastricht.Cnn2,
    "maastricht-cnn3": maastricht.Cnn3,
    "maastricht-cnn3-as-printed": maastricht.Cnn3AsPrinted,
    "maastricht-cnn4": maastricht.Cnn4,
    "maastricht-xception": maastricht.LandmarkXception,
    **TRANSFERRED,
}


def build(settings: NetSettings, n_classes: int, n_votes: int = 0, *, fresh: bool = True) -> nn.Module:
    """The network of a recipe, freshly initialised from torch's global generator.

    Args:
        settings: Name and options.
        n_classes: Number of emotions.
        n_votes: Outputs of the auxiliary head; 0 leaves it out.
        fresh: False downloads no weights, because the caller has some.

    Raises:
        RecipeError: no network has that name, it does not take one of the options, or it cannot learn votes.
    """
    make = look_up(NETS, settings.name, "network", RecipeError)
    options: dict[str, Any] = dict(settings.options)
    if n_votes:
        if not hasattr(make, "forward_with_votes"):
            raise RecipeError(f"network '{settings.name}' has no head for votes; set loss.votes_weight=0")
        options["n_votes"] = n_votes
    try:
        if isinstance(make, Transfer):
            transfer = replace(make, **options)
            return Transferred(n_classes, transfer if fresh else replace(transfer, pretrained=False))
        return make(n_classes, **options)
    except TypeError as e:
        raise RecipeError(f"net.options of '{settings.name}': {e}") from e


def net_mistakes(settings: NetSettings) -> list[str]:
    """Every unknown name in the settings, with its nearest match; empty where there is none."""
    try:
        make = look_up(NETS, settings.name, "network", RecipeError)
    except RecipeError as e:
        return [f"net.name: {e}"]
    target = Transfer if isinstance(make, Transfer) else make
    known = set(inspect.signature(target).parameters) - {"n_classes", "n_votes"}
    return [
        f"net.options: '{settings.name}' has no option '{name}'{nearest(name, known)}"
        for name in settings.options
        if name not in known
    ]


def fixed_size(settings: NetSettings) -> int | None:
    """The one side of the faces that a network takes, in pixels; None where it takes many."""
    make = NETS[settings.name]
    if not (isinstance(make, type) and issubclass(make, FaceNet)):
        return None
    default = inspect.signature(make).parameters["size"].default
    size = settings.options.get("size", default)
    return size if isinstance(size, int) else None
