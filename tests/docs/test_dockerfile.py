"""The Dockerfile of `mien serve`: what can be said of it without building it."""

import inspect
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from mien.cli import serve

ROOT = Path(__file__).resolve().parents[2]


def steps(text: str) -> list[tuple[str, str]]:
    """(instruction, what follows) of each step, with continued lines joined."""
    joined = text.replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1].strip()) for line in lines]


@pytest.fixture(scope="module")
def found() -> list[tuple[str, str]]:
    return steps((ROOT / "Dockerfile").read_text(encoding="utf-8"))


def only(found: list[tuple[str, str]], name: str) -> str:
    (text,) = [text for step, text in found if step == name]
    return text


def test_its_python_is_a_version_that_the_package_names(found: list[tuple[str, str]]) -> None:
    version = re.fullmatch(r"python:(3\.\d+)-slim", only(found, "FROM"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert version
    assert f"Programming Language :: Python :: {version[1]}" in project["classifiers"]


def test_what_it_copies_exists_and_is_not_ignored(found: list[tuple[str, str]]) -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    sources = [source for step, text in found if step == "COPY" for source in shlex.split(text)[:-1]]
    assert {"pyproject.toml", "src"} <= set(sources)
    assert [s for s in sources if not (ROOT / s).exists() or not any(fnmatch(s, k) for k in kept)] == []


def test_what_the_build_of_the_package_reads_is_copied(found: list[tuple[str, str]]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    copied = " ".join(text for step, text in found if step == "COPY")
    for file in ("setup.py", "README.md", *project["license-files"]):
        assert file.split("/")[0] in copied


def test_it_runs_without_rights_and_keeps_no_downloads(found: list[tuple[str, str]]) -> None:
    order = [step for step, _ in found]
    assert order.index("RUN") < order.index("USER") < order.index("ENTRYPOINT")
    assert only(found, "USER") not in ("root", "0")
    assert "--no-cache-dir" in only(found, "RUN")


def test_it_starts_the_service_on_the_port_that_it_names(found: list[tuple[str, str]]) -> None:
    command = json.loads(only(found, "ENTRYPOINT"))
    parameters = inspect.signature(serve.serve).parameters
    assert command[:2] == ["mien", "serve"]
    assert {
        option.removeprefix("--").replace("-", "_") for option in command if option.startswith("--")
    } <= set(parameters)
    assert only(found, "EXPOSE") == str(parameters["port"].default)


def test_its_check_asks_the_address_that_needs_no_token(found: list[tuple[str, str]]) -> None:
    pytest.importorskip("fastapi", reason="needs the web extra")
    from mien.web import routes

    check = json.loads(only(found, "HEALTHCHECK").removeprefix("CMD "))
    compile(check[2], "the health check", "exec")
    (path,) = re.findall(r"http://127\.0\.0\.1:8000(/\w+)", check[2])
    assert path in {route.path for route in routes.router.routes}


@pytest.mark.install
def test_the_image_builds_and_its_command_runs() -> None:
    if not shutil.which("docker") or docker("info").returncode:
        pytest.skip("needs a running docker")
    base = only(steps((ROOT / "Dockerfile").read_text(encoding="utf-8")), "FROM")
    if docker("pull", base).returncode:
        pytest.skip(f"needs the image {base}")
    built = docker("build", "--quiet", str(ROOT))
    assert built.returncode == 0, built.stderr
    asked = docker("run", "--rm", "--entrypoint", "mien", built.stdout.strip(), "serve", "--help")
    assert asked.returncode == 0, asked.stderr


def docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)
