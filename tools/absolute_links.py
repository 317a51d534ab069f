"""Make the README's relative links absolute, for a package index that shows it without the other files.

    python tools/absolute_links.py

Run it in the checkout that a release is built from, and do not commit what it changes. The address is
``Repository`` of ``[project.urls]`` in pyproject.toml, and the version names the tag.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(?P<mark>!?)\[(?P<text>[^\]]*)\]\((?P<path>(?!\w+:|#)[^)\s]+)\)")


def absolute(text: str, repository: str, version: str) -> str:
    """The text with every relative link leading to the tag ``v<version>`` of a repository."""
    base = repository.rstrip("/")

    def link(found: re.Match[str]) -> str:
        kind = "raw" if found["mark"] else "blob"
        return f"{found['mark']}[{found['text']}]({base}/{kind}/v{version}/{found['path']})"

    return LINK.sub(link, text)


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    repository = project.get("urls", {}).get("Repository")
    if not repository:
        sys.exit('pyproject.toml names no repository; add Repository = "https://…" to [project.urls] first')
    readme = ROOT / project["readme"]
    readme.write_text(
        absolute(readme.read_text(encoding="utf-8"), repository, project["version"]), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
