"""The exported file against torch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

onnx = pytest.importorskip("onnx", reason="needs the train extra")

from mien.core.session import open_session, run
from mien.train.export import export_onnx, fold_batch_norm
from mien.train.face_mobilenet import FaceMobileNet
from mien.train.nets import SpaceToDepthResNet


@pytest.fixture(scope="module", params=["s2d-resnet", "face-mobilenet"])
def net(request: pytest.FixtureRequest) -> nn.Module:
    """A network whose batch statistics are not those of a fresh one."""
    torch.manual_seed(3)
    is_face = request.param == "face-mobilenet"
    net = FaceMobileNet(7) if is_face else SpaceToDepthResNet(7, 10, widths=(16, 32), blocks=(1, 1))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return net.eval()


@pytest.fixture(scope="module")
def exported(net: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    export_onnx(net, 24, path)
    return path


@pytest.mark.parametrize("n", [1, 2, 9])
def test_onnx_runtime_gives_the_logits_of_torch_for_any_batch(net: nn.Module, exported: Path, n: int) -> None:
    faces = np.random.default_rng(0).normal(size=(n, 1, 24, 24)).astype(np.float32)
    expected = net(torch.from_numpy(faces)).detach().numpy()
    np.testing.assert_allclose(run(open_session(exported), faces), expected, atol=5e-3)


def test_weights_take_two_bytes_each(net: nn.Module, exported: Path) -> None:
    n_weights = sum(p.numel() for p in net.parameters())
    assert exported.stat().st_size < 2.6 * n_weights + 12_000


def test_the_file_names_no_path_of_the_machine_that_wrote_it(exported: Path) -> None:
    data = exported.read_bytes()
    assert str(Path.home()).encode() not in data
    assert b"nets.py" not in data


def test_folding_changes_no_logit_and_leaves_no_batch_norm(net: nn.Module) -> None:
    faces = torch.rand(4, 1, 24, 24)
    folded = fold_batch_norm(net)
    torch.testing.assert_close(folded(faces), net(faces), atol=1e-5, rtol=1e-4)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
