"""Each command that writes, killed at random points and given again: nothing lost, nothing left.

    python benchmarks/kills.py [N] [--seed SEED] [--only COMMAND]...

Each command runs once undisturbed, for its time and its files; then N times (10) it is killed (``kill -9``)
at a random point of that time, and given again. The second run must end well, what it leaves must be the
undisturbed run's files, and no temporary file may stay. Files that name a time or a machine are compared by
name alone.

Commands run in forks of a process that has imported the libraries: every kill hits the work of a command and
not the start of Python. Needs Linux or macOS.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import numpy as np
from PIL import Image

LIBRARIES = [
    "torch._dynamo",
    "onnxruntime",
    "onnxscript",
    "h5py",
    "av",
    "pyarrow.parquet",
    "matplotlib.pyplot",
    "optuna",
    "sklearn.svm",
    "pandas",
    "captum.attr",
    "fastapi",
    "uvicorn",
    "timm",
    "lightning.fabric",
    "scipy.stats",
    "rich.progress",
    "pydantic",
    "PIL.Image",
    "numpy",
]
RECIPE = """[data]
store = "s.h5"
[net]
name = "s2d-resnet"
options = { widths = [8, 8, 8], blocks = [1, 1, 1] }
[optim]
lr = 0.05
[run]
epochs = 3
batch_size = 8
threads = 1
checkpoint_every_s = 0
"""
SEARCH = """recipe = "r.toml"
trials = 2
[space]
"optim.lr" = { low = 0.01, high = 0.1 }
"""
COMMANDS = {
    "train": "train r.toml --out OUT/run --allow-leak",
    "data import, fer2013": "data import fer2013 fer2013.csv --partial --out OUT/made.h5",
    "data import, folders": "data import folders classes --out OUT/made.h5",
    "release": "release run --name kept --data s.h5 --out OUT --no-int8",
    "release, int8": "release run --name kept --data s.h5 --out OUT",
    "targets": "targets r.toml --data s.h5 --out OUT/soft.safetensors --runs OUT/runs --folds 2",
    "features": "features run s.h5 --svm --out OUT/svm",
    "explain": "explain run s.h5 --out OUT/maps --n 2",
    "quiz": "quiz --data s.h5 --n 10 --out OUT/quiz.db --port 0",
    "quiz report": "quiz report quiz.db --model run --out OUT/page.html",
    "papers run": "papers run maastricht-cnn1 --data s.h5 --set run.epochs=1 --out OUT",
    "papers table": "papers table --runs papers --out OUT/page.md",
    "search": "search run s.toml --out OUT/search --data s.h5",
    "models, card": "models fer2013-nano --out OUT/card.md",
    "read, csv": "read photos --out OUT/rows.csv --resume",
    "read, jsonl": "read photos --out OUT/rows.jsonl --resume",
    "read, parquet": "read photos --out OUT/rows.parquet --resume",
    "read, annotated": "read photos --annotate OUT/annotated",
    "landmarks, annotated": "landmarks photos --annotate OUT/annotated",
    "watch, csv": "watch clip.mp4 --out OUT/rows.csv --resume",
    "watch, jsonl": "watch clip.mp4 --out OUT/rows.jsonl --resume",
    "watch, parquet": "watch clip.mp4 --out OUT/rows.parquet --resume",
    "watch, events": "watch clip.mp4 --out OUT/a.srt --out OUT/a.eaf --out OUT/a.boris.xlsx --resume",
    "watch, many": "watch clips --out OUT/rows --resume",
    "watch, blind": "watch clips --out OUT/rows --blind OUT/raters --resume",
    "watch, annotated": "watch clip.mp4 --annotate OUT/marked.mp4 --plot OUT/plot.png",
    "page": "page --out OUT/site",
    "data crop": "data crop s.h5 --part eyes --out OUT/part.h5",
    "data split": "data split s.h5 --out OUT/split.h5",
    "data join": "data join s.h5 t.h5 --labels fer2013 --out OUT/both.h5",
    "data audit": "data audit s.h5 --out OUT/page.html",
    "evaluate": "evaluate run s.h5 --split val --out OUT/scores --allow-leak",
    "ensemble": "ensemble run run2 --data s.h5 --split val --out OUT/votes --allow-leak",
    "report": "report run --out OUT/report.html",
}
"""By name; ``OUT`` is the folder that is compared."""
CHANGING = (".db", ".json", ".png", ".html", ".log", ".onnx", ".mp4", ".eaf", ".xlsx", "-key.csv")
"""Ends of files that hold a time, the machine, a random order, or the rounding of several threads."""
TRIES = 10
"""Of a kill that comes too late."""
SERVES = "the quiz is at"
"""What a command says that ends by Ctrl-C alone."""
STOPPED = 130
REPEATED = {"annotated"}
"""Folders in which nothing is ever overwritten, so that a second run numbers its files anew."""


def start(command: str, place: Path) -> int:
    """A process, of a group of its own, that runs the command in ``place``; it says all in ``told``."""
    (place / "told").unlink(missing_ok=True)
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
        os.chdir(place)
        os.environ |= {"MIEN_HOME": str(place / "home"), "TMPDIR": str(place / "tmp")}
        tempfile.tempdir = None
        told = os.open(place / "told", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream, number in ((os.open(os.devnull, os.O_RDONLY), 0), (told, 1), (told, 2)):
            os.dup2(stream, number)
        sys.argv = ["mien", *command.split()]
        import_module("mien.cli.main").main()
        code = 0
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else int(e.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def ended(child: int, until: Callable[[], bool]) -> int | None:
    """The exit code of a process; None where ``until`` came true before its end."""
    while not until():
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    return None


def prepare(place: Path) -> None:
    """Photographs, a clip, data sets, a recipe, a search and a finished run."""
    import av

    rng = np.random.default_rng(0)
    for name in (
        "photos",
        "clips",
        "tmp",
        *(f"classes/{part}/{label}" for part in ("train", "test") for label in "ab"),
    ):
        (place / name).mkdir(parents=True)
    for i in range(12):
        Image.fromarray(rng.integers(0, 255, (96, 128, 3), np.uint8)).save(place / "photos" / f"{i}.png")
        part, label = ("train", "test")[i % 2], "ab"[i // 2 % 2]
        Image.fromarray(rng.integers(0, 255, (48, 48), np.uint8)).save(
            place / f"classes/{part}/{label}/{i}.png"
        )
    with av.open(str(place / "clip.mp4"), "w") as clip:
        stream = clip.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        for _ in range(20):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 255, (64, 64, 3), np.uint8), format="rgb24")
            clip.mux(stream.encode(frame))
        clip.mux(stream.encode(None))
    for name in "abc":
        shutil.copy(place / "clip.mp4", place / "clips" / f"{name}.mp4")
    for name in ("fer2013", "other"):
        write_faces(place / f"{name}.csv", rng)
    (place / "r.toml").write_text(RECIPE)
    (place / "s.toml").write_text(SEARCH)
    for command in (
        "data import fer2013 fer2013.csv --partial --out s.h5",
        "data import fer2013 other.csv --partial --out t.h5",
        "train r.toml --out run --allow-leak",
        "quiz --data s.h5 --n 10 --out quiz.db --port 0",
        "papers run maastricht-cnn1 --data s.h5 --set run.epochs=1 --out papers",
    ):
        if problem := whole(command, place):
            raise SystemExit(f"{command}: {problem}")
    shutil.copytree(place / "run", place / "run2")
    answer_one(place / "quiz.db")


def answer_one(quiz_file: Path) -> None:
    from mien.workflows.quiz.quiz_file import open_quiz

    quiz = open_quiz(quiz_file)
    step = quiz.begin("anna")
    quiz.answer("anna", step.part, step.place, 0, 500)
    quiz.close()


def write_faces(path: Path, rng: np.random.Generator) -> None:
    """Noise in the format of fer2013.csv."""
    lines = ["emotion,pixels,Usage"]
    for usage, n in (("Training", 42), ("PublicTest", 14), ("PrivateTest", 14)):
        for i in range(n):
            lines.append(f"{i % 7},{' '.join(map(str, rng.integers(0, 255, 48 * 48)))},{usage}")
    path.write_text("\n".join(lines) + "\n")


def whole(command: str, place: Path) -> str:
    """Run a command to its end; what went wrong, if anything did."""
    child, told = start(command, place), place / "told"
    code = ended(child, lambda: told.is_file() and SERVES in told.read_text())
    if code is None:
        os.kill(child, signal.SIGINT)
        code = ended(child, lambda: False)
        code = 0 if code == STOPPED else code
    return "" if code == 0 else f"exit {code}: {told.read_text().strip()[-600:]}"


def killed(command: str, place: Path, after_s: float) -> bool:
    """Kill a command after some time, with all that it started; whether it still ran."""
    child, end = start(command, place), time.monotonic() + after_s
    if ended(child, lambda: time.monotonic() > end) is not None:
        return False
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def state(out: Path) -> dict[str, str]:
    """What lies in a folder: a hash by name, or the name alone where content may differ."""
    found = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out)
        if path.is_dir() or (REPEATED & set(name.parts) and not path.name.startswith(".")):
            continue
        same = not path.name.endswith(CHANGING)
        found[str(name)] = hashlib.sha256(path.read_bytes()).hexdigest() if same else ""
    return found


def trial(name: str, n: int, rng: random.Random, place: Path) -> tuple[int, list[str]]:
    """Kills that hit, and what was then lost or left."""
    out = place / "out"
    command = COMMANDS[name].replace("OUT", "out")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    before = time.monotonic()
    if problem := whole(command, place):
        return 0, [f"undisturbed: {problem}"]
    lasts_s, wanted = time.monotonic() - before, state(out)
    hits, faults = 0, []
    for _ in range(n):
        after_s = rng.uniform(0.0, 1.0) * lasts_s
        for _ in range(TRIES):
            shutil.rmtree(out)
            out.mkdir()
            if killed(command, place, after_s):
                hits += 1
                break
            after_s *= 0.7  # it was at its end already
        problem = whole(command, place)
        found = state(out)
        left = [str(one) for one in (place / "tmp").glob("*mien*")]
        if problem or found != wanted or left:
            differs = sorted(set(found.items()) ^ set(wanted.items()))
            faults.append(f"after {after_s:.2f} s: {problem or ''} {sorted({k for k, _ in differs})} {left}")
            for one in (place / "tmp").glob("*mien*"):
                shutil.rmtree(one) if one.is_dir() else one.unlink()
    return hits, faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("n", nargs="?", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", action="append", choices=COMMANDS, metavar="COMMAND", help=", ".join(COMMANDS)
    )
    asked = parser.parse_args()
    for name in LIBRARIES:
        with suppress(ImportError):
            import_module(name)
    place = Path(tempfile.mkdtemp())
    try:
        prepare(place)
        for name in asked.only or COMMANDS:
            hits, faults = trial(name, asked.n, random.Random(f"{asked.seed} {name}"), place)
            print(f"{name}: {asked.n} runs, {hits} killed, {len(faults)} lost or left something", flush=True)
            print(*(f"  {fault}" for fault in faults), sep="\n", end="\n" if faults else "", flush=True)
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
