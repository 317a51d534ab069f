"""The nearest known name to one that is not known."""

import pytest

from mien.core.detectors import make_detector
from mien.errors import MienError
from mien.names import nearest


@pytest.mark.parametrize(
    ("name", "known", "says"),
    [
        ("ONE-STAGE", ["mtcnn", "one-stage"], "; did you mean 'one-stage'?"),
        ("MTCN", ["mtcnn", "one-stage"], "; did you mean 'mtcnn'?"),
        ("fer2013plus", ["FER2013", "FER2013Plus"], "; did you mean 'FER2013Plus'?"),
        ("finde", ["Finder", "finder"], "; did you mean 'finder'?"),
        ("Finde", ["finder", "Finder"], "; did you mean 'Finder'?"),
        ("yolo", ["mtcnn", "one-stage"], ""),
        ("mtcnn", [], ""),
    ],
)
def test_upper_and_lower_case_make_no_name_less_like_another(name: str, known: list[str], says: str) -> None:
    assert nearest(name, known) == says


def test_a_detector_in_the_wrong_case_is_told_by_its_name() -> None:
    text = r"^no detector named 'ONE-STAGE'; did you mean 'one-stage'\? \(known: cropped, mtcnn, one-stage\)$"
    with pytest.raises(MienError, match=text):
        make_detector("ONE-STAGE")
