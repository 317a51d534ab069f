"""Stands in for Flask: a view that is registered is called at once, with a photo and with what is none."""

from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

request = SimpleNamespace(files={})


def jsonify(*values: Any, **named: Any) -> Any:
    return named or values[0]


class Flask:
    def __init__(self, name: str) -> None:
        self.name = name

    def post(self, address: str) -> Any:
        def register(view: Any) -> Any:
            request.files = {"image": BytesIO(Path("astronaut.png").read_bytes())}
            if view()[0]["emotion"] != "happy":
                raise AssertionError("the photo is read otherwise than by `mien read`")
            request.files = {"image": BytesIO(b"no image")}
            if view()[1] != 422:
                raise AssertionError("what is no image must be refused")
            return view

        return register
