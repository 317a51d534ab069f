"""Read the images of a Ray Dataset: ``import mien.ray``, then ``mien.ray.read(dataset)``."""

from mien.workflows.cluster.dataset import read_dataset as read
from mien.workflows.read import ReadSettings

__all__ = ["ReadSettings", "read"]
