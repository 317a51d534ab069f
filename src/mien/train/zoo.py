"""Every network by name."""

from collections.abc import Callable
from typing import Any

from torch import nn

from mien.errors import RecipeError
from mien.names import look_up
from mien.train import nets
from mien.train.recipe import NetSettings

NETS: dict[str, Callable[..., nn.Module]] = {
    "s2d-resnet": nets.SpaceToDepthResNet,
}


def build(settings: NetSettings, n_classes: int, n_votes: int = 0) -> nn.Module:
    """The network of a recipe, freshly initialised from torch's global generator.

    Raises:
        RecipeError: no network has that name, or it does not take one of the options.
    """
    make = look_up(NETS, settings.name, "network", RecipeError)
    options: dict[str, Any] = dict(settings.options)
    if n_votes:
        options["n_votes"] = n_votes
    try:
        return make(n_classes, **options)
    except TypeError as e:
        raise RecipeError(f"net.options of '{settings.name}': {e}") from e
