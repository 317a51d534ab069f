"""Run faces through a network without training."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

PIXELS = 256 * 48 * 48
"""Of the faces that go through a network together where nothing is learned: it bounds the memory."""


@torch.no_grad()
def predict(net: nn.Module, faces: NDArray[np.float32], device: torch.device) -> NDArray[np.float32]:
    """Logits (N, C), in fp32, of normalised faces (N, 1, S, S)."""
    net.eval()
    parts = []
    size = int(np.clip(PIXELS // max(faces[:1].size, 1), 8, 256))
    for start in range(0, max(len(faces), 1), size):
        batch = torch.from_numpy(faces[start : start + size]).to(device)
        parts.append(net(batch.contiguous(memory_format=torch.channels_last)).float().cpu().numpy())
    return np.concatenate(parts)
