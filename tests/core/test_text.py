from mien.core.text import clock, counted, markdown_table, with_interval


def test_a_clock_shows_hours_where_there_are_some_and_tenths_for_small_steps() -> None:
    assert (clock(65), clock(3723.9)) == ("1:05", "1:02:03")
    assert (clock(123.5, 0.5), clock(59.96, 0.1)) == ("2:03.5", "1:00.0")


def test_one_is_no_plural() -> None:
    assert [counted(n, "image") for n in (0, 1, 1200)] == ["0 images", "1 image", "1,200 images"]


def test_a_share_is_shown_with_its_interval() -> None:
    assert with_interval(0.72312, (0.71, 0.7357)) == "72.31% (71.0%-73.6%)"
    assert with_interval(0.5, (0.0, 1.0), 1) == "50.0% (0.0%-100.0%)"
    assert with_interval(0.5, None) == "50.00%"


def test_no_cell_of_a_markdown_table_ends_early() -> None:
    lines = markdown_table(("", "n"), [("a|b\\|c\nd\u2028e", "1")], "--:").split("\n")
    assert lines == ["|  | n |", "| --- | --: |", "| a&#124;b\\&#124;c d e | 1 |"]
