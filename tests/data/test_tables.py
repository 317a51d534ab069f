"""Tables in the dialects that spreadsheets and other systems write."""

import numpy as np
import pytest

from mien.core.emotions import CKEXTENDED, FERPLUS_VOTES
from mien.data.affectnet import COLUMNS as AFFECTNET_COLUMNS
from mien.data.affectnet import list_affectnet
from mien.data.csv_list import list_paths
from mien.data.fer2013 import read_fer2013
from mien.data.ferplus import COLUMNS as VOTES
from mien.data.ferplus import read_ferplus
from mien.data.pixel_csv import PixelLayout, read_pixel_csv
from mien.errors import DataError

DIALECTS = {
    "semicolons": (";", "utf-8"),
    "tabs": ("\t", "utf-8"),
    "bars": ("|", "utf-8"),
    "UTF-8 with its mark": (",", "utf-8-sig"),
    "UTF-16 with its mark": ("\t", "utf-16"),
    "UTF-16 little-endian": (",", "utf-16-le"),
    "UTF-16 big-endian": (",", "utf-16-be"),
    "UTF-32": (";", "utf-32"),
}
dialects = pytest.mark.parametrize("dialect", DIALECTS)
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 4, 4), np.uint8)
LAYOUT = PixelLayout("mine", CKEXTENDED, 4)


def write(path, rows, dialect, line_end="\r\n"):
    separator, encoding = DIALECTS[dialect]
    path.write_bytes(line_end.join(separator.join(row) for row in rows).encode(encoding))
    return path


def pixel_rows(*columns):
    cells = {
        "emotion": ["0", "7"],
        "pixels": [" ".join(map(str, face.reshape(-1).tolist())) for face in PIXELS],
        "Usage": ["Training", "PrivateTest"],
    }
    return [columns, *zip(*(cells[name] for name in columns), strict=True)]


@dialects
def test_pixels_are_read_in_every_dialect(tmp_path, dialect):
    faces = read_pixel_csv(
        write(tmp_path / "a.csv", pixel_rows("emotion", "pixels", "Usage"), dialect), LAYOUT
    )
    np.testing.assert_array_equal(faces.images, PIXELS)
    assert (faces.labels.tolist(), faces.split.tolist()) == ([0, 7], [0, 2])


@dialects
def test_a_list_of_paths_is_read_in_every_dialect(tmp_path, dialect):
    rows = [("Image", " Label ", "x1", "y1", "x2", "y2"), ("zoë/a.png", "Happiness", "1", "2", "3.5", "4")]
    (entry,) = list_paths(write(tmp_path / "a.csv", rows, dialect)).entries()
    assert (entry.path, entry.box) == (tmp_path / "zoë" / "a.png", (1, 2, 3.5, 4))


@dialects
def test_votes_are_read_in_every_dialect(tmp_path, dialect):
    rows = [("Usage", "Image name", *VOTES), ("PublicTest", "a.png", *map(str, range(10)))]
    assert read_ferplus(write(tmp_path / "a.csv", rows, dialect)).votes.tolist() == [list(range(10))]
    assert len(FERPLUS_VOTES) == 10


def test_landmarks_full_of_semicolons_leave_the_comma_the_separator(tmp_path):
    points = ";".join(["1.5"] * 136)
    row = ("a.jpg", "0", "0", "9", "9", points, "3", "0.5", "0.5")
    for header in ([], [AFFECTNET_COLUMNS]):
        write(tmp_path / "training.csv", [*header, row], "UTF-8 with its mark")
        (entry,) = list_affectnet(tmp_path).entries()
        assert (entry.problem, entry.label) == (None, 3)


def test_excels_line_that_names_the_separator_is_no_header(tmp_path):
    (tmp_path / "list.csv").write_text("sep=;\npath;label\na.png;happy\n")
    assert [entry.path.name for entry in list_paths(tmp_path / "list.csv").entries()] == ["a.png"]
    rows = "\n".join(";".join(row) for row in pixel_rows("emotion", "pixels"))
    (tmp_path / "pixels.csv").write_text(f"sep=;\n{rows}\n")
    assert len(read_pixel_csv(tmp_path / "pixels.csv", LAYOUT)) == 2


def test_a_table_that_windows_wrote_keeps_its_letters_slashes_and_decimal_commas(tmp_path):
    (tmp_path / "zoë").mkdir()
    (tmp_path / "list.csv").write_bytes(
        b"path;label;x1;y1;x2;y2;valence\r\nzo\xeb\\a.png;happy;0;0;4,5;4;-0,5\r\n"
    )
    (entry,) = list_paths(tmp_path / "list.csv").entries()
    assert (entry.path, entry.box, entry.valence) == (tmp_path / "zoë" / "a.png", (0, 0, 4.5, 4), -0.5)


def test_a_name_that_really_has_a_backslash_keeps_it(tmp_path):
    (tmp_path / "a\\b.png").write_bytes(b"")
    (tmp_path / "list.csv").write_text("path,label\na\\b.png,happy\n")
    (entry,) = list_paths(tmp_path / "list.csv").entries()
    assert entry.path == tmp_path / "a\\b.png"


def test_paths_are_relative_to_the_folder_that_is_named(tmp_path):
    (tmp_path / "list.csv").write_text("file,emotion\na.png,happy\n")
    (entry,) = list_paths(tmp_path / "list.csv", tmp_path / "images").entries()
    assert entry.path == tmp_path / "images" / "a.png"


def test_a_row_without_a_path_is_malformed(tmp_path):
    (tmp_path / "list.csv").write_text("path,label\n,happy\n")
    (entry,) = list_paths(tmp_path / "list.csv").entries()
    assert (entry.label, entry.problem.detail) == (None, "no path")


@pytest.mark.parametrize(("stem", "split"), [("train", 0), ("test", 2), ("Validation", 1), ("faces", 0)])
def test_without_usage_the_files_name_tells_the_split(tmp_path, stem, split):
    path = write(tmp_path / f"{stem}.csv", pixel_rows("emotion", "pixels"), "semicolons")
    assert read_pixel_csv(path, LAYOUT).split.tolist() == [split, split]


@pytest.mark.parametrize(
    ("header", "advice"),
    [
        ("pixels", "have no labels, as in Kaggle's test.csv; import train.csv, or icml_face_data.csv"),
        (",".join(("Usage", "Image name", *VOTES)), "votes without faces; .* give this file with --ferplus"),
        ("path,label", "a list of paths; import it: mien data import csv"),
        ("emotion;pixel;Usage", "missing: pixels; is 'pixel' meant"),
    ],
    ids=["no labels", "votes", "paths", "near"],
)
def test_a_table_of_another_kind_is_told_where_it_belongs(tmp_path, header, advice):
    (tmp_path / "test.csv").write_text(f"{header}\n1,2\n")
    with pytest.raises(DataError, match=f"line 1: .*{advice}"):
        read_fer2013(tmp_path / "test.csv")


def test_contempt_in_fer2013_is_asked_about(tmp_path):
    (tmp_path / "a.csv").write_text("emotion,pixels,Usage\n7,0 0,Training\n")
    with pytest.raises(DataError, match=r"got '7'; is this ckextended\.csv\? then: mien data import ckext"):
        read_fer2013(tmp_path / "a.csv")


def test_half_a_letter_of_utf_16_is_no_traceback(tmp_path):
    path = write(tmp_path / "a.csv", pixel_rows("emotion", "pixels"), "UTF-16 with its mark")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="is not a text table"):
        read_pixel_csv(path, LAYOUT)


def test_a_quote_that_nothing_closes_is_named_with_its_line(tmp_path):
    (tmp_path / "list.csv").write_text('path,label\na.png,happy\n\n"b.png,sad\nc.png,sad\n')
    with pytest.raises(DataError, match=r"unexpected end of data in the row that begins in line 4; check"):
        list_paths(tmp_path / "list.csv")


def test_a_cell_that_took_in_other_lines_is_malformed_and_no_label(tmp_path):
    rows = 'a.png,happy\n"b.png,sad\nc.png,sad"\nd.png,"sad\ne.png,sad"\n'
    (tmp_path / "list.csv").write_text(f"path,label\n{rows}")
    listing = list_paths(tmp_path / "list.csv")
    assert listing.label_names == ("happy",)
    torn = [entry.problem.detail.split(":")[0] for entry in listing.entries() if entry.problem]
    assert torn == ["a line end in the path", "a line end in the label"]
