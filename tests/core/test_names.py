"""The nearest known name to one that is not known."""

import pytest

import mien
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


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("raed", "; did you mean 'read'?"),
        ("Analyser", "; did you mean 'Analyzer'?"),
        ("read_many", "; it is a method: mien.Analyzer().read_many"),
        ("FER", ""),
    ],
)
def test_a_misspelt_name_of_the_package_is_told_the_nearest(name: str, says: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(mien, name)
    assert str(caught.value) == f"module 'mien' has no attribute '{name}'{says}"
