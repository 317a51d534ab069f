"""What the package says of itself agrees: versions, dates, Python, links."""

import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import mien

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def cited(key: str) -> str:
    (value,) = re.findall(rf"^{key}: (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.M)
    return value


def test_the_version_is_the_same_everywhere() -> None:
    assert mien.__version__ == PROJECT["version"] == cited("version")
    assert f"## {mien.__version__} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_citation_has_a_date() -> None:
    assert date.fromisoformat(cited("date-released"))


def test_the_classifiers_begin_with_the_lowest_python() -> None:
    minors = [
        int(m[1]) for c in PROJECT["classifiers"] if (m := re.fullmatch(r".* :: Python :: 3\.(\d+)", c))
    ]
    assert PROJECT["requires-python"] == f">=3.{minors[0]}"
    assert minors == [11, 12, 13, 14]


def test_every_licence_file_is_there() -> None:
    for pattern in PROJECT["license-files"]:
        assert list(ROOT.glob(pattern)), pattern


@pytest.mark.parametrize(
    ("link", "becomes", "without"),
    [
        ("[a](docs/papers.md)", "[a](https://example.org/x/blob/v1.2/docs/papers.md)", "a"),
        ("[a](docs/papers.md#rows)", "[a](https://example.org/x/blob/v1.2/docs/papers.md#rows)", "a"),
        ("![a](docs/gallery/read.jpg)", "![a](https://example.org/x/raw/v1.2/docs/gallery/read.jpg)", ""),
        ("[a](https://example.org/b)", "[a](https://example.org/b)", "[a](https://example.org/b)"),
        ("[a](#here)", "[a](#here)", "[a](#here)"),
    ],
    ids=["page", "anchor", "image", "absolute", "same page"],
)
def test_a_package_index_shows_links_to_the_repository_or_none(
    link: str, becomes: str, without: str, module_at: Any
) -> None:
    pytest.importorskip("setuptools", reason="needs setuptools, as building does")
    setup = module_at("setup.py")
    assert setup.absolute(link, "https://example.org/x/", "1.2") == becomes
    assert setup.absolute(link, None, "1.2") == without


@pytest.mark.parametrize("repository", [None, "https://example.org/x"])
def test_no_relative_link_of_the_readme_is_left_then(repository: str | None, module_at: Any) -> None:
    pytest.importorskip("setuptools", reason="needs setuptools, as building does")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    changed = module_at("setup.py").absolute(text, repository, "1.2")
    assert re.findall(r"\]\((?!https?:)([^)]+)\)", text)
    assert re.findall(r"\]\((?!https?:)([^)]+)\)", changed) == []


def test_every_relative_link_of_the_readme_leads_to_a_file_of_the_sdist() -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    manifest = (ROOT / "MANIFEST.in").read_text(encoding="utf-8").split()
    for link in links:
        assert (ROOT / link).is_file(), link
        assert {link, link.partition("/")[0]} & {*manifest, "LICENSE", "README.md"}, link
