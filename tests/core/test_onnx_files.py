"""A network whose tensors lie in other files is refused, wherever in the network they are."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mien.core.onnx_files import has_external_tensors
from mien.core.session import open_session
from mien.errors import ModelError


def outside(name: str = "b") -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "m.bin"), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def network(initializers: list, nodes: list | None = None) -> bytes:
    shape = ["N", 4]
    graph = helper.make_graph(
        nodes or [helper.make_node("Add", ["x", "b"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    return model.SerializeToString()


def branch() -> onnx.GraphProto:
    return helper.make_graph([helper.make_node("Identity", ["b"], ["z"])], "inner", [], [], [outside()])


WHOLE = numpy_helper.from_array(np.zeros(4, np.float32), "b")
PLACES = {
    "initializer": lambda: network([outside()]),
    "constant": lambda: network([WHOLE], [helper.make_node("Constant", [], ["c"], value=outside())]),
    "graph of a branch": lambda: network(
        [WHOLE], [helper.make_node("If", ["x"], ["y"], then_branch=branch(), else_branch=branch())]
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_tensors_in_other_files_are_found(place: str) -> None:
    assert has_external_tensors(PLACES[place]())


def test_a_whole_network_is_opened(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(network([WHOLE]))
    assert not has_external_tensors(network([WHOLE]))
    assert open_session(tmp_path / "m.onnx").get_inputs()[0].name == "x"


def test_a_network_whose_tensors_lie_elsewhere_is_refused_though_they_are_there(tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(bytes(16))
    (tmp_path / "m.onnx").write_bytes(network([outside()]))
    with pytest.raises(ModelError, match=r"m\.onnx keeps tensors in other files, which no sha256 covers"):
        open_session(tmp_path / "m.onnx")


@pytest.mark.parametrize("data", [b"\x3a\xff", b"\x3b", b"\xff" * 12, b"\x3a\x05a"])
def test_what_is_no_network_is_one_line(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(ModelError, match="is not a network that ONNX Runtime can run: it "):
        open_session(tmp_path / "m.onnx")
