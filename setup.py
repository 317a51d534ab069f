"""The README as a package index shows it: without the files beside it, so its relative links go elsewhere.

All else is in pyproject.toml. Where ``[project.urls]`` there names a ``Repository``, links lead to its tag
``v<version>``; where not, their text stays and the link goes.
"""

import re
import tomllib
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
LINK = re.compile(r"(?P<mark>!?)\[(?P<text>[^\]]*)\]\((?P<path>(?!\w+:|#)[^)\s]+)\)")


def absolute(text: str, repository: str | None, version: str) -> str:
    """The text without relative links."""

    def link(found: re.Match[str]) -> str:
        if repository is None:
            return "" if found["mark"] else found["text"]
        kind = "raw" if found["mark"] else "blob"
        return f"{found['mark']}[{found['text']}]({repository.rstrip('/')}/{kind}/v{version}/{found['path']})"

    return LINK.sub(link, text)


def long_description() -> str:
    """What the metadata of the package say at length."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    repository = project.get("urls", {}).get("Repository")
    where = "" if repository else "\nThe documents that are named here lie in the source distribution.\n"
    return absolute(text, repository, project["version"]) + where


if __name__ == "__main__":
    setup(long_description=long_description(), long_description_content_type="text/markdown")
