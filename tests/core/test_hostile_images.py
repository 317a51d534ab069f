"""Two thousand damaged images, and the bombs that are known."""

import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import ImageFile

from mien.core import tiff as tiff_module
from mien.core.images import open_image
from mien.errors import ImageError, MienError

MIB = 2**20


def test_damaged_images_give_pixels_or_one_line(
    mutants: Callable[..., Iterator[tuple[str, bytes]]],
) -> None:
    process, read, after_warm_up, errors = psutil.Process(), 0, 0, []
    for index, (name, data) in enumerate(mutants(2000)):
        try:
            pixels = open_image(data)
        except MienError as error:
            errors.append(str(error))
        else:
            read += 1
            assert pixels.dtype == np.uint8, name
            assert pixels.ndim == 3, name
            assert pixels.shape[2] == 3, name
        if index == 500:
            after_warm_up = process.memory_info().rss
    assert read > 300
    assert len(errors) > 1000
    assert [error for error in errors if "\n" in error or len(error) > 250] == []
    assert process.memory_info().rss - after_warm_up < 64 * MIB


def test_the_same_seed_damages_alike(mutants: Callable[..., Iterator[tuple[str, bytes]]]) -> None:
    assert list(mutants(60, seed=3)) == list(mutants(60, seed=3))
    assert list(mutants(60, seed=3)) != list(mutants(60, seed=4))


def test_a_short_campaign_ends_no_process_and_raises_nothing_foreign(module_at: Callable[[str], Any]) -> None:
    """Damaged bytes, wrong structures and no bombs; `python benchmarks/hostile.py` runs thousands."""
    tally = module_at("benchmarks/hostile.py").campaign(230, seed=3, bombs=False)
    assert tally.n_tried == 460
    assert tally.n_opened > 60
    assert tally.n_refused > 150
    assert (tally.signals, tally.foreign) == ([], [])


@pytest.mark.parametrize(
    "name",
    [
        "jpeg of 1,200 scans",
        "jpeg of arithmetic coding",
        "png of one column",
        "png of one row",
        "tiff in one tile",
        "tiff of one column",
        "bmp in runs",
    ],
)
def test_what_would_cost_most_is_refused_before_it_is_decoded(
    name: str, module_at: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = module_at("tests/core/bombs.py").BOMBS[name]()
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(ImageError):
        open_image(data)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def shared_tags(n: int) -> bytes:
    """A TIFF of reduced copies whose directories overlap but for their starts: 0.8 MB, 65,535 tags each."""
    tags, entry = 65_535, 12
    data = bytearray(8 + entry * (2 * n + tags) + 16)
    data[:8] = struct.pack("<2sHI", b"II", 42, 8)
    struct.pack_into("<HHII", data, 8 + entry * (n + 1) + 2, 254, 4, 1, 1)
    for i in range(n):
        struct.pack_into("<H", data, 8 + entry * i, tags)
        if i + 1 < n:
            struct.pack_into("<I", data, 8 + entry * (i + tags) + 2, 8 + entry * (i + 1))
    return bytes(data)


def test_pages_are_looked_through_as_long_as_they_have_few_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    real = tiff_module.directory

    def counted(data: bytes, at: int | None = None) -> tiff_module.Directory:
        looked.append(at or 0)
        return real(data, at)

    monkeypatch.setattr(tiff_module, "directory", counted)
    tiff_module.with_image_first(shared_tags(60))
    assert len(looked) == 1


def avif_items(n: int, metas: int = 1, extents: int = 65_535) -> bytes:
    """An AVIF that lists so many extents of each item, in fields of no bytes."""

    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(body), kind) + body

    items = b"".join(struct.pack(">HHH", i + 1, 0, extents) for i in range(n))
    places = box(b"iloc", bytes(6) + struct.pack(">H", n) + items)
    return box(b"ftyp", b"avif\0\0\0\0avif") + metas * box(
        b"meta", bytes(4) + box(b"iinf", bytes(6)) + places
    )


def tiff(tags: list[tuple[int, int, int, int]], tail: bytes) -> bytes:
    directory = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + directory + tail


UNPACKS_TO_200_MIB = zlib.compress(bytes(200 * MIB), 9)
SIZES = [(256, 3, 1, 40), (257, 3, 1, 30)]
BOMBS: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "ten gigapixels": (
        "png",
        lambda png: png[:8] + chunk(b"IHDR", struct.pack(">II", 10**5, 10**5) + png[24:29]) + png[33:],
        "has 100000 x 100000 pixels, more than the limit of 89,000,000",
    ),
    "flood of chunks": (
        "png",
        lambda png: png[:33] + chunk(b"teSt", b"") * 10**6 + png[33:],
        "too much metadata",
    ),
    "flood of empty pixel chunks": (
        "png",
        lambda png: png[:33] + chunk(b"IDAT", b"") * 10**6 + png[33:],
        "too much metadata",
    ),
    "flood of segments": (
        "jpeg",
        lambda jpeg: jpeg[:2] + b"\xff\xe5\0\2" * 10**6 + jpeg[2:],
        "too much metadata",
    ),
    "flood of EXIF": (
        "jpeg",
        lambda jpeg: jpeg[:2] + (b"\xff\xe1\3\xf0Exif\0\0" + bytes(1000)) * 65 + jpeg[2:],
        "more than 64 EXIF blocks",
    ),
    "flood of comments": (
        "gif",
        lambda gif: gif[:781] + b"!\xfe" + b"\1a" * 10**6 + b"\0",
        "too much metadata",
    ),
    "tags that share bytes": (
        "tiff",
        lambda _: tiff([(tag, 7, MIB, 10) for tag in range(1000, 61000)], bytes(MIB)),
        "tag 1001 claims 1,048,576 bytes",
    ),
    "tags beyond the end": (
        "tiff",
        lambda _: tiff([*SIZES, (270, 2, 99, 2**32 - 1)], bytes(99)),
        "tag 270 claims",
    ),
    "a tag of many numbers": (
        "tiff",
        lambda _: tiff([*SIZES, (258, 3, 2 * MIB, 60)], bytes(5 * MIB)),
        "tag 258 claims 4,194,304 bytes",
    ),
    "a directory beyond the end": ("tiff", lambda _: b"II*\0\xff\xff\xff\x7f" + bytes(99), "cut short"),
    "a canvas of 16 million pixels a side": (
        "webp lossless alpha",
        lambda webp: webp[:24] + b"\xff" * 6 + webp[30:],
        "has 16777216 x 16777216 pixels, more than the limit of 89,000,000",
    ),
    "directories that share 65,535 tags": ("tiff", lambda _: shared_tags(60), "truncated or damaged"),
    "extents that take no bytes": ("png", lambda _: avif_items(1000), "too many extents"),
    "two descriptions": ("png", lambda _: avif_items(1, metas=2, extents=1), "several meta boxes"),
    "a header of comments": ("ppm", lambda _: b"P6 #" + b"\n#" * 10**6, "too much metadata"),
}


RAW_PROFILE = b"Raw profile type exif\0\0"
TEXT_BOMBS = {
    "text": chunk(b"zTXt", b"a\0\0" + UNPACKS_TO_200_MIB),
    "profile": chunk(b"iCCP", b"a\0\0" + UNPACKS_TO_200_MIB),
    "EXIF": chunk(b"zTXt", RAW_PROFILE + UNPACKS_TO_200_MIB),
    "XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + UNPACKS_TO_200_MIB),
    "much text": chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6))) * 500,
    "much EXIF": chunk(b"zTXt", RAW_PROFILE + zlib.compress(bytes(10**6))) * 500,
}


@pytest.mark.parametrize("place", [33, -12], ids=["before the pixels", "behind them"])
@pytest.mark.parametrize("name", TEXT_BOMBS)
def test_text_that_unpacks_to_much_costs_no_memory(
    name: str, place: int, image_files: dict[str, bytes]
) -> None:
    sound = image_files["png"]
    process = psutil.Process()
    before = process.memory_info().rss
    pixels = open_image(sound[:place] + TEXT_BOMBS[name] + sound[place:])
    assert process.memory_info().rss - before < 32 * MIB
    np.testing.assert_array_equal(pixels, open_image(sound))


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_without_much_memory_or_many_warnings(
    name: str, image_files: dict[str, bytes]
) -> None:
    sound, make, reason = BOMBS[name]
    data = make(image_files[sound])
    process = psutil.Process()
    before = process.memory_info().rss
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with pytest.raises(ImageError, match=reason):
            open_image(data)
    assert heard == []
    assert process.memory_info().rss - before < 128 * MIB


def test_lying_exif_costs_nothing_and_says_nothing(image_files: dict[str, bytes]) -> None:
    tags = [(tag, 7, 40_000, 10) for tag in range(1000, 4000)]
    block = b"Exif\0\0" + tiff(tags, bytes(20_000))
    segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    jpeg = image_files["jpeg"]
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        pixels = open_image(
            jpeg[:2] + segment + jpeg[20:]
        )  # without its JFIF block, whose absence makes Pillow look
    assert heard == []
    np.testing.assert_array_equal(pixels, open_image(jpeg))
