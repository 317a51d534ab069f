"""2,000 damaged pictures through `mien.read`: how many open, the slowest, and the memory before and after.

    python benchmarks/hostile.py [N] [SEED]

The limit is 2 s a file and no growth. The files are made by tests/core/mutations.py: bit flips, truncations,
wrong headers, spliced chunks and bombs over every format that mien opens.
"""

import importlib.util
import sys
import time
from pathlib import Path

import psutil

import mien

MUTATIONS = Path(__file__).resolve().parents[1] / "tests" / "core" / "mutations.py"


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    spec = importlib.util.spec_from_file_location("mutations", MUTATIONS)
    mutations = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mutations)
    process = psutil.Process()
    seconds, opened, errors, memory = [], 0, 0, []
    for i, (name, data) in enumerate(mutations.mutants(n=n, seed=seed)):
        start = time.perf_counter()
        try:
            mien.read(data)
            opened += 1
        except mien.MienError:
            errors += 1
        seconds.append((time.perf_counter() - start, name))
        if i % (n // 8 or 1) == 0:
            memory.append(process.memory_info().rss / 2**20)
    slowest, name = max(seconds[1:])
    print(f"{opened} opened, {errors} gave a MienError, nothing else")
    print(f"slowest {slowest:.2f} s ({name}), limit 2 s")
    print(f"memory, MiB, along the way: {', '.join(f'{m:.0f}' for m in memory)}")


if __name__ == "__main__":
    main()
