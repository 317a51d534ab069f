"""The run folders of `mien train`: what their files are called, and which folders are some."""

import os

RECIPE = "recipe.json"
"""What the run is, and the content hash of its data set."""
ENVIRONMENT = "environment.json"
"""The versions and the machine that it ran on."""
WEIGHTS = "weights.safetensors"
"""The network, from the end of the training on."""
CHECKPOINT = "checkpoint.safetensors"
"""The training's state, until its end."""


def is_run_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a run has begun there."""
    return os.path.isfile(os.path.join(path, RECIPE))


def is_trained(path: str | os.PathLike[str]) -> bool:
    """Whether a run there is at its end."""
    return os.path.isfile(os.path.join(path, WEIGHTS))
