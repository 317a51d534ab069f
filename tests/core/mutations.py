"""Damaged and hostile image files, made from sound ones, the same for the same seed."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
BIG_SIDES = (0, 1, 4096, 30_000, 65_535, 1_000_000, 0x7FFFFFFF)
BOMB = zlib.compress(bytes(40 * 2**20), 9)
MAGICS = (
    b"\xff\xd8\xff\xe0",
    b"\x89PNG\r\n\x1a\n",
    b"RIFF\xff\xff\0\0WEBP",
    b"BM",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
)
FOREIGN = (
    b"P6 9 9 255\n",
    b"%!PS-Adobe-3.0 EPSF-3.0\n",
    b"%PDF-1.7\n",
    b"<svg xmlns='x'>",
    b"\0\0\0\x18ftypheic",
)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.copy().save(file, kind, **options)  # a copy, for saving leaves settings behind in an image
    return file.getvalue()


def image_files() -> dict[str, bytes]:
    """One small sound image a file format and kind, 40 x 30 pixels."""
    ramp = np.linspace(0, 200, 40)[None, :, None] + np.linspace(0, 55, 30)[:, None, None]
    noise = np.random.default_rng(0).integers(-20, 20, (30, 40, 3))
    rgb = Image.fromarray(np.clip(ramp + noise, 0, 255).astype(np.uint8))
    rgba = rgb.copy()
    rgba.putalpha(rgb.convert("L"))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "a maker of cameras"
    gray16 = Image.fromarray(np.linspace(0, 65535, 1200).astype(np.uint16).reshape(30, 40))
    frames = {"save_all": True, "append_images": [rgb.rotate(90), rgb.rotate(180)]}
    return {
        "png": encode(rgb, "PNG"),
        "png palette": encode(rgb.convert("P"), "PNG", transparency=3),
        "png alpha exif": encode(rgba, "PNG", exif=exif),
        "png gray 16": encode(gray16, "PNG"),
        "png animated": encode(rgb, "PNG", **frames),
        "jpeg": encode(rgb, "JPEG"),
        "jpeg exif": encode(rgb, "JPEG", exif=exif),
        "jpeg progressive": encode(rgb, "JPEG", progressive=True),
        "jpeg cmyk": encode(rgb.convert("CMYK"), "JPEG"),
        "mpo": encode(rgb, "MPO", **frames),
        "webp": encode(rgb, "WEBP"),
        "webp lossless alpha": encode(rgba, "WEBP", lossless=True, exif=exif),
        "webp animated": encode(rgb, "WEBP", **frames),
        "gif": encode(rgb, "GIF"),
        "gif animated": encode(rgb, "GIF", **frames),
        "bmp": encode(rgb, "BMP"),
        "bmp palette": encode(rgb.convert("P"), "BMP"),
        "tiff": encode(rgb, "TIFF", exif=exif),
        "tiff lzw": encode(rgb, "TIFF", compression="tiff_lzw"),
        "tiff deflate gray 16": encode(gray16, "TIFF", compression="tiff_adobe_deflate"),
        "tiff jpeg": encode(rgb, "TIFF", compression="jpeg"),
        "tiff fax": encode(rgb.convert("1"), "TIFF", compression="group4"),
        "tiff pages": encode(rgb, "TIFF", save_all=True, append_images=[rgb.rotate(90)]),
        "ppm": encode(rgb, "PPM"),
    }


def flip_bits(data: bytearray, rng: np.random.Generator) -> bytes:
    for at in rng.integers(0, len(data), rng.integers(1, 33)):
        data[at] ^= 1 << int(rng.integers(8))
    return bytes(data)


def flip_header_bits(data: bytearray, rng: np.random.Generator) -> bytes:
    for at in rng.integers(0, min(len(data), 64), rng.integers(1, 9)):
        data[at] ^= 1 << int(rng.integers(8))
    return bytes(data)


def cut(data: bytearray, rng: np.random.Generator) -> bytes:
    return bytes(data[: rng.integers(0, len(data))])


def wrong_header(data: bytearray, rng: np.random.Generator) -> bytes:
    magic = (*MAGICS, *FOREIGN)[rng.integers(len(MAGICS) + len(FOREIGN))]
    return magic + bytes(data[len(magic) :])


def extreme_number(data: bytearray, rng: np.random.Generator) -> bytes:
    """Write the largest and smallest sizes, counts and offsets over one to three places."""
    for _ in range(rng.integers(1, 4)):
        form = ("<H", ">H", "<I", ">I")[rng.integers(4)]
        value = EXTREMES[rng.integers(len(EXTREMES))] & (0xFFFF if form[1] == "H" else 0xFFFFFFFF)
        struct.pack_into(form, data, int(rng.integers(0, len(data) - 4)), value)
    return bytes(data)


def blank_stretch(data: bytearray, rng: np.random.Generator) -> bytes:
    start, length = int(rng.integers(0, len(data))), int(rng.integers(1, 200))
    end = min(start + length, len(data))
    data[start:end] = bytes([int(rng.choice((0, 255)))]) * (end - start)
    return bytes(data)


def repeat_stretch(data: bytearray, rng: np.random.Generator) -> bytes:
    start, end = sorted(int(i) for i in rng.integers(0, len(data), 2))
    return bytes(data[:end] + data[start:end] * int(rng.integers(1, 20)) + data[end:])


def drop_stretch(data: bytearray, rng: np.random.Generator) -> bytes:
    start, end = sorted(int(i) for i in rng.integers(0, len(data), 2))
    return bytes(data[:start] + data[end:])


def random_tail(data: bytearray, rng: np.random.Generator) -> bytes:
    at = int(rng.integers(0, len(data)))
    return bytes(data[:at]) + rng.bytes(int(rng.integers(0, 2000)))


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_bomb(data: bytearray, rng: np.random.Generator) -> bytes:
    """A PNG with sound checksums and a chunk of text, profile or sizes that unpacks to far too much."""
    body = bytes(data)
    text = (
        chunk(b"zTXt", b"a\0\0" + BOMB),
        chunk(b"iTXt", b"a\0\1\0\0\0" + BOMB),
        chunk(b"iCCP", b"a\0\0" + BOMB),
    )
    flood = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6))) * int(rng.integers(1, 90))
    choice = int(rng.integers(6))
    if choice < 3:
        return body[:33] + text[choice] + body[33:]
    if choice == 3:
        return body[:33] + flood + body[33:]
    if choice == 4:
        return body[:-12] + text[int(rng.integers(3))] + body[-12:]
    sides = struct.pack(">II", *(BIG_SIDES[i] for i in rng.integers(0, len(BIG_SIDES), 2)))
    return body[:8] + chunk(b"IHDR", sides + body[24:29]) + body[33:]


def jpeg_segments(data: bytearray, rng: np.random.Generator) -> bytes:
    """Extra segments: EXIF with tags that lie about their place, odd profiles, comments, sizes."""
    n_tags = int(rng.integers(1, 200))
    tags = rng.integers(0, 65535, (n_tags, 6), dtype=np.uint16)
    tags[:, 1] %= 14
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", n_tags) + tags.tobytes()
    parts = (exif, b"ICC_PROFILE\0\1\2" + rng.bytes(50), b"MPF\0" + rng.bytes(90), b"Adobe\0" + rng.bytes(9))
    marker = (b"\xff\xe1", b"\xff\xe2", b"\xff\xe2", b"\xff\xee")
    which = int(rng.integers(len(parts)))
    segment = marker[which] + struct.pack(">H", len(parts[which]) + 2) + parts[which]
    return bytes(data[:2]) + segment * int(rng.integers(1, 100)) + bytes(data[2:])


def tiff_tags(data: bytearray, rng: np.random.Generator) -> bytes:
    """A TIFF whose tags claim sizes, places and counts at random, some of them huge."""
    n_tags = int(rng.integers(5, 300))
    needed = [
        (256, 3, 1, 40),
        (257, 3, 1, 30),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
    ]
    tags = [list(tag) for tag in needed]
    for number in sorted(rng.integers(274, 65535, n_tags)):
        tags.append(
            [int(number), int(rng.integers(0, 18)), EXTREMES[rng.integers(12)], int(rng.integers(0, 5000))]
        )
    victim = tags[rng.integers(len(needed))]
    victim[int(rng.integers(2, 4))] = EXTREMES[rng.integers(12)]
    directory = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + directory + bytes(data)


def splice(data: bytearray, other: bytes, rng: np.random.Generator) -> bytes:
    return bytes(data[: rng.integers(0, len(data))]) + other[rng.integers(0, len(other)) :]


MUTATIONS: tuple[Callable[[bytearray, np.random.Generator], bytes], ...] = (
    flip_bits,
    flip_header_bits,
    cut,
    wrong_header,
    extreme_number,
    blank_stretch,
    repeat_stretch,
    drop_stretch,
    random_tail,
)
SPECIAL = {"png": png_bomb, "jpeg": jpeg_segments, "tiff": tiff_tags}


def mutants(n: int = 2000, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield ``n`` pairs: what was done, and the bytes; over every sound image in turn."""
    rng = np.random.default_rng(seed)
    files = image_files()
    names = list(files)
    for index in range(n):
        name = names[index % len(names)]
        data = bytearray(files[name])
        special = SPECIAL.get(name.split()[0])
        if special and rng.random() < 0.2:
            yield f"{index} {name} {special.__name__}", special(data, rng)
        elif rng.random() < 0.1:
            yield f"{index} {name} splice", splice(data, files[names[rng.integers(len(names))]], rng)
        else:
            mutate = MUTATIONS[rng.integers(len(MUTATIONS))]
            yield f"{index} {name} {mutate.__name__}", mutate(data, rng)
