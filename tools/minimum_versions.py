"""The lowest versions that pyproject.toml declares, as pip requirements.

    python tools/minimum_versions.py [EXTRA ...]

Without extras these are the light half's own dependencies.
"""

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
LOWEST = re.compile(r"^([A-Za-z0-9_.-]+)(\[[^\]]*\])?\s*(?:>=|==)\s*([0-9][^,;\s]*)")


def lowest(requirements: Iterable[str]) -> Iterator[str]:
    """``name>=1.2,<2`` as ``name==1.2``; a requirement of the project itself is left to its extra.

    Raises:
        ValueError: a requirement declares no lowest version.
    """
    for requirement in requirements:
        if requirement.startswith("mien"):
            continue
        found = LOWEST.match(requirement)
        if not found:
            raise ValueError(f"{requirement!r} declares no lowest version")
        yield f"{found[1]}{found[2] or ''}=={found[3]}"


def main(extras: list[str]) -> None:
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    wanted = list(project["dependencies"])
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    print("\n".join(lowest(wanted)))


if __name__ == "__main__":
    main(sys.argv[1:])
