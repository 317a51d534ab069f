"""The Ray cluster that a run uses, and how many can read on it at the same time."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mien.errors import MienError, needs_extra


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Within it there is a connection to the cluster; one that was there before stays.

    Args:
        address: ``auto`` for the cluster of this machine, ``local`` to start one here.

    Raises:
        MienError: there is no such cluster, or it ends meanwhile.
    """
    with needs_extra("reading on a cluster", "ray"):
        import ray
    own = not ray.is_initialized()
    if own:
        _connect(address)
    try:
        yield
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        raise cause if isinstance(cause, MienError) else _ended(error) from error
    finally:
        if own:
            ray.shutdown()


def _ended(error: Exception) -> MienError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[-1] if lines else type(error).__name__
    return MienError(f"Ray ended the run ({reason}); continue with --resume")


def _connect(address: str) -> None:
    import ray

    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    try:
        ray.init(None if address == "local" else address, logging_level=logging.ERROR, log_to_driver=False)
    except Exception as error:  # Ray raises plain ones too
        reason = str(error).splitlines()[0]
        text = f"there is no Ray cluster at '{address}' ({reason}); --ray local starts one"
        if address == "local":
            text = f"Ray cannot start here ({reason}); its logs are in /tmp/ray/session_latest/logs"
        raise MienError(text) from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # a part whose workers die does not stop the others
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def share(device: str) -> dict[str, Any]:
    """What one reader takes of a machine, as Ray names it: a GPU, or a CPU."""
    return {"num_gpus": 1} if device == "cuda" else {"num_cpus": 1}


def n_readers(device: str) -> int:
    """How many readers the cluster has room for."""
    import ray

    return max(int(ray.cluster_resources().get("GPU" if device == "cuda" else "CPU", 1)), 1)
