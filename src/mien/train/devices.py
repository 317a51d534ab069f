"""Which device a run uses, and what the machine is."""

import platform
import time

import torch

from mien import __version__
from mien.errors import MienError


def pick_device(name: str) -> torch.device:
    """The torch device of a name such as ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        MienError: torch does not know the name, or has no such device here.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as e:
        raise MienError(f"no device '{name}' here ({str(e).splitlines()[0]}); use --devices cpu") from e
    return device


def environment() -> dict[str, object]:
    """Versions and machine, JSON-ready, for the record of a run."""
    return {
        "mien": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }
