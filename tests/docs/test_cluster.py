"""The page on clusters: the function that it gives to Spark works on the batches that Spark gives it."""

from pathlib import Path
from types import SimpleNamespace

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "cluster.md"


class Photos:
    """Stands for Spark, whose own machinery needs Java; the batches are what `mapInPandas` passes."""

    def __init__(self, batches: list) -> None:
        self.batches, self.frames = batches, []
        self.read = self.write = self

    def __getattr__(self, name: str):
        return lambda *_: self

    def mapInPandas(self, function, columns: str) -> SimpleNamespace:  # noqa: N802
        self.frames, self.columns = list(function(iter(self.batches))), columns
        return SimpleNamespace(write=SimpleNamespace(parquet=lambda path: None))


def test_the_function_for_spark_gives_a_row_for_every_image(folder) -> None:
    pd = pytest.importorskip("pandas", reason="Spark passes frames of pandas")
    (code,) = [part for part in PAGE.read_text(encoding="utf-8").split("```") if "mapInPandas(read" in part]
    contents = [(folder / "astronaut.png").read_bytes(), b"no image"]
    photos = Photos([pd.DataFrame({"path": ["a", "b"], "content": contents})])
    exec(compile(code.removeprefix("text\n"), str(PAGE), "exec"), {"spark": photos})
    rows = pd.concat(photos.frames).to_dict("records")
    assert [(row["path"], row["face"], row["emotion"]) for row in rows[:1]] == [("a", 1, "happy")]
    assert (len(rows), rows[1]["path"]) == (2, "b")
    assert "image" in rows[1]["error"]
    assert list(rows[0]) == [column.split()[0] for column in photos.columns.split(", ")]
