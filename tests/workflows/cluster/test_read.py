"""Reading on a Ray cluster: every image once, whatever dies. The cluster is two nodes on this machine."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

pq = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")

from PIL import Image
from pyarrow import fs

from mien.cli.read_inputs import Inputs
from mien.cli.read_ray import read_by_ray
from mien.errors import DataError, MienError
from mien.workflows.cluster import places, read
from mien.workflows.cluster.actors import PartReader
from mien.workflows.cluster.parts import Part
from mien.workflows.cluster.places import images_at, open_folder, placed
from mien.workflows.cluster.read import RUN, RayJob, begin_run
from mien.workflows.find import Source
from mien.workflows.read import ReadSettings
from mien.workflows.selection import Selection

N_IMAGES = 48

DETECTOR = """
import os, time

class Planted:
    def __init__(self, settings):
        pass

    def find(self, image):
        level = int(image[0, 0, 0])
        if level == 255:
            os._exit(9)
        if level == 254:
            time.sleep(3600)
        if level == 253:
            raise ValueError("a bug of the detector")
        return ()

    def find_many(self, images):
        return [self.find(image) for image in images]
"""
"""One that ends its process, hangs or fails, by the brightness of the image."""


def rows_in(folder: Path) -> list[dict]:
    return [row for path in sorted(folder.glob("part-*")) for row in pq.read_table(path).to_pylist()]


@pytest.fixture
def reader_into() -> Iterator[Callable[..., PartReader]]:
    """``reader_into(folder)``: the class of the actors, called directly; its process ends with the test."""
    with ExitStack() as stack:

        def make(folder: Path, settings: ReadSettings | None = None, **more: float) -> PartReader:
            reader = PartReader(settings or ReadSettings(), str(folder), ("happy", "sad"), **more)
            return stack.enter_context(closing(reader))

        yield make


def test_the_name_of_a_part_follows_from_its_images_and_their_order() -> None:
    a, b = Source("/a.png"), Source("/b.png")
    assert Part((a, b)).name == Part((a, b)).name
    assert len({Part(some).name for some in ((a, b), (b, a), (a,), (b,))}) == 4


def test_a_part_is_the_same_after_its_way_to_an_actor() -> None:
    part = Part((Source("/\udce4.png", None, "below"), Source("/b.png", "is gone")))
    assert Part.from_text(part.to_text()) == part


def test_a_part_that_was_not_written_to_its_end_is_not_there(images, reader_into, tmp_path) -> None:
    reader = reader_into(tmp_path)

    class Dies:
        type_name = "local"

        def __init__(self, system) -> None:
            self.get_file_info, self.open_output_stream = system.get_file_info, system.open_output_stream

        def move(self, *_: str) -> None:
            raise KeyboardInterrupt

    reader.system = Dies(reader.system)
    with pytest.raises(KeyboardInterrupt):
        reader.read(Part((Source(str(images / "00.png")),)))
    assert not list(tmp_path.glob("part-*"))


def test_an_address_is_listed_by_the_ends_of_names(images) -> None:
    found = [source.name for source in images_at(images.as_uri())]
    assert len(found) == N_IMAGES
    assert found[0] == f"file://{images}/00.png"
    chosen = images_at(images.as_uri(), Selection(include=["below/*"]))
    assert [source.name for source in chosen] == [f"file://{images}/below/bad.jpg"]
    with pytest.raises(MienError, match="cannot be listed"):
        list(images_at((images / "gone").as_uri()))
    with pytest.raises(MienError, match="nothing://x cannot be opened"):
        open_folder("nothing://x")


@pytest.mark.parametrize(
    ("address", "first"),
    [
        (
            "s3://b/in?endpoint_override=minio:9&scheme=http",
            "s3://b/in/{}?endpoint_override=minio:9&scheme=http",
        ),
        ("s3://b/in/?region=x", "s3://b/in/{}?region=x"),
        ("hdfs://host:9000/in", "hdfs://host:9000/in/{}"),
        ("abfs://container@account/in", "abfs://container@account/in/{}"),
        ("zip://in::s3://b/all.zip", "zip://in/{}::s3://b/all.zip"),
        ("file:///", "file:///{}"),
    ],
)
def test_the_name_of_an_image_leads_to_the_same_store(address, first, images, monkeypatch) -> None:
    opened = fs.LocalFileSystem(), str(images)
    monkeypatch.setattr(places, "open_folder", lambda _: opened)
    names = [source.name for source in images_at(address)]
    assert (names[0], names[-1]) == (first.format("00.png"), first.format("below/bad.jpg"))


@pytest.mark.parametrize("name", ["a b.png", "größe.png", "50%.png", "x%20y.png", "why?.png", "no#1.png"])
def test_an_image_of_any_name_is_opened_by_its_address(name: str, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)  # it opens the files of this machine by itself
    (tmp_path / "in it").mkdir()
    (tmp_path / "in it" / name).write_bytes(b"")
    for folder in (f"file://{tmp_path}/in it", (tmp_path / "in it").as_uri()):
        (source,) = images_at(folder)
        assert open_folder(source.name)[1] == str(tmp_path / "in it" / name)


def test_patterns_choose_at_an_address_as_they_do_in_a_folder(images) -> None:
    (images / ".hidden").mkdir()
    for name in (".hidden.png", ".hidden/x.png"):
        (images / name).write_bytes((images / "00.png").read_bytes())
    assert len(list(images_at(images.as_uri()))) == N_IMAGES
    assert len(list(images_at(images.as_uri(), Selection(exclude=["below"])))) == N_IMAGES - 1
    one = (images / "below" / "bad.jpg").as_uri()
    assert [source.name for source in images_at(one, Selection(include=["*.jpg"]))] == [one]
    assert not list(images_at(one, Selection(exclude=["bad.*"])))
    notes = (images / "notes.txt").as_uri()  # named itself, so whatever its end
    assert [source.name for source in images_at(notes)] == [notes]


def test_a_list_names_images_and_folders_of_a_store(images, tmp_path, monkeypatch) -> None:
    taken: list[Source] = []
    monkeypatch.setattr(read, "read_on_ray", lambda job, sources: taken.extend(sources) or ())
    gone = (tmp_path / "gone").as_uri()
    lines = [
        "s3://b/x.jpg?region=y",
        "s3://b/x.gif",
        (images / "below").as_uri(),
        gone,
        str(images / "00.png"),
    ]
    (tmp_path / "list").write_text("\n".join(lines))
    chosen = {"include": (), "exclude": ["*.gif"], "shard": None, "limit": None, "leave_out": None}
    read_by_ray(Inputs((), str(tmp_path / "list"), **chosen), RayJob(str(tmp_path)))
    names = ["s3://b/x.jpg?region=y", f"file://{images}/below/bad.jpg", gone, str(images / "00.png")]
    assert [source.name for source in taken] == names
    assert [source.error is None for source in taken] == [True, True, False, True]
    assert f"{gone} cannot be listed" in taken[2].error


def test_an_image_on_standard_input_is_no_file_of_that_name(tmp_path) -> None:
    inputs = Inputs(("-",), None, include=(), exclude=(), shard=None, limit=None, leave_out=None)
    with pytest.raises(MienError, match="an image on standard input is not for --ray"):
        read_by_ray(inputs, RayJob(str(tmp_path)))


def test_images_are_named_alike_on_every_machine_and_once() -> None:
    names = [source.name for source in placed([Source("a.png"), Source(os.path.abspath("a.png"))])]
    assert names == [os.path.abspath("a.png")]
    assert placed([Source("s3://x/a.png")])[0].name == "s3://x/a.png"


def test_images_that_rows_could_not_tell_apart_are_refused() -> None:
    with pytest.raises(MienError, match=r"2 files are called '/.*/b.[.]png' but"):
        placed([Source(os.fsdecode(name)) for name in (b"a.png", b"b\xfe.png", b"b\xff.png")])


@pytest.mark.parametrize("by_url", [False, True], ids=["paths", "addresses"])
def test_a_part_has_a_row_for_every_image_and_is_not_read_twice(
    images, reader_into, by_url, tmp_path
) -> None:
    out = tmp_path / "out"
    names = sorted(map(str, images.rglob("*.[pj]*g")))
    sources = [Source(f"file://{name}" if by_url else name) for name in names]
    sources.append(Source("/gone.png", error="'/gone.png' is gone"))
    begin_run(RayJob(str(out)), "0" * 64, 8)
    reader = reader_into(out)
    done = reader.read(Part(tuple(sources)))
    assert (done.n_images, done.n_faces, done.n_failed) == (N_IMAGES + 1, 0, 2)
    rows = rows_in(out)
    assert [row["path"] for row in rows] == [source.name for source in sources]
    assert sum(row["error"] is not None for row in rows) == 2
    assert {path.name for path in out.iterdir()} == {RUN, Part(tuple(sources)).name}
    images_read, reader.images = reader.images, None  # what is there is not read again
    assert reader.read(Part(tuple(sources))) == done
    reader.images = images_read


@pytest.fixture
def planted(tmp_path) -> ReadSettings:
    (tmp_path / "planted.py").write_text(DETECTOR)
    return ReadSettings(detector=f"{tmp_path / 'planted.py'}:Planted")


def gray(folder: Path, *levels: int) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{n:02d}-{level}.png" for n, level in enumerate(levels)]
    for path, level in zip(paths, levels, strict=True):
        Image.new("RGB", (48, 48), (level, level, level)).save(path)
    return paths


def test_an_image_that_ends_or_holds_up_its_process_is_a_row_and_the_others_are_read(
    planted, reader_into, tmp_path
) -> None:
    paths = gray(tmp_path / "in", 0, 255, 1, 254, 2, 255)
    done = reader_into(tmp_path, planted, limit_s=4.0).read(Part(tuple(Source(str(p)) for p in paths)))
    assert (done.n_images, done.n_failed) == (6, 3)
    errors = [row["error"] for row in rows_in(tmp_path)]
    assert [error is None for error in errors] == [True, False, True, False, True, False]
    assert "ended the process that read it (exit code 9)" in errors[1]
    assert "03-254.png' was not read within 4 s; leave it out" in errors[3]


def test_a_bug_of_a_detector_stops_the_run_and_is_told(planted, reader_into, tmp_path) -> None:
    part = Part(tuple(Source(str(path)) for path in gray(tmp_path / "in", 0, 253)))
    told = reader_into(tmp_path, planted)({"part": [part.to_text()]})
    assert told["error"] == ["a worker failed: ValueError: a bug of the detector"]
    assert not list(tmp_path.glob("part-*"))


def test_a_run_is_continued_as_it_was_begun_or_not_at_all(tmp_path) -> None:
    job = RayJob(str(tmp_path / "out"))
    assert begin_run(job, "a" * 64, 8)[2] == 8
    with pytest.raises(MienError, match="holds a run already; add --resume"):
        begin_run(job, "a" * 64, 8)
    again = RayJob(job.folder, resume=True)
    assert begin_run(again, "a" * 64, 99)[2] == 8  # parts keep their size, and so their names
    with pytest.raises(MienError, match="the stopped run had another model"):
        begin_run(again, "b" * 64, 8)
    (tmp_path / "out" / RUN).write_text(json.dumps({"model": "a"}))
    with pytest.raises(DataError, match="is damaged"):
        begin_run(again, "a" * 64, 8)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.parquet").touch()
    with pytest.raises(MienError, match="holds Parquet files of something else"):
        begin_run(RayJob(str(tmp_path / "other")), "a" * 64, 8)


def test_a_damaged_part_is_named(tmp_path) -> None:
    job = RayJob(str(tmp_path), resume=True)
    begin_run(RayJob(str(tmp_path)), "a" * 64, 8)
    (tmp_path / "part-1.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"part-1\.parquet is damaged .*; delete it"):
        begin_run(job, "a" * 64, 8)


def start(cluster: str, images: Path, out: Path, *more: str) -> subprocess.Popen:
    command = ["read", str(images), "--ray", cluster, "--out", str(out), *more]
    return subprocess.Popen([sys.executable, "-m", "mien", *command], stderr=subprocess.PIPE, text=True)


def wait_for_parts(out: Path, n: int, process: subprocess.Popen) -> None:
    while process.poll() is None and len(list(out.glob("part-*"))) < n:
        time.sleep(0.02)


def readers() -> list[int]:
    """The processes of actors that read."""
    psutil = pytest.importorskip("psutil", reason="needs psutil")
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any("PartReader" in part for part in process.info["cmdline"] or ()):
            found.append(process.pid)
    return found


def check_each_once(images: Path, out: Path) -> None:
    expected = {str(path) for path in images.rglob("*.[pj]*g")}
    counted = Counter(row["path"] for row in rows_in(out))
    assert counted == Counter(dict.fromkeys(expected, 1))
    assert sum(row["error"] is not None for row in rows_in(out)) == 1
    assert not list(out.glob(".mien-*"))


def test_a_killed_worker_costs_nothing(cluster, images, tmp_path) -> None:
    out = tmp_path / "out"
    process = start(cluster, images, out)
    wait_for_parts(out, 2, process)
    killed = readers()[:1]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    told = process.communicate()[1]
    assert killed
    assert process.returncode == 1, told  # one image is none
    assert f"{N_IMAGES} images, 0 faces, 1 not read" in told
    check_each_once(images, out)


def test_a_killed_driver_is_resumed_and_every_image_is_read_once(cluster, images, tmp_path) -> None:
    out = tmp_path / "out"
    process = start(cluster, images, out)
    wait_for_parts(out, 2, process)
    process.kill()
    process.communicate()
    assert "holds a run already; add --resume" in start(cluster, images, out).communicate()[1]
    resumed = start(cluster, images, out, "--resume")
    told = resumed.communicate()[1]
    assert resumed.returncode == 1, told
    assert f"{N_IMAGES} images, 0 faces, 1 not read" in told
    check_each_once(images, out)


def test_images_that_end_their_process_become_rows_on_a_cluster(cluster, planted, tmp_path) -> None:
    paths, out = gray(tmp_path / "in", *range(6), 255, *range(6, 12), 255), tmp_path / "out"
    process = start(cluster, tmp_path / "in", out, "--detector", planted.detector)
    told = process.communicate()[1]
    assert process.returncode == 1, told
    assert "14 images, 0 faces, 2 not read" in told
    rows = rows_in(out)
    assert Counter(row["path"] for row in rows) == Counter(map(str, paths))
    assert {row["path"] for row in rows if row["error"]} == {str(paths[6]), str(paths[13])}
