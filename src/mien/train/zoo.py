"""Every network by name."""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from mien.core.own_code import VARIABLE, is_allowed, is_own, load_own
from mien.core.own_files import NUMBER, Maybe, check_shape, reading, reason
from mien.core.run_names import WEIGHTS, is_run_folder
from mien.errors import ModelError, RecipeError
from mien.names import nearest
from mien.train import nets
from mien.train.backbones import BACKBONES, from_timm, is_of_timm, sum_first_kernel, timm_names
from mien.train.checkpoints import load_tensors
from mien.train.face_mobilenet import FaceMobileNet
from mien.train.face_resnet import FaceResNet
from mien.train.landmark_net import LandmarkNet
from mien.train.papers import auc, chmura, cs230, cs231n, maastricht
from mien.train.papers.face_net import FaceNet
from mien.train.recipe import NetSettings
from mien.train.transfer import TRANSFERRED, Transfer, Transferred, backbone_run

Maker = Callable[..., nn.Module] | Transfer

NETS: dict[str, Maker] = {
    "s2d-resnet": nets.SpaceToDepthResNet,
    "s2d-vgg": nets.SpaceToDepthVgg,
    "dlib-face-resnet": FaceResNet,
    "face-mobilenet": FaceMobileNet,
    "landmark-net": LandmarkNet,
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

LARGEST_SIDE = 1024

NOTE = {
    "net": {},
    "n_votes": int,
    "labels": [str],
    "mean_std": [NUMBER, NUMBER],
    "input_size": int,
    "channels": Maybe(int),
    "data": {"name": Maybe(str), "content_hash": Maybe(str)},
}
"""The shape of the note that lies with a run's weights."""


def find_net(name: str) -> Maker:
    """What makes the network of that name: of `NETS`, of timm, or of the user's own, which is imported.

    Raises:
        RecipeError: there is none.
        MissingExtraError: it may be a name of timm, which is not installed.
    """
    if name in NETS:
        return NETS[name]
    if is_own(name):
        made: Maker = load_own(name, "network", RecipeError)
        return made
    if is_of_timm(name, NETS):
        return Transfer(backbone=name)
    raise RecipeError(
        f"no network named '{name}'{nearest(name, [*NETS, *timm_names()])} "
        f"(known: {', '.join(sorted(NETS))}, every name of timm, package.module:Class and file.py:Class)"
    )


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
    make = find_net(settings.name)
    options: dict[str, Any] = dict(settings.options)
    if n_votes:
        if not hasattr(make, "forward_with_votes"):
            raise RecipeError(f"network '{settings.name}' has no head for votes; set loss.votes_weight=0")
        options["n_votes"] = n_votes
    try:
        if isinstance(make, Transfer):
            transfer = replace(make, **options)
            return make_transferred(n_classes, transfer if fresh else replace(transfer, pretrained=False))
        net = make(n_classes, **options)
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as e:
        raise RecipeError(f"net.options of '{settings.name}': {reason(e)}") from e
    if not isinstance(net, nn.Module):
        raise RecipeError(f"network '{settings.name}' must be a torch.nn.Module, got {type(net).__name__}")
    return net


def net_mistakes(settings: NetSettings) -> list[str]:
    """Every unknown name in the settings, with its nearest match; code that is not allowed is not run."""
    if is_own(settings.name) and not is_allowed(settings.name):
        return []
    try:
        make = find_net(settings.name)
    except RecipeError as e:
        return [f"net.name: {e}"]
    parameters = _parameters(make)
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return []
    known = set(parameters) - {"n_classes", "n_votes"}
    return [
        f"net.options: '{settings.name}' has no option '{name}'{nearest(name, known)}"
        for name in settings.options
        if name not in known
    ]


def takes_fractions(settings: NetSettings, option: str) -> bool:
    """Whether an option of a network holds fractions, by its annotation or its default.

    Raises:
        RecipeError: no network has that name.
    """
    parameter = _parameters(find_net(settings.name)).get(option)
    if parameter is None:
        return False
    kinds = (parameter.annotation, *get_args(parameter.annotation), type(parameter.default))
    return float in kinds


def _parameters(make: Maker) -> Mapping[str, inspect.Parameter]:
    """What `net.options` may hold, beside the numbers of classes and votes."""
    return inspect.signature(Transfer if isinstance(make, Transfer) else make).parameters


def fixed_size(settings: NetSettings) -> int | None:
    """The one side of the faces that a network takes, in pixels; None where it takes many."""
    make = NETS.get(settings.name)
    if not (isinstance(make, type) and issubclass(make, FaceNet)):
        return None
    default = inspect.signature(make).parameters["size"].default
    size = settings.options.get("size", default)
    return size if isinstance(size, int) else None


def make_transferred(n_classes: int, settings: Transfer) -> Transferred:
    """A backbone under a head of our own.

    Raises:
        RecipeError: there is no such backbone, or it does not go with the settings.
        ModelError: the weights cannot be loaded.
        MissingExtraError: torchvision or timm is not installed.
    """
    return Transferred(n_classes, settings, *_make_backbone(settings))


def _make_backbone(settings: Transfer) -> tuple[nn.Module, int]:
    """A network without its last layer, and the side of its faces."""
    if run := backbone_run(settings.backbone):
        net, size = _run_backbone(run)
        return net, settings.size or size
    make = BACKBONES.get(settings.backbone, from_timm)
    try:
        backbone = make(settings)
    except (OSError, RuntimeError) as e:
        if not settings.pretrained:
            raise
        raise ModelError(
            f"ImageNet weights of '{settings.backbone}' cannot be loaded "
            f"({(str(e).splitlines() or [''])[0]}); set net.init_from to a "
            "local checkpoint, or net.options.pretrained=false"
        ) from e
    if settings.channels == 1:
        sum_first_kernel(backbone)
    return backbone, settings.size or 224


def _run_backbone(folder: Path) -> tuple[nn.Module, int]:
    """The network of a run without its heads; it takes faces as the run did."""
    net: Any
    net, note = load_net(folder)
    net.to(memory_format=torch.channels_last)
    if not isinstance(getattr(net, "head", None), nn.Module):
        raise ModelError(f"the network of {folder} has no head to remove; choose another run")
    net.head = nn.Identity()
    if hasattr(net, "votes_head"):
        net.votes_head = None
    return net, note["input_size"]


def load_net(run: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a run folder, in evaluation mode, and the note that lies with its weights.

    Raises:
        ModelError: the run is not finished, its weights are damaged, or do not fit their network.
    """
    path = run / WEIGHTS
    if not path.is_file():
        begun = is_run_folder(run)
        what = "an unfinished run; give its `mien train` command again" if begun else "no run of `mien train`"
        raise ModelError(f"{run} holds {what}")
    tensors, note = load_tensors(path)
    with reading(path, "is not the weights of a run", advice="train again", error=ModelError):
        check_shape(note, NOTE)
        mean, std = note["mean_std"]
        if not (math.isfinite(mean) and 0 < std < math.inf and 8 <= note["input_size"] <= LARGEST_SIDE):
            raise ValueError("its faces cannot be scaled as it says")
        settings = NetSettings.model_validate(note["net"])
    if is_own(settings.name) and not is_allowed(settings.name):
        raise ModelError(
            f"the network of {run} needs its own code, {settings.name}, which mien does not run without "
            f"permission; if you trust it: mien --allow-code {settings.name} ..., or "
            f"set {VARIABLE}={settings.name}"
        )
    net = build(settings, len(note["labels"]), note["n_votes"], fresh=False)
    with reading(path, f"does not fit network '{settings.name}'", error=ModelError):
        net.load_state_dict(tensors)
    return net.eval(), note
