"""Random draws on the host, so that training never waits for the GPU."""

import numpy as np
import torch
from torch import Tensor


def host_rng(rng: torch.Generator, salt: int = 0) -> np.random.Generator:
    """A generator on the host, from the seed that ``rng`` was given; different for each ``salt``."""
    return np.random.default_rng([rng.initial_seed(), salt])


def chosen(n: int, probability: float, rng: torch.Generator, salt: int = 0) -> Tensor:
    """Which of ``n`` faces are changed, each with the same probability: int64 (k,) on the device of ``rng``.

    The mask of an ordinary draw has to come back from the device before anything can be indexed with it. Here
    the host draws how many, and the device which.
    """
    if not probability:
        return torch.empty(0, dtype=torch.int64, device=rng.device)
    count = int(host_rng(rng, salt).binomial(n, probability))
    return torch.randperm(n, generator=rng, device=rng.device)[:count]
