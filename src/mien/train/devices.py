"""Which device a run uses, and what the machine is."""

import ctypes
import os
import platform
import subprocess
import time
from pathlib import Path

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
        raise MienError(f"no device '{name}' here ({str(e).splitlines()[0]}); use --device cpu") from e
    return device


def computes_bf16(device: torch.device) -> bool:
    """Whether the device has bf16 arithmetic. A CPU without emulates it at an eighth of fp32's speed."""
    if device.type != "cpu":
        return True
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 - torch has no public name
    except AttributeError:  # a torch without oneDNN
        return False


def computed_precision(device: torch.device, precision: str) -> str:
    """``run.precision`` of a recipe, or fp32 where the device has no arithmetic for it."""
    return precision if computes_bf16(device) else "fp32"


def mixed_precision(device: torch.device, precision: str) -> torch.autocast:
    """Compute as ``run.precision`` of a recipe says: bf16 in mixed precision, where the device has it."""
    enabled = computed_precision(device, precision) == "bf16"
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def reuse_memory() -> bool:
    """Let glibc keep what a training step frees for the next one; False on other systems, left as they are.

    glibc hands blocks of over 32 MB back to the system, which must clear their pages again at the next step:
    up to two fifths of a step on a CPU. Holds for the whole process, see mallopt(3).
    """
    trim_threshold, mmap_max = -1, -4
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS, musl, Windows
        return False
    return bool(mallopt(mmap_max, 0)) and bool(mallopt(trim_threshold, 2**31 - 1))


def commit() -> str | None:
    """The commit that this code is of, where it runs from a clone."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def machine() -> str:
    """Processor and cores, as the system names them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{os.cpu_count()} cores, {name}"


def environment() -> dict[str, object]:
    """Versions and machine, JSON-ready, for the record of a run."""
    return {
        "mien": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }
