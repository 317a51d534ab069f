from dataclasses import replace

import numpy as np
import pytest

from mien.core.emotions import AFFECTNET8, FER2013, LABEL_SETS
from mien.data.join import join_faces
from mien.data.label_maps import label_target, map_labels
from mien.errors import MienError


def test_labels_are_mapped_by_name_and_those_without_counterpart_dropped(affectnet):
    mapped = map_labels(affectnet, "fer2013")
    names = ["neutral", "happy", "sad", "surprise", "fear", "disgust", "angry"]  # contempt is gone
    assert [FER2013[label] for label in mapped.labels] == names
    np.testing.assert_array_equal(mapped.rows, affectnet.rows[:7])
    assert mapped.label_map == {"affectnet": {**{name: name for name in names}, "contempt": None}}


def test_one_map_after_another_is_stored_as_one(affectnet):
    own = replace(affectnet, label_names=("calm", "joy", *AFFECTNET8[2:]))
    once = map_labels(own, "affectnet8", {"joy": "happy"})
    twice = map_labels(once, "fer2013")
    became = twice.label_map["affectnet"]
    assert [became[name] for name in ("joy", "calm", "contempt", "angry")] == ["happy", None, None, "angry"]
    assert twice.labels.tolist() == [FER2013.index(name) for name in ("happy", *AFFECTNET8[2:7])]


def test_every_source_of_a_joined_data_set_has_a_map_though_some_had_none(affectnet, make_faces):
    own = replace(affectnet, label_names=("calm", "joy", *AFFECTNET8[2:]))
    joined = join_faces([map_labels(own, "fer2013", {"joy": "happy"}), make_faces(7)])
    mapped = map_labels(joined, "rafdb")
    assert mapped.label_map["affectnet"]["joy"] == "happy"
    assert mapped.label_map["made-up"] == {label: label for label in FER2013}


@pytest.mark.parametrize(
    ("names", "labels", "renames", "text"),
    [
        (AFFECTNET8, "fer2031", {}, "no label set named 'fer2031'; did you mean 'fer2013'"),
        (AFFECTNET8, "fer2013", {"joy": "happy"}, "no label of mine named 'joy'"),
        (AFFECTNET8, "fer2013", {"happy": "joy"}, "no label of fer2013 named 'joy'"),
        (("joy", "rage"), "fer2013", {}, "label sets have nothing in common: joy, rage and angry"),
    ],
    ids=["set", "from", "to", "nothing in common"],
)
def test_a_map_that_cannot_be_is_refused(names, labels, renames, text):
    with pytest.raises(MienError, match=text):
        label_target("mine", names, labels, renames)


@pytest.mark.parametrize("labels", LABEL_SETS)
def test_every_label_set_maps_to_itself(labels):
    assert label_target("x", LABEL_SETS[labels], labels).codes == tuple(range(len(LABEL_SETS[labels])))
