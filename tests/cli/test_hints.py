"""A file given to the wrong command: the error names the right one."""

import os
from pathlib import Path

import pytest
from PIL import Image

from mien.cli.hints import KINDS, OTHER_NAMES, WORK, hint, other_command
from mien.cli.main import COMMANDS
from mien.cli.release import echo_next
from mien.core.run_names import is_run_folder, is_trained

FILES = {
    "v.mp4": b"\0\0\0\x18ftypisom",
    "list.csv": b"path,label\n",
    "model.onnx": b"x",
    "faces.h5": b"\x89HDF\r\n\x1a\n",
    "a.zip": b"PK\x03\x04",
    "mine.toml": b"[net]\n",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "photos" / "happy").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    for name in ("p.jpg", "noname", "photos/happy/1.jpg"):
        Image.new("RGB", (8, 8)).save(tmp_path / name, "JPEG")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("read v.mp4", "is a video, not an image; read it with mien watch"),
        ("read list.csv", "this is a table: mien data import csv list.csv"),
        ("read model.onnx", "this is a model: mien read --model model.onnx PHOTO.jpg"),
        ("read a.zip", "this is an archive: unpack it first"),
        ("train photos", "a folder of images: mien data import folders photos makes a data set"),
        ("train model.onnx", "this is a model"),
        ("evaluate model.onnx list.csv", "this is a table: mien data import csv list.csv"),
        ("evaluate model.onnx photos", "a folder of images: mien data import folders photos"),
        ("evaluate mine.toml faces.h5", "this is a recipe: mien train mine.toml"),
        ("data import folders v.mp4", "this is a video: mien watch v.mp4"),
        ("data show p.jpg", "this is an image: mien read p.jpg"),
        ("data import photos", "Name the kind first, such as: mien data import folders photos"),
        ("data import list.csv", "Name the kind first, such as: mien data import csv list.csv"),
        ("data import p.jpg", "Missing argument 'path'."),
        ("data show", "Missing argument 'store'."),
        ("export runs/a", "no command named 'export'; did you mean 'mien release'?"),
        ("train fer2013-nano faces.h5", "a data set is given by an option: --data faces.h5"),
        ("ensemble nano medium faces.h5", "a data set is given by an option: --data faces.h5"),
        ("quiz faces.h5", "No such command 'faces.h5'; a data set is given by an option: --data faces.h5"),
        ("evaluate nano --data=faces.h5", "No such option: --data; this is an argument, leave out '--data'"),
        ("read --images p.jpg", "No such option: --images; this is an argument, leave out '--images'"),
        ("serve --image p.jpg", "No such option: --image (Possible options: --max-images)"),
        ("read p.jpg --ot", "No such option: --ot (Possible options: --json, --out, --rotated)"),
        ("read p.jpg --out", "Option '--out' requires an argument."),
        ("release a faces.h5", "Missing option '--name'."),
        ("data show noname", "this is an image: mien read noname"),
    ],
)
def test_the_error_names_the_command_that_takes_the_file(folder, mien, command, text):
    result = mien(*command.split())
    assert result.exit_code in (1, 2)
    lines = [line for line in result.stderr.splitlines() if text in line]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        "evaluate model.onnx faces.h5",
        "read --model model.onnx p.jpg",
        "train mine.toml",
        "targets mine.toml",
        "train empty",
        "read none.csv",
    ],
)
def test_what_fits_gets_no_hint(folder, arguments):
    command, *rest = arguments.split()
    assert hint(command, rest, "") == ""


def test_the_figures_of_a_run_make_no_folder_of_images(folder):
    Path("photos", "recipe.json").touch()
    assert hint("evaluate", ["photos"], "") == ""


def test_a_folder_of_runs_is_no_folder_of_images(folder):
    Path("photos", "happy", "recipe.json").touch()
    for command in ("report", "evaluate", "train"):
        assert hint(command, ["photos"], "") == "; it is a folder of runs, such as photos/happy"
    assert hint("read", ["photos"], "") == ""


def test_the_runs_of_a_search_make_no_folder_of_images(folder):
    assert hint("search", ["show", "photos"], "no search in photos") == ""


def test_a_folder_that_may_not_be_entered_is_no_run(folder, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "permission denied")

    monkeypatch.setattr(os, "stat", refuse)
    assert not is_run_folder("empty")
    assert not is_trained("empty")


def test_what_the_error_says_already_is_not_said_twice(folder):
    assert hint("watch", ["p.jpg"], "") == "; this is an image: mien read p.jpg"
    assert hint("watch", ["p.jpg"], "'p.jpg' is an image; read it with mien read") == ""


@pytest.mark.parametrize(("head", "says"), [(b"<!DOCTYPE html>", ""), (b"BM", "this is an image: mien read")])
def test_a_name_alone_makes_no_image(tmp_path, head, says):
    path = tmp_path / "saved.bmp"
    path.write_bytes(head.ljust(64, b"\0"))
    assert says in (said := hint("watch", [str(path)], ""))
    assert bool(said) == bool(says)


def test_a_folder_of_images_is_not_watched(folder):
    assert hint("watch", ["photos"], "") == "; this is a folder of images: mien read photos"
    assert hint("watch", ["empty"], "") == ""


def test_the_table_names_commands_that_exist():
    assert set(WORK.split()).union(*(kind.taken_by for kind in KINDS.values())) <= set(COMMANDS)


def test_a_table_of_events_is_not_sent_to_the_import(folder):
    assert other_command("agreement", "list.csv") == ""
    assert "mien data import csv" in other_command("read", "list.csv")


def test_a_command_that_is_told_can_be_pasted_where_a_name_has_a_space(folder, capsys) -> None:
    (folder / "v.mp4").rename(folder / "my clip.mp4")
    assert other_command("read", "my clip.mp4").endswith(": mien watch 'my clip.mp4'")
    echo_next(Path("my models/sp.onnx"))
    assert capsys.readouterr().out == "next: mien read photo.jpg --model 'my models/sp.onnx'\n"


def test_what_other_names_stand_for_is_there(mien):
    for other, command in OTHER_NAMES.items():
        assert other not in COMMANDS
        assert mien(*command.split(), "--help").exit_code == 0, command
