"""Image files whose structure is wrong: parts moved, repeated, resized, with sound checksums.

`mutations` damages bytes, which decoders mostly meet at their first check. Here each format is taken apart
into its own parts, something is done to one or two of them, and lengths and checksums are made right again.
"""

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, features

Rng = np.random.Generator
Parts = list[bytes]

SIDES = (0, 1, 2, 7, 16, 255, 256, 4096, 16_383, 32_767, 65_535, 65_536, 1_000_000, 2**31 - 1, 2**32 - 1)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.copy().save(file, kind, **options)
    return file.getvalue()


def sound_files() -> dict[str, bytes]:
    """Files of each format, of several internal layouts each."""
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((72, 50))
    gray, palette = rgb.convert("L"), rgb.convert("P")
    rgba = rgb.copy()
    rgba.putalpha(gray)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a maker of cameras"
    frames = {"save_all": True, "append_images": [rgb.rotate(90), rgb.rotate(180)]}
    files = {
        "jpeg baseline": encode(rgb, "JPEG", exif=exif),
        "jpeg progressive": encode(rgb, "JPEG", progressive=True, subsampling=0),
        "jpeg restarts": encode(rgb, "JPEG", restart_marker_blocks=2),
        "jpeg cmyk": encode(rgb.convert("CMYK"), "JPEG"),
        "png": encode(rgb, "PNG", exif=exif),
        "png palette": encode(palette, "PNG", transparency=3),
        "png 16": encode(Image.fromarray(rng.integers(0, 4096, (50, 72), dtype=np.uint16)), "PNG"),
        "gif": encode(palette, "GIF"),
        "gif animated": encode(rgb, "GIF", **frames),
        "tiff": encode(rgb, "TIFF", exif=exif),
        "tiff big": encode(rgb, "TIFF", big_tiff=True, compression="tiff_lzw"),
        "tiff jpeg": encode(rgb, "TIFF", compression="jpeg"),
        "tiff fax": encode(rgb.convert("1"), "TIFF", compression="group4"),
        "tiff deflate": encode(rgba, "TIFF", compression="tiff_adobe_deflate"),
        "tiff pages": encode(rgb, "TIFF", **frames),
        "bmp": encode(rgb, "BMP"),
        "bmp palette": encode(palette, "BMP"),
        "webp": encode(rgb, "WEBP"),
        "webp lossless": encode(rgba, "WEBP", lossless=True, exif=exif),
        "webp animated": encode(rgb, "WEBP", **frames),
    }
    if features.check("avif"):
        files["avif"] = encode(rgb, "AVIF", speed=10, exif=exif)
        files["avif alpha"] = encode(rgba, "AVIF", speed=10)
        files["avif animated"] = encode(rgb, "AVIF", speed=10, **frames)
    return files


def shuffled(parts: Parts, rng: Rng) -> Parts:
    """One part dropped, moved, repeated up to 300 times, cut short, emptied, or with changed bytes."""
    parts = list(parts)
    i, j = (int(k) for k in rng.integers(0, len(parts), 2))
    action = int(rng.integers(7))
    if action == 0:
        del parts[i]
    elif action == 1:
        parts.insert(j, parts.pop(i))
    elif action == 2:
        parts[i:i] = [parts[i]] * int(rng.integers(1, 300))
    elif action == 3:
        parts[i] = parts[i][: int(rng.integers(0, len(parts[i]) + 1))]
    elif action == 4:
        parts[i] = parts[i][:4] + bytes(max(len(parts[i]) - 4, 0))
    else:
        parts[i] = changed(parts[i], rng)
    return parts


def changed(part: bytes, rng: Rng) -> bytes:
    """Some bytes of a part drawn again, or one number of it made extreme."""
    data = bytearray(part)
    if len(data) > 4 and rng.random() < 0.5:
        form = ("<H", ">H", "<I", ">I")[rng.integers(4)]
        value = SIDES[rng.integers(len(SIDES))] & (0xFFFF if form[1] == "H" else 0xFFFFFFFF)
        struct.pack_into(form, data, int(rng.integers(0, len(data) - 3)), value)
        return bytes(data)
    for at in rng.integers(0, max(len(data), 1), int(rng.integers(1, 9))):
        if data:
            data[at] = int(rng.integers(256))
    return bytes(data)


# --- one format each: into parts, and together again -----------------------------------------------------


def jpeg(data: bytes, rng: Rng) -> bytes:
    """Segments; the data of a scan belongs to its header."""
    parts, at = [], 2
    while at + 4 <= len(data) and data[at + 1] != 0xD9:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        if data[at + 1] == 0xDA:
            while data[end] != 0xFF or data[end + 1] == 0 or 0xD0 <= data[end + 1] <= 0xD7:
                end += 1
        parts.append(data[at:end])
        at = end
    return b"\xff\xd8" + b"".join(shuffled(parts, rng)) + b"\xff\xd9"


def png(data: bytes, rng: Rng) -> bytes:
    """Chunks, kind and body; half of the time what is in the pixel data is changed, and packed again."""
    parts, at = [], 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4])
        parts.append(data[at + 4 : at + 8 + length])
        at += 12 + length
    if rng.random() < 0.3:
        i = next(i for i, part in enumerate(parts) if part[:4] == b"IDAT")
        rows = changed(zlib.decompress(parts[i][4:]), rng) * int(rng.integers(0, 3))
        parts[i] = b"IDAT" + zlib.compress(rows)
    else:
        parts = shuffled(parts, rng)
    packed = (struct.pack(">I", max(len(p) - 4, 0)) + p + struct.pack(">I", zlib.crc32(p)) for p in parts)
    return data[:8] + b"".join(packed)


def gif(data: bytes, rng: Rng) -> bytes:
    """The header with its colours, then blocks."""
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 128 else 0)
    parts = [data[:at]]
    while data[at] != 0x3B:
        end = at + 2
        if data[at] == 0x2C:
            end = at + 11 + (3 << (data[at + 9] & 7) + 1 if data[at + 9] & 128 else 0)
        while data[end]:
            end += data[end] + 1
        parts.append(data[at : end + 1])
        at = end + 1
    return b"".join(shuffled(parts, rng)) + b";"


TAGS = (
    254,
    255,
    256,
    257,
    258,
    259,
    262,
    266,
    273,
    274,
    277,
    278,
    279,
    284,
    317,
    322,
    323,
    324,
    325,
    330,
    338,
)
VALUES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 32, 64, 32_773, 32_803, 32_946, 34_925, 50_000, 50_001)


def tiff(data: bytes, rng: Rng) -> bytes:
    """Tags of the first directory exchanged or added, with extreme values, counts and types."""
    order, big = ("<" if data[:2] == b"II" else ">"), b"\x2b" in data[2:4]
    form, entry, start_at = ("Q", 20, 8) if big else ("I", 12, 4)
    start = struct.unpack_from(order + form, data, start_at)[0]
    count_form = "Q" if big else "H"
    n = struct.unpack_from(order + count_form, data, start)[0]
    first = start + struct.calcsize(count_form)
    tags = [list(struct.unpack_from(f"{order}HH{form}{form}", data, first + i * entry)) for i in range(n)]
    for _ in range(int(rng.integers(1, 4))):
        tag = tags[rng.integers(len(tags))]
        value = int((*SIDES, *VALUES, len(data) - 9)[rng.integers(len(SIDES) + len(VALUES) + 1)])
        action = int(rng.integers(4))
        if action == 0:
            tags.append([int(rng.choice(TAGS)), int(rng.choice((3, 4))), 1, value])
        elif action == 1:
            tag[1 + int(rng.integers(2))] = value & 0xFFFF
        else:
            tag[3] = value
    tags.sort(key=lambda tag: tag[0])
    next_at = int(rng.choice((0, 0, 0, start, len(data))))
    packed = b"".join(struct.pack(f"{order}HH{form}{form}", *tag) for tag in tags)
    directory = struct.pack(order + count_form, len(tags)) + packed + struct.pack(order + form, next_at)
    size = struct.calcsize("<" + form)
    return data[:start_at] + struct.pack(order + form, len(data)) + data[start_at + size :] + directory


def bmp(data: bytes, rng: Rng) -> bytes:
    """Fields of the two headers."""
    data = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.choice((2, 10, 14, 18, 22, 26, 28, 30, 34, 46, 50)))
        small = rng.random() < 0.5
        value = int(rng.choice(VALUES[:13]) if small else rng.choice(SIDES))
        struct.pack_into(
            "<H" if at in (26, 28) else "<I", data, at, value & (0xFFFF if at in (26, 28) else 2**32 - 1)
        )
    return bytes(data)


def webp(data: bytes, rng: Rng) -> bytes:
    """Chunks of the RIFF file."""
    parts, at = [], 12
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        parts.append(data[at : at + 4] + data[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    body = b"".join(
        part[:4] + struct.pack("<I", max(len(part) - 4, 0)) + part[4:] + bytes(len(part) % 2)
        for part in shuffled(parts, rng)
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


BOXES_INSIDE = {
    b"meta": 4,
    b"iprp": 0,
    b"ipco": 0,
    b"iinf": 6,
    b"moov": 0,
    b"trak": 0,
    b"mdia": 0,
    b"minf": 0,
}
BOXES_INSIDE |= {b"stbl": 0, b"dinf": 0}


def avif(data: bytes, rng: Rng) -> bytes:
    """Boxes at a level drawn at random; those around it get the right lengths."""
    parts, at = [], 0
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4]) or len(data) - at
        parts.append(data[at + 4 : at + length])
        at += length
    deep = [i for i, part in enumerate(parts) if part[:4] in BOXES_INSIDE and len(part) > 20]
    if deep and rng.random() < 0.8:
        i = int(rng.choice(deep))
        skip = 4 + BOXES_INSIDE[parts[i][:4]]
        parts[i] = parts[i][:skip] + avif(parts[i][skip:], rng)
    else:
        parts = shuffled(parts, rng) if parts else parts
    return b"".join(struct.pack(">I", len(part) + 4) + part for part in parts)


MUTATE: dict[str, Callable[[bytes, Rng], bytes]] = {
    "jpeg": jpeg,
    "png": png,
    "gif": gif,
    "tiff": tiff,
    "bmp": bmp,
    "webp": webp,
    "avif": avif,
}


def mutant(index: int, seed: int, files: dict[str, bytes]) -> tuple[str, bytes]:
    """What was done, and the bytes; the same for the same index and seed."""
    rng = np.random.default_rng([seed, index])
    name = list(files)[index % len(files)]
    mutate, data = MUTATE[name.split()[0]], files[name]
    for _ in range(int(rng.integers(1, 3))):
        try:
            data = mutate(data, rng)
        except (IndexError, struct.error, zlib.error, ValueError, StopIteration):
            break  # the first change left nothing to take apart
    return f"{index} {name}", data


def mutants(n: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """``n`` mutants, over every sound file in turn."""
    files = sound_files()
    return (mutant(index, seed, files) for index in range(n))
