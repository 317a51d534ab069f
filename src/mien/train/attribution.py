"""Attribution maps by gradients: how much each pixel of a face counts for a class. Also what layers hold."""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mien.errors import ModelError, needs_extra
from mien.names import look_up
from mien.train.devices import mixed_precision
from mien.train.inference import predict

Faces = NDArray[np.float32]
Maps = NDArray[np.float32]

BATCH = 64
TOLERANCE = 0.01
"""By how much the sum of an integrated gradient may miss the gain in the logit, as a share of it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How maps are made.

    Args:
        layer: Where Grad-CAM looks; empty takes the last convolutional map.
        n_noisy: Noisy copies that SmoothGrad averages.
        noise: Their standard deviation, as a share of each face's range of values.
        n_steps: Points of integrated gradients between the blank face and the face; doubled for those faces
            whose map does not sum to the gain within 1 %.
        max_steps: The most points of integrated gradients.
        seed: Of SmoothGrad's noise.
    """

    layer: str = ""
    n_noisy: int = 32
    noise: float = 0.15
    n_steps: int = 32
    max_steps: int = 1024
    seed: int = 0


def attribute(
    net: nn.Module, faces: Faces, classes: NDArray[np.integer[Any]], method: str, settings: Settings
) -> Maps:
    """One map a face.

    Args:
        net: A network from faces to logits; it is not changed.
        faces: float32 or float64 (N, channels, S, S), normalised; on the CPU.
        classes: For each face, the class whose logit is explained, (N,).
        method: One of `METHODS`.
        settings: Of the method.

    Returns:
        float32 (N, S, S). ``gradient`` and ``smoothgrad`` are magnitudes, the largest over channels, in
        logits a unit of input; ``integrated`` is signed, summed over channels, in logits; ``gradcam`` is
        not negative and has no unit.

    Raises:
        MienError: there is no such method.
        ModelError: the net has no such layer, or no convolution.
        MissingExtraError: captum is not installed.
    """
    make = look_up(METHODS, method, "method of explanation")
    net = _explainable(net)
    device = next(net.parameters()).device
    parts = []
    for start in range(0, len(faces), BATCH):
        x = torch.from_numpy(faces[start : start + BATCH]).to(device)
        target = torch.from_numpy(np.asarray(classes[start : start + BATCH], np.int64)).to(device)
        parts.append(make(net, x.requires_grad_(), target, settings).detach().float().cpu().numpy())
    return np.concatenate(parts) if parts else np.empty((0, *faces.shape[2:]), np.float32)


def gradient(net: nn.Module, faces: Tensor, classes: Tensor, settings: Settings) -> Tensor:
    """Source: Simonyan et al., "Deep Inside Convolutional Networks", 2013, section 3.1."""
    return _captum().Saliency(net).attribute(faces, target=classes).amax(1)  # type: ignore[no-any-return]


def smoothgrad(net: nn.Module, faces: Tensor, classes: Tensor, settings: Settings) -> Tensor:
    """The magnitude of the mean gradient over noisy copies of the face.

    Source: Smilkov et al., "SmoothGrad: removing noise by adding noise", 2017, section 2; its 10-20 % noise.
    """
    attr = _captum()
    tunnel = attr.NoiseTunnel(attr.Saliency(net))
    maps = []
    for face, chosen in zip(torch.split(faces, 1), torch.split(classes, 1), strict=True):
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            mean = tunnel.attribute(
                face,
                nt_type="smoothgrad",
                nt_samples=settings.n_noisy,
                stdevs=settings.noise * float(face.detach().max() - face.detach().min()),
                target=chosen,
                abs=False,
            )
        maps.append(mean.abs().amax(1))
    return torch.cat(maps)


def integrated(net: nn.Module, faces: Tensor, classes: Tensor, settings: Settings) -> Tensor:
    """From a blank face of the training faces' mean gray; the map sums to what the logit gains on the way.

    Source: Sundararajan et al., "Axiomatic Attribution for Deep Networks", ICML 2017, section 3.
    """
    attr = _captum().IntegratedGradients(net)
    with torch.no_grad():
        ends = net(torch.cat([faces, torch.zeros_like(faces[:1])]))
        gain = (ends[:-1] - ends[-1]).gather(1, classes[:, None])[:, 0]
    maps = torch.zeros_like(faces)
    left, n_steps = torch.arange(len(faces), device=faces.device), settings.n_steps
    while len(left) and n_steps <= settings.max_steps:
        maps[left] = attr.attribute(
            faces[left], target=classes[left], n_steps=n_steps, internal_batch_size=max(256, len(left))
        ).to(maps.dtype)
        missed = (maps[left].sum((1, 2, 3)) - gain[left]).abs() > TOLERANCE * gain[left].abs()
        left, n_steps = left[missed], 2 * n_steps
    return maps.detach().sum(1)


def gradcam(net: nn.Module, faces: Tensor, classes: Tensor, settings: Settings) -> Tensor:
    """Source: Selvaraju et al., "Grad-CAM", ICCV 2017, section 3."""
    name = settings.layer or last_map(net, faces[:1])
    layer = look_up({n: m for n, m in net.named_modules() if n}, name, "layer", ModelError)
    maps = _captum().LayerGradCam(net, layer).attribute(faces, target=classes, relu_attributions=True)
    if maps.ndim != 4:
        raise ModelError(
            f"layer '{name}' gives no map; choose one of {', '.join(map_layers(net, faces[:1]))}"
        )
    size = (int(faces.shape[2]), int(faces.shape[3]))
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)[:, 0]


METHODS: Mapping[str, Callable[[nn.Module, Tensor, Tensor, Settings], Tensor]] = {
    "gradient": gradient,
    "smoothgrad": smoothgrad,
    "integrated": integrated,
    "gradcam": gradcam,
}


def last_map(net: nn.Module, face: Tensor) -> str:
    """The layer whose output is the last convolutional map, before anything pools it.

    That is the last layer to finish with a map as large as the last convolution's, so batch normalisation,
    activation and the sum with a shortcut count in. Of nested layers with one output, the innermost.

    Args:
        net: The network.
        face: One face (1, channels, S, S).

    Raises:
        ModelError: the network has no convolution whose output is larger than one place.
    """
    name, size, output = "", None, None
    for finished, layer, out in _run(net, face):
        if isinstance(layer, nn.Conv2d) and out.shape[2:].numel() > 1:  # of one place there is no map
            size = out.shape[2:]
        if out.ndim == 4 and out.shape[2:] == size and out is not output:
            name, output = finished, out
    if not name:
        raise ModelError("the network has no map of a convolution; name a layer")
    return name


def map_layers(net: nn.Module, face: Tensor) -> list[str]:
    """The layers whose output is a map, (N, channels, H, W), in the order in which they finish."""
    return list(dict.fromkeys(name for name, _, out in _run(net, face) if out.ndim == 4))


def activations(net: nn.Module, faces: Faces, layer: str) -> NDArray[np.float32]:
    """What a layer gives each face, (N, ...).

    Raises:
        ModelError: the net has no layer of that name that gives an array.
    """
    device, net = next(net.parameters()).device, _explainable(net)
    found = {name: out for name, _, out in _run(net, torch.from_numpy(faces).to(device))}
    out: Tensor = look_up(found, layer, "layer", ModelError)
    return out.float().cpu().numpy()


def first_filters(net: nn.Module) -> NDArray[np.float32]:
    """The kernels of the first convolution, (filters, channels, height, width).

    Raises:
        ModelError: the network has no convolution.
    """
    conv = next((m for m in net.modules() if isinstance(m, nn.Conv2d)), None)
    if conv is None:
        raise ModelError("the network has no convolution, so no filters to show")
    return conv.weight.detach().float().cpu().numpy()


def shuffled(net: nn.Module, seed: int = 0) -> nn.Module:
    """A copy in which the numbers of each weight tensor have changed places: same sizes, nothing learned.

    Source: Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018, section 3.
    """
    mixed = copy.deepcopy(net)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in mixed.parameters():
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return mixed


def _explainable(net: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose activations overwrite nothing, for hooks must see what came in."""
    net = copy.deepcopy(net).eval().requires_grad_(False)
    for module in net.modules():
        if getattr(module, "inplace", False):
            setattr(module, "inplace", False)  # noqa: B010  (mypy takes any attribute for a tensor)
    return net


@torch.no_grad()
def _run(net: nn.Module, faces: Tensor) -> Iterator[tuple[str, nn.Module, Tensor]]:
    """Every layer that gives one tensor, with its name and output, in the order in which they finish."""
    finished: list[tuple[str, nn.Module, Tensor]] = []
    names = {module: name for name, module in net.named_modules() if name}

    def note(module: nn.Module, _: Any, out: Any) -> None:
        if isinstance(out, Tensor):
            finished.append((names[module], module, out))

    hooks = [module.register_forward_hook(note) for module in names]
    try:
        net(faces)
    finally:
        for hook in hooks:
            hook.remove()
    return iter(finished)


def _captum() -> Any:
    with needs_extra("explaining by gradients", "explain", "captum"):
        return import_module("captum.attr")


def predictor(net: nn.Module, *, half: bool = False) -> Callable[[Faces], NDArray[np.float32]]:
    """The network as a function from faces to logits; in bfloat16, four times faster on AMX, if ``half``."""
    device = next(net.parameters()).device

    def answer(faces: Faces) -> NDArray[np.float32]:
        with mixed_precision(device, "bf16" if half else "fp32"):
            return predict(net, faces, device)

    return answer
