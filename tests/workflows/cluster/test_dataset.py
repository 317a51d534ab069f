"""`mien.ray.read`: the actor alone, what it asks of Ray, and a whole pipeline where Ray is installed."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow", reason="needs pyarrow")

import mien
import mien.ray
from mien.errors import MienError, MissingExtraError
from mien.workflows.cluster.actors import BatchReader


@pytest.fixture
def reader_of() -> Iterator[Callable[..., BatchReader]]:
    """``reader_of("path", keep=["id"])``: the class of the actors, called directly."""
    with ExitStack() as stack:
        yield lambda column, keep=(): stack.enter_context(
            closing(BatchReader(mien.ray.ReadSettings(), column, keep))
        )


def test_rows_are_those_of_mien_read_whatever_the_images_are(photo, reader_of) -> None:
    path = photo
    batches = {
        "path": np.array([str(path)], dtype=object),
        "url": np.array([path.as_uri()], dtype=object),
        "bytes": np.array([path.read_bytes()], dtype=object),
        "image": np.asarray(mien.open_image(path))[None],
    }
    wanted = mien.to_rows([mien.read(path)], [str(path)])
    for column, images in batches.items():
        (row,) = reader_of(column)({column: images}).to_pylist()
        named = row.pop("path", None)
        assert named == {"path": str(path), "url": path.as_uri()}.get(column), column
        expected = {name: value for name, value in wanted[0].items() if name != "path"}
        assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-3), column


def test_bad_images_and_images_without_a_face_have_a_row_and_what_is_kept(reader_of) -> None:
    blank = np.zeros((48, 48, 3), np.uint8)
    batch = {"image": [blank, b"no image"], "id": np.array([7, 8]), "by": np.array(["a", "b"])}
    table = reader_of("image", keep=("id", "by"))(batch)
    rows = table.to_pylist()
    assert table.column_names[:2] == ["id", "by"]
    assert [(row["id"], row["by"], row["emotion"]) for row in rows] == [(7, "a", None), (8, "b", None)]
    assert rows[0]["error"] is None
    assert "no image" in rows[1]["error"] or "not an image" in rows[1]["error"]


def test_a_column_that_is_not_there_is_told_with_those_that_are(reader_of) -> None:
    with pytest.raises(MienError, match="the data set has no column 'path', but bytes, id"):
        reader_of("path")({"bytes": [b""], "id": [1]})


def test_a_column_to_keep_must_not_have_a_name_of_the_rows(reader_of) -> None:
    blank = np.zeros((48, 48, 3), np.uint8)
    for name in ("emotion", "confidence", "error"):
        with pytest.raises(MienError, match=f"rows have a column '{name}' of their own; rename that"):
            reader_of("image", keep=("id", name))({"image": [blank], "id": [1], name: ["mine"]})
    with pytest.raises(MienError, match="rows have a column 'path' of their own"):
        reader_of("url", keep=("path",))({"url": ["file:///a.png"], "path": ["mine"]})


def test_the_paths_of_the_images_may_be_kept(reader_of, tmp_path) -> None:
    path = str(tmp_path / "gone.png")
    for column, image in (("path", path), ("image", b"no image")):
        table = reader_of(column, keep=("path",))({column: [image], "path": [path]})
        assert table.column_names.count("path") == 1
        assert table["path"].to_pylist() == [path]


class Dataset:
    """Stands for one of Ray."""

    def map_batches(self, actor: type, **how: Any) -> dict[str, Any]:
        return {"actor": actor, **how}


def fake_ray(monkeypatch: pytest.MonkeyPatch, **resources: float) -> None:
    ray = ModuleType("ray")
    ray.cluster_resources = lambda: resources
    ray.data = SimpleNamespace(ActorPoolStrategy=lambda **sizes: sizes)
    monkeypatch.setitem(sys.modules, "ray", ray)


def test_each_actor_takes_a_cpu_or_a_gpu_and_there_are_as_many_as_the_cluster_has(monkeypatch) -> None:
    fake_ray(monkeypatch, CPU=6.0, GPU=2.0)
    asked = mien.ray.read(Dataset(), column="bytes", keep=["path"], batch=16)
    assert (asked["compute"], asked["num_cpus"]) == ({"min_size": 1, "max_size": 6}, 1)
    assert "num_gpus" not in asked
    assert asked["fn_constructor_args"] == (mien.ray.ReadSettings(), "bytes", ("path",))
    asked = mien.ray.read(Dataset(), settings=mien.ray.ReadSettings(device="cuda"))
    assert (asked["compute"]["max_size"], asked["num_gpus"]) == (2, 1)
    assert mien.ray.read(Dataset(), actors=3)["compute"]["max_size"] == 3


def test_without_ray_the_line_that_installs_it_is_told(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        MissingExtraError, match=r'reading on a cluster needs ray; run: pip install "mien\[ray\]"'
    ):
        mien.ray.read(Dataset())


def test_mien_ray_is_imported_without_ray() -> None:
    code = "import sys; sys.modules['ray'] = None; import mien.ray; print(sorted(mien.ray.__all__))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['ReadSettings', 'read']\n"


PIPELINE = """
import sys, ray, mien.ray
address, folder = sys.argv[1:]
ray.init(address, log_to_driver=False)
ray.data.DataContext.get_current().enable_progress_bars = False
images = ray.data.read_binary_files(folder, include_paths=True)
rows = mien.ray.read(images, column="bytes", keep=["path"], actors=1).take_all()
for row in sorted(rows, key=lambda row: row["path"]):
    print(row["path"].rsplit("/", 1)[-1], row["emotion"], row["error"] is not None)
"""


def test_a_pipeline_of_ray_gets_a_row_for_every_image(cluster: str, photo, tmp_path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(photo.read_bytes())
    (tmp_path / "in" / "b.png").write_bytes(b"no image")
    command = [sys.executable, "-c", PIPELINE, cluster, str(tmp_path / "in")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "a.png happy False\nb.png None True\n", done.stderr
