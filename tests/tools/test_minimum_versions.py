"""The lowest versions, as pip takes them."""

import pytest


@pytest.fixture(scope="module")
def tool(module_at):
    return module_at("tools/minimum_versions.py")


def test_a_range_becomes_its_lowest_version(tool):
    wanted = ["numpy>=1.26", "uvicorn[standard]>=0.35,<1", "pin==2.0", "mien[data]"]
    assert list(tool.lowest(wanted)) == ["numpy==1.26", "uvicorn[standard]==0.35", "pin==2.0"]


def test_a_requirement_without_a_lowest_version_is_refused(tool):
    with pytest.raises(ValueError, match="'rich' declares no lowest version"):
        list(tool.lowest(["rich"]))


def test_every_dependency_of_the_light_half_declares_one(tool, capsys):
    tool.main([])
    assert {"numpy", "onnxruntime", "pillow", "rich", "typer"} == {
        line.partition("==")[0] for line in capsys.readouterr().out.split()
    }
