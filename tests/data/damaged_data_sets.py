"""Damaged data sets: CSVs, stores and trees of class folders, the same ones for the same seed."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from mien.core.emotions import FER2013
from mien.data.ferplus import COLUMNS
from mien.data.records import FaceSet
from mien.data.store import write_store

SPLICES = (
    b"\0",
    b"\xff\xfe",
    b'"',
    b"\n",
    b"\r",
    b",",
    b";",
    b"\t",
    b"-1",
    b"9" * 5000,
    b"nan",
    b"1e999",
    b"\x80",
)


def sound_files(folder: Path) -> dict[str, bytes]:
    """One small file of each kind by its name."""
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (6, 48, 48), np.uint8)
    pixels = [" ".join(map(str, face.reshape(-1).tolist())) for face in faces]
    usages = ("Training", "PublicTest", "PrivateTest")
    rows = [f"{i % 7},{text},{usages[i % 3]}" for i, text in enumerate(pixels)]
    votes = [f"{usages[i % 3]},a{i}.png,{','.join(['1'] * 10)}" for i in range(6)]
    points = ";".join(["1.5"] * 136)
    write_store(
        FaceSet(
            images=faces,
            labels=np.arange(6) % 7,
            split=(np.arange(6) % 3).astype(np.uint8),
            rows=np.arange(6),
            label_names=FER2013,
            name="sound",
        ),
        folder / "sound.h5",
    )
    fer = "\n".join(["emotion,pixels,Usage", *rows]).encode()
    return {
        "fer2013.csv": fer,
        "wide.csv": fer.decode().encode("utf-16"),
        "votes.csv": "\n".join([",".join(("Usage", "Image name", *COLUMNS)), *votes]).encode(),
        "list.csv": b"path,label,split,person,x1,y1,x2,y2,valence\na.png,happy,train,p,0,0,4,4,0.5\n"
        b"b.png,sad,val,,,,,,\n",
        "training.csv": f"a.png,0,0,4,4,{points},3,0.5,0.5\n".encode(),
        "list_patition_label.txt": b"train_1.jpg 5\ntest_2.jpg 3\n",
        "store.h5": (folder / "sound.h5").read_bytes(),
    }


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """``data`` with one to four wrongs: bits turned, parts cut out, doubled, moved, or something put in."""
    for _ in range(rng.integers(1, 5)):
        at, n = int(rng.integers(0, len(data) + 1)), int(rng.integers(1, 400))
        splice = SPLICES[rng.integers(len(SPLICES))]
        data = (
            data[:at] + bytes(rng.integers(0, 256, 4, np.uint8)) + data[at + 4 :],
            data[:at],
            data[:at] + data[at + n :],
            data[: at + n] + data[at:],
            data[:at] + splice + data[at:],
            data[at:] + data[:at],
        )[rng.integers(6)]
    return data


def make_tree(folder: Path, rng: np.random.Generator) -> None:
    """Class folders with odd names, links, and files that are no images."""
    names = ("train", "Val", "test", "happy", "sad", "7", "__MACOSX", ".git", "images", "a\nb", "ü" * 60)
    for i in range(rng.integers(1, 12)):
        parts = [names[j] for j in rng.integers(0, len(names), rng.integers(0, 5))]
        place = folder.joinpath(*parts)
        try:
            place.mkdir(parents=True, exist_ok=True)
            path = place / f"{i}{('.png', '.jpg', '', '.txt', '.PNG')[rng.integers(5)]}"
            choice = rng.integers(4)
            if choice == 0:
                os.symlink(("..", "nowhere", path.name, "/dev/zero")[rng.integers(4)], path)
            elif choice == 1:
                path.write_bytes(bytes(rng.integers(0, 256, 40, np.uint8)))
            else:
                Image.new("L", (8, 8), i).save(path, "PNG")
        except OSError:
            continue  # a link or a file has the name of the folder


def cases(n: int, seed: int, folder: Path) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Names, and what writes the case into an empty folder."""
    sound = sound_files(folder)
    kinds = [*sound, "tree"]
    for i in range(n):
        kind = kinds[i % len(kinds)]

        def write(target: Path, kind: str = kind, i: int = i) -> None:
            rng = np.random.default_rng([seed, i])
            if kind == "tree":
                make_tree(target, rng)
            else:
                (target / kind).write_bytes(damaged(sound[kind], rng))
                Image.new("L", (8, 8), 3).save(target / "a.png")

        yield f"{kind} {i}", write
