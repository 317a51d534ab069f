"""Seeded damage to files: to their bytes, and to what they hold."""

import copy
import json
import random
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 0.5, 1e308, -1e308, 10**12, 2**63, 10**30, float("nan"), float("inf")),
    *("", "x", "x" * 5000, "nan", "\0", "../../x", [], {}, [None], [[0, 0], [1]], {"": 0}, [1e9] * 3),
)
DEEP = "[" * 5000 + "]" * 5000


def damage(path: Path, kind: str, sound: bytes, rng: random.Random) -> None:
    """Write a damaged copy of a sound file in its place; ``kind`` is ``bytes``, ``json``, ``hdf5`` ..."""
    by_kind = {"json": odd_json, "tensors": odd_tensors, "toml": odd_lines, "csv": odd_lines}
    if kind in ("hdf5", "sqlite") and rng.random() < 0.6:
        path.write_bytes(sound)
        {"hdf5": odd_hdf5, "sqlite": odd_sqlite}[kind](path, rng)
    elif kind in by_kind and rng.random() < 0.7:
        path.write_bytes(by_kind[kind](sound, rng))
    else:
        path.write_bytes(odd_bytes(sound, rng))


def odd_bytes(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at, n = rng.randrange(len(out) + 1), rng.choice((1, 2, 4, 8, 64, 512))
        if rng.random() < 0.4:
            at = rng.randrange(min(len(out), 512) + 1)  # heads say more than bodies
        action = rng.randrange(6)
        if action == 0:
            out[at:] = b""
        elif action == 1:
            out[at : at + n] = rng.randbytes(n)
        elif action == 2:
            out[at : at + n] = bytes([rng.choice((0, 0x7F, 0x80, 0xFF))]) * n
        elif action == 3:
            del out[at : at + n]
        elif action == 4:
            out[at:at] = out[at : at + n]
        elif at < len(out):
            out[at] ^= 1 << rng.randrange(8)
    return bytes(out)


def odd_json(data: bytes, rng: random.Random) -> bytes:
    table = json.loads(data)
    if rng.random() < 0.03:
        return DEEP.encode()
    for _ in range(rng.choice((1, 1, 2))):
        places = list(places_of(table))
        if not places:
            break
        holder, key = rng.choice(places)
        action = rng.random()
        if action < 0.6:
            holder[key] = copy.deepcopy(rng.choice(ODD))
        elif action < 0.8:
            del holder[key]
        elif isinstance(holder, dict):
            holder[str(key)[:-1]] = holder.pop(key)
        else:
            holder.append(holder[key])
    return json.dumps(table).encode()


def places_of(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places_of(value[key])


def odd_tensors(data: bytes, rng: random.Random) -> bytes:
    """A safetensors file: damage in the note, or in the table of tensors."""
    size = struct.unpack("<Q", data[:8])[0]
    table = json.loads(data[8 : 8 + size])
    if rng.random() < 0.7:
        table["__metadata__"]["note"] = odd_json(table["__metadata__"]["note"].encode(), rng).decode()
        head = json.dumps(table).encode()
    else:
        head = odd_json(json.dumps(table).encode(), rng)
    return struct.pack("<Q", len(head)) + head + data[8 + size :]


def odd_lines(data: bytes, rng: random.Random) -> bytes:
    """Lines of TOML or CSV of which one lost, gained or changed a value."""
    lines = data.decode().splitlines()
    at = rng.randrange(len(lines))
    values = (
        '""',
        "-1",
        "0",
        "1e400",
        "nan",
        "inf",
        "[]",
        "{}",
        "true",
        "1979-05-27",
        "'x'",
        DEEP,
        '"a"\n"b"',
    )
    action = rng.random()
    if action < 0.5 and "=" in lines[at]:
        lines[at] = f"{lines[at].split('=')[0]}= {rng.choice(values)}"
    elif action < 0.7 and "," in lines[at]:
        cells = lines[at].split(",")
        cells[rng.randrange(len(cells))] = rng.choice(values)
        lines[at] = ",".join(cells)
    elif action < 0.8:
        del lines[at]
    elif action < 0.9:
        lines.insert(at, lines[rng.randrange(len(lines))])
    else:
        lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
    return ("\n".join(lines) + "\n").encode()


def odd_hdf5(path: Path, rng: random.Random) -> None:
    with h5py.File(path, "r+") as file:
        if rng.random() < 0.4:
            name = rng.choice(sorted(file.attrs))
            del file.attrs[name]
            value = rng.choice(
                [one for one in ODD if isinstance(one, int | float | str) and one != "\0"] + [None]
            )
            if value is not None:
                file.attrs[name] = float(value) if isinstance(value, int) and abs(value) > 2**62 else value
            return
        name = rng.choice(sorted(file))
        shape, kind = file[name].shape, file[name].dtype
        del file[name]
        action = rng.randrange(5)
        if action == 0:
            file.create_group(name)
        elif action == 1:
            big = (rng.choice((10**5, 10**9, 10**13)), *shape[1:])
            file.create_dataset(name, big, kind, chunks=tuple(min(n, 64) or 1 for n in big))
        elif action == 2:
            file.create_dataset(name, shape, rng.choice(("f8", "i1", "u8", "S3")))
        elif action == 3:
            file.create_dataset(name, data=np.full(shape, rng.choice((-1, 99, 2**30)), np.int64))


def odd_sqlite(path: Path, rng: random.Random) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        table = rng.choice(tables)
        column = rng.choice([row[1] for row in db.execute(f"PRAGMA table_info({table})")])
        odd = rng.choice([one for one in ODD if not isinstance(one, list | dict)])
        if isinstance(odd, int) and abs(odd) >= 2**63:
            odd = b"\xff\xfe"
        statements: list[tuple[str, tuple[Any, ...]]] = [
            (f"UPDATE {table} SET {column} = ?", (odd,)),
            (f"UPDATE {table} SET {column} = ? WHERE rowid = 1", (odd,)),
            (f"DROP TABLE {table}", ()),
            (f"DELETE FROM {table} WHERE rowid = 1", ()),
            (f"ALTER TABLE {table} RENAME COLUMN {column} TO zzz", ()),
            (f"ALTER TABLE {table} RENAME TO zzz", ()),
        ]
        try:
            db.execute(*rng.choice(statements))
        except sqlite3.Error:
            db.execute(f"DELETE FROM {table}")
