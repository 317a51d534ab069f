"""The house rules that can be read off the source: layers, heavy imports, effects at import, sizes.

Each check takes a folder that holds the package ``mien`` and returns one line a violation, so that it can be
shown a planted one.
"""

import ast
import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

EXCEPTIONS = {
    "parameters: cli/*": "each parameter of a command is one option of the command line",
    "parameters: core/analyzer.py:Analyzer.__init__": "the door of the library: each is one choice, named",
    "parameters: workflows/video/job.py:WatchJob.__init__": "takes more kinds of values than its fields keep",
}
"""``rule: file[:function]`` (wildcards allowed) and why the rule does not hold there."""

LAYERS = {"errors": 0, "names": 1, "core": 2, "data": 3, "train": 4, "workflows": 5, "cli": 6, "web": 6}
TOP = {"__init__", "__main__", "ray"}
"""Modules at the door: they may import any layer, and no layer imports a public name from them."""

HEAVY = {"torch", "torchvision", "timm", "captum", "lightning", "lightning_fabric"}

MAX_LINES, MAX_STATEMENTS, MAX_PARAMETERS = 400, 40, 6

EFFECTS = re.compile(
    r"""^( print | open | exec | input | (.*\.)?(basicConfig | filterwarnings | simplefilter | seterr
    | addHandler | setLevel | captureWarnings | urlopen | urlretrieve | mkdir | makedirs | mkdtemp | mkstemp
    | write_text | write_bytes | read_text | read_bytes | open | touch | putenv | chdir | seed | manual_seed
    | set_num_threads | set_start_method | set_default_dtype | register_at_fork)
    | os\.environ\.\w+ | os\.(system | remove | rename | replace) | subprocess\..* | requests\..*
    | atexit\..* | signal\.signal | sys\.(setrecursionlimit | path\..*) )$""",
    re.VERBOSE,
)

Function = ast.FunctionDef | ast.AsyncFunctionDef
Check = Callable[[Path], list[str]]


def modules(source: Path) -> Iterator[tuple[str, str, ast.Module]]:
    """(file name below the package, its text, its tree) of each module."""
    package = source / "mien"
    for path in sorted(package.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        yield path.relative_to(package).as_posix(), text, ast.parse(text)


def excused(rule: str, place: str) -> bool:
    return any(fnmatchcase(f"{rule}: {place}", pattern) for pattern in EXCEPTIONS)


# Rules 1 and 2: imports


def imported(name: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, full module name) of each import: in functions, import_module("x") and name tables too."""
    package = ["mien", *Path(name).parts[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            whole = base == "mien"  # then it is the imported name that tells the layer
            yield from ((node.lineno, f"mien.{a.name}" if whole else base) for a in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.fullmatch(r"mien(\.\w+)+", node.value):
                yield node.lineno, node.value
        elif isinstance(node, ast.Call) and dotted(node.func).endswith(("import_module", "__import__")):
            yield from ((node.lineno, str(a.value)) for a in node.args[:1] if isinstance(a, ast.Constant))


def imports_point_one_way(source: Path) -> list[str]:
    found = []
    for name, _, tree in modules(source):
        own = Path(name).parts[0].removesuffix(".py")
        if own not in LAYERS and own not in TOP:
            found.append(f"{name}: '{own}' is no layer; known: {', '.join(LAYERS)}")
            continue
        for line, target in imported(name, tree):
            parts = target.split(".")
            if parts[0] != "mien" or target == "mien.__version__":
                continue
            layer = parts[1] if len(parts) > 1 else "__init__"
            if own in TOP or layer == own or LAYERS.get(layer, 99) < LAYERS[own]:
                continue
            found.append(f"{name}:{line}: {own} must not import {target}")
    return [one for one in found if not excused("imports", one.split(":")[0])]


def heavy_imports_stay_in_train(source: Path) -> list[str]:
    return [
        f"{name}:{line}: {target} belongs into train/"
        for name, _, tree in modules(source)
        for line, target in imported(name, tree)
        if target.split(".")[0] in HEAVY and not name.startswith("train/") and not excused("heavy", name)
    ]


def packages_hold_no_circle(source: Path) -> list[str]:
    """Each circle of files of one package that import each other, late or for types alone."""
    files = {".".join(["mien", *Path(name).with_suffix("").parts]): name for name, *_ in modules(source)}
    needs: dict[str, set[str]] = {name: set() for name in files}
    for name, _, tree in modules(source):
        own = ".".join(["mien", *Path(name).with_suffix("").parts])
        for _, target in targets(name, tree):
            found = target if target in files else target.rpartition(".")[0]  # module, or a name in it
            if found in files and found != own and found.split(".")[1] == own.split(".")[1]:
                needs[own].add(found)
    reach = {name: reachable(name, needs) for name in needs}
    circles = {tuple(sorted(one for one in reach[name] if name in reach[one])) for name in needs}
    return [
        f"{' and '.join(files[one] for one in circle)} import each other"
        for circle in sorted(circles)
        if circle
    ]


def private_names_stay_in_their_file(source: Path) -> list[str]:
    """ruff's PLC2701 sees those of other packages alone."""
    return [
        f"{name}:{line}: {target} is private; give it a public name"
        for name, _, tree in modules(source)
        for line, target in targets(name, tree)
        if re.fullmatch(r"mien\..*\b_(?!_)\w*", target)
    ]


def targets(name: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, what it names) of each import, the imported name too: ``mien.core.x`` of ``from . import x``."""
    package = ["mien", *Path(name).parts[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def reachable(start: str, needs: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    ahead = [start]
    while ahead:
        new = needs[ahead.pop()] - seen
        seen |= new
        ahead += new
    return seen


# Rule 3: nothing happens at import


def dotted(node: ast.expr) -> str:
    """``a.b().c`` as text, with the calls left out; what is no name becomes ``?``."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return dotted(node.func) if isinstance(node, ast.Call) else "?"


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Every node that runs while the module is imported: not the bodies of functions, nor of a main guard."""
    if isinstance(node, ast.If) and "__main__" in ast.dump(node.test):
        return
    yield node
    if isinstance(node, Function):
        children: list[ast.AST] = [
            *node.decorator_list,
            *node.args.defaults,
            *filter(None, node.args.kw_defaults),
        ]
    elif isinstance(node, ast.Lambda):
        children = []
    else:
        children = list(ast.iter_child_nodes(node))
    for child in children:
        yield from at_import(child)


def is_changed(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load)


def nothing_happens_at_import(source: Path) -> list[str]:
    found = []
    for name, _, tree in modules(source):
        own = {
            node.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        own |= {node.name for node in tree.body if isinstance(node, ast.ClassDef | Function)}

        def is_own(node: ast.expr, own: set[str] = own) -> bool:
            return dotted(node).split(".")[0] in own

        for node in at_import(tree):
            if isinstance(node, ast.Call) and EFFECTS.match(dotted(node.func)):
                found.append(f"{name}:{node.lineno}: {dotted(node.func)}() runs at import")
            # a call whose value is dropped is there for its effect
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and not is_own(node.value):
                found.append(f"{name}:{node.lineno}: {dotted(node.value)}() runs at import")
            elif is_changed(node) and not is_own(node.value):
                found.append(f"{name}:{node.lineno}: {ast.unparse(node)} is changed at import")
    unique = dict.fromkeys(found)  # a call can break the rule in two ways
    return [one for one in unique if not excused("import", one.split(":")[0])]


# Rule 4: sizes, and what library code does without


def functions(tree: ast.Module) -> Iterator[tuple[str, Function, bool]]:
    """(qualified name, node, whether it is public) of each function; one inside a function is not public."""

    def below(node: ast.AST, prefix: str, public: bool) -> Iterator[tuple[str, Function, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Function | ast.ClassDef):
                named = public and (not child.name.startswith("_") or child.name.endswith("__"))
                if isinstance(child, Function):
                    yield prefix + child.name, child, named
                yield from below(child, f"{prefix}{child.name}.", named and isinstance(child, ast.ClassDef))
            else:
                yield from below(child, prefix, public)

    yield from below(tree, "", True)


def statements(function: Function) -> int:
    inside = [node for node in ast.walk(function) if isinstance(node, ast.stmt) and node is not function]
    return len(inside) - (ast.get_docstring(function) is not None)


def parameters(function: Function) -> list[str]:
    given = function.args
    names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    names += [one.arg for one in (given.vararg, given.kwarg) if one]
    return [name for name in names if name not in {"self", "cls"}]


def files_are_short(source: Path) -> list[str]:
    return [
        f"{name}: {text.count(chr(10))} lines, at most {MAX_LINES}"
        for name, text, _ in modules(source)
        if text.count("\n") > MAX_LINES and not excused("lines", name)
    ]


def functions_are_short(source: Path) -> list[str]:
    return [
        f"{name}:{node.lineno}: {called} has {statements(node)} statements, at most {MAX_STATEMENTS}"
        for name, _, tree in modules(source)
        for called, node, _ in functions(tree)
        if statements(node) > MAX_STATEMENTS and not excused("statements", f"{name}:{called}")
    ]


def parameters_are_few(source: Path) -> list[str]:
    return [
        f"{name}:{node.lineno}: {called} takes {len(parameters(node))} parameters, at most {MAX_PARAMETERS}"
        for name, _, tree in modules(source)
        for called, node, _ in functions(tree)
        if len(parameters(node)) > MAX_PARAMETERS and not excused("parameters", f"{name}:{called}")
    ]


def parameters_are_named(source: Path) -> list[str]:
    return [
        f"{name}:{node.lineno}: {called} takes **{node.args.kwarg.arg}; name what it accepts"
        for name, _, tree in modules(source)
        for called, node, public in functions(tree)
        if public and node.args.kwarg and not excused("kwargs", f"{name}:{called}")
    ]


def no_assert_and_no_print(source: Path) -> list[str]:
    found = []
    for name, _, tree in modules(source):
        for node in ast.walk(tree):
            if isinstance(node, ast.Assert):
                found.append(f"{name}:{node.lineno}: assert vanishes under python -O; raise a MienError")
            elif isinstance(node, ast.Call) and dotted(node.func) == "print" and not name.startswith("cli/"):
                found.append(f"{name}:{node.lineno}: only the command line prints")
    return [one for one in found if not excused("assert", one.split(":")[0])]


LONG_FUNCTION = "def f():\n    '''Doc.'''\n" + "    x = 1\n" * 40
PLANTED: list[tuple[Check, str, str, str]] = [
    # (check, file, text with the violation, what the check says; "" where it must stay silent)
    (imports_point_one_way, "core/x.py", "import mien.data.store", "core must not import mien.data.store"),
    (imports_point_one_way, "data/x.py", "from mien.train import loop", "data must not import mien.train"),
    (imports_point_one_way, "data/x.py", "from mien import cli", "data must not import mien.cli"),
    (imports_point_one_way, "core/x.py", "from ..data import store", "core must not import mien.data"),
    (
        imports_point_one_way,
        "core/x.py",
        "def f():\n    import mien.web",
        "x.py:2: core must not import mien.web",
    ),
    (
        imports_point_one_way,
        "core/x.py",
        "HOMES = {'a': 'mien.train.x'}",
        "core must not import mien.train.x",
    ),
    (imports_point_one_way, "core/x.py", "from mien import read", "core must not import mien.read"),
    (imports_point_one_way, "names.py", "import mien.core.images", "names must not import mien.core.images"),
    (imports_point_one_way, "cli/x.py", "from mien.web import app", "cli must not import mien.web"),
    (imports_point_one_way, "web/x.py", "import mien.cli.main", "web must not import mien.cli.main"),
    (imports_point_one_way, "utils.py", "", "'utils' is no layer"),
    (imports_point_one_way, "cli/x.py", "from mien import __version__\nimport mien.errors", ""),
    (imports_point_one_way, "core/x.py", "from . import y\nfrom ..errors import MienError", ""),
    (imports_point_one_way, "__init__.py", "HOMES = {'a': 'mien.core.x'}", ""),
    (heavy_imports_stay_in_train, "core/x.py", "import torch.nn as nn", "torch.nn belongs into train/"),
    (
        heavy_imports_stay_in_train,
        "workflows/x.py",
        "def f():\n    from timm import a",
        "timm belongs into train/",
    ),
    (heavy_imports_stay_in_train, "cli/x.py", "import_module('captum')", "captum belongs into train/"),
    (heavy_imports_stay_in_train, "train/x.py", "import torch", ""),
    (packages_hold_no_circle, "core/x.py", "", ""),
    (
        private_names_stay_in_their_file,
        "core/x.py",
        "from mien.core.y import a, _b",
        "mien.core.y._b is private",
    ),
    (
        private_names_stay_in_their_file,
        "core/x.py",
        "def f():\n    from . import _y",
        "x.py:2: mien.core._y is",
    ),
    (private_names_stay_in_their_file, "core/x.py", "from mien import __version__\nimport _thread", ""),
    (
        nothing_happens_at_import,
        "core/x.py",
        "import logging\nlogging.basicConfig()",
        "x.py:2: logging.basicConfig()",
    ),
    (
        nothing_happens_at_import,
        "x.py",
        "from warnings import simplefilter\nif 1:\n    simplefilter('a')",
        "simplef",
    ),
    (
        nothing_happens_at_import,
        "x.py",
        "import os\nos.environ['A'] = '1'",
        "os.environ['A'] is changed at import",
    ),
    (
        nothing_happens_at_import,
        "x.py",
        "import os\nA = os.environ.setdefault('A', '1')",
        "os.environ.setdefault()",
    ),
    (nothing_happens_at_import, "x.py", "CACHE = Path('a')\nCACHE.mkdir()", "CACHE.mkdir() runs at import"),
    (nothing_happens_at_import, "x.py", "A = open('a').read()", "open() runs at import"),
    (nothing_happens_at_import, "x.py", "def f(a=urlopen('b')):\n    pass", "urlopen() runs at import"),
    (nothing_happens_at_import, "x.py", "class A:\n    print('a')", "print() runs at import"),
    (
        nothing_happens_at_import,
        "x.py",
        "from PIL import Image\nImage.MAX = 1",
        "Image.MAX is changed at import",
    ),
    (nothing_happens_at_import, "x.py", "import a\na.register()", "a.register() runs at import"),
    (nothing_happens_at_import, "x.py", "def f():\n    print('a')\nif __name__ == '__main__':\n    f()", ""),
    (nothing_happens_at_import, "x.py", "app = App()\napp.add(1)\nLOG = getLogger(__name__)", ""),
    (files_are_short, "core/x.py", "x = 1\n" * 401, "core/x.py: 401 lines, at most 400"),
    (files_are_short, "core/x.py", "x = 1\n" * 400, ""),
    (functions_are_short, "core/x.py", LONG_FUNCTION + "    y = 1\n", "f has 41 statements, at most 40"),
    (functions_are_short, "core/x.py", LONG_FUNCTION, ""),
    (
        parameters_are_few,
        "core/x.py",
        "class A:\n    def f(self, a, b, c, d, *, e, f, g): ...",
        "A.f takes 7",
    ),
    (parameters_are_few, "core/x.py", "class A:\n    def f(self, a, b, c, d, *, e, f): ...", ""),
    (parameters_are_few, "cli/x.py", "def f(a, b, c, d, e, f, g): ...", ""),
    (
        parameters_are_named,
        "core/x.py",
        "class A:\n    def __init__(self, **rest): ...",
        "A.__init__ takes **rest",
    ),
    (parameters_are_named, "core/x.py", "def _f(**rest): ...", ""),
    (no_assert_and_no_print, "core/x.py", "def f(a):\n    assert a", "x.py:2: assert vanishes"),
    (no_assert_and_no_print, "data/x.py", "def f(a):\n    print(a)", "x.py:2: only the command line prints"),
    (no_assert_and_no_print, "cli/x.py", "def f(a):\n    print(a)", ""),
]
CHECKS = list(dict.fromkeys(check for check, *_ in PLANTED))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_source_keeps_the_rule(check: Check, source: Path) -> None:
    assert not check(source), "\n".join(check(source))


CIRCLES = {
    "names": {"core/x.py": "from mien.core.y import a", "core/y.py": "import mien.core.x"},
    "modules": {"core/x.py": "from . import y", "core/y.py": "from mien.core import x"},
    "late": {"core/x.py": "def f():\n    from mien.core.y import a", "core/y.py": "import mien.core.x"},
    "types": {
        "core/x.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from mien.core.y import A",
        "core/y.py": "import mien.core.x",
    },
    "three": {
        "core/x.py": "import mien.core.y",
        "core/y.py": "import mien.core.z",
        "core/z.py": "import mien.core.x",
    },
    "folders": {"core/a/x.py": "from mien.core.y import a", "core/y.py": "from .a.x import b"},
}


@pytest.mark.parametrize("files", CIRCLES.values(), ids=CIRCLES)
def test_the_rule_sees_a_planted_circle(files: dict[str, str], plant) -> None:
    assert packages_hold_no_circle(plant(files)) == [f"{' and '.join(files)} import each other"]


def test_files_that_lean_one_way_are_no_circle(plant) -> None:
    files = {
        "core/x.py": "import mien.core.y",
        "core/y.py": "",
        "core/z.py": "import mien.core.x, mien.core.y",
    }
    assert packages_hold_no_circle(plant(files)) == []


@pytest.mark.parametrize(
    ("check", "file", "text", "says"), PLANTED, ids=[f"{p[0].__name__}-{p[3]}" for p in PLANTED]
)
def test_the_rule_sees_a_planted_violation(check: Check, file: str, text: str, says: str, plant) -> None:
    found = check(plant({file: text}))
    assert (len(found) == 1 and says in found[0]) if says else found == []


def test_the_source_has_modules_to_check(source: Path) -> None:
    names = [name for name, _, _ in modules(source)]
    assert {"errors.py", "names.py", "core/emotions.py"} <= set(names)


def test_every_exception_is_still_needed(source: Path, monkeypatch) -> None:
    for pattern in list(EXCEPTIONS):
        with monkeypatch.context() as without:
            without.delitem(EXCEPTIONS, pattern)
            assert any(check(source) for check in CHECKS), f"no code needs the exception '{pattern}' any more"
