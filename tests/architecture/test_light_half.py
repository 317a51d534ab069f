"""The light half runs with four packages, and importing mien has no effect: seen in a new process."""

import ast
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

import mien

BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked: the light half must not import it")
sys.meta_path.insert(0, Blocked())
"""
BLOCKED = {
    "torch",
    "torchvision",
    "timm",
    "lightning_fabric",
    "captum",
    "optuna",
    "av",
    "fastapi",
    "h5py",
    "matplotlib",
    "pandas",
    "pyarrow",
    "cv2",
    "sklearn",
    "onnx",
}
IMPORT_ALL = (
    BLOCK.format(blocked=BLOCKED)
    + "import importlib\nfor name in sys.argv[1:]:\n    importlib.import_module(name)\n"
)
COMMAND = BLOCK.format(blocked=BLOCKED) + "sys.argv[0] = 'mien'\nfrom mien.cli.main import main\nmain()\n"

WATCH = """
import importlib, json, logging, os, random, socket, sys, warnings
from pathlib import Path

for name in json.loads(sys.argv[2]):  # what others do at import is theirs to answer for
    try:
        importlib.import_module(name)
    except ImportError:
        pass

def no_network(*_):
    raise OSError("the network was used at import")
socket.socket.connect = no_network

def handlers():
    known = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    return [(log.name, log.level, str(log.handlers)) for log in known if getattr(log, "handlers", None)]

def state():
    import numpy
    return {
        "files": sorted(str(p) for p in Path.home().rglob("*")),
        "environment": dict(os.environ),
        "handlers": handlers(),
        "root level": logging.getLogger().level,
        "warning filters": [str(one) for one in warnings.filters],
        "numpy error state": numpy.geterr(),
        "random state": hash(random.getstate()),
        "working folder": os.getcwd(),
    }

before = state()
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
after = state()
print(json.dumps([key for key in before if before[key] != after[key]]))
"""


def names(source: Path, *folders: str) -> list[str]:
    """The module names of the package, or of some of its folders."""
    found = []
    for path in sorted((source / "mien").rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        if path.stem.isidentifier() and path.stem != "__main__" and (not folders or parts[1] in folders):
            found.append(".".join(parts[:-1] if path.stem == "__init__" else parts))
    return found


def third_party(source: Path) -> list[str]:
    """The foreign modules that mien imports at the top of its files."""
    found = set()
    for path in (source / "mien").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
    return sorted(name for name in found if name.split(".")[0] != "mien")


def test_the_light_half_imports_with_four_packages_and_warnings_as_errors(
    source, run_python, tmp_path
) -> None:
    modules = ["mien", *names(source, "core"), "mien.cli.main"]
    assert len(modules) > 5
    done = run_python(source, IMPORT_ALL, *modules, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["read", "--help"]], ids=" ".join)
def test_the_command_line_runs_with_four_packages(arguments, source, run_python, tmp_path) -> None:
    done = run_python(source, COMMAND, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "mien" in done.stdout


def test_every_public_name_can_be_had_with_four_packages(source, run_python, tmp_path) -> None:
    code = (
        BLOCK.format(blocked=BLOCKED)
        + "import mien\nprint(all(getattr(mien, n) is not None for n in mien.__all__))"
    )
    done = run_python(source, code, cwd=tmp_path)
    assert done.stdout == "True\n", done.stderr


def test_a_type_checker_sees_the_public_names_and_no_others(source) -> None:
    """It takes any name of a module whose ``__getattr__`` it sees, so also a misspelt one."""
    parts = ast.parse((source / "mien" / "__init__.py").read_text("utf-8")).body
    shown = [part for part in parts if isinstance(part, ast.If) and ast.unparse(part.test) == "TYPE_CHECKING"]
    names = [name.name for part in shown for line in part.body for name in getattr(line, "names", [])]
    assert sorted(names) == sorted(mien.__all__)
    assert "__getattr__" not in [getattr(part, "name", "") for part in (*parts, *shown)]


@pytest.mark.parametrize(
    ("text", "says"),
    [("import torch", "torch is blocked"), ("import warnings\nwarnings.warn('old')", "UserWarning: old")],
    ids=["heavy import", "warning"],
)
def test_the_import_check_sees_a_planted_fault(text, says, plant: Callable, run_python, tmp_path) -> None:
    done = run_python(plant({"core/x.py": text}), IMPORT_ALL, "mien.core.x", cwd=tmp_path)
    assert done.returncode == 1
    assert says in done.stderr


def changed(source: Path, modules: list[str], run_python: Callable, home: Path) -> list[str]:
    done = run_python(source, WATCH, json.dumps(modules), json.dumps(third_party(source)), cwd=home)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_the_package_changes_nothing(source, run_python, tmp_path) -> None:
    modules = names(source)
    if not all(map(_installed, ("torch", "h5py", "pydantic"))):
        modules = names(source, "core", "data", "cli", "names", "errors")
    assert changed(source, modules, run_python, tmp_path / "home") == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("open('x', 'w').close()", "files"),
        ("import os\nos.environ['A'] = 'b'", "environment"),
        ("import logging\nlogging.getLogger('mien').addHandler(logging.StreamHandler())", "handlers"),
        ("import warnings\nwarnings.simplefilter('ignore')", "warning filters"),
        ("import numpy\nnumpy.seterr(all='raise')", "numpy error state"),
        ("import random\nrandom.seed(1)", "random state"),
    ],
    ids=["file", "environment", "handler", "filter", "numpy", "seed"],
)
def test_the_watch_sees_a_planted_effect(text, what, plant: Callable, run_python, tmp_path) -> None:
    assert changed(plant({"core/x.py": text}), ["mien.core.x"], run_python, tmp_path / "home") == [what]


def _installed(name: str) -> bool:
    return find_spec(name) is not None
