"""Write the page of all recipe keys from the settings themselves.

python tools/recipe_page.py docs/reference/recipe.md
"""

import json
import sys
from pathlib import Path
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from mien.train.recipe import Recipe

HEAD = """# Recipe keys

Every key of a recipe, with its default. A recipe is a TOML file with these tables; unknown keys, wrong
values and contradictions are reported all at once. `--set table.key=value` changes one for a run. Made by
`tools/recipe_page.py` from [recipe.py](../../src/mien/train/recipe.py).
"""


def kind(field: FieldInfo) -> str:
    """What a value may be: its names where they are few, else its type and range."""
    names = [str(name) for name in get_args(field.annotation) if isinstance(name, str)]
    if names:
        return " \\| ".join(f"`{name}`" for name in names)
    bounds = [
        f"{sign} {bound if isinstance(bound := getattr(mark, name), int) else f'{bound:g}'}"
        for mark in field.metadata
        for name, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))
        if hasattr(mark, name)
    ]
    words = {float: "number", int: "whole number", str: "text", bool: "true or false"}
    return " ".join([words.get(field.annotation, _many(str(field.annotation))), *bounds]).strip()


def _many(annotation: str) -> str:
    """Of an annotation such as ``dict[str, int]``: table or list."""
    return (
        "table"
        if annotation.startswith("dict")
        else "list"
        if annotation.startswith(("list", "tuple"))
        else ""
    )


def page() -> str:
    """The page as Markdown."""
    lines = [HEAD]
    for name, field in Recipe.model_fields.items():
        model = field.annotation
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            continue
        lines += [f"## [{name}]", "", (model.__doc__ or "").strip(), "", "| key | default | may be | does |"]
        lines.append("|---|---|---|---|")
        for key, setting in model.model_fields.items():
            plain = setting.get_default(call_default_factory=True)
            default = "required" if plain is PydanticUndefined else f"`{json.dumps(plain)}`"
            lines.append(f"| `{key}` | {default} | {kind(setting)} | {setting.description or ''} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
