"""The importer: what is kept, what is left out and why, kills, and memory."""

import csv
import math
import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.core.locks import sole
from mien.data import ingest
from mien.data.csv_list import list_paths
from mien.data.image_loading import ImageSettings
from mien.data.ingest import Target, ingest_images
from mien.data.listing import Entry, Listing, Problem
from mien.data.store import read_info, read_store
from mien.errors import DataError


def save(path, value=0, size_wh=(8, 8)):
    """A gray PNG of one value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size_wh, value).save(path)
    return path


def listing(entries, **has):
    return Listing("mine", ("happy", "sad"), lambda: iter(entries), len(entries), **has)


def skipped(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))[1:]


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of 32 entries, so that a few images make several."""
    monkeypatch.setattr(ingest, "_PART_ENTRIES", 32)


def test_every_image_that_cannot_be_used_is_counted_and_named_and_stops_nothing(tmp_path):
    good = save(tmp_path / "good.png", 7)
    (tmp_path / "copy.png").write_bytes(good.read_bytes())
    (tmp_path / "cut.png").write_bytes(save(tmp_path / "whole.png", 9).read_bytes()[:-40])
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.png").touch()
    os.mkfifo(tmp_path / "pipe.png")
    entries = [
        Entry(good, 0),
        Entry(tmp_path / "copy.png", 1, "test"),
        Entry(tmp_path / "cut.png", 0),
        Entry(tmp_path / "text.jpg", 0),
        Entry(tmp_path / "empty.png", 0),
        Entry(tmp_path / "pipe.png", 0),
        Entry(tmp_path / "none.png", 0),
        Entry(tmp_path / "nul\0.png", 0),
        Entry(good, None),
        Entry(good, None, problem=Problem("label out of range", "got 9")),
        Entry(good, 0, box=(20, 20, 30, 30)),
        Entry(good, 0, box=(0, 0, math.nan, 4)),
        Entry(save(tmp_path / "last.png", 200), 1, "val"),
    ]
    counts = ingest_images(listing(entries), tmp_path / "a.h5", ImageSettings(8))
    faces = read_store(tmp_path / "a.h5")
    assert faces.images[:, 0, 0].tolist() == [7, 200]
    assert (faces.labels.tolist(), faces.split.tolist(), faces.rows.tolist()) == ([0, 1], [0, 1], [0, 12])
    rows = skipped(tmp_path / "a.skipped.csv")
    assert [(row[0], row[2]) for row in rows] == [
        ("1", "duplicate"),
        ("2", "damaged"),
        ("3", "not an image"),
        ("4", "damaged"),
        ("5", "not an image"),
        ("6", "missing file"),
        ("7", "unreadable file"),
        ("8", "no label"),
        ("9", "label out of range"),
        ("10", "box outside the image"),
        ("11", "box outside the image"),
    ]
    assert counts == Counter(row[2] for row in rows)
    assert rows[0][3] == f"of {good}, of another label, of another split"
    assert not (tmp_path / ".a.h5.part").exists()


def test_an_import_without_losses_leaves_no_list_and_removes_an_older_one(tmp_path):
    (tmp_path / "a.skipped.csv").write_text("old")
    ingest_images(listing([Entry(save(tmp_path / "a.png"), 0)]), tmp_path / "a.h5", ImageSettings(8))
    assert sorted(os.listdir(tmp_path)) == ["a.h5", "a.png"]


def test_where_nothing_is_left_the_list_says_why(tmp_path):
    with pytest.raises(DataError, match=r"no image could be imported; .*a\.skipped\.csv says why"):
        ingest_images(listing([Entry(tmp_path / "none.png", 0)]), tmp_path / "a.h5", ImageSettings(8))
    assert skipped(tmp_path / "a.skipped.csv")[0][2] == "missing file"
    assert os.listdir(tmp_path) == ["a.skipped.csv"]


def test_images_that_come_later_are_taken_in_by_the_same_call(tmp_path):
    mine = listing([Entry(tmp_path / "later" / "a.png", 0)])
    with pytest.raises(DataError, match="no image could be imported"):
        ingest_images(mine, tmp_path / "a.h5", ImageSettings(8))
    save(tmp_path / "later" / "a.png")
    assert not ingest_images(mine, tmp_path / "a.h5", ImageSettings(8))


def test_a_list_of_nothing_says_so(tmp_path):
    with pytest.raises(DataError, match="no image could be imported: mine lists none"):
        ingest_images(listing([]), tmp_path / "a.h5", ImageSettings(8))


@pytest.fixture
def photo(tmp_path):
    """Left half black, right half in colour, 64 x 32; the face is the right half."""
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:, 32:] = (200, 100, 50)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return Entry(
        tmp_path / "photo.png",
        0,
        box=(32, 0, 90, 32),
        landmarks=np.array([[48, 8], [32, 0]], np.float32),
    )


def test_a_face_is_cropped_to_its_box_within_the_image_and_its_landmarks_follow(tmp_path, photo):
    ingest_images(listing([photo], n_landmarks=2), tmp_path / "a.h5", ImageSettings(8, color=True))
    faces = read_store(tmp_path / "a.h5")
    assert (faces.images == (200, 100, 50)).all()
    assert faces.landmarks.tolist() == [[[4, 2], [0, 0]]]


def test_whole_keeps_the_whole_image(tmp_path, photo):
    ingest_images(listing([photo], n_landmarks=2), tmp_path / "a.h5", ImageSettings(8, whole=True))
    faces = read_store(tmp_path / "a.h5")
    luma = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    assert faces.images[0, 4, [0, 7]].tolist() == [0, luma]
    assert faces.landmarks.tolist() == [[[6, 2], [4, 0]]]


def test_two_faces_of_one_photo_are_no_duplicates_unless_it_is_kept_whole(tmp_path, photo):
    entries = [photo, Entry(photo.path, 1, box=(0, 0, 32, 32))]
    assert not ingest_images(listing(entries), tmp_path / "a.h5", ImageSettings(8))
    found = ingest_images(listing(entries), tmp_path / "b.h5", ImageSettings(8, whole=True))
    assert found == {"duplicate": 1}


def test_shrinking_does_not_alias(tmp_path):
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "a.png")
    ingest_images(listing([Entry(tmp_path / "a.png", 0)]), tmp_path / "a.h5", ImageSettings(8))
    inside = read_store(tmp_path / "a.h5").images[0, :, 1:-1].astype(int)
    assert np.abs(inside - 127).max() <= 8  # every eighth column alone would be all black or all white


def test_an_image_of_the_wanted_size_keeps_its_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    ingest_images(listing([Entry(tmp_path / "a.png", 0)]), tmp_path / "a.h5", ImageSettings(48))
    np.testing.assert_array_equal(read_store(tmp_path / "a.h5").images[0], pixels)


def test_what_is_known_of_an_image_is_stored_and_the_rest_is_unknown(tmp_path):
    a, b = save(tmp_path / "a.png", 1), save(tmp_path / "b.png", 2)
    points = np.ones((3, 2), np.float32)
    entries = [Entry(a, 0, person="S1", valence=0.5, arousal=-1, landmarks=points), Entry(b, 1)]
    has = {"persons": True, "valence_arousal": True, "n_landmarks": 3}
    ingest_images(listing(entries, **has), tmp_path / "a.h5", ImageSettings(8), source_sha256="abc")
    faces = read_store(tmp_path / "a.h5")
    assert (faces.persons.tolist(), faces.person_names) == ([0, -1], ("S1",))
    assert faces.valence_arousal[0].tolist() == [0.5, -1]
    assert np.isnan(faces.valence_arousal[1]).all()
    assert np.isnan(faces.landmarks[1]).all()
    assert read_info(tmp_path / "a.h5").source_sha256 == "abc"


def test_labels_without_counterpart_are_left_out_before_the_file_is_opened(tmp_path):
    entries = [Entry(save(tmp_path / "a.png"), 1), Entry(tmp_path / "never-opened.png", 0)]
    target = Target(("sad", "fear"), (None, 0), {"mine": {"happy": None, "sad": "sad"}})
    counts = ingest_images(listing(entries), tmp_path / "a.h5", ImageSettings(8), target=target)
    faces = read_store(tmp_path / "a.h5")
    assert counts == {"label without counterpart": 1}
    assert (faces.labels.tolist(), faces.label_names) == ([0], ("sad", "fear"))
    assert faces.label_map == target.label_map


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from mien.data import ingest
    from mien.data.csv_list import list_paths
    from mien.data.image_loading import ImageSettings

    folder, where = Path(sys.argv[1]), sys.argv[2]
    write = getattr(ingest, where)
    ingest._PART_ENTRIES = 32

    def ended(parts):
        yield next(parts)
        os.kill(os.getpid(), signal.SIGKILL)

    def killed(*args, **settings):
        if where == "write_parts":
            write(ended(args[0]), *args[1:], **settings)
        elif len(list((folder / ".a.h5.part").glob("0*.h5"))) < 2:
            return write(*args, **settings)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(ingest, where, killed)
    ingest.ingest_images(list_paths(folder / "list.csv"), folder / "a.h5", ImageSettings(8))
"""


@pytest.fixture
def hundred(tmp_path):
    """100 rows of a CSV: duplicates, a missing file, three persons."""
    rows = ["path,label,person"]
    for i in range(100):
        name = f"{i}.png" if i != 70 else "none.png"
        save(tmp_path / f"{i}.png", i % 90)
        rows.append(f"{name},{'happy' if i % 3 else 'sad'},p{i % 3}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    return tmp_path


@pytest.mark.parametrize(
    ("where", "missing"), [("write_store", 2), ("write_parts", 0)], ids=["in the third part", "while joining"]
)
def test_a_killed_import_goes_on_and_ends_as_if_nothing_had_happened(
    hundred, where, missing, small_parts, monkeypatch
):
    script = [sys.executable, "-c", textwrap.dedent(KILLED), hundred, where]
    assert subprocess.run(script, check=False).returncode == -signal.SIGKILL
    assert not (hundred / "a.h5").exists()
    written, write_store = [], ingest.write_store
    monkeypatch.setattr(ingest, "write_store", lambda *args: (written.append(args), write_store(*args)))
    mine = list_paths(hundred / "list.csv")
    ingest_images(mine, hundred / "a.h5", ImageSettings(8))
    assert len(written) == missing
    assert {path.name for path in hundred.glob("a.*")} == {"a.h5", "a.skipped.csv"}
    counts = ingest_images(mine, hundred / "b.h5", ImageSettings(8))
    assert counts == {"duplicate": 10, "missing file": 1}
    assert len(written) == missing + 4
    for a, b in (("a.h5", "b.h5"), ("a.skipped.csv", "b.skipped.csv")):
        assert (hundred / a).read_bytes() == (hundred / b).read_bytes()


def stop_before_joining(*args):
    """Leave the parts of an import, as a kill does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest, "write_parts", None)
        with pytest.raises(TypeError):
            ingest_images(*args)


@pytest.mark.parametrize("change", ["size", "source"])
def test_parts_of_another_import_are_not_gone_on_with(hundred, change, small_parts):
    stop_before_joining(list_paths(hundred / "list.csv"), hundred / "a.h5", ImageSettings(8))
    assert (hundred / ".a.h5.part").is_dir()
    same = list_paths(hundred / "list.csv")
    others = replace(same, entries=lambda: (replace(entry, split="test") for entry in same.entries()))
    size = 16 if change == "size" else 8
    ingest_images(same if change == "size" else others, hundred / "a.h5", ImageSettings(size))
    faces = read_store(hundred / "a.h5")
    assert faces.images.shape == (89, size, size)
    assert set(faces.split) == ({0} if change == "size" else {2})


def test_files_of_the_same_relative_names_in_another_folder_are_not_taken_for_those_done(
    tmp_path, monkeypatch
):
    for value, folder in ((7, "a"), (9, "b")):
        save(tmp_path / folder / "0.png", value)
    mine = listing([Entry(Path("0.png"), 0)])
    monkeypatch.chdir(tmp_path / "a")
    stop_before_joining(mine, tmp_path / "a.h5", ImageSettings(8))
    monkeypatch.chdir(tmp_path / "b")
    ingest_images(mine, tmp_path / "a.h5", ImageSettings(8))
    assert read_store(tmp_path / "a.h5").images[0, 0, 0] == 9


def test_a_file_that_changed_since_the_kill_is_read_again(tmp_path):
    mine = listing([Entry(save(tmp_path / "0.png", 7), 0)])
    stop_before_joining(mine, tmp_path / "a.h5", ImageSettings(8))
    save(tmp_path / "0.png", 9, (16, 16))
    ingest_images(mine, tmp_path / "a.h5", ImageSettings(8))
    assert read_store(tmp_path / "a.h5").images[0, 0, 0] == 9


@pytest.mark.parametrize("column", ["valence", "arousal", "landmarks"])
def test_values_that_changed_since_the_kill_are_those_stored(tmp_path, column):
    old = Entry(save(tmp_path / "0.png"), 0, valence=0, arousal=0, landmarks=np.zeros((1, 2), np.float32))
    new = replace(old, **{column: 0.5 if column != "landmarks" else np.ones((1, 2), np.float32)})
    has = {"valence_arousal": True, "n_landmarks": 1}
    stop_before_joining(listing([old], **has), tmp_path / "a.h5", ImageSettings(8))
    ingest_images(listing([new], **has), tmp_path / "a.h5", ImageSettings(8))
    faces = read_store(tmp_path / "a.h5")
    assert faces.valence_arousal[0].tolist() == [new.valence, new.arousal]
    assert (faces.landmarks[0] == new.landmarks).all()


def test_images_are_written_in_parts_and_never_held_together(tmp_path, monkeypatch, small_parts):
    save(tmp_path / "0.png")
    held, alive = [], []
    load = ingest.ImageLoader.load

    class Pixels(np.ndarray):
        """Counts those that are alive."""

        def __del__(self):
            if alive:
                alive.pop()

    def counted(self, entry):
        image = load(self, Entry(tmp_path / "0.png", 0))
        alive.append(1)
        held.append(len(alive))
        digest = int(entry.path.stem).to_bytes(32, "big")
        return type(image)(image.pixels.copy().view(Pixels), digest, None)

    monkeypatch.setattr(ingest.ImageLoader, "load", counted)
    monkeypatch.setattr(ingest, "free_cores", lambda: 2)
    entries = [Entry(Path(f"{i}.png"), i % 2) for i in range(640)]
    ingest_images(listing(entries), tmp_path / "a.h5", ImageSettings(8))
    assert len(read_store(tmp_path / "a.h5")) == 640
    # a part of 32, four batches of 32 under way, and one being let go
    assert max(held) <= 32 * 6


def test_larger_images_make_smaller_parts():
    parts = [
        ingest.Ingestion(listing([]), settings, Target((), ()), Path("x")).per_part
        for settings in (
            ImageSettings(48),
            ImageSettings(224, color=True),
            ImageSettings(1024, color=True),
        )
    ]
    assert parts == [4096, 64 * 2**20 // (224 * 224 * 3), 32]


def test_progress_counts_to_the_end(tmp_path):
    entries = [Entry(save(tmp_path / f"{i}.png", i), 0) for i in range(70)]
    seen = []
    ingest_images(
        listing(entries),
        tmp_path / "a.h5",
        ImageSettings(8),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(32, 70), (64, 70), (70, 70)]


@pytest.mark.parametrize("name", ["import.json", "000000000064.json", "000000000064.h5"])
def test_a_damaged_part_is_made_again(hundred, name, small_parts):
    script = [sys.executable, "-c", textwrap.dedent(KILLED), hundred, "write_parts"]
    subprocess.run(script, check=False)
    part = hundred / ".a.h5.part" / name
    part.write_bytes(part.read_bytes()[:60])
    mine = list_paths(hundred / "list.csv")
    ingest_images(mine, hundred / "a.h5", ImageSettings(8))
    ingest_images(mine, hundred / "b.h5", ImageSettings(8))
    assert (hundred / "a.h5").read_bytes() == (hundred / "b.h5").read_bytes()


def test_an_import_into_a_link_writes_the_file_that_it_leads_to(hundred):
    (hundred / "disk").mkdir()
    (hundred / "a.h5").symlink_to(hundred / "disk" / "real.h5")
    ingest_images(list_paths(hundred / "list.csv"), hundred / "a.h5", ImageSettings(8))
    assert (hundred / "a.h5").is_symlink()
    assert read_store(hundred / "disk" / "real.h5").name == "list"


def test_two_do_not_import_into_one_file(hundred):
    text = r"another process imports into .*a\.h5 \(process \d+ on .*\); wait for it, or name another file"
    with sole(hundred / ".a.h5.lock"), pytest.raises(DataError, match=text):
        ingest_images(list_paths(hundred / "list.csv"), hundred / "a.h5", ImageSettings(8))
