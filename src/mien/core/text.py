"""Numbers, times and tables as people read them."""

from collections.abc import Iterable, Sequence


def counted(n: int, noun: str) -> str:
    """``1 image``, ``1,200 images``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def with_interval(share: float, interval: tuple[float, float] | None, digits: int = 2) -> str:
    """``72.31% (71.0%-73.6%)``, or ``72.31%`` alone."""
    text = f"{share:.{digits}%}"
    return f"{text} ({interval[0]:.1%}-{interval[1]:.1%})" if interval else text


def one_line(text: object) -> str:
    """Text without line ends and characters that cannot be shown, which could begin another part."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())


def markdown_table(head: Sequence[str], rows: Iterable[Iterable[str]], rest: str = "---") -> str:
    """A table in Markdown, whatever its cells hold; ``rest`` aligns the columns behind the first."""
    lines = (head, ("---", *[rest] * (len(head) - 1)), *rows)
    return "\n".join(
        f"| {' | '.join(one_line(cell).replace('|', '&#124;') for cell in line)} |" for line in lines
    )


def clock(time_s: float, step_s: float = 1.0) -> str:
    """``1:02:03``, ``2:03`` or, for small steps, ``2:03.5``."""
    tenths = round(time_s * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest / 10:04.1f}" if step_s < 1 else f"{rest // 10:02d}"
    return f"{hours}:{minutes:02d}:{seconds}" if hours else f"{minutes}:{seconds}"
