"""Faces outside training that have a near copy inside training."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.data.records import FaceSet

SAME_PICTURE = 0.95
"""Correlation from which two faces count as one picture: by eye, 14 of 14 random pairs at .95-.97 were."""


@dataclass(frozen=True, eq=False)
class NearDuplicates:
    """Validation and test faces whose best match in training reaches ``floor``.

    Attributes:
        rows: int64 (M,), row of the face, as in ``FaceSet.rows``.
        nearest: int64 (M,), row of the training face most like it.
        ncc: float32 (M,), their normalised cross-correlation, -1..1.
        exact: bool (M,), whether some training face has the same pixels.
        floor: the lowest correlation that was kept.
    """

    rows: NDArray[np.int64]
    nearest: NDArray[np.int64]
    ncc: NDArray[np.float32]
    exact: NDArray[np.bool_]
    floor: float

    def __len__(self) -> int:
        return len(self.rows)

    def clean(self, faces: FaceSet, above: float = SAME_PICTURE) -> NDArray[np.bool_]:
        """Which of ``faces`` (N,) have no copy in training that reaches ``above``."""
        return ~np.isin(faces.rows, self.rows[(self.ncc >= above) | self.exact])
