"""The comparison of runs on parts of the face: by the same faces, over seeds, against the first part."""

import json
import re

import pytest

from mien import MienError


@pytest.fixture(scope="module")
def bench(module_at):
    return module_at("benchmarks/face_parts.py")


@pytest.fixture
def run(tmp_path):
    """Makes a run folder whose predictions are right or not, by row."""

    def make(name, right, rows=None):
        folder = tmp_path / name
        folder.mkdir()
        lines = [
            f"{row},happy,happy,1,0" if ok else f"{row},happy,sad,0,1"
            for row, ok in zip(rows or range(len(right)), right, strict=True)
        ]
        (folder / "predictions-val.csv").write_text("\n".join(["row,label,predicted,p_happy,p_sad", *lines]))
        (folder / "history.json").write_text(json.dumps({"seconds": 60.0, "history": []}))
        return folder

    return make


def test_seeds_are_averaged_and_the_difference_is_taken_face_by_face(bench, run):
    whole = bench.read_part(f"whole={run('w0', [1, 1, 0, 0])},{run('w1', [1, 0, 0, 0])}")
    mouth = bench.read_part(f"mouth={run('m0', [1, 1, 1, 0])}")
    table = bench.lines([whole, mouth], "PublicTest")
    assert table[0].startswith("| part | seeds | PublicTest (4 faces), 95 % |")
    assert table[2].startswith("| whole | 2 | **37.5** (")
    assert "| 50.0, 25.0 | - | 60 |" in table[2]
    assert re.search(r"\*\*75\.0\*\* .* \| 75\.0 \| \+37\.5 \(\+0\.0 to \+75\.0\) \|", table[3])


def test_only_faces_that_every_part_has_are_compared(bench, run):
    whole = bench.read_part(f"whole={run('w', [1, 0, 1], [5, 6, 7])}")
    face = bench.read_part(f"face={run('f', [0, 1], [7, 5])}")
    assert [share.tolist() for share in bench.common([whole, face], None)] == [[1, 1], [1, 0]]
    with pytest.raises(MienError, match="no validation face in common"):
        bench.common([whole, face], bench.np.array([6]))


def test_what_cannot_be_compared_is_told(bench, run, tmp_path):
    with pytest.raises(MienError, match="give each part as NAME=RUN,RUN, got 'whole'"):
        bench.read_part("whole")
    with pytest.raises(MienError, match="finish the run with mien train"):
        bench.read_part(f"whole={tmp_path}")
    with pytest.raises(MienError, match="other validation rows"):
        bench.read_part(f"whole={run('a', [1])},{run('b', [1, 1])}")


def test_the_table_replaces_the_one_on_the_page(bench, run, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- face parts: begin -->\nold\n<!-- end -->\nafter\n")
    bench.main([f"whole={run('w', [1, 1])}", "--page", str(page)])
    text = page.read_text()
    assert text.startswith("before\n<!-- face parts: begin -->\n| part |")
    assert "old" not in text
    assert text.endswith("<!-- end -->\nafter\n")
    assert capsys.readouterr().out in text
