"""Write the page that says of every file of the package what it holds, from the files themselves.

python tools/code_map.py docs/reference/code-map.md
"""

import ast
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "mien"
HEAD = """# Map of the code

What every file holds, by folder: the first line of its documentation. Imports point one way:
cli | web → workflows → train → data → core → names → errors. Made by `tools/code_map.py`.
"""


def first_line(path: Path) -> str:
    """What a module says of itself first; empty where it says nothing."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n", 1)[0].split())


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_lines()]).rstrip() + "\n"


def _lines() -> Iterator[str]:
    files = [path for path in PACKAGE.rglob("*.py") if path.stat().st_size]
    files.sort(key=lambda path: (path.parent.relative_to(PACKAGE).as_posix(), path.name))
    for folder, paths in groupby(files, key=lambda path: path.parent):
        yield f"## {folder.relative_to(PACKAGE.parent).as_posix()}\n"
        for path in paths:
            link = f"../../src/mien/{path.relative_to(PACKAGE).as_posix()}"
            yield f"- [{path.name}]({link}): {first_line(path).rstrip('.')}"
        yield ""


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
