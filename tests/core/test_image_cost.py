"""What an image may cost is told from its structure: refused before it is decoded."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageFile

from mien.core.image_cost import ImageLimits
from mien.core.images import open_image
from mien.errors import ImageError, ImageTooLargeError


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.copy().save(file, kind, **options)
    return file.getvalue()


GRADIENT = Image.fromarray(np.add.outer(np.arange(96), np.arange(128)).astype(np.uint8)).convert("RGB")
PROGRESSIVE = encode(GRADIENT, "JPEG", progressive=True, subsampling=0)


def with_scans(n: int) -> bytes:
    """A progressive JPEG with ``n`` more scans, each with nothing for any block of the first component."""
    table = b"\xff\xc4" + struct.pack(">H", 20) + bytes([0x10, 1, *[0] * 15, 0xE0])  # one code: 16,384 empty
    scan = b"\xff\xda" + struct.pack(">H", 8) + bytes([1, 1, 0, 1, 63, 0]) + b"\x7f"
    return PROGRESSIVE[:-2] + table + scan * n + b"\xff\xd9"


@pytest.fixture
def nothing_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("it was decoded"))


def test_an_ordinary_progressive_jpeg_is_read() -> None:
    plain = encode(GRADIENT, "JPEG", subsampling=0)
    np.testing.assert_array_equal(open_image(PROGRESSIVE), open_image(plain))
    assert open_image(with_scans(40)).shape == (96, 128, 3)


def test_scans_that_go_over_too_many_pixels_are_refused(nothing_is_decoded: None) -> None:
    limits = ImageLimits(max_pixels=128 * 96)
    with pytest.raises(ImageTooLargeError, match=r"scans cover [\d,]+ pixels, more than 32 times the limit"):
        open_image(with_scans(40), limits)


def test_more_scans_than_any_encoder_writes_are_refused(nothing_is_decoded: None) -> None:
    with pytest.raises(ImageTooLargeError, match=r"is a JPEG of more than 1,000 scans; save it again, not"):
        open_image(with_scans(1100))


def test_what_looks_like_scans_behind_the_image_or_in_its_metadata_does_not_count() -> None:
    rubbish = b"\xff\xda\0\x08\1\1\0\1\x3f\0" * 2000
    segment = b"\xff\xe5" + struct.pack(">H", len(rubbish) + 2) + rubbish
    expected = open_image(PROGRESSIVE)
    np.testing.assert_array_equal(open_image(PROGRESSIVE + rubbish), expected)
    np.testing.assert_array_equal(open_image(PROGRESSIVE[:2] + segment + PROGRESSIVE[2:]), expected)


def test_a_long_run_of_fill_bytes_takes_no_time(nothing_is_decoded: None) -> None:
    """Quadratic work would take hours."""
    with pytest.raises(ImageError):
        open_image(b"\xff\xd8" + b"\xff" * 2**24 + b"\0")


def test_an_arithmetic_coded_jpeg_is_refused(nothing_is_decoded: None) -> None:
    plain = encode(GRADIENT, "JPEG")
    with pytest.raises(ImageError, match="is a JPEG with arithmetic coding, which mien does not read; save"):
        open_image(plain.replace(b"\xff\xc0", b"\xff\xc9", 1))


def tiled(side: int, tile: int) -> bytes:
    """A deflated gray TIFF of one tile."""
    body = zlib.compress(bytes(tile * tile), 9)
    tags = [(256, side), (257, side), (258, 8), (259, 8), (262, 1), (277, 1), (322, tile), (323, tile)]
    tags += [(324, 8 + 2 + 12 * 10 + 4), (325, len(body))]
    directory = b"".join(struct.pack("<HHII", tag, 4 if tag > 300 else 3, 1, value) for tag, value in tags)
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + directory + bytes(4) + body


def test_tiles_count_whole_however_small_the_image_is(nothing_is_decoded: None) -> None:
    limits = ImageLimits(max_pixels=4_000_000)
    with pytest.raises(
        ImageTooLargeError, match="has tiles of 4,194,304 pixels together, more than the limit"
    ):
        open_image(tiled(64, 2048), limits)


def test_a_small_image_in_a_large_tile_is_read() -> None:
    assert open_image(tiled(64, 512)).shape == (64, 64, 3)


def test_scans_inside_a_tiff_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    jpeg = with_scans(1100)
    tags = [(256, 128), (257, 96), (258, 8), (259, 7), (262, 2), (273, 8 + 2 + 12 * 9 + 4), (277, 3)]
    tags += [(278, 96), (279, len(jpeg))]
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    data = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + directory + bytes(4) + jpeg
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(ImageTooLargeError, match="is a JPEG of more than 1,000 scans"):
        open_image(data)


@pytest.mark.parametrize(
    "save",
    [{}, {"save_all": True, "append_images": [Image.new("RGB", (1200, 1000), "red")]}],
    ids=["one", "two"],
)
def test_an_avif_costs_what_its_stream_states_and_not_its_header(save: dict[str, object]) -> None:
    pytest.importorskip("PIL.AvifImagePlugin", reason="needs Pillow 11.3")
    data = encode(Image.new("RGB", (1200, 1000)), "AVIF", **save)
    assert open_image(data, ImageLimits(max_pixels=1_200_000)).shape == (1000, 1200, 3)
    at = data.find(b"ispe") + 8
    lying = data[:at] + struct.pack(">II", 64, 64) + data[at + 8 :]
    with pytest.raises(ImageTooLargeError, match=r"holds AV1 images of [\d,]+ pixels together, more than 3"):
        open_image(lying, ImageLimits(max_pixels=300_000))


@pytest.mark.parametrize("frames", [[], [Image.new("RGB", (120, 90), "red")]], ids=["one", "animated"])
@pytest.mark.parametrize(("kind", "options"), [("GIF", {}), ("WEBP", {}), ("WEBP", {"lossless": True})])
def test_a_size_is_told_before_pillow_compares_it_with_its_own_limit(
    kind: str, options: dict[str, object], frames: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Image.new("RGB", (120, 90), "blue")
    data = encode(image, kind, **options, **({"save_all": True, "append_images": frames} if frames else {}))
    assert open_image(data, ImageLimits(max_pixels=120 * 90)).shape == (90, 120, 3)
    monkeypatch.setattr(Image, "_decompression_bomb_check", lambda _: pytest.fail("Pillow was asked"))
    with pytest.raises(
        ImageTooLargeError, match="has 120 x 90 pixels, more than the limit of 10,799; shrink"
    ):
        open_image(data, ImageLimits(max_pixels=120 * 90 - 1))


def test_a_frame_beyond_the_screen_of_its_gif_counts() -> None:
    data = encode(Image.new("P", (120, 90)), "GIF")
    small_screen = data[:6] + struct.pack("<HH", 1, 1) + data[10:]
    with pytest.raises(ImageTooLargeError, match="has 120 x 90 pixels"):
        open_image(small_screen, ImageLimits(max_pixels=10_000))


@pytest.mark.parametrize("size_wh", [(1, 100_001), (100_001, 1)], ids=str)
def test_a_side_beyond_the_limit_is_refused(size_wh: tuple[int, int], nothing_is_decoded: None) -> None:
    with pytest.raises(
        ImageTooLargeError, match="a side longer than the limit of 100,000; cut it up, or raise"
    ):
        open_image(encode(Image.new("L", size_wh), "PNG"))


def test_the_side_limit_can_be_raised() -> None:
    assert open_image(np.zeros((300, 2), np.uint8), ImageLimits(max_side=300)).shape == (300, 2, 3)
    with pytest.raises(ImageTooLargeError, match="a side longer than the limit of 299"):
        open_image(np.zeros((300, 2), np.uint8), ImageLimits(max_side=299))


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "64", None, True])
@pytest.mark.parametrize("name", ["max_bytes", "max_pixels", "max_side"])
def test_limits_are_whole_numbers(name: str, wrong: object) -> None:
    with pytest.raises(ImageError, match=f"{name} must be a whole number of at least 1, got {wrong!r}"):
        ImageLimits(**{name: wrong})


def test_sound_files_cost_no_decoding_twice(
    image_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    load: Callable[..., object] = ImageFile.ImageFile.load
    monkeypatch.setattr(
        ImageFile.ImageFile,
        "load",
        lambda self: (bool(self.tile) and loads.append(self.format), load(self))[1],
    )
    for name in ("jpeg", "jpeg progressive", "png", "webp", "gif", "tiff", "bmp"):
        loads.clear()
        open_image(image_files[name])
        assert len(loads) == 1, name
