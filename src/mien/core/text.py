"""Numbers as people read them."""


def counted(n: int, noun: str) -> str:
    """``1 image``, ``1,200 images``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def with_interval(share: float, interval: tuple[float, float], digits: int = 2) -> str:
    """``72.31% (71.0%-73.6%)``."""
    return f"{share:.{digits}%} ({interval[0]:.1%}-{interval[1]:.1%})"
