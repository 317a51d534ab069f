"""What an ONNX file refers to outside itself, read from its bytes without the package onnx.

Tensors may lie in other files, which no hash of the ``.onnx`` file covers. A file is a tree of messages in
protobuf's encoding; only the branches on which tensors lie are followed.

Source: onnx.proto of ONNX 1.17, field numbers; Protocol Buffers documentation, "Encoding".
"""

from collections.abc import Iterator

MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "tensor": {},
    "sparse": {1: "tensor", 2: "tensor"},
    "function": {7: "node", 11: "attribute"},
    "training": {1: "graph", 2: "graph"},
}
"""For each message, which of its fields hold messages that lead to tensors."""

EXTERNAL, LOCATION = 13, 14


def has_external_tensors(data: bytes) -> bool:
    """Whether any tensor of the network lies in another file.

    Raises:
        ValueError: it is no ONNX file.
    """
    waiting = [("model", memoryview(data))]
    while waiting:
        kind, message = waiting.pop()
        for number, value in _fields(message):
            if kind == "tensor" and (number == EXTERNAL or (number == LOCATION and value == 1)):
                return True
            if isinstance(value, memoryview) and (inner := MESSAGES[kind].get(number)):
                waiting.append((inner, value))
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message: number, and value as a whole number or bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == 2:
            size, at = _varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError("it is not encoded as protobuf")
        if at + size > len(message):
            raise ValueError("it is truncated")
        yield number, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A whole number in groups of seven bits, and where the next thing begins."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("it is truncated")
        value |= (message[at] & 0x7F) << shift
        at += 1
        if message[at - 1] < 0x80:
            return value, at
    raise ValueError("it holds a number that is too long")
