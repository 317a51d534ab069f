"""Devices of networks: named, checked, and with the same answers as the CPU."""

import pickle

import numpy as np
import onnxruntime as ort
import pytest

import mien
from mien.core import providers, session
from mien.core.detection import DetectorSettings
from mien.core.mtcnn import Mtcnn
from mien.errors import MienError

OTHERS = [device for device in providers.DEVICES if device != "cpu"]


def built_for(monkeypatch, *devices):
    names = [providers.DEVICES[device] for device in devices]
    monkeypatch.setattr(ort, "get_available_providers", lambda: names)


def test_auto_is_cuda_where_it_is_there_and_else_the_cpu(monkeypatch):
    built_for(monkeypatch, "cuda", "cpu")
    assert providers.checked_device("auto") == "cuda"
    built_for(monkeypatch, "coreml", "cpu")
    assert providers.checked_device("auto") == "cpu"


@pytest.mark.parametrize("device", OTHERS)
def test_a_missing_device_is_one_line_with_its_package(monkeypatch, device):
    built_for(monkeypatch, "cpu")
    with pytest.raises(MienError, match=rf"device {device}: this ONNX Runtime runs on cpu only; to add it: "):
        mien.Analyzer(device=device)


def test_an_unknown_device_is_told_the_nearest():
    with pytest.raises(MienError, match="did you mean 'cuda'"):
        mien.load(device="cudda")
    with pytest.raises(MienError, match="must be a name"):
        mien.load(device=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["gpu", "GPU", "gpu:0"])
def test_who_asks_for_a_gpu_is_not_sent_to_the_cpu(name):
    with pytest.raises(MienError, match=rf"^no device named '{name}'; did you mean 'cuda', or 'auto'"):
        providers.checked_device(name)


def test_a_numbered_gpu_is_asked_for_by_its_number(monkeypatch):
    built_for(monkeypatch, "cuda", "cpu")
    assert providers.checked_device("cuda:1") == "cuda:1"
    assert providers.providers("cuda:1") == [
        ("CUDAExecutionProvider", {"device_id": 1}),
        "CPUExecutionProvider",
    ]
    with pytest.raises(MienError, match="no device named 'cpu:1'"):
        providers.checked_device("cpu:1")


def test_a_device_that_falls_back_to_the_cpu_is_refused(monkeypatch):
    built_for(monkeypatch, "cuda", "cpu")
    monkeypatch.setattr(session, "providers", lambda device: ["CPUExecutionProvider"])
    with pytest.raises(MienError, match="device cuda cannot be used here"):
        mien.load(device="cuda")


def test_the_device_and_threads_stay_with_a_pickled_analyzer():
    analyzer = pickle.loads(pickle.dumps(mien.Analyzer(device="auto", threads=2)))
    assert (analyzer.threads, analyzer.classifier.threads) == (2, 2)
    assert analyzer.classifier.device == analyzer.device == providers.checked_device("auto")
    assert analyzer.detector.settings.threads == 2


@pytest.mark.parametrize("threads", [-1, 10**6, 1.0, True, "2"])
def test_threads_that_cannot_be_are_refused(threads):
    for make in (mien.Analyzer, DetectorSettings):
        with pytest.raises(MienError, match=r"threads must be a whole number, 0 to 1024, got "):
            make(threads=threads)


@pytest.mark.parametrize("device", OTHERS)
def test_another_device_answers_as_the_cpu_does(device, astronaut):
    if device not in providers.available_devices():
        pytest.skip(f"this ONNX Runtime has no {device}")
    try:
        found = Mtcnn(DetectorSettings(device=device)).find(astronaut)
    except MienError as error:
        pytest.skip(str(error))
    expected = Mtcnn().find(astronaut)
    for name in ("x1", "y1", "x2", "y2"):
        assert getattr(found[0].box, name) == pytest.approx(getattr(expected[0].box, name), abs=1)
    cpu, other = mien.load(), mien.load(device=device)
    crops = np.stack([cpu.crop(astronaut, face) for face in expected])
    np.testing.assert_allclose(other.probs(crops), cpu.probs(crops), atol=0.01)
