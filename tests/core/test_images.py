import base64
import io
import os
import struct
import threading
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image, ImageOps

from mien.core.images import DEFAULT_LIMITS, ImageLimits, open_image
from mien.errors import ImageError

RNG = np.random.default_rng(7)
RGB = RNG.integers(0, 256, (5, 8, 3), dtype=np.uint8)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.copy().save(file, kind, **options)
    return file.getvalue()


def opened(image: Image.Image, kind: str, **options: object) -> np.ndarray:
    pixels = open_image(encode(image, kind, **options))
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    return pixels


# --- sources ---------------------------------------------------------------------------------------------


def test_every_kind_of_source_gives_the_same_pixels(tmp_path: Path) -> None:
    path = tmp_path / "ein Bild, größer.png"
    Image.fromarray(RGB).save(path)
    sources = [path, str(path), path.read_bytes(), bytearray(path.read_bytes()), Image.open(path), RGB]
    for source in sources:
        np.testing.assert_array_equal(open_image(source), RGB)
    sources[4].close()


def test_the_name_of_a_file_does_not_tell_its_format(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(encode(Image.fromarray(RGB), "PNG"))
    np.testing.assert_array_equal(open_image(path), RGB)


@pytest.mark.parametrize("shape", [(5, 8), (5, 8, 1)], ids=str)
def test_a_gray_array_has_its_gray_in_all_channels(shape: tuple[int, ...]) -> None:
    gray = RGB[..., 0].reshape(shape)
    np.testing.assert_array_equal(open_image(gray), np.stack([RGB[..., 0]] * 3, axis=2))


def test_an_array_with_alpha_is_composited_on_white() -> None:
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]], np.uint8)
    np.testing.assert_array_equal(open_image(rgba), [[[10, 20, 30], [255, 255, 255], [204, 204, 204]]])


def test_an_array_that_is_not_contiguous_is_read_as_it_looks() -> None:
    np.testing.assert_array_equal(open_image(RGB[::-1, ::2]), RGB[::-1, ::2])


@pytest.mark.parametrize(
    ("array", "got"),
    [
        (np.zeros((3, 112, 112), np.float32), r"got float32 \(3, 112, 112\); .* before normalising"),
        (np.zeros((4, 4), np.uint16), r"got uint16 \(4, 4\); convert it to uint8, 0-255$"),
        (np.zeros((4, 4, 3), np.int64), r"convert it to uint8, 0-255$"),
        (np.zeros((8, 48, 48), np.uint8), r"; several images go as list\(array\) to read_many or classify$"),
        (np.zeros((4, 4, 3), bool), r"got bool \(4, 4, 3\)"),
        (np.zeros((3, 9, 9), np.uint8), r"got uint8 \(3, 9, 9\); .* channels last"),
        (np.zeros((4, 4, 2), np.uint8), r"got uint8 \(4, 4, 2\)"),
        (np.zeros(4, np.uint8), r"got uint8 \(4,\); the bytes of a file go in as array\.tobytes\(\)$"),
        (
            np.zeros((1, 4, 4, 3), np.uint8),
            r"got uint8 \(1, 4, 4, 3\); several images go as list\(array\) to",
        ),
        (np.zeros((0, 4, 3), np.uint8), r"the array has no pixels \(4 x 0\)"),
    ],
    ids=lambda value: f"{value.dtype}{value.shape}" if isinstance(value, np.ndarray) else "",
)
def test_an_array_of_another_kind_is_refused(array: np.ndarray, got: str) -> None:
    with pytest.raises(ImageError, match=got):
        open_image(array)


def test_a_source_of_another_type_is_refused() -> None:
    many = r"several images go to mien\.Analyzer\(\)\.read_many, or as a list to classify"
    text = rf"^an image must be a path, .* got list; {many}$"
    with pytest.raises(ImageError, match=text):
        open_image([1, 2, 3])


def test_a_pillow_image_is_left_as_it_was() -> None:
    image = Image.fromarray(RGB).convert("P")
    image.getexif()[0x0112] = 6
    before = (image.mode, image.size, image.tobytes(), dict(image.getexif()))
    assert open_image(image).shape == (8, 5, 3)
    assert (image.mode, image.size, image.tobytes(), dict(image.getexif())) == before


# --- pixels ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_rgb_comes_back_exactly(kind: str) -> None:
    np.testing.assert_array_equal(opened(Image.fromarray(RGB), kind), RGB)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "tiff_lzw"},
        {"compression": "tiff_adobe_deflate"},
        {"compression": "packbits"},
        {"big_tiff": False},
    ],
    ids=lambda options: str(*options.values()),
)
def test_every_lossless_tiff_comes_back_exactly(options: dict[str, object]) -> None:
    np.testing.assert_array_equal(opened(Image.fromarray(RGB), "TIFF", **options), RGB)


@pytest.mark.parametrize("shape", [(1001, 389), (389, 1001), (3, 99_999)])
def test_an_image_of_many_bands_comes_back_exactly(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=0)
    opened = open_image(file.getvalue())
    np.testing.assert_array_equal(opened, pixels)
    assert opened.flags.c_contiguous


def test_lossless_webp_comes_back_exactly() -> None:
    np.testing.assert_array_equal(opened(Image.fromarray(RGB), "WEBP", lossless=True), RGB)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}], ids=str)
@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "MPO"])
def test_lossy_formats_come_back_close(kind: str, options: dict[str, object]) -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 64)[None, :, None], (48, 64, 3)).astype(np.uint8)
    difference = opened(Image.fromarray(ramp), kind, quality=95, **options).astype(int) - ramp
    assert np.abs(difference).max() <= 12


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF", "JPEG"])
def test_gray_has_equal_channels(kind: str) -> None:
    flat = np.full((16, 16), 77, np.uint8)
    np.testing.assert_array_equal(opened(Image.fromarray(flat), kind), np.full((16, 16, 3), 77))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF"])
def test_one_bit_is_black_and_white(kind: str) -> None:
    bits = RNG.integers(0, 2, (6, 11)).astype(bool)
    np.testing.assert_array_equal(opened(Image.fromarray(bits), kind)[..., 1], bits * 255)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_gray_is_scaled_not_clipped(kind: str) -> None:
    gray = np.array([[0, 128, 129, 257, 385, 386, 32768, 65535]], np.uint16)
    expected = [0, 0, 1, 1, 1, 2, 128, 255]  # round(v / 257), by hand
    np.testing.assert_array_equal(opened(Image.fromarray(gray), kind)[0, :, 0], expected)


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i4"])
def test_16_bit_gray_of_a_pillow_image_is_scaled_whatever_its_byte_order(dtype: str) -> None:
    gray = np.array([[0, 257, 25700, 65535]], dtype)
    np.testing.assert_array_equal(open_image(Image.fromarray(gray))[0, :, 2], [0, 1, 100, 255])


@pytest.mark.parametrize("value", [-1, 65536])
def test_gray_beyond_16_bits_is_refused(value: int) -> None:
    with pytest.raises(ImageError, match="gray values outside 0-65535; save it with 8 or 16 bits"):
        open_image(encode(Image.fromarray(np.array([[0, value]], np.int32)), "TIFF"))


def test_16_bit_rgb_keeps_the_upper_eight_bits() -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0))
    pixel = chunk(b"IDAT", zlib.compress(bytes([0, 9, 0, 80, 255, 7, 128])))
    np.testing.assert_array_equal(
        open_image(b"\x89PNG\r\n\x1a\n" + header + pixel + chunk(b"IEND", b"")), [[[9, 80, 7]]]
    )


@pytest.mark.parametrize("kind", ["TIFF", "PFM"])
def test_float_pixels_are_refused(kind: str) -> None:
    data = encode(Image.new("F", (3, 3)), kind.replace("PFM", "PPM"))
    with pytest.raises(ImageError, match=r"float pixels of unknown range|not an image of a known"):
        open_image(data)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF"])
def test_a_palette_gives_its_colours(kind: str) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.putpixel((1, 0), 1)
    np.testing.assert_array_equal(opened(image, kind), [[[0, 0, 0], [200, 100, 50]]])


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"], ids=["index", "table"])
def test_a_transparent_palette_entry_is_white(transparency: int | bytes) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([9, 9, 9, 200, 100, 50])
    image.putpixel((1, 0), 1)
    pixels = opened(image, "PNG", transparency=transparency)
    np.testing.assert_array_equal(pixels, [[[255, 255, 255], [200, 100, 50]]])


def test_a_half_transparent_palette_entry_is_mixed_with_white() -> None:
    image = Image.new("P", (1, 1))
    image.putpalette([0, 100, 255])
    np.testing.assert_array_equal(opened(image, "PNG", transparency=b"\x66"), [[[153, 193, 255]]])


@pytest.mark.parametrize(("mode", "colour"), [("L", 40), ("RGB", (1, 2, 3))])
def test_a_transparent_colour_is_white(mode: str, colour: int | tuple[int, ...]) -> None:
    image = Image.new(mode, (2, 1), colour)
    image.putpixel((1, 0), 60 if mode == "L" else (4, 5, 6))
    pixels = opened(image, "PNG", transparency=colour)
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[0, 1].tolist() == ([60] * 3 if mode == "L" else [4, 5, 6])


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_composited_on_white(kind: str) -> None:
    rgba = Image.fromarray(np.array([[[0, 100, 200, 255], [0, 0, 0, 0], [0, 100, 200, 102]]], np.uint8))
    options = {"lossless": True} if kind == "WEBP" else {}
    expected = [[[0, 100, 200], [255, 255, 255], [153, 193, 233]]]  # 0.4 x colour + 0.6 x 255
    np.testing.assert_array_equal(opened(rgba, kind, **options), expected)


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBa"])
def test_every_mode_with_alpha_is_white_where_transparent(mode: str) -> None:
    image = Image.new(mode, (2, 2))
    image.putpixel((0, 0), (0, 255) if len(mode) == 2 else (0, 0, 0, 255))
    pixels = open_image(image)
    assert (pixels[0, 0].tolist(), pixels[1].tolist()) == ([0, 0, 0], [[255] * 3] * 2)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", None])
def test_alpha_that_is_zero_everywhere_says_nothing(kind: str | None) -> None:
    rgba = np.dstack([RGB, np.zeros(RGB.shape[:2], np.uint8)])
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    pixels = opened(Image.fromarray(rgba), kind, **options) if kind else open_image(rgba)
    np.testing.assert_array_equal(pixels, RGB)


def test_gray_with_alpha_is_composited_on_white() -> None:
    image = Image.new("LA", (1, 1), (0, 51))
    np.testing.assert_array_equal(opened(image, "PNG"), [[[204, 204, 204]]])


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_becomes_the_colour_it_stands_for(kind: str) -> None:
    for cmyk, rgb in [((0, 0, 0, 0), 255), ((0, 0, 0, 255), 0), ((255, 255, 255, 0), 0)]:
        pixels = opened(Image.new("CMYK", (16, 16), cmyk), kind)
        assert np.abs(pixels.astype(int) - rgb).max() <= 2


@pytest.mark.parametrize("mode", ["RGBX", "YCbCr", "HSV", "CMYK"])
def test_other_colour_modes_are_converted_like_pillow_does(mode: str) -> None:
    image = Image.fromarray(RGB).convert(mode)
    np.testing.assert_array_equal(open_image(image), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "options"), [("JPEG", {}), ("PNG", {}), ("WEBP", {}), ("TIFF", {})])
@pytest.mark.parametrize("maker", [None, "a long name outside the directory entry"], ids=["one", "two"])
def test_every_orientation_is_turned_upright(
    kind: str, options: dict[str, object], orientation: int, maker: str | None
) -> None:
    blocks = np.kron(RNG.integers(0, 256, (2, 3, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    if maker:
        exif[0x010F] = maker
    data = encode(Image.fromarray(blocks), kind, exif=exif, **options)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(open_image(data), expected)
    assert expected.shape == ((48, 32, 3) if orientation > 4 else (32, 48, 3))
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(open_image(image), expected)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_means_nothing_counts_as_upright(value: int, order: str) -> None:
    exif = Image.Exif()
    exif.endian = order
    exif[0x0112] = value
    data = encode(Image.fromarray(RGB), "PNG", exif=exif)
    np.testing.assert_array_equal(open_image(data), RGB)


@pytest.mark.parametrize("block", [b"", b"MM", b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\0\x09", b"\xff" * 60])
def test_broken_exif_is_no_reason_to_refuse_sound_pixels(block: bytes) -> None:
    np.testing.assert_array_equal(opened(Image.fromarray(RGB), "PNG", exif=block), RGB)
    assert opened(Image.fromarray(RGB), "JPEG", exif=b"Exif\0\0" + block).shape == RGB.shape


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_of_several_frames_the_first_is_read(kind: str) -> None:
    frames = [Image.new("RGB", (32, 24), colour) for colour in ("red", "lime", "blue")]
    pixels = opened(frames[0], kind, save_all=True, append_images=frames[1:])
    assert np.abs(pixels.astype(int) - (255, 0, 0)).max() <= 2


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("size_wh", [(1, 1), (1, 300), (300, 1)], ids=str)
def test_thin_images_are_read(kind: str, size_wh: tuple[int, int]) -> None:
    assert opened(Image.new("RGB", size_wh), kind).shape == (*size_wh[::-1], 3)


def test_a_pillow_image_without_pixels_is_refused() -> None:
    with pytest.raises(ImageError, match=r"^the Pillow image has no pixels \(0 x 5\)"):
        open_image(Image.new("RGB", (0, 5)))


# --- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    ["http://a.b/c.jpg", "https://a.b/c.jpg", "ftp://a/b", "file://host/b.png"],
)
def test_a_web_address_is_refused(address: str) -> None:
    with pytest.raises(ImageError, match=r"is a web address; mien never downloads: save the image and"):
        open_image(address)


VIDEOS = {
    "mp4": b"\0\0\0\x20ftypisom",
    "mov": b"\0\0\0\x14ftypqt  ",
    "old mov": b"\0\0\0\x08wide",
    "mkv": b"\x1aE\xdf\xa3",
    "avi": b"RIFF\0\0\0\0AVI LIST",
    "mpg": b"\0\0\1\xba",
    "flv": b"FLV\1",
    "wmv": bytes.fromhex("3026b2758e66cf11"),
}


@pytest.mark.parametrize("kind", VIDEOS)
def test_a_video_is_told_what_reads_it(kind: str) -> None:
    with pytest.raises(ImageError, match=r"^bytes is a video, not an image; read it with mien watch, or"):
        open_image(VIDEOS[kind] + bytes(99))


@pytest.mark.parametrize("head", [b"\0\0\0\x18ftypcrx ", b"\0\0\0\x20ftypM4A ", b"\0\0\1\0"])
def test_a_raw_file_sound_or_icon_is_no_video(head: bytes) -> None:
    with pytest.raises(ImageError, match=r"^bytes is not an image of a known format"):
        open_image(head + bytes(99))


@pytest.mark.parametrize("start", ["", "data:image/png;base64,", "DATA:,"])
@pytest.mark.parametrize("pack", [base64.b64encode, base64.encodebytes], ids=["line", "lines"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_an_image_in_base64_is_told_to_be_decoded(start: str, pack: Any, kind: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    for size in (2, 60):  # a path that is not there, and one that is too long
        text = start + pack(encode(Image.fromarray(pixels[:size, :size]), kind)).decode()
        said = (
            "a data: address; pass .*b64decode of the part"
            if start
            else "an image in base64, not a path; pass base"
        )
        with pytest.raises(ImageError, match=f" is {said}"):
            open_image(text)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ImageError, match=r"^'no/such\\nfile.png' does not exist; check the path$"):
        open_image("no/such\nfile.png")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"is a folder, not an image; pass the path of a file in it$"):
        open_image(tmp_path)


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match="is not a regular file"):
        open_image(tmp_path / "pipe")


def test_a_file_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"x")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)  # root may read anything, so chmod would not do
    with pytest.raises(ImageError, match=r"a.png' cannot be read \(permission denied\); check the path and"):
        open_image(path)


@pytest.mark.parametrize("path", ["nul\0l.png", "x" * 5000], ids=["null", "long"])
def test_an_impossible_path_is_refused_in_one_short_line(path: str) -> None:
    with pytest.raises(ImageError, match=r"is not a path|cannot be read") as caught:
        open_image(path)
    assert len(str(caught.value)) < 400


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    for source in (tmp_path / "a.png", b""):
        with pytest.raises(ImageError, match=r"is empty \(0 bytes\); copy or download it again$"):
            open_image(source)


@pytest.mark.parametrize(
    "data",
    [
        b"hello",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"%PDF-1.7",
        b"<svg/>",
        b"II,\0\x08\0\0\0",
    ],
    ids=["text", "eps", "pdf", "svg", "nearly tiff"],
)
def test_another_format_is_refused(data: bytes) -> None:
    known = r"\(JPEG, PNG, WEBP, BMP, GIF, TIFF, PPM, AVIF, HEIC\); convert it to PNG or JPEG$"
    with pytest.raises(ImageError, match=rf"^bytes is not an image of a known format {known}"):
        open_image(data)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"P3 1 1 255\n1 2 3", "a plain-text PPM"),
        (b"P6 1 1 100\nabc", "a PPM of an unusual depth"),
        (
            b"BM" + bytes(8) + b"\x36\4\0\0\x28\0\0\0\4\0\0\0\4\0\0\0\1\0\x08\0\1\0\0\0" + bytes(1044),
            "a run-length BMP",
        ),
    ],
    ids=["plain", "odd maximum", "run-length"],
)
def test_formats_that_pillow_decodes_in_python_are_refused(data: bytes, what: str) -> None:
    with pytest.raises(ImageError, match=f"^bytes is {what}, which mien does not read; save it as PNG$"):
        open_image(data)


def test_a_file_with_too_many_bytes_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(bytes(1001))
    monkeypatch.setattr("builtins.open", lambda *_: pytest.fail("it was opened"))
    for source in (path, bytes(1001)):
        with pytest.raises(ImageError, match=r"has 1,001 bytes, more than the limit of 1,000; shrink it, or"):
            open_image(source, ImageLimits(max_bytes=1000))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_too_many_pixels_are_refused_before_decoding(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Image.new("RGB", (40, 26)), kind)
    assert open_image(data, ImageLimits(max_pixels=1040)).shape == (26, 40, 3)
    monkeypatch.setattr(Image.core, "new", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(ImageError, match=r"has 40 x 26 pixels, more than the limit of 1,039; shrink it, or"):
        open_image(data, ImageLimits(max_pixels=1039))


def test_the_pixel_limit_holds_for_arrays_and_pillow_images_too() -> None:
    for source in (RGB, Image.fromarray(RGB)):
        with pytest.raises(ImageError, match="has 8 x 5 pixels, more than the limit of 39"):
            open_image(source, ImageLimits(max_pixels=39))


def test_the_limit_is_ours_and_not_the_global_one_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Image.fromarray(RGB), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    np.testing.assert_array_equal(open_image(data), RGB)  # Image.open would raise here
    assert DEFAULT_LIMITS.max_pixels < 89_478_485


def test_cut_anywhere_an_image_gives_all_its_pixels_or_an_error(image_files: dict[str, bytes]) -> None:
    for name, data in image_files.items():
        whole = open_image(data)
        errors = []
        for length in range(0, len(data), 7):
            try:
                pixels = open_image(data[:length])
            except ImageError as error:
                errors.append(str(error))
            else:
                np.testing.assert_array_equal(pixels, whole, err_msg=f"{name} cut to {length}")
        assert len(errors) > 0.3 * len(data) / 7, name  # of several frames the first is whole early
        assert not any("\n" in error for error in errors), name


def test_a_damaged_pillow_image_is_refused() -> None:
    with Image.open(io.BytesIO(encode(Image.fromarray(RGB), "PNG")[:-40])) as image:
        image.tile = image.tile[:0]
        with pytest.raises(ImageError, match=r"^the Pillow image is truncated or damaged \(.*\); copy or"):
            open_image(image)


def test_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(Image.fromarray(RGB), "JPEG")[:-9])
    with pytest.raises(ImageError, match=rf"^'{path}' is truncated or damaged \(.*\); copy or download it"):
        open_image(path)


# --- manners ---------------------------------------------------------------------------------------------


def test_no_file_stays_open(tmp_path: Path, image_files: dict[str, bytes]) -> None:
    process = psutil.Process()
    before = process.num_fds()
    for name, data in image_files.items():
        for suffix, content in (("whole", data), ("cut", data[: len(data) // 2])):
            path = tmp_path / f"{name} {suffix}"
            path.write_bytes(content)
            try:
                open_image(path)
            except ImageError:
                continue
    assert process.num_fds() == before


def test_global_state_is_left_alone_by_threads(image_files: dict[str, bytes]) -> None:
    before = (list(warnings.filters), Image.MAX_IMAGE_PIXELS)
    expected = {name: open_image(data) for name, data in image_files.items()}
    wrong: list[str] = []

    def read_all() -> None:
        for name, data in image_files.items():
            if not np.array_equal(open_image(data), expected[name]):
                wrong.append(name)

    threads = [threading.Thread(target=read_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert (list(warnings.filters), Image.MAX_IMAGE_PIXELS) == before
