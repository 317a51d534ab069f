"""Every network by name."""

from collections.abc import Callable
from typing import Any

from torch import nn

from mien.errors import RecipeError
from mien.names import look_up
from mien.train import nets
from mien.train.papers import auc, chmura, cs230, cs231n, maastricht
from mien.train.recipe import NetSettings

NETS: dict[str, Callable[..., nn.Module]] = {
    "s2d-resnet": nets.SpaceToDepthResNet,
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
}


def build(settings: NetSettings, n_classes: int, n_votes: int = 0) -> nn.Module:
    """The network of a recipe, freshly initialised from torch's global generator.

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
        return make(n_classes, **options)
    except TypeError as e:
        raise RecipeError(f"net.options of '{settings.name}': {e}") from e
