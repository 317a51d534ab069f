"""The pages of docs/: their code runs, their links lead somewhere, and they teach public names only."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
WITH_CODE = [
    page
    for page in PAGES
    if page.parent != ROOT
    and re.search(r"^```(sh|python|toml|json)$", page.read_text(encoding="utf-8"), re.M)
]
NEEDS = {"watch.md": "av", "video.md": "av", "in-a-program.md": "fastapi"}
AFTER = {
    "FastAPI()": """
from fastapi.testclient import TestClient
client = TestClient(app)
with open("astronaut.png", "rb") as photo:
    assert client.post("/emotions", files={"image": photo}).json()[0]["emotion"] == "happy"
assert client.post("/emotions", files={"image": b"no image"}).status_code == 422
""",
}
"""What is done after a block that holds such a text."""
INTERNAL = re.compile(r"\bmien\.(core|data|train|workflows|cli|web|names)\b")


def place(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def snippets(module_at: Any) -> Any:
    return module_at("tests/docs/snippets.py")


@pytest.mark.parametrize("page", WITH_CODE, ids=place)
def test_the_code_of_the_page_runs(page: Path, snippets: Any, folder: Path) -> None:
    if page.name in NEEDS:
        pytest.importorskip(NEEDS[page.name], reason="the page is about that package")
    blocks = [block for block in snippets.blocks(page.read_text(encoding="utf-8")) if not block.skip]
    python = [block for block in blocks if block.kind == "python"]
    more = {
        block.line: "".join(code for text, code in AFTER.items() if text in block.code) for block in python
    }
    if python:
        snippets.run_in_turn([b._replace(code=b.code + more[b.line]) for b in python], folder)
    for block in blocks:
        if block.kind != "python":
            snippets.run(block, folder)


def test_a_block_that_fails_behind_others_is_seen_with_its_line(snippets: Any, tmp_path: Path) -> None:
    blocks = snippets.blocks("```python\na = 1\n```\n\n```python\nprint(a)\n```\n")
    with pytest.raises(AssertionError, match=r"(?s)block at line 5.*name 'a' is not defined"):
        snippets.run_in_turn(blocks, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=place)
def test_every_file_that_the_page_links_to_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text) + re.findall(
        r'(?:src|href)="([^":#]+)"', text
    )
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=place)
def test_no_code_of_the_page_teaches_an_internal_module(page: Path, snippets: Any) -> None:
    code = "\n".join(b.code for b in snippets.blocks(page.read_text(encoding="utf-8")) if b.kind == "python")
    assert INTERNAL.findall(code) == []
    assert "import mien" in code or "mien" not in code


def test_the_cells_of_the_notebook_run_and_their_results_are_not_kept(snippets: Any, folder: Path) -> None:
    notebook = json.loads((DOCS / "notebooks" / "start.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert (notebook["nbformat"], len({cell["id"] for cell in notebook["cells"]})) == (
        4,
        len(notebook["cells"]),
    )
    assert [cell for cell in cells if cell["outputs"] or cell["execution_count"]] == []
    whole = "\n".join("".join(cell["source"]) for cell in cells)
    assert INTERNAL.findall(whole) == []
    snippets.run_in_turn([snippets.Block(0, "python", whole, None)], folder)
