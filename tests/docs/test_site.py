"""The documentation site: it builds without a warning, tells of everything public, and no link of it is dead.

`make test` builds the site before and names it by MIEN_SITE; without that, this file builds its own.
"""

import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urldefrag

import pytest

import mien

pytest.importorskip("mkdocs", reason="needs the docs extra")

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_LINKS = {"404.html"}
"""Its links begin at the root of the web address, which a folder does not have."""


class Page(NamedTuple):
    """What leads away from a page, what it loads, and what can be linked to on it."""

    links: list[str]
    loaded: list[str]
    anchors: set[str]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page([], [], set())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.page.anchors.update(v for k in ("id", "name") if (v := values.get(k)))
        if tag == "a" and values.get("href") is not None:
            self.page.links.append(values["href"] or "")
        elif tag in ("img", "script", "iframe", "source") and values.get("src"):
            self.page.loaded.append(values["src"] or "")
        elif tag == "link" and values.get("rel") not in ("canonical", "next", "prev"):
            self.page.loaded.append(values.get("href") or "")


def read_page(file: Path) -> Page:
    reader = _Reader()
    reader.feed(file.read_text(encoding="utf-8"))
    return reader.page


def pages(site: Path) -> dict[Path, Page]:
    return {file: read_page(file) for file in sorted(site.rglob("*.html")) if file.name not in WITHOUT_LINKS}


def dead_links(found: dict[Path, Page]) -> Iterator[str]:
    """One line a link of the site to a file or an anchor that is not there."""
    for file, page in found.items():
        for link in [*page.links, *page.loaded]:
            path, anchor = urldefrag(unquote(link))
            if ":" in path:
                continue
            target = (file.parent / path).resolve() if path else file
            missing = not target.is_file() or (
                anchor and target in found and anchor not in found[target].anchors
            )
            if missing:
                yield f"{file.name}: {link}"


def loaded_from_elsewhere(found: dict[Path, Page]) -> list[str]:
    return [
        f"{file.name}: {address}"
        for file, page in found.items()
        for address in page.loaded
        if "//" in address and not address.startswith("data:")
    ]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if "MIEN_SITE" in os.environ:
        return (ROOT / os.environ["MIEN_SITE"]).resolve()
    folder = tmp_path_factory.mktemp("site").resolve()
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="session")
def reference(module_at: Any) -> Any:
    return module_at("tools/reference_pages.py")


def test_no_link_of_the_site_is_dead_and_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    found = pages(site)
    assert len(found) > 30
    assert list(dead_links(found)) == []
    assert loaded_from_elsewhere(found) == []


def test_a_planted_dead_link_is_seen(tmp_path: Path) -> None:
    tmp_path = tmp_path.resolve()
    (tmp_path / "b.html").write_text('<h2 id="here">b</h2><script src="https://example.org/a.js"></script>')
    links = ["b.html", "b.html#here", "b.html#there", "c.html", "#nowhere", "https://example.org/"]
    (tmp_path / "a.html").write_text("".join(f'<a href="{link}">a</a>' for link in links))
    found = pages(tmp_path)
    assert list(dead_links(found)) == ["a.html: b.html#there", "a.html: c.html", "a.html: #nowhere"]
    assert loaded_from_elsewhere(found) == ["b.html: https://example.org/a.js"]


@pytest.mark.parametrize("name", mien.__all__)
def test_the_reference_documents_the_public_name(name: str, site: Path) -> None:
    anchors = {a for page in (site / "reference").glob("*.html") for a in read_page(page).anchors}
    assert f"mien.{name}" in anchors, f"add `::: mien.{name}` to a page of docs/reference"


@pytest.mark.parametrize("name", mien.__all__)
def test_every_member_of_a_public_class_is_explained(name: str) -> None:
    thing = getattr(mien, name)
    assert inspect.getdoc(thing)
    if inspect.isclass(thing):
        own = {n: member for n, member in vars(thing).items() if not n.startswith("_")}
        explained = (property, staticmethod, classmethod)
        silent = [
            n
            for n, member in own.items()
            if (inspect.isroutine(member) or isinstance(member, explained)) and not member.__doc__
        ]
        assert silent == []


def test_the_reference_has_every_command_and_every_option_says_what_it_does(
    site: Path, reference: Any
) -> None:
    anchors = read_page(site / "reference" / "cli.html").anchors
    commands = dict(reference.walk())
    assert {"mien read", "mien data import", "mien papers run"} <= set(commands)
    assert [name for name in commands if name.replace(" ", "-") not in anchors] == []
    silent = [
        f"{name} {option.name}"
        for name, command in commands.items()
        for option in command.params
        if option.name != "help" and not option.hidden and not option.help
    ]
    assert silent == []


def test_every_command_is_shown_on_a_page_that_somebody_wrote(reference: Any) -> None:
    written = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    text = "\n".join(file.read_text(encoding="utf-8") for file in written)
    groups = {name.rsplit(" ", 1)[0] for name, _ in reference.walk()}
    assert [name for name, _ in reference.walk() if name not in groups and name not in text] == []


def test_the_exception_tree_holds_every_error_of_the_module(reference: Any, site: Path) -> None:
    from mien import errors

    named = {
        name
        for name, thing in vars(errors).items()
        if inspect.isclass(thing) and thing.__module__ == errors.__name__
    }
    assert {line.strip() for line in reference.error_tree().splitlines()} == named
    assert {f"mien.errors.{name}" for name in named} <= read_page(site / "reference" / "errors.html").anchors


@pytest.mark.parametrize(
    ("origin", "uri", "link", "becomes"),
    [
        ("README.md", "index.md", "docs/papers.md", "papers.md"),
        ("README.md", "index.md", "LICENSE", "files/LICENSE"),
        ("docs/how-to/train.md", "how-to/train.md", "../../EXPERIMENTS.md#log", "../experiments.md#log"),
        ("docs/how-to/train.md", "how-to/train.md", "../concepts/leaks.md", "../concepts/leaks.md"),
        ("docs/papers.md", "papers.md", "../pyproject.toml", "files/pyproject.toml"),
        ("docs/papers.md", "papers.md", "no-such-page.md", "no-such-page.md"),
        ("docs/papers.md", "papers.md", "../../../etc/passwd", "../../../etc/passwd"),
    ],
    ids=["page", "file", "root and anchor", "inside docs", "copied", "absent", "outside"],
)
def test_a_link_of_the_repository_becomes_one_of_the_site(
    origin: str, uri: str, link: str, becomes: str, module_at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")
    hooks = module_at("tools/docs_site.py")
    assert hooks.rewritten(f"[a]({link})", ROOT / origin, uri) == f"[a]({becomes})"
