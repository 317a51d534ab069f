"""Tells PyInstaller what to put beside a program that uses mien; it finds this by itself."""

from pathlib import Path


def hook_folders() -> list[str]:
    """Where the hooks lie; the entry point ``pyinstaller40`` of the package names this function."""
    return [str(Path(__file__).parent)]
