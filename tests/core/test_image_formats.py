"""What the formats hide: which way is up, which page is the image, how many bits are used, and the end."""

import base64
import io
import struct
import sys
import warnings
import zlib
from types import ModuleType

import numpy as np
import pytest
from PIL import Image, ImageFile

from mien.core import image_formats, png
from mien.core.images import open_image
from mien.errors import ImageError

RNG = np.random.default_rng(11)
RGB = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.copy().save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


# --- which way is up -------------------------------------------------------------------------------------


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    return b"Exif\0\0" + block.tobytes().removeprefix(b"Exif\0\0")


def raw_profile(name: bytes, block: bytes) -> bytes:
    digits = block.hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    return f"\n{name.decode()}\n{len(block):8d}\n{lines}\n".encode()


def xmp(orientation: int, form: str) -> bytes:
    return f"<x:xmpmeta><rdf:Description {form.format(orientation)}</rdf:Description></x:xmpmeta>".encode()


AS_ATTRIBUTE, AS_ELEMENT = 'tiff:Orientation="{}">', "><tiff:Orientation>{}</tiff:Orientation>"
TEXTS: dict[str, bytes] = {
    "zTXt exif": chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw_profile(b"exif", exif(6)))),
    "tEXt exif": chunk(b"tEXt", b"Raw profile type exif\0" + raw_profile(b"exif", exif(6))),
    "zTXt APP1": chunk(b"zTXt", b"Raw profile type APP1\0\0" + zlib.compress(raw_profile(b"app1", exif(6)))),
    "eXIf": chunk(b"eXIf", exif(6)[6:]),
    "XMP attribute": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(6, AS_ATTRIBUTE)),
    "XMP element": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(6, AS_ELEMENT)),
    "EXIF before XMP": chunk(b"eXIf", exif(6)[6:])
    + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(3, AS_ELEMENT)),
}


@pytest.mark.parametrize("place", [33, -12], ids=["before the pixels", "behind them"])
@pytest.mark.parametrize("name", TEXTS)
def test_a_png_is_turned_by_whatever_holds_its_orientation(name: str, place: int) -> None:
    lying = encode(Image.fromarray(np.rot90(RGB)), "PNG")
    np.testing.assert_array_equal(open_image(lying[:place] + TEXTS[name] + lying[place:]), RGB)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "cut", ["no pointer to a next directory", "half a pointer", "two tags more than it has"]
)
def test_exif_that_ends_too_early_turns_by_the_tags_that_it_has(cut: str, order: str) -> None:
    n_tags = 3 if cut == "two tags more than it has" else 1
    tag = struct.pack(order + "HHIHH", 0x0112, 3, 1, 6, 0)
    block = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, n_tags) + tag
    block += bytes(2) if cut == "half a pointer" else b""
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True})):
        lying = encode(Image.fromarray(np.rot90(RGB)), kind, exif=block, **options)
        np.testing.assert_array_equal(open_image(lying), RGB)
    assert open_image(encode(Image.new("RGB", (9, 6)), "JPEG", exif=b"Exif\0\0" + block)).shape == (9, 6, 3)


def test_an_orientation_outside_the_exif_block_leaves_it_to_xmp() -> None:
    block = b"II" + struct.pack("<HIHHHIII", 42, 8, 1, 0x0112, 3, 9, 1000, 0)
    lying = encode(Image.fromarray(np.rot90(RGB)), "PNG", exif=block)
    np.testing.assert_array_equal(open_image(lying[:33] + TEXTS["XMP element"] + lying[33:]), RGB)


def test_exif_that_tells_no_orientation_leaves_it_to_xmp() -> None:
    block = Image.Exif()
    block[0x010F] = "a maker"
    lying = encode(Image.fromarray(np.rot90(RGB)), "PNG", exif=block)
    np.testing.assert_array_equal(open_image(lying[:33] + TEXTS["XMP element"] + lying[33:]), RGB)


def test_a_jpeg_and_a_webp_are_turned_by_xmp_alone() -> None:
    blocks = Image.fromarray(np.kron(RGB, np.ones((16, 16, 1), np.uint8)))
    for kind, options in (("JPEG", {"quality": 95}), ("WEBP", {"lossless": True})):
        lying = encode(blocks.rotate(90, expand=True), kind, xmp=xmp(6, AS_ATTRIBUTE), **options)
        difference = open_image(lying).astype(int) - np.asarray(blocks)
        assert np.abs(difference).mean() < 8


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"\nexif\n", b"\nexif\n  4\nzz", b"\nexif\n 2\nabc", b"no lines at all"], ids=repr
)
def test_a_broken_raw_profile_is_no_reason_to_refuse_sound_pixels(text: bytes) -> None:
    sound = encode(Image.fromarray(RGB), "PNG")
    data = sound[:33] + chunk(b"tEXt", b"Raw profile type exif\0" + text) + sound[33:]
    np.testing.assert_array_equal(open_image(data), RGB)


def text_of(name: str, n_bytes: int) -> bytes:
    """A chunk of a profile or a text that unpacks to so many bytes and begins with an orientation of 6."""
    filler = RNG.bytes(1000) * (n_bytes // 1000)
    long_xmp = xmp(6, AS_ELEMENT) + b" " * n_bytes
    return {
        "profile": lambda: chunk(b"iCCP", b"a name\0\0" + zlib.compress(filler)),
        "packed comment": lambda: chunk(b"zTXt", b"Comment\0\0" + zlib.compress(filler)),
        "packed comment of any language": lambda: chunk(
            b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(b"a" * n_bytes)
        ),
        "packed XMP": lambda: chunk(b"iTXt", png.XMP.encode() + b"\0\1\0\0\0" + zlib.compress(long_xmp)),
        "XMP": lambda: chunk(b"iTXt", png.XMP.encode() + b"\0\0\0en\0title\0" + long_xmp),
    }[name]()


LONG = ["profile", "packed comment", "packed comment of any language", "packed XMP", "XMP"]


@pytest.mark.parametrize("place", [33, -12], ids=["before the pixels", "behind them"])
@pytest.mark.parametrize("name", LONG)
def test_a_png_is_read_and_turned_however_long_its_texts_are(name: str, place: int) -> None:
    lying = encode(Image.fromarray(np.rot90(RGB)), "PNG", exif=None if "XMP" in name else exif(6))
    long_text = text_of(name, 3_000_000)
    np.testing.assert_array_equal(open_image(lying[:place] + long_text + lying[place:]), RGB)


@pytest.mark.parametrize(
    "text",
    [
        chunk(b"zTXt", b"Raw profile type exif\0\0no zlib"),
        chunk(b"zTXt", b"Raw profile type exif\0\7" + zlib.compress(b"a")),
        chunk(b"zTXt", b"Raw profile type exif"),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0no zlib"),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1"),
        chunk(b"tEXt", b"transparency\0none"),
        chunk(b"tEXt", b""),
        chunk(b"iCCP", b""),
    ],
    ids=repr,
)
def test_a_broken_text_is_no_reason_to_refuse_sound_pixels(text: bytes) -> None:
    sound = encode(Image.fromarray(RGB), "PNG")
    np.testing.assert_array_equal(open_image(sound[:33] + text + sound[33:]), RGB)


# --- which page is the image ---------------------------------------------------------------------------

ORDERS = {"little-endian": "<", "big-endian": ">"}


def page(pixels: np.ndarray, at: int, order: str, *, big: bool = False, **extra: int) -> tuple[bytes, int]:
    """A directory with raw gray pixels behind it, to lie at ``at``, and where its link to the next is."""
    height, width = pixels.shape
    named = {"subfile": 254, "old_subfile": 255, "below": 330, "photometric": 262}
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 277: 1, 278: height, 279: pixels.size}
    tags |= {named[name]: value for name, value in extra.items()}
    entry, count, offset = (20, "Q", "Q") if big else (12, "H", "I")
    size = struct.calcsize("<" + count) + entry * (len(tags) + 1) + struct.calcsize("<" + offset)
    tags[273] = at + size
    parts = [struct.pack(order + count, len(tags))]
    for tag, value in sorted(tags.items()):
        parts.append(struct.pack(f"{order}HH{offset}{offset}", tag, 16 if big else 4, 1, value))
    parts.append(struct.pack(order + offset, 0))
    return b"".join(parts) + pixels.tobytes(), at + size - struct.calcsize("<" + offset)


def tiff(pages: list[tuple[np.ndarray, dict[str, int]]], order: str = "<", *, big: bool = False) -> bytes:
    """Pages one behind the other; a page whose ``below`` is 1 has the following one as its sub-directory."""
    mark = b"II" if order == "<" else b"MM"
    head = struct.pack(order + "HHHQ", 43, 8, 0, 16) if big else struct.pack(order + "HI", 42, 8)
    data = mark + head
    link_at = None
    for pixels, extra in pages:
        extra = dict(extra)
        is_below = extra.pop("is_below", 0)
        at = len(data)
        if link_at is not None and not is_below:
            form = order + ("Q" if big else "I")
            data = data[:link_at] + struct.pack(form, at) + data[link_at + struct.calcsize(form) :]
        if extra.get("below"):
            probe, _ = page(pixels, at, order, big=big, **extra)
            extra["below"] = at + len(probe)
        body, own_link = page(pixels, at, order, big=big, **extra)
        data += body
        link_at = link_at if is_below else own_link
    return data


SMALL, LARGE = RGB[:2, :3, 0].copy(), RGB[..., 0].copy()


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("big", [False, True], ids=["classic", "BigTIFF"])
@pytest.mark.parametrize(
    "pages",
    [
        [(LARGE, {})],
        [(LARGE, {}), (SMALL, {"subfile": 1})],
        [(SMALL, {"subfile": 1}), (LARGE, {"subfile": 0})],
        [(SMALL, {"subfile": 1}), (SMALL, {"subfile": 1}), (LARGE, {"subfile": 2})],
        [(SMALL, {"old_subfile": 2}), (LARGE, {"old_subfile": 1})],
        [(SMALL, {"subfile": 4}), (LARGE, {})],
        [(SMALL, {"subfile": 1, "below": 1}), (LARGE, {"subfile": 0, "is_below": 1})],
        [(LARGE, {"subfile": 1})],
    ],
    ids=[
        "one",
        "thumbnail last",
        "thumbnail first",
        "two first",
        "old tag",
        "mask",
        "sub-directory",
        "alone",
    ],
)
def test_the_page_that_is_the_image_is_read(pages: list, big: bool, order: str) -> None:
    data = tiff(pages, order, big=big)
    if big and order == ">":
        with pytest.raises(
            ImageError, match="is a big-endian BigTIFF, which mien does not read; save it lit"
        ):
            open_image(data)
        return
    pixels = open_image(data)
    np.testing.assert_array_equal(pixels[..., 0], LARGE)


def test_what_pillow_writes_as_bigtiff_is_read() -> None:
    for options in ({}, {"compression": "tiff_lzw"}):
        np.testing.assert_array_equal(
            open_image(encode(Image.fromarray(RGB), "TIFF", big_tiff=True, **options)), RGB
        )


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_a_tag_with_too_many_values_makes_no_warning(order: str) -> None:
    """Pillow's text of it holds the number of values, and Python would remember each such text for good."""
    data = bytearray(tiff([(LARGE, {"subfile": 0})], order))
    struct.pack_into(
        order + "HHII", data, 8 + 2, 296, 3, 2, 0
    )  # the unit of the resolution, first of the tags
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        np.testing.assert_array_equal(open_image(bytes(data))[..., 0], LARGE)
        struct.pack_into(order + "I", data, 8 + 2 + 12 + 4, 3)
        with pytest.raises(ImageError, match="tag 256 has 3 values instead of one"):
            open_image(bytes(data))
    assert heard == []


def test_pages_in_a_circle_end() -> None:
    data = tiff([(SMALL, {"subfile": 1}), (LARGE, {"subfile": 1})])
    at = data.rfind(struct.pack("<I", 0) + LARGE.tobytes())
    circle = data[:at] + struct.pack("<I", 8) + data[at + 4 :]
    np.testing.assert_array_equal(open_image(circle)[..., 0], SMALL)


@pytest.mark.parametrize("kind", [32803, 34892], ids=["colour filter array", "LinearRaw"])
def test_a_camera_s_raw_file_is_refused_rather_than_its_thumbnail_read(kind: int) -> None:
    below = {"subfile": 0, "is_below": 1, "photometric": kind}
    data = tiff([(SMALL, {"subfile": 1, "below": 1}), (LARGE, below)])
    with pytest.raises(ImageError, match="holds a camera's raw data, which mien does not read; export it as"):
        open_image(data)


# --- how many bits are used ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_gray_of_any_sensor_spans_the_whole_range(kind: str, bits: int) -> None:
    full = 2**bits - 1
    gray = np.array([[0, full // 2, full]], np.uint16)
    expected = [0, round(full // 2 * 255 / full), 255]
    assert open_image(encode(Image.fromarray(gray), kind))[0, :, 1].tolist() == expected


def deep_png(values: np.ndarray) -> bytes:
    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def deep_tiff(values: np.ndarray, order: str, compression: int) -> bytes:
    height, width, _ = values.shape
    body = values.astype(order + "u2").tobytes()
    body = zlib.compress(body) if compression == 8 else body
    tags = [(256, width), (257, height), (258, 16), (259, compression), (262, 2), (273, 0), (277, 3)]
    tags += [(278, height), (279, len(body))]
    start = 8 + 2 + 12 * len(tags) + 4
    tags[5] = (273, start)
    directory = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in tags)
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(order + "HIH", 42, 8, len(tags)) + directory + bytes(4) + body


DEEP = {
    "png": deep_png,
    "tiff, little-endian": lambda values: deep_tiff(values, "<", 1),
    "tiff, big-endian": lambda values: deep_tiff(values, ">", 1),
    "tiff, deflated": lambda values: deep_tiff(values, "<", 8),
    "tiff, deflated, big-endian": lambda values: deep_tiff(values, ">", 8),
}


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("name", DEEP)
def test_colour_of_any_sensor_spans_the_whole_range(name: str, bits: int) -> None:
    full = 2**bits - 1
    values = RNG.integers(0, full + 1, (4, 5, 3))
    values[0, 0] = full
    expected = np.floor(values * 255 / full + 0.5)
    np.testing.assert_array_equal(open_image(DEEP[name](values)), expected)


@pytest.mark.parametrize("name", DEEP)
def test_colour_of_16_bits_keeps_the_upper_eight(name: str) -> None:
    values = RNG.integers(0, 65536, (4, 5, 3))
    values[0, 0] = 65535
    np.testing.assert_array_equal(open_image(DEEP[name](values)), values >> 8)


# --- the end ---------------------------------------------------------------------------------------------

SMOOTH = Image.fromarray(RNG.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((43, 29))
JPEGS = {
    "baseline": encode(SMOOTH, "JPEG"),
    "gray": encode(SMOOTH.convert("L"), "JPEG", quality=90),
    "progressive": encode(SMOOTH, "JPEG", progressive=True),
    "restarts": encode(SMOOTH, "JPEG", restart_marker_blocks=1),
    "no subsampling": encode(SMOOTH, "JPEG", subsampling=0, optimize=True),
}


@pytest.mark.parametrize("name", JPEGS)
def test_of_a_jpeg_only_the_end_mark_may_be_missing(name: str) -> None:
    data = JPEGS[name]
    whole = open_image(data)
    for length in range(len(data)):
        if length >= len(data) - 2:
            np.testing.assert_array_equal(open_image(data[:length]), whole)
        else:
            with pytest.raises(ImageError, match=r"is truncated or damaged|is not an image|is empty"):
                open_image(data[:length])


@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize("n_zeros", [1, 40, 4096])
def test_zeros_may_stand_for_the_end_mark_but_not_for_pixels(name: str, n_zeros: int) -> None:
    data = JPEGS[name]
    np.testing.assert_array_equal(open_image(data[:-2] + bytes(n_zeros)), open_image(data))
    np.testing.assert_array_equal(open_image(data + bytes(n_zeros)), open_image(data))
    with pytest.raises(ImageError, match="is truncated or damaged"):
        open_image(data[: len(data) * 4 // 5] + bytes(n_zeros))


# --- formats that not every installation reads -----------------------------------------------------------

HEIC = """
AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA
ACJpbG9jAAAAAERAAAEAAQAAAAABoQABAAAAAAAAADsAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRt
AAAAAAABAAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMA
AAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5j
bHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBp
eGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAAENtZGF0AAAANygBrxmA71UP/J4lrKCu+bSCGkKN/kzL3ywLDIyx
1TVZ+tBrkhTpn5y+/mIbVHSXtsWkt5U+chA=
"""
"""64 x 48 pixels, made here with libheif's encoder: red and green 2 (x + y), blue 255 - 2 (x + y)."""


def test_avif_is_read_and_turned_by_its_own_boxes_and_not_by_exif() -> None:
    pytest.importorskip("PIL.AvifImagePlugin", reason="needs Pillow 11.3")
    image = Image.fromarray(np.kron(RGB, np.ones((16, 16, 1), np.uint8)))
    lying = encode(image.rotate(90, expand=True), "AVIF", exif=exif(6), quality=90)
    difference = open_image(lying).astype(int) - np.asarray(image)
    assert np.abs(difference).mean() < 12


def test_avif_without_a_pillow_that_reads_it_says_which_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.AvifImagePlugin", None)
    image_formats.decoder.cache_clear()
    try:
        with pytest.raises(
            ImageError, match=r"^bytes is AVIF, which needs Pillow 11.3 or newer; run: pip inst"
        ):
            open_image(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf")
    finally:
        image_formats.decoder.cache_clear()


@pytest.mark.parametrize("brands", [b"heic....mif1", b"heix....", b"mif1....heic", b"hevc...."], ids=repr)
def test_heic_without_its_extra_says_how_to_get_it(brands: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    image_formats.decoder.cache_clear()
    head = struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands
    try:
        with pytest.raises(
            ImageError, match=r'^bytes is HEIC, which needs pi-heif; run: pip install "mien\[h'
        ):
            open_image(head + bytes(100))
    finally:
        image_formats.decoder.cache_clear()


def test_heic_goes_through_the_extra_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    class HeifImageFile(ImageFile.ImageFile):
        def _open(self) -> None:
            self._size, self._mode = (2, 1), "RGB"
            self.tile = []

        def load(self) -> None:
            self.im = Image.frombytes("RGB", (2, 1), bytes(range(6))).im

    stand_in = ModuleType("pi_heif")
    stand_in.HeifImageFile = HeifImageFile
    monkeypatch.setitem(sys.modules, "pi_heif", stand_in)
    image_formats.decoder.cache_clear()
    try:
        pixels = open_image(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    finally:
        image_formats.decoder.cache_clear()
    assert pixels.tolist() == [[[0, 1, 2], [3, 4, 5]]]


def test_a_real_heic_is_read() -> None:
    pytest.importorskip("pi_heif", reason="needs pi-heif")
    pixels = open_image(base64.b64decode(HEIC))
    ramp = 2 * np.add.outer(np.arange(48), np.arange(64))
    expected = np.stack([ramp, ramp, 255 - ramp], axis=2)
    assert np.abs(pixels - expected).mean() < 6
