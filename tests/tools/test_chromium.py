"""Chromium for `make test`: installed where it may be, else told loudly; on a made-up PATH."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "chromium.sh"
REAL = ("sh", "cat", "timeout", "sleep", "chmod", "touch")
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, REAL)), reason=f"needs {', '.join(REAL)} on the PATH"
)
WORKS = 'echo "#!/bin/sh" > "$BIN/chromium"; chmod +x "$BIN/chromium"'
BROKEN = 'echo "#!/bin/sh\nexit 1" > "$BIN/chromium"; chmod +x "$BIN/chromium"'


class Ended(NamedTuple):
    said: str
    calls: list[str]


@pytest.fixture
def ran(tmp_path: Path):
    """``ran(id="echo 0")`` runs the script where these commands alone exist, and some of the real ones."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in REAL:
        (folder / name).symlink_to(shutil.which(name))

    def run(**commands: str) -> Ended:
        for name, body in commands.items():
            path = folder / name.replace("_", "-")
            path.write_text(f'#!/bin/sh\necho "{path.name} $*" >> "$BIN/../calls"\n{body}\n')
            path.chmod(0o755)
        environment = {"PATH": str(folder), "BIN": str(folder), "MOST_S": "1"}
        done = subprocess.run(
            [str(folder / "sh"), str(SCRIPT)], env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        calls = tmp_path / "calls"
        return Ended(done.stderr, calls.read_text().splitlines() if calls.exists() else [])

    return run


def test_where_chromium_runs_nothing_is_done_or_said(ran) -> None:
    assert ran(chromium="", apt_get="", id="echo 0") == ("", ["chromium --version"])
    assert ran(chromium="exit 1", google_chrome="").said == ""


@pytest.mark.parametrize("is_root", [True, False], ids=["root", "sudo without a password"])
def test_it_is_installed_where_it_may_be(is_root: bool, ran) -> None:
    sudo = 'while [ "${1#-}" != "$1" ]; do shift; done; "$@"'
    who = {"id": "echo 0"} if is_root else {"id": "echo 1000", "sudo": sudo, "true": ""}
    ended = ran(apt_get=WORKS, **who)
    assert "SKIPPED" not in ended.said
    (call,) = [call for call in ended.calls if call.startswith("apt-get")]
    assert call.endswith("install chromium")
    assert "-y" in call.split()
    sudos = [call for call in ended.calls if call.startswith("sudo")]
    assert all(call.startswith("sudo -n ") for call in sudos)
    assert len(sudos) == (0 if is_root else 2)


def test_the_lists_of_packages_are_fetched_where_they_are_absent(ran) -> None:
    old = f'case "$*" in *update) touch "$BIN/lists";; *) [ -e "$BIN/lists" ] || exit 100; {WORKS};; esac'
    ended = ran(id="echo 0", apt_get=old)
    assert "SKIPPED" not in ended.said
    assert [call.split()[-1] for call in ended.calls if "apt-get" in call] == [
        "chromium",
        "update",
        "chromium",
    ]


@pytest.mark.parametrize(
    ("commands", "why"),
    [
        ({}, "there is none on the PATH, and no apt-get to install it"),
        ({"apt_get": "", "id": "echo 1000"}, "needs root, and sudo would ask for a password"),
        (
            {"apt_get": "", "id": "echo 1000", "sudo": "exit 1"},
            "needs root, and sudo would ask for a password",
        ),
        ({"apt_get": "exit 100", "id": "echo 0"}, "apt-get cannot install the package chromium"),
        ({"apt_get": "exec sleep 600", "id": "echo 0"}, "apt-get cannot install the package chromium"),
        ({"apt_get": BROKEN, "id": "echo 0"}, "what apt-get installed does not run"),
        ({"chromium": "exit 1", "apt_get": "", "id": "echo 0"}, "the one on the PATH does not run"),
    ],
    ids=["no apt", "no sudo", "sudo asks", "no package", "hangs", "a stub", "a stub before"],
)
def test_where_it_cannot_be_the_tests_that_are_skipped_are_named(commands: dict, why: str, ran) -> None:
    ended = ran(**commands)
    assert why in ended.said
    assert "SKIPPED: the browser tests" in ended.said
    assert [call for call in ended.calls if call.startswith("apt-get")] == [] or "apt-get" in why


def test_make_test_runs_it_and_tells_what_is_skipped() -> None:
    text = (SCRIPT.parents[1] / "Makefile").read_text(encoding="utf-8")
    recipe = text.partition("\ntest: ")[2].partition("\n\n")[0]
    assert "$(CHROMIUM)" in recipe
    assert "CHROMIUM ?= sh tools/chromium.sh\n" in text
    assert 'pytest -rs -m "not browser"' in recipe
    assert "pytest -rs -m browser" in recipe
