"""Start a network from a released model: an ONNX file with folded batch normalisations, maybe of 8 bits.

A file of 8 bits gives the float network that it was rounded to, which answers as it does but for the rounding
of the maps between layers. Folding is undone in two steps: `unfolded` gives each normalisation the statistics
that change nothing; `settle` gives it those of faces, without which the first step in training would undo
what was learned.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mien.core.cards import ModelCard
from mien.core.model_store import find_model
from mien.errors import ModelError, needs_extra

VOTES = "votes_head"
"""The layer of a network that learns the raters' votes beside the emotions."""
QUANTISED = "_quantized"
"""What ONNX Runtime adds to the name of a tensor that it puts into whole numbers."""


def read_exported(model: str) -> tuple[dict[str, Tensor], ModelCard]:
    """The float32 weights of a released model under the names of its layers, and its card.

    Args:
        model: What `mien.core.model_store.find_model` takes: a name, or the path of an ``.onnx`` file.

    Raises:
        MissingExtraError: onnx is not installed.
        ModelError: there is no such model, or its file is damaged.
    """
    path, card = find_model(model)
    with needs_extra("starting from a released model", "train", "onnx"):
        import onnx
        from onnx import numpy_helper
    try:
        graph = onnx.load(path).graph
    except Exception as e:  # protobuf's own
        raise ModelError(f"{path} is not an ONNX file, or is damaged") from e
    tensors = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    found = {name: array for name, array in tensors.items() if array.dtype == np.float32}
    for node in graph.node:
        source = tensors.get(node.input[0]) if node.input else None
        if source is not None and node.op_type == "Cast":
            found[node.output[0]] = source.astype(np.float32)
        elif source is not None and node.op_type == "DequantizeLinear":
            scale = tensors[node.input[1]].reshape(-1, *[1] * (source.ndim - 1))
            found[node.input[0].removesuffix(QUANTISED)] = source.astype(np.float32) * scale
    return {name: torch.from_numpy(array.copy()) for name, array in found.items()}, card


def unfolded(tensors: Mapping[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """Tensors of `read_exported` as a network with batch normalisation holds them.

    Args:
        tensors: By layer.
        net: The network that they are for.

    Returns:
        Those of its convolutions and linear layers, and normalisations that only add the bias.
    """
    state = {name: t for name, t in tensors.items() if name in net.state_dict()}
    for before, conv, after, norm in _normalised(net):
        weight, bias = tensors.get(f"{before}.weight"), tensors.get(f"{before}.bias")
        if weight is None or bias is None:
            continue
        pooled = weight.shape[2:] != conv.weight.shape[2:] and conv.weight.shape[2:] == (1, 1)
        state |= {  # an average that `quantise` folded into a 1x1 convolution is taken out of it again
            f"{before}.weight": weight.sum((2, 3), keepdim=True) if pooled else weight,
            f"{after}.weight": torch.ones_like(bias),
            f"{after}.bias": bias,
            f"{after}.running_mean": torch.zeros_like(bias),
            f"{after}.running_var": torch.full_like(bias, 1 - norm.eps),
        }
    return state


def of_emotions(
    state: Mapping[str, Tensor], net: nn.Module, given: Sequence[str], wanted: Sequence[str]
) -> dict[str, Tensor]:
    """``state`` with the last layer's rows in the order of other emotions; a new one keeps what was drawn.

    Args:
        state: The tensors of another network of the same layers.
        net: The network, as it was drawn.
        given: What the other network names.
        wanted: What this one names.
    """
    drawn, changed = net.state_dict(), dict(state)
    place = {emotion: i for i, emotion in enumerate(given)}
    last = _last_layer(net, len(wanted))
    for name in {f"{last}.weight", f"{last}.bias"} & state.keys():
        if len(state[name]) == len(given) and state[name].shape[1:] == drawn[name].shape[1:]:
            rows = zip(wanted, drawn[name].cpu(), strict=True)
            changed[name] = torch.stack([state[name][place[e]] if e in place else row for e, row in rows])
    return changed


def _last_layer(net: nn.Module, n_outputs: int) -> str:
    """The name of the layer that answers for the emotions; empty where no linear layer does."""
    names = [
        name
        for name, module in net.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == n_outputs and name != VOTES
    ]
    return names[-1] if names else ""


@torch.no_grad()
def settle(net: nn.Module, faces: Tensor) -> None:
    """Give each batch normalisation the statistics of what it sees, and the scale and shift that undo them.

    The network computes what it did before; in training, its batches now have the statistics it expects.

    Args:
        net: Any network; changed in place, and left in evaluation.
        faces: Normalised faces (N, C, S, S); some hundreds will do.
    """
    norms: list[Any] = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    seen: dict[nn.Module, Tensor] = {}
    hooks = [m.register_forward_pre_hook(lambda m, given: seen.update({m: given[0]})) for m in norms]
    try:
        net.eval()(faces)
    finally:
        for hook in hooks:
            hook.remove()
    for norm in norms:
        var, mean = torch.var_mean(seen[norm].float(), (0, 2, 3), correction=0)
        gain = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        norm.bias.add_((mean - norm.running_mean) * gain)
        norm.weight.copy_(gain * torch.sqrt(var + norm.eps))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var)


def _normalised(net: nn.Module) -> Iterator[tuple[str, nn.Conv2d, str, nn.BatchNorm2d]]:
    """Each convolution with a batch normalisation after it in a ``Sequential``, and their names."""
    for path, block in net.named_modules():
        if isinstance(block, nn.Sequential):
            start = f"{path}." if path else ""
            for (name, conv), (after, norm) in pairwise(block.named_children()):
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    yield start + name, conv, start + after, norm
