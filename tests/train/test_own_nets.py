"""Networks of the user's own and of timm by name, and whose code is never run unasked."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("h5py", reason="needs the train extra")

from mien.core import own_code
from mien.errors import MissingExtraError, ModelError, RecipeError
from mien.train.checkpoints import save_tensors
from mien.train.recipe import NetSettings
from mien.train.recipe_reading import check_recipe, read_recipe
from mien.train.zoo import build, load_net

NET = """
import pathlib
import torch

pathlib.Path("was-run").touch()

class Net(torch.nn.Sequential):
    def __init__(self, n_classes: int, width: int = 8) -> None:
        super().__init__(
            torch.nn.Conv2d(1, width, 3, padding=1), torch.nn.BatchNorm2d(width), torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(width, n_classes),
        )

def nothing(n_classes):
    return None
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network, in which no code is allowed yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mien.core.own_code._allowed", set())
    monkeypatch.delenv("MIEN_ALLOW_CODE", raising=False)
    (tmp_path / "nets.py").write_text(NET)
    return tmp_path


def a_run(folder: Path, name: str) -> Path:
    """A finished run of a network, by somebody else."""
    (folder / "theirs.py").write_text(NET)
    net = build(NetSettings(name="theirs.py:Net"), 7)
    (folder / "run").mkdir()
    note = {"net": {"name": name, "options": {}}, "labels": list("abcdefg"), "n_votes": 0}
    note |= {"mean_std": [0.0, 1.0], "input_size": 48, "data": {}}
    save_tensors(folder / "run" / "weights.safetensors", net.state_dict(), note)
    (folder / "was-run").unlink(missing_ok=True)
    return folder / "run"


def test_a_network_in_a_file_is_built_with_its_options(here: Path) -> None:
    net = build(NetSettings(name="nets.py:Net", options={"width": 5}), 7)
    assert net(torch.zeros(2, 1, 48, 48)).shape == (2, 7)
    assert net[0].out_channels == 5


@pytest.mark.parametrize("allowed", ["in the recipe", "on the command line", "in the environment"])
def test_the_code_of_a_run_folder_is_run_only_where_the_user_named_it(
    allowed: str, here: Path, recipe_table: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(here, "nets.py:Net")
    with pytest.raises(
        ModelError, match=r"needs its own code, nets.py:Net, which mien does not run without .* --allow-code"
    ):
        load_net(run)
    assert check_recipe({**recipe_table, "net": {"name": "nets.py:Net"}}).net.name == "nets.py:Net"
    assert not Path("was-run").exists()
    if allowed == "in the recipe":
        (here / "mine.toml").write_text('net = {name = "nets.py:Net"}\nrun = {epochs = 1}\n')
        read_recipe("mine.toml")
    elif allowed == "on the command line":
        own_code.allow_own("other.py:Net", "nets.py:Net")
    else:
        monkeypatch.setenv("MIEN_ALLOW_CODE", "other.py:Net,nets.py:Net")
    net, note = load_net(run)
    assert note["labels"] == list("abcdefg")
    assert net(torch.zeros(1, 1, 48, 48)).shape == (1, 7)
    assert Path("was-run").exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nets.py:Nett", "net.name: network 'nets.py:Nett': nets.py has no class Nett; did you mean 'Net'?"),
        ("gone.py:Net", "net.name: network 'gone.py:Net': no file gone.py here"),
    ],
)
def test_a_recipe_whose_own_network_is_not_there_says_so(name: str, says: str, here: Path) -> None:
    (here / "mine.toml").write_text("run = {epochs = 1}\n")
    with pytest.raises(RecipeError, match=re.escape(says)):
        read_recipe("mine.toml", [f'net.name="{name}"'])


def test_an_option_that_the_own_network_does_not_take_is_named(here: Path) -> None:
    (here / "mine.toml").write_text("run = {epochs = 1}\n")
    with pytest.raises(RecipeError, match=r"'nets\.py:Net' has no option 'widht'; did you mean 'width'"):
        read_recipe("mine.toml", ['net.name="nets.py:Net"', "net.options.widht=3"])


def test_what_is_no_network_is_told(here: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"network 'nets.py:nothing' must be a torch.nn.Module, got NoneType"
    ):
        build(NetSettings(name="nets.py:nothing"), 7)


def test_a_name_of_timm_is_a_network() -> None:
    pytest.importorskip("timm", reason="needs the train extra")
    with torch.device("meta"):
        net = build(NetSettings(name="resnet18", options={"size": 64}), 7, fresh=False)
        assert net(torch.zeros(2, 1, 48, 48)).shape == (2, 7)
    with pytest.raises(RecipeError, match="no network named 'resnet18x'; did you mean 'resnet18'"):
        build(NetSettings(name="resnet18x"), 7)


def test_without_timm_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(
        MissingExtraError, match=r'network \'resnet18\'.* needs timm; run: pip install "mien\[train\]"'
    ):
        build(NetSettings(name="resnet18"), 7)
    with pytest.raises(RecipeError, match="did you mean 's2d-resnet'"):
        build(NetSettings(name="s2d-resnett"), 7)
