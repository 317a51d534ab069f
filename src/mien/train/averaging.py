"""The mean of several networks' weights."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mien.data.records import FaceSet
from mien.train.trained_net import TrainedNet

STATISTICS_FACES, BATCH = 2048, 256
"""Training faces that give the batch normalisations of an average their statistics."""


def mean_weights(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of networks' tensors by name; of whole numbers, such as counts, the first's."""
    first = states[0]
    return {
        name: torch.stack([state[name] for state in states]).mean(0) if tensor.is_floating_point() else tensor
        for name, tensor in first.items()
    }


def estimate_norms(trained: TrainedNet, faces: FaceSet) -> None:
    """Give each batch normalisation the statistics of some of the faces, drawn by chance.

    One that is frozen keeps its own, as in training.
    """
    trained.net.train()
    kinds = nn.BatchNorm1d | nn.BatchNorm2d
    norms: list[Any] = [m for m in trained.net.modules() if isinstance(m, kinds) and m.training]
    trained.net.eval()
    drawn = np.random.default_rng(0).permutation(len(faces))[:STATISTICS_FACES]
    if not norms or len(drawn) < 2:
        return
    moments = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over the batches
        norm.train()
    with torch.no_grad():
        for part in np.array_split(drawn, -(-len(drawn) // BATCH)):
            inputs = torch.from_numpy(trained.inputs(faces.images[part])).to(trained.device)
            trained.net(inputs.contiguous(memory_format=torch.channels_last))
    for norm, momentum in zip(norms, moments, strict=True):
        norm.momentum = momentum
    trained.net.eval()
