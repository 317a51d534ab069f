"""Read the images of a user's own Ray Dataset."""

from collections.abc import Sequence
from typing import Any

from mien.core.arguments import checked_settings
from mien.errors import needs_extra
from mien.workflows.cluster.actors import BatchReader
from mien.workflows.cluster.connection import n_readers, share
from mien.workflows.read import ReadSettings


def read_dataset(
    dataset: Any,
    *,
    column: str = "path",
    settings: ReadSettings | None = None,
    keep: Sequence[str] = (),
    batch: int = 32,
    actors: int | None = None,
) -> Any:
    """Rows of the faces of a Ray Dataset's images, as another Dataset; nothing is computed until it is used.

    Args:
        dataset: Has a column of paths or URLs, or of bytes of image files, as ``ray.data.read_binary_files``
            gives, or of arrays (H, W, 3).
        column: Its name.
        settings: How images are read.
        keep: Further columns that each row of an image gets. One that has a name of the rows' own, such as
            ``emotion``, is refused when the rows are computed.
        batch: Images that an actor gets at once.
        actors: How many read at the same time; ``None`` takes all CPUs of the cluster, or all GPUs where
            the settings say ``device="cuda"``.

    Returns:
        One row a face with the columns of `mien read`, ``path`` where the images are paths; one with
        ``error`` where an image cannot be read, and one with empty cells where there is no face.

    Raises:
        MissingExtraError: Ray is not installed.
        MienError: ``settings`` are something else.
    """
    with needs_extra("reading on a cluster", "ray"):
        import ray
    settings = checked_settings(settings, ReadSettings)
    return dataset.map_batches(
        BatchReader,
        fn_constructor_args=(settings, column, tuple(keep)),
        batch_size=batch,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors or n_readers(settings.device)),
        **share(settings.device),
    )
