"""How many processor cores this process may use, and how other processes can share the work."""

import json
import os
import sys
from math import ceil
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def can_start_python() -> bool:
    """Whether there is a Python that further processes can run; a program made by PyInstaller has none.

    There ``sys.executable`` is the program: it would start itself again and again.
    """
    return bool(sys.executable) and not getattr(sys, "frozen", False)


def import_path() -> str:
    """``sys.path`` as JSON, for another process; what is not text in it, such as a `Path`, Python ignores."""
    return json.dumps([entry for entry in sys.path if isinstance(entry, str)])


def free_cores(cgroup: Path = CGROUP) -> int:
    """The cores that this process may run on, less where a container's quota allows less; at least 1.

    Args:
        cgroup: Where the system tells of quotas; Linux alone does.
    """
    has_affinity = hasattr(os, "sched_getaffinity")
    n_cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    quota = _quota(cgroup)
    return n_cores if quota is None else max(1, min(n_cores, ceil(quota)))


def _quota(cgroup: Path) -> float | None:
    """Cores' worth of time that a container may take; ``None`` without a limit."""
    try:
        if (cgroup / "cpu.max").is_file():  # version 2: "150000 100000", or "max 100000"
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota, period = (
                (cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")
            )
        return float(quota) / float(period) if float(quota) > 0 else None
    except (OSError, ValueError):
        return None
