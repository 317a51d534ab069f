"""Numbers and times as people read them."""


def counted(n: int, noun: str) -> str:
    """``1 image``, ``1,200 images``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def with_interval(share: float, interval: tuple[float, float], digits: int = 2) -> str:
    """``72.31% (71.0%-73.6%)``."""
    return f"{share:.{digits}%} ({interval[0]:.1%}-{interval[1]:.1%})"


def clock(time_s: float, step_s: float = 1.0) -> str:
    """``1:02:03``, ``2:03`` or, for small steps, ``2:03.5``."""
    tenths = round(time_s * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest / 10:04.1f}" if step_s < 1 else f"{rest // 10:02d}"
    return f"{hours}:{minutes:02d}:{seconds}" if hours else f"{minutes}:{seconds}"
