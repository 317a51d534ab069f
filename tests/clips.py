"""Video clips made of real photographs, for tests and benchmarks: what happens in them is known exactly."""

import csv
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

CLOCK = Fraction(1, 12_800)
SIZE_WH = (640, 360)
EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
Moment = tuple[float, np.ndarray]
"""A frame: its time in seconds and its pixels, RGB uint8 (H, W, 3)."""


def people() -> tuple[Image.Image, Image.Image]:
    """Two public-domain portraits out of installed packages: Eileen Collins and Grace Hopper."""
    import matplotlib.cbook
    from skimage import data

    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        hopper = Image.open(file).convert("RGB")
    return Image.fromarray(data.astronaut()[20:200, 140:300]), hopper.crop((150, 60, 390, 380))


def oval(photo: Image.Image, height: int) -> tuple[Image.Image, Image.Image]:
    """A photo at a height, and a mask that keeps the head and not the corners."""
    photo = photo.resize((round(photo.width * height / photo.height), height), Image.Resampling.LANCZOS)
    y, x = np.mgrid[: photo.height, : photo.width]
    far = np.hypot((x + 0.5) / photo.width - 0.5, (y + 0.5) / photo.height - 0.5)
    return photo, Image.fromarray(np.uint8(255 * np.clip((0.52 - far) / 0.03, 0, 1)))


def backdrop(size_wh: tuple[int, int] = SIZE_WH) -> Image.Image:
    """A soft pattern without faces."""
    y, x = np.mgrid[: size_wh[1], : size_wh[0]]
    red, green, blue = 90 + 40 * np.sin(x / 50), 100 + 30 * np.cos(y / 40), 110 + 25 * np.sin((x + y) / 90)
    return Image.fromarray(np.stack([red, green, blue], axis=-1).astype(np.uint8))


def crossing(seconds: float, fps: int = 25, period_s: float = 12.0) -> Iterator[Moment]:
    """Two people walk to and fro; one passes in front of the other twice a period and hides them wholly."""
    front, back = (oval(photo, 170) for photo in people())
    scene = backdrop()
    width = SIZE_WH[0] - 160
    for n in range(round(seconds * fps)):
        time_s = n / fps
        swing = math.cos(2 * math.pi * time_s / period_s)
        frame = scene.copy()
        for (photo, mask), side, lift in ((back, 1, 2.0), (front, -1, 3.0)):
            left = round(width / 2 * (1 + side * swing))
            frame.paste(photo, (left, 90 + round(9 * math.cos(lift * time_s))), mask)
        yield time_s, np.asarray(frame)


def still(
    seconds: float, fps: int = 25, faces: int = 1, size_wh: tuple[int, int] = (320, 240)
) -> Iterator[Moment]:
    """People who stand still; none with ``faces`` 0."""
    frame = backdrop(size_wh)
    for i, photo in enumerate(people()[:faces]):
        frame.paste(*_placed(oval(photo, round(size_wh[1] * 0.7)), (i * size_wh[0] // 2 + 8, 20)))
    pixels = np.asarray(frame)
    for n in range(round(seconds * fps)):
        yield n / fps, pixels


def _placed(photo: tuple[Image.Image, Image.Image], corner: tuple[int, int]) -> tuple[Any, Any, Any]:
    return photo[0], corner, photo[1]


def emotions(
    data: Path, n_segments: int, segment_s: float, rng: np.random.Generator, fps: int = 25
) -> Iterator[tuple[float, np.ndarray, str]]:
    """One person after the other of FER2013's PrivateTest, each for a known time with a known emotion.

    Neighbours differ in emotion. The image sways, breathes and flickers, and has a camera's noise.

    Yields:
        Time in seconds, RGB pixels, the emotion that FER2013's raters saw.
    """
    faces = list(_fer2013_test(data, n_segments, rng))
    scene = np.asarray(backdrop((320, 240)).convert("L"))
    for n in range(round(n_segments * segment_s * fps)):
        time_s = n / fps
        face, label = faces[int(time_s / segment_s + 1e-9)]
        side = 2 * round(80 + 4 * math.sin(1.3 * time_s))
        frame = Image.fromarray(scene)
        corner = (80 + round(10 * math.sin(0.9 * time_s)), 40 + round(5 * math.cos(1.7 * time_s)))
        frame.paste(Image.fromarray(face).resize((side, side), Image.Resampling.BICUBIC), corner)
        light = 1 + 0.08 * math.sin(7 * time_s)
        noisy = np.asarray(frame) * light + rng.normal(0, 6, (240, 320))
        yield time_s, np.repeat(np.uint8(np.clip(noisy, 0, 255))[..., None], 3, axis=2), label


def _fer2013_test(data: Path, n: int, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, str]]:
    with (data / "fer2013" / "labels.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["Usage"] == "PrivateTest"]
    sheets: dict[int, np.ndarray] = {}
    last = ""
    for _ in range(n):
        label = str(rng.choice([name for name in EMOTIONS if name != last]))
        row = int(rng.choice([int(r["row"]) for r in rows if EMOTIONS[int(r["emotion"])] == label]))
        if row // 1000 not in sheets:
            sheet = np.asarray(Image.open(data / "fer2013" / f"faces-{row // 1000:02d}.png"))
            sheets[row // 1000] = sheet.reshape(25, 48, 40, 48).transpose(0, 2, 1, 3).reshape(-1, 48, 48)
        yield sheets[row // 1000][row % 1000], label
        last = label


def write_clip(
    path: Path,
    moments: Iterable[Moment],
    *,
    codec: str = "libx264",
    turn_deg: int = 0,
    tone: bool = False,
    options: dict[str, str] | None = None,
) -> list[float]:
    """Encode a clip, and give the times of its frames as written.

    Args:
        path: Its suffix tells the container.
        moments: Frames of one size.
        codec: A video encoder of libav.
        turn_deg: What the display matrix turns the image by, counter-clockwise.
        tone: With a sound of 440 Hz (AAC).
        options: For the container.
    """
    times = []
    with av.open(str(path), "w", options=options or {}) as container:
        video = container.add_stream(codec, rate=25)
        video.pix_fmt = "yuv420p"
        if codec == "libx264":
            video.options = {"preset": "ultrafast", "crf": "18"}
        sound = container.add_stream("aac", rate=44_100) if tone else None
        for time_s, pixels in moments:
            if not times:
                video.height, video.width = pixels.shape[:2]
                video.codec_context.time_base = CLOCK
                if turn_deg:
                    video.set_display_rotation(turn_deg)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = round(time_s / CLOCK), CLOCK
            times.append(float(frame.pts * CLOCK))
            for packet in video.encode(frame):
                container.mux(packet)
        for packet in video.encode():
            container.mux(packet)
        if sound:
            write_tone(container, sound, times[-1])
    return times


def write_tone(container: Any, stream: Any, seconds: float) -> None:
    """Encode a sound of 440 Hz."""
    for start in range(0, round(seconds * 44_100), 1024):
        wave = 0.2 * np.sin(2 * np.pi * 440 * np.arange(start, start + 1024) / 44_100)
        frame = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 44_100, start, Fraction(1, 44_100)
        for packet in stream.encode(frame):
            container.mux(packet)
    for packet in stream.encode():
        container.mux(packet)
