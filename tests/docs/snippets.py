"""Runs the fenced blocks of Markdown files, so that no page shows what does not work.

``sh`` blocks run in bash and stop at the first error, ``python`` blocks in a new interpreter with warnings as
errors; ``json`` and ``toml`` blocks must parse. One after the line ``<!-- test: skip REASON -->`` is left
out, and so are the commands of `NOT_RUN`.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

SHOWN_ONLY = {"", "text", "csv", "console"}
NOT_RUN = {
    "make demo": "makes an environment; CI runs it on its own",
    "make docs": "builds the site; see test_site.py",
    "make test": "runs this test",
    "pip install": "changes the environment; see tests/architecture/test_light_install.py",
    "git clone": "needs the network",
    "cd ": "follows git clone",
}
BLOCK = re.compile(
    r"(?:^<!-- test: skip (?P<skip>.+?) -->\n+)?^```(?P<kind>\w*)\n(?P<code>.*?)^```$", re.M | re.S
)
STAND_INS = Path(__file__).with_name("stand_ins")
IN_TURN = """
import json, sys
sys.path.insert(1, sys.argv[2])
for line, code in json.loads(sys.argv[1]):
    exec(compile(code, f"the block at line {line}", "exec"), {"__name__": "__main__"})
"""


class Block(NamedTuple):
    line: int
    kind: str
    code: str
    skip: str | None


def blocks(text: str) -> list[Block]:
    return [
        Block(text.count("\n", 0, found.start("code")), found["kind"], found["code"], found["skip"])
        for found in BLOCK.finditer(text)
    ]


def run(block: Block, folder: Path) -> None:
    """Run one block; AssertionError with what it printed where it fails."""
    if block.kind == "json":
        json.loads(block.code)
    elif block.kind == "toml":
        tomllib.loads(block.code)
    elif block.kind == "sh":
        lines = [line.removeprefix("$ ") for line in block.code.splitlines()]
        kept = "\n".join(x for x in lines if not x.startswith(tuple(NOT_RUN)))
        call(["bash", "-euo", "pipefail", "-c", kept], folder)
    elif block.kind == "python":
        run_in_turn([block], folder)
    else:
        assert block.kind in SHOWN_ONLY, f"line {block.line}: use sh or python, so that this block is run"


def run_in_turn(several: Sequence[Block], folder: Path) -> None:
    """Run Python blocks in one interpreter, each with names of its own; `STAND_INS` hide real packages."""
    codes = json.dumps([(block.line, block.code) for block in several])
    call([sys.executable, "-W", "error", "-c", IN_TURN, codes, str(STAND_INS)], folder)


def call(command: list[str], folder: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path, "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"
