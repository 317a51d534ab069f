from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mien.core.emotions import AFFECTNET8, FER2013, FERPLUS_VOTES, LABEL_SETS
from mien.data.joining import join_faces, label_target, map_labels, resized
from mien.data.pictures import PictureSettings
from mien.errors import DataError, MienError


@pytest.fixture
def affectnet(make_faces):
    """Eight faces, one a label of AffectNet, of two persons."""
    return replace(
        make_faces(8, seed=1),
        labels=np.arange(8),
        label_names=AFFECTNET8,
        name="affectnet",
        persons=np.array([0, 1, -1, 0, 1, 0, 0, 0], np.int32),
        person_names=("a", "b"),
        valence_arousal=np.full((8, 2), 0.5, np.float32),
        file_sha256=np.full((8, 32), 9, np.uint8),
    )


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


def test_joined_faces_keep_their_source_and_have_rows_of_their_own(make_faces, affectnet):
    fer = replace(make_faces(5, votes=True), name="fer2013")
    both = join_faces([fer, map_labels(affectnet, "fer2013")])
    assert (both.name, both.source_names) == ("fer2013+affectnet", ("fer2013", "affectnet"))
    assert both.sources.tolist() == [0] * 5 + [1] * 7
    assert both.rows.tolist() == [0, 2, 4, 6, 8, *range(9, 22, 2)]
    np.testing.assert_array_equal(both.images[:5], fer.images)
    np.testing.assert_array_equal(both.images[5:], affectnet.images[:7])
    assert both.label_map == map_labels(affectnet, "fer2013").label_map


def test_what_only_one_of_them_has_is_unknown_in_the_other(make_faces, affectnet):
    fer = replace(make_faces(5, votes=True), name="fer2013")
    both = join_faces([fer, map_labels(affectnet, "fer2013")])
    assert both.persons.tolist() == [-1] * 5 + [0, 1, -1, 0, 1, 0, 0]
    assert both.person_names == ("affectnet/a", "affectnet/b")
    assert np.isnan(both.valence_arousal[:5]).all()
    assert (both.valence_arousal[5:] == 0.5).all()
    assert (both.votes[5:] == 0).all()
    assert both.vote_names == FERPLUS_VOTES
    assert both.file_sha256[:, 0].tolist() == [0] * 5 + [9] * 7


def test_persons_of_one_name_in_two_data_sets_stay_two(affectnet):
    other = replace(affectnet, name="other")
    both = join_faces([affectnet, other])
    assert both.person_names == ("affectnet/a", "affectnet/b", "other/a", "other/b")
    assert both.persons[8:].tolist() == [2, 3, -1, 2, 3, 2, 2, 2]


def test_a_joined_data_set_can_be_joined_again(make_faces):
    a, b, c = (replace(make_faces(2), name=name) for name in "abc")
    all_three = join_faces([join_faces([a, b]), c])
    assert (all_three.source_names, all_three.sources.tolist()) == (("a", "b", "c"), [0, 0, 1, 1, 2, 2])


def test_what_does_not_fit_together_is_refused(make_faces, affectnet):
    fer = make_faces(3)
    with pytest.raises(DataError, match=r"labels differ: made-up has angry, .*; give --labels"):
        join_faces([fer, affectnet])
    small = resized(fer, PictureSettings(24, color=True))
    with pytest.raises(DataError, match="made-up has 48x48 gray, made-up has 24x24 colour; import them with"):
        join_faces([fer, small])


def test_another_size_is_that_of_pillow_and_landmarks_follow(make_faces):
    faces = replace(make_faces(2), landmarks=np.full((2, 1, 2), 12, np.float32))
    small = resized(faces, PictureSettings(24))
    expected = Image.fromarray(faces.images[1]).resize((24, 24), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(small.images[1], np.asarray(expected))
    assert (small.landmarks == 6).all()
    colour = resized(faces, PictureSettings(48, color=True))
    np.testing.assert_array_equal(colour.images, np.repeat(faces.images[..., None], 3, axis=3))
    assert resized(faces, PictureSettings(48)) is faces
