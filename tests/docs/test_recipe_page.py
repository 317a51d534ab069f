"""The page of recipe keys says what the settings say."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

pytest.importorskip("pydantic", reason="needs the train extra")

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_what_the_settings_give_and_every_key_is_explained() -> None:
    spec = spec_from_file_location("recipe_page", ROOT / "tools" / "recipe_page.py")
    tool = module_from_spec(spec)
    spec.loader.exec_module(tool)
    page = (ROOT / "docs" / "reference" / "recipe.md").read_text(encoding="utf-8")
    assert page == tool.page(), "run tools/recipe_page.py again"
    unexplained = [line for line in page.splitlines() if line.startswith("| `") and line.endswith("|  |")]
    assert not unexplained
