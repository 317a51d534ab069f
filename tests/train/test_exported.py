"""Starting from a released model: its weights come back whole, and training does not undo them."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

onnx = pytest.importorskip("onnx", reason="needs the train extra")

from mien.core.cards import ModelCard, read_card
from mien.core.model_store import find_model, sha256
from mien.core.session import open_session, run
from mien.data.records import FaceSet
from mien.errors import ModelError
from mien.train.export import export_onnx
from mien.train.exported import settle
from mien.train.initialise import load_initial
from mien.train.loop import Trainer
from mien.train.nets import SpaceToDepthResNet, SpaceToDepthVgg
from mien.train.quantise import quantise_onnx
from mien.train.recipe_reading import check_recipe

LABELS = ("angry", "happy", "sad")
MEDIUM = {"widths": [64, 128, 256], "blocks": [1, 2, 2], "dropout": 0.2}


@pytest.fixture
def noise() -> Tensor:
    small = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(small, 24, mode="bicubic")


def learned(kind: type[nn.Module] = SpaceToDepthResNet, seed: int = 0) -> nn.Module:
    """A small net whose normalisations have scales and statistics, as after training."""
    torch.manual_seed(seed)
    net = kind(3, 0, 1, (8, 16), (1, 2), 0.0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                nn.init.uniform_(tensor, 0.3, 1.5)
    return net.eval()


def released(net: nn.Module, folder: Path, faces: Tensor | None = None) -> str:
    """The net as a model with a card; in 8 bits where faces are given."""
    path = folder / "model.onnx"
    export_onnx(net, 24, path)
    if faces is not None:
        quantise_onnx(path, path, faces.numpy())
    texts = dict.fromkeys(("licence", "data", "intended_use", "unfit_use", "limits"), "a test")
    card = ModelCard("model", "A small net", LABELS, 24, 0.5, 0.25, sha256(path), **texts)
    card.write(path.with_suffix(".json"))
    return str(path)


@pytest.mark.parametrize("kind", [SpaceToDepthResNet, SpaceToDepthVgg])
def test_a_net_comes_back_from_its_file(kind: type[nn.Module], tmp_path: Path, noise: Tensor) -> None:
    net, other = learned(kind), learned(kind, seed=1)
    report = load_initial(other, released(net, tmp_path), LABELS)
    assert report.released
    assert report.missing == report.left == ()
    torch.testing.assert_close(other(noise), net(noise), atol=0.01, rtol=0)  # stored in half precision
    assert (learned(kind, seed=1)(noise) - net(noise)).abs().max() > 0.1


def test_a_net_comes_back_from_8_bits(tmp_path: Path, noise: Tensor) -> None:
    net, other = learned(), learned(seed=1)
    path = released(net, tmp_path, noise)
    load_initial(other, path, LABELS)
    expected = torch.from_numpy(run(open_session(Path(path)), noise.numpy()))
    assert (other(noise) - expected).std() < 0.1 * expected.std()
    assert (other(noise) - net(noise)).std() < 0.1 * expected.std()


@pytest.mark.parametrize("name", ["fer2013-medium", "fer2013-nano", "ferplus"])
def test_each_shipped_model_can_be_a_start(name: str, noise: Tensor) -> None:
    path, card = find_model(name)
    noise = nn.functional.interpolate(noise, 48, mode="bicubic")
    options = MEDIUM if name != "fer2013-nano" else {"widths": (48, 96, 192), "blocks": (1, 1, 1)}
    net = SpaceToDepthResNet(len(card.labels), **options).eval()
    load_initial(net, name, card.labels)
    expected = torch.from_numpy(run(open_session(path), noise.numpy()))
    assert (net(noise) - expected).std() < 0.1 * expected.std()


def test_the_last_layer_follows_the_emotions(tmp_path: Path, noise: Tensor) -> None:
    net = learned()
    path = released(net, tmp_path)
    other = learned(seed=1)
    load_initial(other, path, ("sad", "angry", "happy"))
    torch.testing.assert_close(other(noise), net(noise)[:, [2, 0, 1]], atol=0.01, rtol=0)
    wider = SpaceToDepthResNet(4, 0, 1, (8, 16), (1, 2), 0.0).eval()
    drawn = wider.head.weight.detach().clone()
    load_initial(wider, path, ("happy", "calm", "sad", "angry"))
    torch.testing.assert_close(wider(noise)[:, [3, 0, 2]], net(noise), atol=0.01, rtol=0)
    assert torch.equal(wider.head.weight[1], drawn[1])


def test_batches_look_as_the_net_expects_once_it_is_settled(tmp_path: Path, noise: Tensor) -> None:
    net, other = learned(), learned(seed=1)
    load_initial(other, released(net, tmp_path), LABELS)
    before = other(noise)
    assert (other.train()(noise) - before).std() > 0.3 * before.std()  # its batches are none that it knows
    other = learned(seed=1)
    load_initial(other, str(tmp_path / "model.onnx"), LABELS)
    settle(other, noise)
    torch.testing.assert_close(other.eval()(noise), before, atol=1e-4, rtol=0)
    torch.testing.assert_close(other.train()(noise), before, atol=1e-3, rtol=0)


def test_a_run_starts_where_the_released_model_ended(faces: FaceSet) -> None:
    net = {"name": "s2d-resnet", "options": MEDIUM, "init_from": "fer2013-medium"}
    trainer = Trainer(
        check_recipe({"data": {"store": "-"}, "net": net, "run": {"epochs": 1, "sizes": [[0.0, 48]]}}),
        faces,
        (0.507662, 0.254422),
        torch.device("cpu"),
    )
    path, card = find_model()
    expected = run(open_session(path), trainer.inputs(faces.images))
    columns = [card.labels.index(name) for name in faces.label_names]
    got = trainer.logits(faces.images)
    assert (got - expected[:, columns]).std() < 0.1 * expected.std()
    drawn = torch.nn.BatchNorm2d(64).running_var
    assert not torch.allclose(trainer.net.stem[1].running_var, drawn, atol=0.01)  # settled
    assert str(trainer.initial).startswith(f"fer2013-medium (sha256 {card.sha256[:12]}): 67 of ")


def test_what_cannot_be_a_start_is_told_in_one_line(tmp_path: Path) -> None:
    path = released(learned(), tmp_path)
    bigger = SpaceToDepthResNet(3, 0, 1, (8, 16), (1, 3), 0.0)
    with pytest.raises(ModelError, match=r"of another network.*it lacks .* set net.name and net.options"):
        load_initial(bigger, path, LABELS)
    with pytest.raises(ModelError, match=r"is of another network; .* do not fit"):
        load_initial(SpaceToDepthResNet(3, 0, 1, (16, 16), (1, 2), 0.0), path, LABELS)
    with pytest.raises(ModelError, match="did you mean 'fer2013-medium'"):
        load_initial(learned(), "fer2013-medum", LABELS)
    with pytest.raises(ModelError, match=r"no checkpoint at runs/none; .* or a model of `mien models`"):
        load_initial(learned(), "runs/none", LABELS)
    Path(path).write_bytes(b"no network")
    with pytest.raises(ModelError, match="sha256 differs"):
        load_initial(learned(), path, LABELS)
    card = read_card(tmp_path / "model.json")
    ModelCard(**{**vars(card), "sha256": sha256(Path(path))}).write(tmp_path / "model.json")
    with pytest.raises(ModelError, match=r"model.onnx is not an ONNX file, or is damaged"):
        load_initial(learned(), path, LABELS)
