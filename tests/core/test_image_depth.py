"""TIFFs of scientific programs and scanners: planes, white that is zero, pixels of other types."""

import struct
import zlib

import numpy as np
import pytest

from mien.core.images import open_image
from mien.errors import ImageError

RNG = np.random.default_rng(5)


def other_tiff(
    values: np.ndarray, photometric: int, in_planes: bool = False, sample_format: int = 1
) -> bytes:
    """An uncompressed TIFF of an array (H, W, C) or (C, H, W), as scientific programs write it."""
    channels, height, width = values.shape if in_planes else (values.shape[2], *values.shape[:2])
    body = values.tobytes()
    tags = [(256, 4, (width,)), (257, 4, (height,)), (258, 3, (8 * values.itemsize,) * channels)]
    tags += [(259, 3, (1,)), (262, 3, (photometric,)), (277, 3, (channels,)), (278, 4, (height,))]
    tags += [(284, 3, (2 if in_planes else 1,)), (339, 3, (sample_format,) * channels)]
    n_parts = channels if in_planes else 1
    sizes = (len(body) // n_parts,) * n_parts
    entries, outside = b"", b""
    end = 8 + 2 + 12 * (len(tags) + 2) + 4
    image_at = end + 200
    tags += [(273, 4, tuple(image_at + i * sizes[0] for i in range(n_parts))), (279, 4, sizes)]
    for number, kind, numbers in sorted(tags):
        packed = struct.pack(f"<{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        if len(packed) > 4:
            packed, outside = struct.pack("<I", end + len(outside)), outside + packed
        entries += struct.pack("<HHI", number, kind, len(numbers)) + packed.ljust(4, b"\0")
    return (
        b"II*\0\x08\0\0\0"
        + struct.pack("<H", len(tags))
        + entries
        + bytes(4)
        + outside.ljust(200, b"\0")
        + body
    )


def test_gray_of_16_bits_whose_white_is_zero_is_turned_round() -> None:
    values = np.array([[[0], [32768], [65535]]], "<u2")
    assert open_image(other_tiff(values, photometric=0))[0, :, 1].tolist() == [255, 127, 0]
    assert open_image(other_tiff(values, photometric=1))[0, :, 1].tolist() == [0, 128, 255]


def test_colours_in_planes_are_read_right_or_refused() -> None:
    planes = RNG.integers(0, 256, (3, 6, 5), dtype=np.uint8)
    expected = planes.transpose(1, 2, 0)
    np.testing.assert_array_equal(open_image(other_tiff(planes, 2, in_planes=True)), expected)
    deep = other_tiff((planes * np.uint16(257)).astype("<u2"), 2, in_planes=True)
    with pytest.raises(ImageError, match=r"stores 16-bit colours in uncompressed planes, .*; save it with c"):
        open_image(deep)


def test_colour_of_float_is_no_damage() -> None:
    data = other_tiff(np.zeros((4, 5, 3), "<f4"), 2, sample_format=3)
    with pytest.raises(
        ImageError, match="has pixels of a kind that mien does not read; save it with 8 or 16"
    ):
        open_image(data)


def png_of_16_bits(pixels: list[list[int]], clear: list[int] | None = None) -> bytes:
    """One row of gray, gray and alpha, RGB or RGBA; ``clear`` is the colour that is transparent."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[len(pixels[0])]
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", len(pixels), 1, 16, colour_type, 0, 0, 0))]
    if clear is not None:
        parts.append(chunk(b"tRNS", np.array(clear, ">u2").tobytes()))
    parts.append(chunk(b"IDAT", zlib.compress(b"\0" + np.array(pixels, ">u2").tobytes())))
    return b"\x89PNG\r\n\x1a\n" + b"".join([*parts, chunk(b"IEND", b"")])


@pytest.mark.parametrize("opaque", [4095, 65535])
def test_colours_of_12_bits_are_scaled_beside_alpha_too(opaque: int) -> None:
    gray = [[0], [2048], [4095]]
    expected = [[0] * 3, [128] * 3, [255] * 3]  # round(2048 * 255 / 4095), by hand
    assert open_image(png_of_16_bits(gray))[0].tolist() == expected
    assert open_image(png_of_16_bits([v * 3 for v in gray]))[0].tolist() == expected
    assert open_image(png_of_16_bits([[*v, opaque] for v in gray]))[0].tolist() == expected
    rgba = [[*v * 3, opaque] for v in gray]
    assert open_image(png_of_16_bits(rgba))[0].tolist() == expected
    assert open_image(other_tiff(np.array([rgba], "<u2"), 2))[0].tolist() == expected


def test_alpha_of_12_bits_is_scaled_beside_colours_of_16() -> None:
    pixels = [[65535, 0, 0, 4095], [0, 0, 65535, 0]]
    assert open_image(png_of_16_bits(pixels))[0].tolist() == [[255, 0, 0], [255, 255, 255]]


def test_the_transparent_colour_of_16_bits_is_white_and_its_neighbour_in_the_lower_byte_is_not() -> None:
    rgb = [[40000, 515, 7], [40000, 514, 7]]
    assert open_image(png_of_16_bits(rgb, clear=rgb[0]))[0].tolist() == [[255, 255, 255], [156, 2, 0]]
    gray = [[300], [301], [65535]]
    assert open_image(png_of_16_bits(gray, clear=gray[0]))[0, :, 0].tolist() == [255, 1, 255]
