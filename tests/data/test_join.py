from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mien.core.emotions import FERPLUS_VOTES
from mien.data.image_loading import ImageSettings
from mien.data.join import join_faces, resized
from mien.data.label_maps import map_labels
from mien.errors import DataError


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


def test_data_sets_of_one_name_stay_two_sources_with_their_own_labels(affectnet):
    joy, fun = (replace(affectnet, label_map={"affectnet": {"happy": word}}) for word in ("joy", "fun"))
    both = join_faces([joy, fun])
    assert (both.source_names, both.name) == (("affectnet", "affectnet-2"), "affectnet+affectnet-2")
    assert both.sources.tolist() == [0] * len(joy) + [1] * len(fun)
    assert both.label_map == {"affectnet": {"happy": "joy"}, "affectnet-2": {"happy": "fun"}}


def test_a_joined_data_set_can_be_joined_again(make_faces):
    a, b, c = (replace(make_faces(2), name=name) for name in "abc")
    all_three = join_faces([join_faces([a, b]), c])
    assert (all_three.source_names, all_three.sources.tolist()) == (("a", "b", "c"), [0, 0, 1, 1, 2, 2])


def test_sources_of_one_name_stay_apart_though_they_were_joined_before(affectnet):
    a, b, c = (replace(affectnet, label_map={"affectnet": {"happy": word}}) for word in "abc")
    two_and_one, one_and_two = join_faces([join_faces([a, b]), c]), join_faces([a, join_faces([b, c])])
    assert two_and_one.source_names == ("affectnet", "affectnet-2", "affectnet-3")
    assert one_and_two.source_names == ("affectnet", "affectnet-3", "affectnet-2")
    for joined in (two_and_one, one_and_two):
        assert joined.sources.tolist() == [0] * 8 + [1] * 8 + [2] * 8
        assert [became["happy"] for became in joined.label_map.values()] == ["a", "b", "c"]
        persons = [f"{source}/{person}" for source in joined.source_names for person in "ab"]
        assert list(joined.person_names) == persons


def test_the_map_of_a_data_set_that_was_split_goes_with_its_new_name(affectnet):
    joy, fun = (replace(affectnet, label_map={"affectnet": {"happy": word}}) for word in ("joy", "fun"))
    halves = [replace(faces, name="affectnet-split") for faces in (joy, fun)]
    both = {"affectnet-split": {"happy": "joy"}, "affectnet-split-2": {"happy": "fun"}}
    assert join_faces(halves).label_map == both
    mixed = join_faces([joy, halves[1]])
    assert mixed.label_map == {"affectnet": {"happy": "joy"}, "affectnet-split": {"happy": "fun"}}


def test_more_sources_than_a_row_can_tell_apart_are_refused(make_faces):
    assert join_faces([make_faces(1)] * 256).sources[-1] == 255
    with pytest.raises(DataError, match="at most 256 sources in one data set, got 257; join fewer"):
        join_faces([make_faces(1)] * 257)


def test_what_does_not_fit_together_is_refused(make_faces, affectnet):
    fer = make_faces(3)
    with pytest.raises(DataError, match=r"labels differ: made-up has angry, .*; give --labels"):
        join_faces([fer, affectnet])
    own = replace(fer, label_names=(*fer.label_names[:-1], "zzz"))
    with pytest.raises(DataError, match="no label set has zzz, so import them from sources with the same"):
        join_faces([fer, own])
    small = resized(fer, ImageSettings(24, color=True))
    with pytest.raises(DataError, match="made-up has 48x48 gray, made-up has 24x24 colour; import them with"):
        join_faces([fer, small])


def test_another_size_is_that_of_pillow_and_landmarks_follow(make_faces):
    faces = replace(make_faces(2), landmarks=np.full((2, 1, 2), 12, np.float32))
    small = resized(faces, ImageSettings(24))
    expected = Image.fromarray(faces.images[1]).resize((24, 24), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(small.images[1], np.asarray(expected))
    assert (small.landmarks == 6).all()
    colour = resized(faces, ImageSettings(48, color=True))
    np.testing.assert_array_equal(colour.images, np.repeat(faces.images[..., None], 3, axis=3))
    assert resized(faces, ImageSettings(48)) is faces
