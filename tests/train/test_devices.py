"""Precision goes by what the processor computes."""

import ctypes
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from mien.train import devices
from mien.train.devices import computes_bf16, mixed_precision, reuse_memory

pytestmark = pytest.mark.train

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("precision", "has", "computed"),
    [
        ("bf16", True, torch.bfloat16),
        ("bf16", False, torch.float32),
        ("fp32", True, torch.float32),
        ("fp32", False, torch.float32),
    ],
)
def test_precision_of_a_product(
    monkeypatch: pytest.MonkeyPatch, precision: str, has: bool, computed: Any
) -> None:
    monkeypatch.setattr(devices, "computes_bf16", lambda device: has)
    square = torch.ones(2, 2)
    with mixed_precision(CPU, precision):
        assert (square @ square).dtype == computed


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not Path("/proc/cpuinfo").is_file(), reason="reads Linux's flags of x86"
)
def test_a_cpu_without_avx512_has_no_bf16() -> None:
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    assert computes_bf16(CPU) == {"avx512bw", "avx512vl", "avx512dq"}.issubset(flags)


def test_a_torch_without_onednn_has_no_bf16_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    assert not computes_bf16(CPU)
    assert computes_bf16(torch.device("cuda"))


FAULTS = """
import resource, sys, torch
from mien.train.devices import reuse_memory
keeps = sys.argv[1] == "keep" and reuse_memory()
for i in range(20):
    if i == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    x = torch.ones(2**24)
    (x * 2 + x).sum()
print(keeps, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="tells glibc what to keep")
def test_the_memory_of_a_step_is_kept_for_the_next() -> None:
    def faults(way: str) -> tuple[str, int]:
        told = subprocess.run([sys.executable, "-c", FAULTS, way], capture_output=True, text=True, check=True)
        keeps, count = told.stdout.split()
        return keeps, int(count)

    keeps, kept = faults("keep")
    _, returned = faults("")
    assert keeps == "True"
    assert kept < returned / 8


@pytest.mark.parametrize("error", [OSError, TypeError])
def test_a_system_without_glibc_is_left_alone(monkeypatch: pytest.MonkeyPatch, error: type) -> None:
    def refuse(name: object) -> None:
        raise error

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert not reuse_memory()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not reuse_memory()
