"""Damaged files of mien's own through what reads them: what they raise, what they cost, what they end.

    python benchmarks/hostile_files.py [N] [SEED]

N files (5,000), damaged in their bytes or in what they hold (odd values, deep nesting, huge shapes, dropped
tables), over every kind that mien writes and reads back; the same for the same seed. They are read in a
process of their own, so that one that ends it is counted and the rest goes on. The limits: no signal, no
exception but `MienError` of one line, 2 s of computing, memory that does not grow.
"""

import json
import random
import resource
import sys
import tempfile
import time
import warnings
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import psutil
from campaign import WARM_UP, Tally, command_line, run

from mien.errors import MienError

TESTS = Path(__file__).resolve().parents[1] / "tests"
MOST_BYTES = 24 * 2**30  # of address space: what asks for more fails at once


def module(place: str) -> ModuleType:
    path = TESTS / place
    spec = spec_from_file_location(path.stem, path)
    loaded = module_from_spec(spec)
    sys.modules[path.stem] = loaded  # dataclasses look there
    spec.loader.exec_module(loaded)
    return loaded


def work(seed: int, start: int, end: int) -> None:
    """Read the files from one number to another, and write a line before and after each."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, resource.RLIM_INFINITY))
    process, damage = psutil.Process(), module("workflows/damage.py").damage
    with tempfile.TemporaryDirectory() as folder:
        tiny = module("fixtures_model.py").write_tiny_model(Path(folder))
        made = Path(folder) / "made"
        made.mkdir()
        samples = list(module("workflows/own_files.py").samples(made, tiny).items())
        for number in range(start, end):
            name, sample = samples[number % len(samples)]
            rng = random.Random(f"{seed} {number}")
            sound = sample.path.read_bytes()
            damage(sample.path, sample.kind, sound, rng)
            tell({"name": f"{number} {name}"})
            before = time.process_time()
            outcome = outcome_of(sample)
            seconds = time.process_time() - before
            sample.path.write_bytes(sound)
            tell({"outcome": outcome, "seconds": seconds, "mib": process.memory_info().rss / 2**20})


def tell(what: dict) -> None:
    print(json.dumps(what), flush=True)


def outcome_of(sample: object) -> str:
    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            sample.read()
    except MienError as error:
        return "refused" if len(str(error).splitlines()) == 1 else f"several lines: {error}"[:200]
    except Exception as error:
        place = traceback_of(error)
        return f"{type(error).__name__} at {place}: {error}"[:300]
    return f"{heard[0].category.__name__}: {heard[0].message}"[:200] if heard else "opened"


def traceback_of(error: BaseException) -> str:
    """The last line of ours that it came through."""
    place, trace = "", error.__traceback__
    while trace:
        file = trace.tb_frame.f_code.co_filename
        place = f"{Path(file).name}:{trace.tb_lineno}" if "mien" in file else place
        trace = trace.tb_next
    return place


def campaign(n: int, seed: int) -> Tally:
    """Have all files read, by as many processes as it takes."""
    worker = [sys.executable, __file__, "--work", str(seed)]
    return run(lambda start: [*worker, str(start), str(n)], n, WARM_UP, n)


if __name__ == "__main__":
    command_line(campaign, work)
