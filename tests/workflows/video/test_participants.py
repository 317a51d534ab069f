"""Participants from file names, and copies for raters who must not know them."""

import os
from pathlib import Path, PurePath, PurePosixPath
from random import Random

import pytest

from mien.errors import DataError, MienError
from mien.workflows.video.participants import KEY, parse_id_from, read_key, write_blind


@pytest.mark.parametrize(
    ("pattern", "path", "who"),
    [
        (None, "day/P01_a.mp4", None),
        ("stem", "day/P01_a.mp4", "P01_a"),
        (r"P\d+", "day/P01_a.mp4", "P01"),
        (r"^([^/]+)/", "P02/talk.mp4", "P02"),
    ],
)
def test_the_path_of_a_video_tells_its_participant(pattern, path, who) -> None:
    assert parse_id_from(pattern)(PurePosixPath(path)) == who


@pytest.mark.parametrize(
    ("pattern", "says"),
    [("P(", "takes 'stem' or a regular expression"), (r"Q\d", "finds no participant in 'P1.mp4'")],
)
def test_a_pattern_that_tells_nothing_is_refused(pattern, says) -> None:
    with pytest.raises(MienError, match=says):
        parse_id_from(pattern)(PurePosixPath("P1.mp4"))


def test_a_name_that_is_not_utf8_becomes_text() -> None:
    path = PurePath(os.fsdecode(b"caf\xe9.mp4"))
    assert parse_id_from("stem")(path) == parse_id_from("(.*)[.]")(path) == "caf\ufffd"


@pytest.fixture
def videos(tmp_path) -> list[tuple[Path, str]]:
    made = []
    for name in ("anna.MP4", "bert.mkv", "carl.mp4", "dora.mp4"):
        (tmp_path / name).write_bytes(name.encode())
        made.append((tmp_path / name, name[0]))
    return made


def test_copies_have_other_names_and_only_the_key_knows_which_is_which(videos, tmp_path) -> None:
    copies = write_blind(videos, tmp_path / "raters", tmp_path / "out" / KEY, Random(3))
    key = read_key(tmp_path / "out" / KEY)
    assert [copy.name for copy in copies] == [row["blind"] for row in key]
    assert [copy.stem for copy in copies] == ["001", "002", "003", "004"]
    assert [Path(row["video"]).name for row in key] != [path.name for path, _ in videos]  # of this seed
    for row, copy in zip(key, copies, strict=True):
        assert copy.read_bytes() == Path(row["video"]).name.encode()
        assert row["participant"] == Path(row["video"]).name[0]
        assert copy.suffix == Path(row["video"]).suffix.lower()
    assert sorted(path.name for path in (tmp_path / "raters").iterdir()) == [copy.name for copy in copies]


def test_a_stopped_run_goes_on_in_the_same_order(videos, tmp_path) -> None:
    key = tmp_path / KEY
    copies = write_blind(videos, tmp_path / "raters", key)
    before = key.read_bytes()
    copies[1].unlink()
    assert write_blind(videos, tmp_path / "raters", key) == copies
    assert key.read_bytes() == before
    assert all(copy.exists() for copy in copies)


def test_the_key_never_lies_with_the_copies_and_never_serves_other_videos(videos, tmp_path) -> None:
    with pytest.raises(MienError, match="would be visible to the raters"):
        write_blind(videos, tmp_path / "out", tmp_path / "out" / KEY)
    with pytest.raises(MienError, match="give --blind a folder apart from the videos"):
        write_blind(videos, tmp_path, tmp_path.parent / KEY)
    (tmp_path / "raters").mkdir()
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        write_blind([(tmp_path / "loop.mp4", None)], tmp_path / "raters", tmp_path / "loop" / KEY)
    write_blind(videos[:3], tmp_path / "raters", tmp_path / KEY)
    with pytest.raises(MienError, match="lists other videos; delete it"):
        write_blind(videos, tmp_path / "raters", tmp_path / KEY)


def test_videos_that_the_key_could_not_tell_apart_are_refused(tmp_path) -> None:
    videos = [(tmp_path / os.fsdecode(name), None) for name in (b"b\xfe.mp4", b"b\xff.mp4")]
    with pytest.raises(MienError, match=r"2 files are called .* but for bytes that are not UTF-8"):
        write_blind(videos, tmp_path / "raters", tmp_path / KEY)
    assert not (tmp_path / KEY).exists()


def test_copies_of_other_videos_are_never_given_to_raters(videos, tmp_path) -> None:
    raters, first, second = tmp_path / "raters", tmp_path / "1" / KEY, tmp_path / "2" / KEY
    (copy,) = write_blind(videos[2:3], raters, first)
    with pytest.raises(MienError, match=r"001\.mp4 is from another key than .*; give --blind a new folder"):
        write_blind(videos[3:], raters, second)
    assert not second.exists()
    copy.write_bytes(b"another video")
    with pytest.raises(MienError, match=r"001\.mp4 is not a copy of .*carl\.mp4, contrary to the key"):
        write_blind(videos[2:3], raters, first)


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "blind,video,participant\n../x.mp4,a.mp4,P1\n"])
def test_a_file_that_is_no_key_is_told(text, tmp_path) -> None:
    (tmp_path / KEY).write_text(text)
    with pytest.raises(DataError, match=r"blind-key\.csv"):
        read_key(tmp_path / KEY)
