"""Many images: in order, in several processes, past images that are bad or end the process."""

import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

import mien
from mien.core.bulk import BulkSettings, Pause, read_each
from mien.core.child import child_command
from mien.core.cores import free_cores
from mien.core.own_code import load_own
from mien.core.reading_pool import ReadingPool, work
from mien.errors import ImageError, ImageTooLargeError, MienError, ModelError

DETECTOR = """
import os
import time
import numpy as np
from mien import Box, Face, MienError

class Own(MienError):
    pass

class Bright:
    '''One face in an image that is not black; an image that is white ends the process.'''

    def find(self, image):
        level = int(image[0, 0, 0])
        if level == 255:
            os._exit(9)
        if level == 253:
            time.sleep(3600)
        if level == 252:
            raise Own("no licence")
        if level == 254:
            raise ValueError("a bug of the detector")
        return (Face(Box(0, 0, 40, 40), level / 255),) if level else ()
"""


@pytest.fixture
def analyzer(tmp_path: Path, tiny_home: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Reads with a detector of a module that other processes find too."""
    (tmp_path / "bright_detector.py").write_text(DETECTOR)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MIEN_HOME", str(tiny_home))
    monkeypatch.delitem(sys.modules, "bright_detector", raising=False)
    import bright_detector

    return mien.Analyzer("tiny", bright_detector.Bright())


def files(folder: Path, *levels: int) -> list[str]:
    for i, level in enumerate(levels):
        Image.new("RGB", (48, 48), (level, level, level)).save(folder / f"{i}.png")
    return [str(folder / f"{i}.png") for i in range(len(levels))]


def scores(readings: Any) -> list[float]:
    return [round(faces[0].detection_score * 255) if faces else 0 for faces in readings]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_readings_come_in_the_order_of_the_images_whoever_read_them(analyzer, tmp_path, workers) -> None:
    levels = [0, *range(100, 120), 0, 90]
    paths = files(tmp_path, *levels)
    assert scores(analyzer.read_many(paths, batch=4, workers=workers)) == levels


@pytest.mark.parametrize("workers", [1, 2, None])
def test_images_before_a_pause_are_answered_in_it(analyzer, tmp_path, workers) -> None:
    levels = [90, 0, 91, 92, 93, 94]
    answers: list[Any] = []

    def given() -> Any:
        for n, path in enumerate(files(tmp_path, *levels), 1):
            yield path
            tries = iter(range(6000))
            while n in (1, 4) and len(answers) < n:
                yield Pause()
                next(tries)
                time.sleep(0.01)  # for the other processes

    for answer in read_each(analyzer, given(), BulkSettings(workers=workers)):
        answers.append(answer)
    assert scores(answer.readings for answer in answers) == levels


def test_other_processes_read_them(analyzer, tmp_path) -> None:
    paths = files(tmp_path, *[255] * 4)
    with pytest.raises(ImageError, match=r"'.*0\.png' ended the process that read it \(exit code 9\)"):
        list(analyzer.read_many(paths, workers=2))


def test_readings_that_are_left_wait_for_no_thread(analyzer, tmp_path, monkeypatch) -> None:
    """The garbage collector may close them where a thread starts; a join there would never end."""
    readings = analyzer.read_many(files(tmp_path, *range(100, 120)), batch=2, workers=2)
    next(readings)
    monkeypatch.setattr(threading.Thread, "join", lambda *_: pytest.fail("a thread was joined"))
    readings.close()


def test_a_program_without_a_python_reads_in_its_own_process(analyzer, tmp_path, monkeypatch) -> None:
    """There the command of a process is the program itself, which would start itself without end."""
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("it started itself"))
    found = list(analyzer.read_many(files(tmp_path, *[90] * 40), workers=2))
    assert [len(readings) for readings in found] == [1] * 40


def test_an_image_that_ends_a_process_costs_only_itself(analyzer, tmp_path) -> None:
    paths = files(tmp_path, 80, 255, 90, 0, 255, 70)
    answers = list(read_each(analyzer, paths, BulkSettings(workers=2)))
    assert [answer.error is None for answer in answers] == [True, False, True, True, False, True]
    assert scores(answer.readings for answer in answers) == [80, 0, 90, 0, 0, 70]


def test_bytes_arrays_and_pillow_images_reach_other_processes(analyzer, tmp_path) -> None:
    (path,) = files(tmp_path, 80)
    images = [Path(path).read_bytes(), np.full((48, 48, 3), 81, np.uint8), Image.open(path), Path(path)]
    assert scores(analyzer.read_many(images, workers=2)) == [80, 81, 80, 80]


def test_of_large_images_in_memory_few_wait_at_a_time(analyzer, monkeypatch) -> None:
    monkeypatch.setattr("mien.core.bulk.FILE_BYTES", 48 * 48)
    levels = list(range(80, 120))
    drawn = iter(levels)
    readings = analyzer.read_many((np.full((48, 48, 3), n, np.uint8) for n in drawn), workers=2)
    first = scores([next(readings)])
    n_left = len(list(drawn))
    assert n_left >= 40 - 2 * 2 * 3  # 2 batches of 2 images for each process, and those read meanwhile
    assert first + scores(readings) == levels[: 40 - n_left]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_caller_may_reuse_or_close_an_image_once_the_next_is_asked_for(
    analyzer, tmp_path, workers
) -> None:
    frame, pages = np.empty((48, 48, 3), np.uint8), [Image.new("L", (48, 48), n) for n in (84, 85)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])

    def given() -> Any:
        for level in (80, 81):
            frame[:] = level
            yield frame
        for path in files(tmp_path, 82, 83):
            with open(path, "rb") as file, Image.open(path) as image:
                yield file
                yield image
        with Image.open(tmp_path / "pages.tif") as image:
            yield from ImageSequence.Iterator(image)

    found = analyzer.read_many(given(), workers=workers)
    assert scores(found) == [80, 81, 82, 82, 83, 83, 84, 85]


@pytest.mark.parametrize("workers", [1, 2])
def test_what_the_images_themselves_raise_comes_after_the_readings_of_those_before(
    analyzer, tmp_path, workers
) -> None:
    def given() -> Any:
        yield from files(tmp_path, *range(80, 91))
        raise RuntimeError("the listing broke")

    readings = analyzer.read_many(given(), batch=4, workers=workers)
    assert scores([next(readings) for _ in range(11)]) == [*range(80, 91)]
    with pytest.raises(RuntimeError, match="the listing broke"):
        next(readings)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_kind_of_an_error_is_kept(analyzer, tmp_path, workers) -> None:
    paths = [*files(tmp_path, 80, 90, 95), str(tmp_path / "gone.png")]
    readings = analyzer.read_many(paths, workers=workers)
    assert scores([next(readings) for _ in range(3)]) == [80, 90, 95]
    with pytest.raises(ImageError, match="does not exist"):
        next(readings)
    small = mien.Analyzer("tiny", analyzer.detector, limits=mien.ImageLimits(max_pixels=100))
    with pytest.raises(ImageTooLargeError):
        list(small.read_many(paths, workers=workers))


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_kind_of_the_detectors_own_is_one_of_mien(analyzer, tmp_path, workers) -> None:
    with pytest.raises(MienError, match=r"^no licence$"):
        list(analyzer.read_many(files(tmp_path, 252, 252), workers=workers))


def test_other_processes_find_a_model_whose_path_was_relative(
    tiny_with, analyzer, tmp_path, monkeypatch
) -> None:
    model = Path(tiny_with())
    monkeypatch.chdir(model.parent)
    relative = mien.Analyzer(model.name, analyzer.detector)
    monkeypatch.chdir(tmp_path)
    assert scores(relative.read_many(files(tmp_path, 80, 90), workers=2)) == [80, 90]
    model.with_suffix(".json").unlink()
    with pytest.raises(ModelError, match=r"^.*tiny\.json is missing; a model is"):
        list(relative.read_many(files(tmp_path, 80, 90), workers=2))


def test_a_path_object_in_the_import_path_leaves_other_processes_alone(
    analyzer, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, tmp_path])
    assert scores(analyzer.read_many(files(tmp_path, 80, 90), workers=2)) == [80, 90]


def test_a_bug_of_a_detector_is_told_with_its_trace(analyzer, tmp_path) -> None:
    with pytest.raises(RuntimeError, match="a bug of the detector"):
        list(analyzer.read_many(files(tmp_path, 254, 254), workers=2))


def test_a_detector_that_cannot_go_to_other_processes_is_told(tiny_home, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MIEN_HOME", str(tiny_home))

    class Own:
        def find(self, image):
            return ()

    analyzer = mien.Analyzer("tiny", Own())
    with pytest.raises(MienError, match=r"cannot be sent to other processes .* use workers=1"):
        list(analyzer.read_many(files(tmp_path, 1, 2), workers=2))


def test_a_detector_of_a_file_goes_to_other_processes(tiny_home, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MIEN_HOME", str(tiny_home))
    (tmp_path / "beside.py").write_text("LIMIT = 0")
    (tmp_path / "own.py").write_text(f"from beside import LIMIT\n{DETECTOR}")
    analyzer = mien.Analyzer("tiny", load_own(f"{tmp_path / 'own.py'}:Bright", "detector")())
    assert scores(analyzer.read_many(files(tmp_path, 80, 90, 0), workers=2)) == [80, 90, 0]


def test_an_image_that_takes_too_long_gets_an_error_and_the_others_are_read(analyzer, tmp_path) -> None:
    with ReadingPool(analyzer, 1, limit_s=4.0) as pool:
        answers = pool.submit(files(tmp_path, 80, 253, 90)).result()
    assert [answer.error is None for answer in answers] == [True, False, True]
    assert "1.png' was not read within 4 s; leave it out" in str(answers[1].error)


def test_stop_ends_the_work_between_two_images(analyzer, tmp_path) -> None:
    seen: list[Any] = []
    settings = BulkSettings(stop=lambda: len(seen) >= 1)
    for answer in read_each(analyzer, files(tmp_path, *range(60, 90)), settings):
        seen.append(answer)
    assert 1 <= len(seen) <= 8


@pytest.mark.parametrize("workers", [0, 1.5, True])
def test_workers_are_a_positive_number(analyzer, workers) -> None:
    with pytest.raises(MienError, match="workers must be a whole number of at least 1"):
        analyzer.read_many(["a.png"], workers=workers)


@pytest.mark.parametrize(
    ("files_", "expected"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "20000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu.max": "1600000 100000\n"}, 8),
        ({"cpu.max": "nonsense"}, 8),
    ],
    ids=["no quota", "max", "a core and a half", "version 1 without", "a fifth", "more", "nonsense"],
)
def test_cores_are_those_of_the_affinity_and_the_quota(files_, expected, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    (tmp_path / "cpu").mkdir()
    for name, text in files_.items():
        (tmp_path / name).write_text(text)
    assert free_cores(tmp_path) == expected


def test_a_process_whose_parent_was_killed_before_its_first_batch_ends_without_a_word() -> None:
    pipe = subprocess.PIPE
    process = subprocess.Popen(child_command(work), stdin=pipe, stdout=pipe, stderr=pipe)
    for stream in (process.stdout, process.stdin):
        stream.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait()


def test_a_process_whose_parent_was_killed_within_a_batch_ends_without_a_word(analyzer) -> None:
    pipe = subprocess.PIPE
    process = subprocess.Popen(child_command(work), stdin=pipe, stdout=pipe, stderr=pipe)
    batch = pickle.dumps([np.zeros((48, 48, 3), np.uint8)])
    _, said = process.communicate(pickle.dumps((analyzer, False)) + batch[: len(batch) // 2])
    assert said == b""
