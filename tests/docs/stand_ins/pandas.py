"""Stands in for pandas: a frame that counts rows by the values of a column."""

from collections import Counter
from typing import Any


class DataFrame:
    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def groupby(self, column: str) -> "Groups":
        return Groups([row[column] for row in self.rows])


class Groups:
    def __init__(self, values: list[Any]) -> None:
        self.values = values

    def size(self) -> Counter[Any]:
        if not self.values:
            raise AssertionError("no face was read")
        return Counter(self.values)
