"""Hooks of mkdocs: pages from outside docs/, pages made from the code, and links that work on the site too.

mkdocs.yml names this file. A Markdown file of `ELSEWHERE` becomes a page. Any other file that a page links to
outside of docs/ is copied into the site, so that no link needs a public repository. The folder try/
is what `mien page` writes.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

import reference_pages  # the file beside this one
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Link

from mien.workflows.page import write_page

ROOT = Path(__file__).resolve().parents[1]
ELSEWHERE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "EXPERIMENTS.md": "experiments.md",
}
"""Files of the project's root that are pages of the site."""

MADE = {
    "<!-- made: commands -->": reference_pages.commands,
    "<!-- made: errors -->": lambda: f"```text\n{reference_pages.error_tree()}\n```",
}
"""Marks in pages, and what takes their place."""

TRY = "try"  # folder of the site for the page that reads in the browser
COPIES = "files"  # folder of the site for what pages link to and is no page
LINK = re.compile(r"(?P<before>\]\()(?P<path>[^)#\s:]+)(?P<anchor>#[^)\s]*)?(?P<after>\))")


def on_config(config: Any) -> Any:
    """Put the files of a pattern such as ``models/*.md`` in its place in the navigation."""
    config.nav = expanded(config.nav, Path(config.docs_dir))
    return config


def expanded(nav: list[Any], docs: Path) -> list[Any]:
    out: list[Any] = []
    for entry in nav:
        if isinstance(entry, dict):
            out += [{k: expanded(v, docs) if isinstance(v, list) else v for k, v in entry.items()}]
        elif "*" in entry:
            out += [file.relative_to(docs).as_posix() for file in sorted(docs.glob(entry))]
        else:
            out += [entry]
    return out


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and files that lie outside docs/."""
    for name, uri in ELSEWHERE.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / name)))
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            text = from_notebook(Path(file.abs_src_path).read_text(encoding="utf-8"), Path(file.src_uri).name)
            files.append(File.generated(config, str(Path(file.src_uri).with_suffix(".md")), content=text))
    origins = [Path(file.abs_src_path) for file in files.documentation_pages() if file.abs_src_path]
    for origin in origins:
        for target in linked(origin.read_text(encoding="utf-8"), origin):
            if address(target).startswith(f"{COPIES}/") and address(target) not in files.src_uris:
                files.append(File.generated(config, address(target), abs_src_path=str(target)))
    return files


def on_nav(nav: Any, config: Any, files: Files) -> Any:
    """Add what is no page of mkdocs, and would fail its check of the navigation."""
    nav.items.append(Link("Try it", f"{TRY}/index.html"))
    return nav


def on_post_build(config: Any) -> None:
    """Write the page that reads in the browser."""
    write_page(Path(config.site_dir) / TRY)


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Fill the marks, and turn links of the repository into links of the site."""
    for mark, make in MADE.items():
        if mark in markdown:
            markdown = markdown.replace(mark, make())
    origin = page.file.abs_src_path
    return rewritten(markdown, Path(origin), page.file.src_uri) if origin else markdown


def from_notebook(text: str, name: str) -> str:
    """The cells of a Jupyter notebook as Markdown, with a link to the file."""
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
    return "\n\n".join([*parts, f"[The notebook itself]({name})", ""])


def rewritten(markdown: str, origin: Path, uri: str) -> str:
    """The text of the file ``origin`` with its relative links as the page ``uri`` needs them."""

    def link(found: re.Match[str]) -> str:
        target = resolved(found["path"], origin)
        if target is None:
            return found[0]  # mkdocs warns of it
        path = os.path.relpath(address(target), os.path.dirname(uri) or ".")
        return f"{found['before']}{path}{found['anchor'] or ''}{found['after']}"

    return LINK.sub(link, markdown)


def linked(markdown: str, origin: Path) -> list[Path]:
    """The files of the project that a text links to."""
    targets = (resolved(found["path"], origin) for found in LINK.finditer(markdown))
    return [target for target in targets if target]


def resolved(path: str, origin: Path) -> Path | None:
    """The file of the project that a relative link means, if there is one."""
    target = Path(os.path.normpath(origin.parent / path))
    return target if target.is_file() and target.is_relative_to(ROOT) else None


def address(target: Path) -> str:
    """Where a file of the project lies on the site."""
    name = target.relative_to(ROOT).as_posix()
    return ELSEWHERE.get(name) or (
        name.removeprefix("docs/") if name.startswith("docs/") else f"{COPIES}/{name}"
    )
