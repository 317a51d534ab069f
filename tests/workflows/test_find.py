"""Finding images: folders, patterns, lists; what is left out, and what is told of it."""

import inspect
import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from mien.core.image_names import is_image
from mien.workflows.find import PassedOver, find_images, natural_key
from mien.workflows.selection import Selection


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``make`` files by name in the working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(*names: str) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_image(name):
            Image.new("RGB", (8, 6)).save(path)
        else:
            path.write_text("not an image")


def found(*paths: str, leave_out: str | None = None) -> list[str]:
    return [source.error or source.name for source in find_images(paths, leave_out)]


def test_a_folder_gives_its_images_in_natural_order_and_then_those_below(folder: Path) -> None:
    make("a/10.png", "a/9.JPG", "a/b/2.png", "a/notes.txt", "a/.hidden.png", "a/.cache/1.png", "a/c1/x.gif")
    assert found("a") == [
        os.path.join("a", *name.split("/")) for name in ("9.JPG", "10.png", "b/2.png", "c1/x.gif")
    ]


def test_a_named_file_is_an_image_whatever_its_suffix(folder: Path) -> None:
    make("photo.dat")
    assert found("photo.dat") == ["photo.dat"]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (("a/1.png", "a"), ["a/1.png", "a/2.png", "a/b/3.png"]),
        (("a", "a/1.png"), ["a/1.png", "a/2.png", "a/b/3.png"]),
        (("a/b", "a"), ["a/b/3.png", "a/1.png", "a/2.png"]),
        (("a", "a/b", "./a", "a/../a"), ["a/1.png", "a/2.png", "a/b/3.png"]),
        (("a/1.png", "a/1.png", "./a/1.png"), ["a/1.png"]),
        (("a/1.png", "a/*.png"), ["a/1.png", "a/2.png"]),
        (("-", "a/1.png", "-"), ["-", "a/1.png"]),
        (("a", "a/.h/4.png"), ["a/1.png", "a/2.png", "a/b/3.png", "a/.h/4.png"]),
        (("link.png", "a/1.png"), ["link.png"]),
        (("l", "l/3.png"), ["l/3.png"]),
        (("l/3.png", "l"), ["l/3.png"]),
    ],
    ids=[
        "file, folder",
        "folder, file",
        "below, folder",
        "same folder",
        "same file",
        "pattern",
        "stdin",
        "hidden",
        "link",
        "folder, link",
        "link, folder",
    ],
)
def test_what_is_named_twice_is_read_once(folder: Path, paths, expected) -> None:
    make("a/1.png", "a/2.png", "a/b/3.png", "a/.h/4.png")
    Path("link.png").symlink_to("a/1.png")
    Path("l").mkdir()
    Path("l/3.png").symlink_to("../a/b/3.png")
    assert found(*paths) == expected


@pytest.mark.parametrize(
    ("paths", "patterns"),
    [
        (("a", "a/raw/2.png"), ["raw"]),
        (("a", "a/raw"), ["raw"]),
        (("a", "a/raw/2.png"), ["raw/*"]),
        (("a/*", "a/raw/2.png"), ["raw"]),
        (("a", "a/../a/raw", "a/raw/2.png"), ["raw"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_what_is_named_is_read_though_a_folder_named_before_leaves_it_out(
    folder: Path, paths, patterns
) -> None:
    make("a/1.png", "a/raw/2.png")
    for order in (paths, paths[::-1]):
        sources = find_images(order, selection=Selection(exclude=patterns))
        assert sorted(os.path.normpath(source.name) for source in sources) == ["a/1.png", "a/raw/2.png"]


def test_a_named_file_that_a_folder_could_not_give_is_told_or_read(folder: Path, monkeypatch) -> None:
    make("a/1.png", "a/closed/2.png", "a/out/3.png")
    listed = os.scandir

    def scandir(folder):
        if os.path.basename(folder) == "closed":
            raise PermissionError(13, "Permission denied", folder)
        return listed(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    names = ("a/closed", "a/closed/2.png", "a/out/3.png", "a/gone.png")
    assert found("a", *names, leave_out="a/out") == [
        "a/1.png",
        "'a/closed' cannot be listed (permission denied); check its permissions",
        "a/closed/2.png",
        "a/out/3.png",
        "'a/gone.png' does not exist; check the path",
    ]


def test_an_image_whose_folder_another_name_gave_is_read_where_the_patterns_now_take_it(folder: Path) -> None:
    make("a/1.png", "2.png")
    Path("link").symlink_to("a")
    sources = find_images(("link", ".", "a/1.png"), selection=Selection(include=["a/*"]))
    assert [source.name for source in sources] == ["a/1.png"]


def test_a_folder_without_an_image_is_told_in_whatever_order(folder: Path) -> None:
    make("a/.h/1.png")
    for order in (("a", "a/.h/1.png"), ("a/.h/1.png", "a")):
        assert sorted(name[:20] for name in found(*order)) == ["'a' holds no image (", "a/.h/1.png"]


def test_a_pattern_that_the_shell_left_alone_is_expanded(folder: Path) -> None:
    make("a/10.png", "a/9.png", "a/b/1.jpg", "a/x.txt")
    assert found("a/*") == ["a/9.png", "a/10.png", "a/b/1.jpg"]
    assert found("**/*.jpg") == ["a/b/1.jpg"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder: Path) -> None:
    make("shot[1].png", "shot1.png")
    assert found("shot[1].png") == ["shot[1].png"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("gone.png", "'gone.png' does not exist; check the path"),
        ("empty", "'empty' holds no image (mien reads .avif, .bmp, .gif"),
        ("*.tif", "no image matches '*.tif'; check the pattern"),
        ("https://example.org/a.png", "is a web address; mien never downloads"),
        ("out", "'out' is where annotated images go; read and write in different folders"),
        ("dangling.png", "'dangling.png' does not exist; check the path"),
    ],
)
def test_a_path_that_gives_nothing_says_why(folder: Path, path: str, text: str) -> None:
    Path("empty").mkdir()
    Path("dangling.png").symlink_to("nowhere")
    assert len(found(path, leave_out="out")) == 1
    assert text in found(path, leave_out="out")[0]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed_does_not_stop_the_rest(folder: Path) -> None:
    make("a/1/x.png", "a/2/y.png")
    Path("a/1").chmod(0)
    try:
        assert found("a") == [
            "'a/1' cannot be listed (permission denied); check its permissions",
            "a/2/y.png",
        ]
    finally:
        Path("a/1").chmod(0o755)


def test_the_folder_that_is_written_to_is_not_read(folder: Path) -> None:
    make("a/1.png", "a/out/1.png")
    assert found("a", leave_out="a/out") == ["a/1.png"]
    assert found("**/*.png", leave_out="a/out") == ["a/1.png"]
    assert found("a/out/1.png", leave_out="a/out") == ["a/out/1.png"]


def test_what_is_passed_over_is_counted_by_suffix(folder: Path) -> None:
    make("a/1.png", "a/x.txt", "a/b/y.TXT", "a/b/clip.mp4", "a/.hidden.txt", "a/README", "a/none/z.md")
    Path("a/link").symlink_to("b")
    for path in ("a", "a/**", "a*"):
        passed_over = PassedOver()
        list(find_images([path], passed_over=passed_over))
        assert passed_over.suffixes == {".txt": 2, ".mp4": 1, "no suffix": 1, ".md": 1}
        assert passed_over.n_links == 1
    passed_over = PassedOver()
    list(find_images(["a/*.*", "a/b/*"], passed_over=passed_over))
    assert passed_over.suffixes == {".txt": 2, ".mp4": 1}
    assert str(PassedOver()) == ""


def test_a_link_to_a_folder_is_counted_also_where_it_is_named_like_an_image(folder: Path) -> None:
    make("a/1.png", "real/2.png")
    Path("a/album.jpg").symlink_to("../real")
    passed_over = PassedOver()
    assert [source.name for source in find_images(["a"], passed_over=passed_over)] == ["a/1.png"]
    assert str(passed_over) == "1 link to a folder"


def test_a_file_without_suffix_is_an_image_if_it_begins_like_one(folder: Path) -> None:
    make("a/1.png", "a/2.gif")
    Path("a/1.png").rename("a/first")
    Path("a/BMW").write_text("BMW, P3 and other words that begin like images")
    os.mkfifo("a/pipe")
    passed_over = PassedOver()
    assert [source.name for source in find_images(["a"], passed_over=passed_over)] == ["a/2.gif", "a/first"]
    assert str(passed_over) == "2 files not named like an image (no suffix 2)"
    assert found("a", "a/first", "a/*") == ["a/2.gif", "a/first"]


def test_a_link_to_the_folder_above_does_not_loop(folder: Path) -> None:
    make("a/1.png")
    Path("a/up").symlink_to("..")
    assert found("a") == ["a/1.png"]


def test_natural_order_compares_numbers_by_value() -> None:
    names = ["B2", "a10", "a9", "a09b", "10", "9", "a", ""]
    assert sorted(names, key=natural_key) == ["", "9", "10", "a", "a9", "a09b", "a10", "B2"]


def chosen(*paths: str, **patterns: list[str]) -> list[str]:
    return [one.error or one.name for one in find_images(paths, selection=Selection(**patterns))]


def test_a_path_that_gives_nothing_is_told_whatever_the_patterns(folder: Path) -> None:
    make("a/1.png")
    assert chosen("gone", "a", include=["*.png"]) == ["'gone' does not exist; check the path", "a/1.png"]


def test_patterns_with_a_slash_are_paths_below_the_folder_or_pattern_that_was_named(folder: Path) -> None:
    make("a/1.png", "a/b/2.png")
    for named in ("a", "a/*", str(Path("a").absolute())):
        images = [
            os.path.join(os.path.dirname(named) if "*" in named else named, p) for p in ("1.png", "b/2.png")
        ]
        assert chosen(named, include=["*/*.png"]) == images[1:]
        assert chosen(named, exclude=["a/*"]) == images
        assert chosen(named, exclude=["b/"]) == images[:1]
    assert chosen("a/**/*.png", exclude=["b"]) == ["a/1.png"]
    assert chosen("a/1.png", "a/b/2.png", include=["a/?.png"], exclude=["a"]) == ["a/1.png"]


def test_patterns_with_a_slash_that_fit_nothing_are_known_at_the_end(folder: Path) -> None:
    make("a/1.png", "a/b/2.png", "a/c/3.png")
    passed_over = PassedOver()
    selection = Selection(exclude=["a/*", "*.gif", "b/*", "c/"])
    assert len(list(find_images(["a"], None, passed_over, selection=selection))) == 1
    assert (passed_over.idle, passed_over.n_unfit, passed_over.n_shut) == (["a/*"], 1, 1)


def test_two_stars_come_to_an_end_where_links_lead_in_circles(folder: Path) -> None:
    make("a/1.png", "a/b/[2].png", "a/.h/3.png", "other/4.png", "x/a/b/5.png")
    for link, target in (("a/c", "."), ("a/d", "."), ("a/b/e", ".."), ("a/f", "../other"), ("a/g", "g")):
        Path(link).symlink_to(target)
    assert found("a/**/*.png") == ["a/1.png", "a/b/[2].png", "a/f/4.png"]
    assert found("**/b/*.png") == ["a/b/[2].png", "x/a/b/5.png"]
    assert found("a/**") == ["a/1.png", "a/b/[2].png", "a/f/4.png"]
    assert sorted(found("**")) == ["a/1.png", "a/b/[2].png", "other/4.png", "x/a/b/5.png"]
    assert [one.below for one in find_images(["other/../a/*/../../other/*.png"])] == [""]


def test_folders_may_lie_deeper_than_python_calls(folder: Path) -> None:
    deep = os.path.join(*["d"] * 200, "2.png")
    make("1.png", deep)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        assert found("1.png", "d", "**/3.png") == [
            "1.png",
            deep,
            "no image matches '**/3.png'; check the pattern",
        ]
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize(
    ("pattern", "below"),
    [("a/**/*.png", ["", "b", "b/c"]), ("a/b/*.png", [""]), ("*/b/*.png", ["a/b"]), ("**/c", ["a/b/c"])],
)
def test_a_pattern_keeps_the_folders_below_its_first_wildcard(
    folder: Path, pattern: str, below: list
) -> None:
    make("a/1.png", "a/b/2.png", "a/b/c/3.png")
    assert [source.below for source in find_images([pattern])] == below
