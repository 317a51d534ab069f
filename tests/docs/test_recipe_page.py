"""The page of recipe keys says what the settings say."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pydantic", reason="needs the train extra")

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_what_the_settings_give_and_every_key_is_explained(module_at: Any) -> None:
    tool = module_at("tools/recipe_page.py")
    page = (ROOT / "docs" / "reference" / "recipe.md").read_text(encoding="utf-8")
    assert page == tool.page(), "run tools/recipe_page.py again"
    unexplained = [line for line in page.splitlines() if line.startswith("| `") and line.endswith("|  |")]
    assert not unexplained
