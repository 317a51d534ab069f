"""Live images with boxes and bars: in a window where there is a screen, else in the terminal."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from mien.cli.stopping import Stop
from mien.cli.terminal import bar

if TYPE_CHECKING:
    from PIL import Image

    from mien.core.timeline import Person
    from mien.workflows.video.frames import VideoInfo
    from mien.workflows.video.watcher import Watched

HOME, CLEAR_BELOW, HIDE, UNHIDE = "\x1b[H", "\x1b[J", "\x1b[?25l", "\x1b[?25h"
OTHER_SCREEN, FIRST_SCREEN = "\x1b[?1049h", "\x1b[?1049l"
BARS = 3


class Show(Protocol):
    """What a person sees while the video is watched."""

    wants_pixels: bool

    def begin(self, info: "VideoInfo") -> object: ...

    def show(self, watched: "Watched") -> object: ...


@contextmanager
def screen(stop: Stop) -> Iterator[Show]:
    """What shows live images: a window, the terminal, or, where there is neither, a line a second."""
    window = _Window.open(stop)
    if window:
        try:
            yield window
        finally:
            window.close()
    elif sys.stdout.isatty():
        sys.stdout.write(OTHER_SCREEN + HIDE)
        try:
            yield _Terminal(sys.stdout.write)
        finally:
            sys.stdout.write(UNHIDE + FIRST_SCREEN)
            sys.stdout.flush()
    else:
        yield _Lines()


class _Lines:
    """One line a second, for logs."""

    wants_pixels = False

    def __init__(self) -> None:
        self.second = -1

    def begin(self, info: "VideoInfo") -> None:
        pass

    def show(self, watched: "Watched") -> None:
        time_s = watched.rows[0].time_s
        if int(time_s) != self.second:
            self.second = int(time_s)
            persons = [row.person for row in watched.rows if row.person]
            line = "  ".join(f"{p.track} {p.label}" for p in persons) or "no face"
            sys.stdout.write(f"{time_s:8.1f} s  {line}\n")
            sys.stdout.flush()


class _Terminal:
    """Draws with half blocks: two pixels a character, their colours in 24 bits."""

    wants_pixels = True

    def __init__(self, write: Callable[[str], object]) -> None:
        self.write = write

    def begin(self, info: "VideoInfo") -> None:
        pass

    def show(self, watched: "Watched") -> None:
        size = shutil.get_terminal_size()
        self.write(HOME + terminal_view(watched, size.columns, size.lines) + CLEAR_BELOW)
        sys.stdout.flush()


def terminal_view(watched: "Watched", columns: int, lines: int) -> str:
    """A frame as text of at most ``columns`` x ``lines``: the image, and below it a line a person."""
    from PIL import Image, ImageDraw

    from mien.core.draw import COLOURS, OTHER_COLOUR

    persons = [row.person for row in watched.rows if row.person]
    texts = [person_line(person, columns) for person in persons[: max(lines // 3, 1)]] or ["no face"]
    texts.append(f"{watched.rows[0].time_s:.1f} s   Ctrl-C ends")
    if watched.pixels is None:
        return "\r\n".join(texts)
    image = Image.fromarray(watched.pixels)
    rows = max(lines - len(texts) - 1, 1)
    scale = min(columns / image.width, 2 * rows / image.height)
    small = image.resize((max(1, int(image.width * scale)), max(2, int(image.height * scale) // 2 * 2)))
    pen = ImageDraw.Draw(small)
    for person in persons:
        box = person.reading.box
        corners = [edge * scale for edge in (box.x1, box.y1, box.x2, box.y2)]
        pen.rectangle(corners, outline=COLOURS.get(person.label, OTHER_COLOUR))
    return "\r\n".join([*half_blocks(small), *texts])


def person_line(person: "Person", columns: int) -> str:
    """The number, the label and the likeliest emotions with bars."""
    labels = person.reading.labels
    top = sorted(zip(person.smooth_probs, labels, strict=True), reverse=True)[:BARS]
    bars = "  ".join(f"{label:<8} {prob:>4.0%} {bar(prob, 6)}" for prob, label in top)
    return f"{person.track:>3} {person.label:<9}  {bars}"[:columns]


def half_blocks(image: "Image.Image") -> list[str]:
    """An RGB image of even height as lines of upper half blocks in colour."""
    import numpy as np

    pixels = np.asarray(image)
    lines = []
    for upper, lower in zip(pixels[::2].tolist(), pixels[1::2].tolist(), strict=True):
        cells = (
            f"\x1b[38;2;{r};{g};{b};48;2;{r2};{g2};{b2}m▀"
            for (r, g, b), (r2, g2, b2) in zip(upper, lower, strict=True)
        )
        lines.append("".join(cells) + "\x1b[0m")
    return lines


class _Window:
    """A window of Tk, which comes with most Pythons."""

    wants_pixels = True

    def __init__(self, root: Any, stop: Stop) -> None:
        import tkinter

        self.root, self.stop = root, stop
        root.title("mien watch")
        root.protocol("WM_DELETE_WINDOW", self._end)
        for key in ("<Escape>", "q"):
            root.bind(key, lambda _: self._end())
        self.label = tkinter.Label(root)
        self.label.pack()

    @classmethod
    def open(cls, stop: Stop) -> "_Window | None":
        """A window, or ``None`` where there is no screen or no Tk."""
        if sys.platform.startswith("linux") and not (
            os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        ):
            return None
        try:
            import tkinter

            from PIL import ImageTk  # noqa: F401
        except ImportError:
            return None
        try:
            return cls(tkinter.Tk(), stop)
        except tkinter.TclError:
            return None

    def begin(self, info: "VideoInfo") -> None:
        pass

    def show(self, watched: "Watched") -> None:
        from PIL import Image, ImageTk

        from mien.workflows.video.annotate import draw

        if watched.pixels is None or self.stop.wanted:
            return
        self.photo = ImageTk.PhotoImage(Image.fromarray(draw(watched.pixels, watched.rows)), master=self.root)
        self.label.configure(image=self.photo)
        self.root.update()

    def _end(self) -> None:
        self.stop.wanted = True

    def close(self) -> None:
        self.root.destroy()
