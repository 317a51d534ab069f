"""Devices that networks can run on, by the names of ONNX Runtime's execution providers."""

import re
from typing import Any

import onnxruntime as ort

from mien.errors import MienError
from mien.names import look_up

Provider = str | tuple[str, dict[str, Any]]

DEVICES = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "directml": "DmlExecutionProvider",
}
"""What a user calls a device, and its provider."""

AUTO = "auto"
"""A GPU by CUDA where ONNX Runtime has it, else the CPU."""

INSTALL = {
    "cuda": "pip uninstall onnxruntime, then pip install onnxruntime-gpu",
    "coreml": "the onnxruntime of macOS has it",
    "openvino": "pip uninstall onnxruntime, then pip install onnxruntime-openvino",
    "directml": "on Windows, pip uninstall onnxruntime, then pip install onnxruntime-directml",
}


def available_devices() -> tuple[str, ...]:
    """The devices that this installation of ONNX Runtime was built for; a driver may still be missing."""
    there = set(ort.get_available_providers())
    return tuple(device for device, provider in DEVICES.items() if provider in there)


def checked_device(device: str) -> str:
    """``device`` with ``auto`` replaced by what it means here: a name of `DEVICES`, or such as ``cuda:1``.

    Raises:
        MienError: there is no such device, or this installation of ONNX Runtime lacks it.
    """
    if not isinstance(device, str):
        raise MienError(f"device must be a name such as cpu or cuda, got {device!r}")
    there = available_devices()
    if device == AUTO:
        return "cuda" if "cuda" in there else "cpu"
    if re.fullmatch(r"gpu(:\d+)?", device, re.IGNORECASE):  # by its letters cpu would be nearest
        raise MienError(f"no device named '{device}'; did you mean 'cuda', or 'auto' for CUDA where it is?")
    name = re.sub(r"^(cuda|directml):\d+$", r"\1", device)
    look_up(dict.fromkeys((*DEVICES, AUTO)), name, "device")
    if name not in there:
        raise MienError(
            f"device {name}: this ONNX Runtime runs on {', '.join(there)} only; to add it: {INSTALL[name]}"
        )
    return device


def providers(device: str) -> list[Provider]:
    """What a session on a device of `checked_device` is opened with, the CPU last for what it cannot do."""
    name, _, number = device.partition(":")
    first: Provider = (DEVICES[name], {"device_id": int(number)}) if number else DEVICES[name]
    return [first] if name == "cpu" else [first, DEVICES["cpu"]]
