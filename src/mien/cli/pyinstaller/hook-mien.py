"""Weights, cards, recipes and pages lie beside the code, and commands are imported by name."""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

datas = collect_data_files("mien")
hiddenimports = collect_submodules("mien", on_error="ignore")
