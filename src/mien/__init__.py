"""mien reads emotions from faces, and proves how well it does."""

__version__ = "0.1.0"
