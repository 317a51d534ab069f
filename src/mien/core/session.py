"""ONNX Runtime: open a network on a device with chosen threads, and run it in batches."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from mien.core.cards import ModelCard
from mien.core.onnx_files import has_external_tensors
from mien.core.own_files import reading
from mien.core.providers import DEVICES, checked_device, providers
from mien.errors import MienError, ModelError


def open_session(model: Path | bytes, threads: int = 1, device: str = "cpu") -> ort.InferenceSession:
    """A network, ready to run.

    Args:
        model: An ``.onnx`` file or its bytes.
        threads: CPU threads for one run; 0 lets ONNX Runtime choose.
        device: See `mien.core.providers.DEVICES`; ``auto`` is a GPU where there is one.

    Raises:
        ModelError: the file is missing, not a network that ONNX Runtime can run, or has tensors elsewhere.
        MienError: the device is unknown, or cannot be used here.
    """
    device = checked_device(device)
    name = "bytes" if isinstance(model, bytes) else model
    with reading(name, "is not a network that ONNX Runtime can run", error=ModelError):
        content = model if isinstance(model, bytes) else model.read_bytes()
        is_whole = not has_external_tensors(content)
    if not is_whole:
        raise ModelError(f"{name} keeps tensors in other files, which no sha256 covers; save it in one file")
    ort.disable_telemetry_events()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False  # it grows with each new batch size, and saves no measurable time
    options.enable_mem_pattern = False  # one is kept for each new shape, and images have any number of them
    try:
        session = ort.InferenceSession(content, options, providers=providers(device))
    except Exception as e:  # its errors share no public base class
        raise ModelError(
            f"{name} is not a network that ONNX Runtime can run: {str(e).splitlines()[0]}"
        ) from e
    wanted = DEVICES[device.partition(":")[0]]
    if wanted not in session.get_providers():  # it falls back to the CPU with no more than a warning
        raise MienError(f"device {device} cannot be used here; check its driver, or choose --device cpu")
    return session


def open_network(
    weights: Path, card: ModelCard, threads: int = 1, device: str = "cpu"
) -> ort.InferenceSession:
    """The network of a model, which must take and give what its card says; see `open_session`.

    Raises:
        ModelError: it cannot be run, or is not the network that the card describes.
        MienError: the device is unknown, or cannot be used here.
    """
    session = open_session(weights, threads, device)
    wrong = _wrong_with(session.get_inputs(), session.get_outputs(), card) or _wrong_in_use(session, card)
    if wrong:
        raise ModelError(f"network of '{card.name}' {wrong}")
    return session


def _wrong_with(inputs: list[Any], outputs: list[Any], card: ModelCard) -> str:
    """What keeps a network from reading batches of faces; empty where nothing does."""
    if len(inputs) != 1:
        return f"has {len(inputs)} inputs; export it with one, faces (n, channels, size, size)"
    taken, given = inputs[0].shape, outputs[0].shape
    if inputs[0].type != "tensor(float)":
        return f"takes {inputs[0].type}; export it with an input of tensor(float)"
    if len(taken) != 4 or len(given) != 2:
        return f"maps {taken} to {given}; export it so that it maps (n, channels, size, size) to (n, labels)"
    if isinstance(taken[0], int):
        return f"takes {taken[0]} face(s) at a time, no more and no less; export it with a free batch axis"
    got, wanted = (taken[1:], given[1]), ([card.channels, *2 * [card.input_size]], len(card.labels))
    return "" if got == wanted else f"maps {got[0]} to {got[1]}, its card says {wanted[0]} to {wanted[1]}"


def _wrong_in_use(session: ort.InferenceSession, card: ModelCard) -> str:
    """What two faces show that the shapes do not tell; empty where nothing is wrong."""
    faces = np.zeros((2, card.channels, card.input_size, card.input_size), np.float32)
    faces[1] = 1
    quiet = ort.RunOptions()
    quiet.log_severity_level = 4  # what it would print is raised too
    try:
        given = session.run(None, {session.get_inputs()[0].name: faces}, quiet)[0]
    except Exception as e:  # its errors share no public base class
        reason = f"{str(e).splitlines()[0]:.120}"
        return f"cannot read two faces at a time ({reason}); export it with a free batch axis"
    if len(card.labels) > 1 and (given >= 0).all() and np.allclose(given.sum(axis=1), 1, atol=1e-4):
        return "gives probabilities; export it without its softmax, which follows the card's temperature"
    return ""


def run(
    session: ort.InferenceSession, inputs: NDArray[np.float32], batch_size: int = 64
) -> NDArray[np.float32]:
    """The first output of a one-input network for all rows of ``inputs``, in batches of bounded memory."""
    name = session.get_inputs()[0].name
    parts = [
        session.run(None, {name: inputs[start : start + batch_size]})[0]
        for start in range(0, max(len(inputs), 1), batch_size)
    ]
    return np.concatenate(parts)
