"""The PyInstaller hook for programs that use mien; PyInstaller finds it automatically."""

from pathlib import Path


def hook_folders() -> list[str]:
    """Where the hooks lie; the entry point ``pyinstaller40`` of the package names this function."""
    return [str(Path(__file__).parent)]
