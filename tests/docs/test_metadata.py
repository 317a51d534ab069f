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
    ("link", "becomes"),
    [
        ("[a](docs/papers.md)", "[a](https://example.org/x/blob/v1.2/docs/papers.md)"),
        ("[a](docs/papers.md#rows)", "[a](https://example.org/x/blob/v1.2/docs/papers.md#rows)"),
        ("![a](docs/gallery/read.jpg)", "![a](https://example.org/x/raw/v1.2/docs/gallery/read.jpg)"),
        ("[a](https://example.org/b)", "[a](https://example.org/b)"),
        ("[a](#here)", "[a](#here)"),
    ],
    ids=["page", "anchor", "image", "absolute", "same page"],
)
def test_links_can_be_made_absolute_for_a_package_index(link: str, becomes: str, module_at: Any) -> None:
    assert module_at("tools/absolute_links.py").absolute(link, "https://example.org/x/", "1.2") == becomes


def test_no_relative_link_of_the_readme_is_left_then(module_at: Any) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    changed = module_at("tools/absolute_links.py").absolute(text, "https://example.org/x", "1.2")
    assert re.findall(r"\]\((?!https?:)([^)]+)\)", text)
    assert re.findall(r"\]\((?!https?:)([^)]+)\)", changed) == []
