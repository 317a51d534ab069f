"""Data-parallel training: one process per device; lightning-fabric starts and connects them.

Order and random changes follow from seed and step, so every process makes the same whole batch, and runs its
own rows of it through the network. The logits of all rows are then put together: each process sees the loss
of the whole batch, whatever that loss is, and the gradients of the parts add up to its gradient.
"""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm  # noqa: PLC2701 - torch has no public name for all of them

from mien.errors import MienError, needs_extra

if TYPE_CHECKING:
    from lightning_fabric import Fabric

T = TypeVar("T")
LEADER = "MIEN_LEADER"
"""Environment variable that holds the process id of the command that started a process."""


@dataclass(frozen=True)
class Workers:
    """The processes of a run as one of them sees them; by default there is only one.

    Every process must call `whole`, `share` and `add_up` as often as the others, and in the same order.

    Attributes:
        rank: Number of this process, 0 to ``count`` - 1. Process 0 leads: it alone writes and reports.
        count: Processes on all machines.
        on_node: Processes on this machine.
        device: Where this process trains.
    """

    rank: int = 0
    count: int = 1
    on_node: int = 1
    device: str = "cpu"

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def own(self, n: int) -> slice:
        """Which of ``n`` rows are this process's."""
        return slice(self.rank * n // self.count, (self.rank + 1) * n // self.count)

    def whole(self, part: Tensor, n: int) -> Tensor:
        """The rows of all processes, (n, ...), of each one's own; gradients flow into one's own alone."""
        if self.count == 1:
            return part
        own = self.own(n)
        rows = part.new_zeros(n, *part.shape[1:])
        rows[own] = part.detach()
        _add(rows)
        return torch.cat([rows[: own.start], part, rows[own.stop :]])

    def add_up(self, net: nn.Module) -> None:
        """Sum the gradients of all processes, and average the statistics of batch normalisation."""
        if self.count == 1:
            return
        gradients = [p.grad for p in net.parameters() if p.grad is not None]
        norms = [m for m in net.modules() if isinstance(m, _BatchNorm) and m.training]
        averages = [t for m in norms for t in (m.running_mean, m.running_var) if t is not None]
        parts = [*gradients, *(t.div_(self.count) for t in averages)]
        flat = torch.cat([part.flatten() for part in parts])
        _add(flat)
        for part, total in zip(parts, torch.split(flat, [part.numel() for part in parts]), strict=True):
            part.copy_(total.view_as(part))

    def share(self, value: T) -> T:
        """What the leader has."""
        if self.count == 1:
            return value
        box = [value]
        with _in_touch():
            distributed.broadcast_object_list(box)
        return box[0]

    def agree(self, what: str, value: str) -> None:
        """Make sure that a text is the same in all processes.

        Raises:
            MienError: it differs; raised in all of them.
        """
        if self.count > 1:
            others = torch.tensor(float(self.share(value) != value), device=self.device)
            _add(others)
            if others:
                raise MienError(f"{int(others)} of {self.count} processes have another {what} than the first")


ALONE = Workers()


def _add(tensor: Tensor) -> None:
    """Sum over all processes, in place."""
    with _in_touch():
        distributed.all_reduce(tensor)


@contextmanager
def _in_touch() -> Iterator[None]:
    try:
        yield
    except RuntimeError as e:  # what torch raises where a connection breaks
        raise MienError(
            "another process of this run ended; the same command goes on from the last checkpoint"
        ) from e


@contextmanager
def start(devices: str, nodes: int = 1) -> Iterator[Workers]:
    """Be one of the processes that train on ``devices``, and start the others unless torchrun did.

    The others are this very command, given again. They end with the command that started them, whatever ends
    it, do not hear Ctrl-C, and leave it to the first to tell of an error.

    Args:
        devices: ``cpu``, ``cuda``, ``cuda:1``, ``cuda:0,cuda:1``, ``auto`` (every GPU, or else the CPU), or a
            number (of GPUs; without any, of processes on the CPU). Under torchrun ``auto``, ``cpu`` and
            ``cuda`` stand for as many as it started.
        nodes: Machines, where something else than torchrun starts one process on each.

    Raises:
        MienError: there are no such devices here.
        MissingExtraError: there are several, and lightning-fabric is not installed.
    """
    by_torchrun = distributed.is_torchelastic_launched()
    per_node = int(os.environ["LOCAL_WORLD_SIZE"]) if by_torchrun else 0
    places = named(devices, torch.cuda.device_count(), per_node)
    nodes = int(os.environ["WORLD_SIZE"]) // per_node if by_torchrun else nodes
    if len(places) * nodes == 1:
        yield Workers(device=places[0])
        return
    fabric = _join(places, nodes)
    started: list[subprocess.Popen[bytes]] = getattr(fabric.strategy.launcher, "procs", [])
    others, started[:] = list(started), []  # the launcher would kill this process when one of them fails
    follows = LEADER in os.environ and not others
    workers = Workers(fabric.global_rank, fabric.world_size, len(places), str(fabric.device))
    try:
        yield workers
    except MienError:
        if follows:
            raise SystemExit(1) from None
        raise
    else:
        distributed.destroy_process_group()
        for other in others:
            other.wait()
    finally:
        for other in others:
            other.kill()


def named(devices: str, gpus: int, per_node: int = 0) -> list[str]:
    """The device of each process on this machine, by torch's names.

    Args:
        devices: See `start`.
        gpus: How many there are.
        per_node: How many processes torchrun started here; 0 where it did not.

    Raises:
        MienError: there are none or fewer, or of two kinds.
    """
    if not re.fullmatch(r"\d+|auto|cpu|cuda", devices):
        found = devices.split(",")
    else:
        cuda = devices == "cuda" or (devices != "cpu" and gpus > 0)
        every = max(gpus, 1) if devices == "auto" else 1
        n = int(devices) if devices.isdecimal() else per_node or every
        found = [f"cuda:{i}" for i in range(n)] if cuda else ["cpu"] * n
    kinds = {name.partition(":")[0] for name in found}
    if len(kinds) != 1 or (len(found) > 1 and not kinds <= {"cpu", "cuda"}):
        raise MienError(f"--devices takes cpu, cuda, cuda:0,cuda:1, auto or a number, got '{devices}'")
    if len(found) > 1 and kinds == {"cuda"} and (max(_number(name) for name in found) >= gpus):
        raise MienError(f"--devices {devices}: there are {gpus} CUDA devices here; see `nvidia-smi -L`")
    return found


def _number(name: str) -> int:
    return int(name.partition(":")[2] or 0)


def _join(places: list[str], nodes: int) -> "Fabric":
    """Start the other processes on this machine, and wait until all of all machines have met."""
    with needs_extra("training on several devices", "several", "lightning-fabric"):
        import lightning_fabric
    import logging

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    given: Any = len(places) if places[0] == "cpu" else [_number(name) for name in places]
    fabric = lightning_fabric.Fabric(
        accelerator=places[0].partition(":")[0], devices=given, num_nodes=nodes, strategy="ddp"
    )
    strategy: Any = fabric.strategy
    if strategy.cluster_environment.creates_processes_externally:
        parent = int(os.environ.get(LEADER, os.getppid()))
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    else:
        os.environ[LEADER] = str(os.getpid())
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)  # which the processes started now inherit
    fabric.launch()
    if fabric.global_rank == 0:
        signal.signal(signal.SIGINT, heard)
    return fabric


def _end_with(parent: int) -> None:
    """End this process as soon as its parent has, even where it waits for others in torch."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
