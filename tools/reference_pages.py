"""What the documentation site says of the commands and of the errors, made from the code.

python tools/reference_pages.py commands
python tools/reference_pages.py errors
"""

import re
import sys
from collections.abc import Iterator
from typing import Any

import typer

from mien import errors
from mien.cli import main as cli


def walk() -> Iterator[tuple[str, Any]]:
    """Every command with its full name: ``mien data`` first, then ``mien data import``."""
    root: Any = typer.main.get_command(cli.app)
    for name in root.list_commands(None):
        command = root.get_command(None, name)
        yield f"mien {name}", command
        for below, inner in getattr(command, "commands", {}).items():
            yield f"mien {name} {below}", inner


def commands() -> str:
    """Markdown: a heading a command, then its use, options and examples."""
    return "\n".join(line for name, command in walk() for line in _command(name, command)).rstrip() + "\n"


def _command(name: str, command: Any) -> Iterator[str]:
    context = typer.Context(command, info_name=name)
    yield from (f"{'#' * name.count(' ')}# {name}", "", _paragraphs(command.help), "")
    yield from ("```text", command.get_usage(context).removeprefix("Usage: "), "```", "")
    records = [record for p in command.params if (record := p.get_help_record(context))]
    if records:
        yield from ("| option | does |", "|---|---|")
        yield from (f"| `{option}` | {_described(text)} |" for option, text in records)
        yield ""
    if getattr(command, "epilog", None):
        yield from ("```text", command.epilog.removeprefix("\b\n").strip("\n"), "```", "")


def _paragraphs(text: str | None) -> str:
    return re.sub(r"(?<!\n)\n(?!\n)", " ", text or "").strip()


def _described(text: str) -> str:
    """The text of a cell; what Typer adds to it, such as ``[default: 40]``, in italics."""
    plain, _, remarks = text.replace("|", "\\|").partition("  [")
    return f"{plain} *({remarks.removesuffix(']')})*" if remarks else plain


def error_tree(root: type[Exception] = errors.MienError, indent: str = "") -> str:
    """The exceptions below ``root``, one a line, each under its base."""
    lines = [f"{indent}{root.__name__}"]
    for below in root.__subclasses__():
        if below.__module__ == errors.__name__:
            lines.append(error_tree(below, indent + "    "))
    return "\n".join(lines)


if __name__ == "__main__":
    print({"commands": commands, "errors": error_tree}[sys.argv[1]]())
