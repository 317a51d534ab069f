"""Damaged and hostile videos, made from sound ones, the same for the same seed."""

import io
import struct
from collections.abc import Callable, Iterator
from fractions import Fraction

import av
import numpy as np

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
SIDES = (0, 1, 2, 17, 4096, 16_384, 65_535)
CLOCK = Fraction(1, 1000)
N_FRAMES = 8
KINDS = {
    "mp4 h264": ("mp4", "libx264", "aac"),
    "mov mpeg4": ("mov", "mpeg4", None),
    "mkv h264": ("matroska", "libx264", "aac"),
    "webm vp8": ("webm", "libvpx", None),
    "webm vp9": ("webm", "libvpx-vp9", None),
    "ts h264": ("mpegts", "libx264", "aac"),
    "mpg mpeg2": ("mpeg", "mpeg2video", None),
    "avi mpeg4": ("avi", "mpeg4", "mp3"),
    "avi mjpeg": ("avi", "mjpeg", None),
    "avi png": ("avi", "png", None),
    "flv h264": ("flv", "libx264", None),
    "wmv wmv2": ("asf", "wmv2", "wmav2"),
    "nut ffv1": ("nut", "ffv1", None),
    "gif": ("gif", "gif", None),
    "y4m": ("yuv4mpegpipe", "wrapped_avframe", None),
    "raw h264": ("h264", "libx264", None),
}
PIXELS = {"mjpeg": "yuvj420p", "gif": "rgb8", "png": "rgb24"}


def encode(kind: str, side: int = 48, n_frames: int = N_FRAMES) -> bytes:
    """A sound video of moving noise."""
    container, codec, sound_codec = KINDS[kind]
    file, rng = io.BytesIO(), np.random.default_rng(0)
    noise = rng.integers(0, 256, (side, side, 3), np.uint8)
    with av.open(file, "w", format=container, options={"fflags": "+bitexact"}) as out:
        stream = out.add_stream(codec, rate=25)
        stream.width = stream.height = side
        stream.pix_fmt = PIXELS.get(codec, "yuv420p")
        if codec == "libx264":  # its rate control and its threads make other bytes now and then
            stream.options = {"x264-params": "threads=1:qp=28"}
        sound = out.add_stream(sound_codec, rate=44_100) if sound_codec else None
        if sound:
            sound.bit_rate = 128_000
        for n in range(n_frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(noise, n, 1)), format="rgb24")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if sound:
            out.mux(_tone(sound))
    return file.getvalue()


def _tone(stream) -> Iterator:
    resampler = av.AudioResampler(stream.codec_context.format or "fltp", "mono", 44_100)
    for start in range(0, 14_336, 1024):
        wave = np.sin(np.arange(start, start + 1024) * 0.05).astype(np.float32)
        part = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        part.sample_rate, part.pts, part.time_base = 44_100, start, Fraction(1, 44_100)
        for ready in resampler.resample(part):
            yield from stream.encode(ready)
    yield from stream.encode(None)


def sound_files() -> dict[str, bytes]:
    """One small sound video a kind."""
    return {kind: encode(kind) for kind in KINDS}


# --- damage ------------------------------------------------------------------------------------------------

Change = Callable[[bytes, np.random.Generator], bytes]


def flip_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    changed = np.frombuffer(data, np.uint8).copy()
    places = rng.integers(0, len(data), 2 ** rng.integers(0, 8))
    changed[places] = rng.integers(0, 256, len(places))
    return changed.tobytes()


def cut_short(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: rng.integers(1, len(data))]


def cut_out(data: bytes, rng: np.random.Generator) -> bytes:
    start, end = sorted(rng.integers(0, len(data), 2))
    return data[:start] + data[end:]


def repeat(data: bytes, rng: np.random.Generator) -> bytes:
    start, end = sorted(rng.integers(0, len(data), 2))
    return data[:start] + data[start:end] * int(rng.integers(2, 20)) + data[end:]


def blank(data: bytes, rng: np.random.Generator) -> bytes:
    start, end = sorted(rng.integers(0, len(data), 2))
    return data[:start] + bytes([rng.choice((0, 255))]) * (end - start) + data[end:]


def lie_in_header(data: bytes, rng: np.random.Generator) -> bytes:
    """Extreme numbers near the beginning or the end, where containers keep sizes, counts and times."""
    changed, near = bytearray(data), min(len(data) - 8, 900)
    for _ in range(rng.integers(1, 5)):
        place = int(rng.integers(0, near))
        place = place if rng.random() < 0.7 else len(data) - 8 - place
        value, big = int(rng.choice(EXTREMES)), rng.random() < 0.6
        size = int(rng.choice((1, 2, 4, 8)))
        struct.pack_into(
            (">" if big else "<") + {1: "B", 2: "H", 4: "I", 8: "Q"}[size],
            changed,
            place,
            value % 256**size,
        )
    return bytes(changed)


def lie_about_size(data: bytes, rng: np.random.Generator) -> bytes:
    """Wherever the frames' side of 48 is told, another side."""
    side = int(rng.choice(SIDES))
    pairs = [
        (b"\0\x30", struct.pack(">H", side)),
        (b"\x30\0", struct.pack("<H", side)),
        (b"W48 H48", b"W%d H%d" % (side, side)),
    ]
    for old, new in pairs:
        data = data.replace(old, new, int(rng.integers(1, 9)))
    return data


DAMAGE: tuple[Change, ...] = (
    flip_bytes,
    cut_short,
    cut_out,
    repeat,
    blank,
    lie_in_header,
    lie_in_header,
    lie_about_size,
)


# --- whole files that ask too much --------------------------------------------------------------------------


def timed(kind: str, sound: bytes, stamps: list[int]) -> bytes:
    """The packets of a sound file over and over, with these times in milliseconds."""
    file, container = io.BytesIO(), KINDS[kind][0]
    with av.open(io.BytesIO(sound)) as source, av.open(file, "w", format=container) as out:
        packets = [p for p in source.demux(video=0) if p.size]
        stream = out.add_stream_from_template(source.streams.video[0])
        out.start_encoding()
        for n, stamp in enumerate(stamps):
            packet = packets[n % len(packets)]
            copy = av.Packet(bytes(packet))
            copy.stream, copy.is_keyframe, copy.time_base = stream, packet.is_keyframe, CLOCK
            copy.pts = copy.dts = stamp
            try:
                out.mux(copy)
            except (av.FFmpegError, OverflowError):
                continue
    return file.getvalue()


def odd_clock(sounds: dict[str, bytes], rng: np.random.Generator) -> bytes:
    """A clock that stands still, creeps, leaps to the end of numbers, or begins far away."""
    kind = str(rng.choice(("mov mpeg4", "mkv h264", "ts h264", "webm vp9", "avi mpeg4", "flv h264")))
    n = int(rng.choice((8, 60, 400)))
    clocks = (
        [0] * n,
        [i // 50 for i in range(n)],
        [i * 10**9 for i in range(n)],
        [2**40 + 40 * i for i in range(n)],
        [-(10**9) + 40 * i for i in range(n)],
        sorted(rng.integers(-(2**33), 2**33, n).tolist()),
    )
    return timed(kind, sounds[kind], clocks[rng.integers(len(clocks))])


def joined(sounds: dict[str, bytes], rng: np.random.Generator) -> bytes:
    """Parts of several files, one behind the other, of one container or of many."""
    names = rng.choice(list(sounds), 2) if rng.random() < 0.3 else [rng.choice(["ts h264", "mpg mpeg2"])] * 2
    return b"".join(cut_out(sounds[n], rng) if rng.random() < 0.5 else sounds[n] for n in map(str, names))


def huge_frames(sounds: dict[str, bytes], rng: np.random.Generator) -> bytes:
    """Headers of streams that ask for very large frames, in few bytes."""
    side = int(rng.choice((9_000, 16_383, 30_000, 65_535)))
    y4m = b"YUV4MPEG2 W%d H%d F25:1 Ip A1:1 C420jpeg\nFRAME\n" % (side, side) + bytes(5000)
    gif = sounds["gif"][:6] + struct.pack("<HH", side, side) + sounds["gif"][10:]
    jpeg = sounds["avi mjpeg"]
    at = jpeg.find(b"\xff\xc0")
    jpeg = jpeg[: at + 5] + struct.pack(">HH", side, side) + jpeg[at + 9 :]
    vp8 = sounds["webm vp8"]
    at = vp8.find(b"\x9d\x01\x2a")
    vp8 = vp8[: at + 3] + struct.pack("<HH", side & 0x3FFF, side & 0x3FFF) + vp8[at + 7 :]
    png = sounds["avi png"]
    at = png.find(b"IHDR")
    png = png[: at + 4] + struct.pack(">II", side, side) + png[at + 12 :]
    return (y4m, gif, jpeg, vp8, png)[rng.integers(5)]


def mutant(index: int, seed: int, sounds: dict[str, bytes]) -> tuple[str, bytes]:
    """What was done, and the file; two of three are damaged, the others ask too much."""
    rng = np.random.default_rng((seed, index))
    if index % 3 == 2:
        make = (odd_clock, joined, huge_frames)[index // 3 % 3]
        kind = "bomb" if make is huge_frames else "whole"
        return f"{kind} {make.__name__} {index}", make(sounds, rng)
    kind = list(sounds)[index % len(sounds)]
    change = DAMAGE[rng.integers(len(DAMAGE))]
    return f"{kind}: {change.__name__} {index}", change(sounds[kind], rng)
