from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from mien.data.audit import audit, blank, identical_groups, not_a_face
from mien.data.duplicates import NearDuplicates


def _near(rows, nearest, ncc):
    rows, nearest, ncc = np.array(rows, np.int64), np.array(nearest, np.int64), np.array(ncc, np.float32)
    return NearDuplicates(rows, nearest, ncc, ncc == 1, 0.9)


def test_blank_faces_have_one_gray_value(make_faces):
    faces = make_faces(6)
    faces.images[1], faces.images[4] = 0, 77
    faces.images[2] = 5
    faces.images[2, 47, 47] = 6
    assert blank(faces).tolist() == [False, True, False, False, True, False]


def test_a_non_face_has_more_than_half_of_the_votes_against_it(make_faces):
    votes = np.zeros((4, 10), np.uint8)
    votes[:, 9], votes[:, 0] = (10, 6, 5, 0), (0, 4, 5, 10)
    faces = replace(make_faces(4, votes=True), votes=votes)
    assert not_a_face(faces).tolist() == [True, True, False, False]
    assert not_a_face(make_faces(4)).tolist() == [False] * 4


def test_votes_of_other_names_are_taken_by_their_names(make_faces):
    few = replace(make_faces(2), votes=np.array([[9, 1], [1, 9]], np.uint8), vote_names=("happy", "sad"))
    assert audit(few, _near([], [], [])).non_faces is None
    assert not_a_face(replace(few, vote_names=("not-a-face", "sad"))).tolist() == [True, False]


def test_identical_images_are_grouped_largest_first(make_faces):
    faces = make_faces(10)
    faces.images[7] = faces.images[2]
    faces.images[[3, 9]] = faces.images[5]
    assert [group.tolist() for group in identical_groups(faces)] == [[3, 5, 9], [2, 7]]


def test_the_summary_counts_every_finding(make_faces):
    faces = make_faces(14, votes=True)  # label i % 7, split i % 3, row 2 i
    faces.votes[:] = 1
    faces.votes[3, 9] = 200
    faces.images[6] = 0
    faces.images[9] = faces.images[2]  # labels 2 and 2
    faces.images[12] = faces.images[8]  # labels 5 and 1
    near = _near([4, 16, 22, 8], [18, 24, 6, 0], [1, 1, 0.96, 0.92])  # positions 2-9, 8-12, 11-3, 4-0
    found = audit(faces, near)
    summary = found.summary()
    assert summary["faces"] == {"train": 5, "val": 5, "test": 4}
    assert summary["blank"] == {"train": 1, "val": 0, "test": 0}
    assert summary["not_a_face"] == {"train": 1, "val": 0, "test": 0}
    assert summary["identical"] == {
        "groups": 2,
        "redundant_copies": 2,
        "groups_with_conflicting_labels": 1,
        "faces_in_conflict": 2,
    }
    assert summary["near_duplicates_in_train"]["test"] == {
        "identical": 2,
        "same_image": 3,
        "similar": 3,
        "clean": 1,
        "label_agreement_identical": 0.5,
        "label_agreement_same_image": 0.0,
    }
    assert summary["near_duplicates_in_train"]["val"] == {
        "identical": 0,
        "same_image": 0,
        "similar": 1,
        "clean": 5,
        "label_agreement_identical": None,
        "label_agreement_same_image": None,
    }
    assert [group.tolist() for group in found.conflicts] == [[8, 12]]


def test_without_votes_nothing_is_said_about_non_faces(make_faces):
    found = audit(make_faces(), _near([], [], []))
    assert found.non_faces is None
    assert found.summary()["not_a_face"] is None
    assert not any("FER+" in what for what in found.table())


def test_the_real_findings_are_those_that_were_published(real_faces):
    found = audit(real_faces, _near([], [], []))
    summary = found.summary()
    assert summary["blank"] == {"train": 11, "val": 1, "test": 0}
    assert summary["not_a_face"] == {"train": 150, "val": 10, "test": 16}
    assert summary["identical"]["redundant_copies"] == 1851
    assert found.groups[0].tolist() == found.blanks.tolist()  # the largest group are the twelve black images
    pixels = Counter(image.tobytes() for image in real_faces.images)
    assert summary["identical"]["groups"] == sum(count > 1 for count in pixels.values())
    train = {image.tobytes() for image in real_faces.select("train").images}
    assert sum(image.tobytes() in train for image in real_faces.select("test").images) == 288


@pytest.mark.parametrize("channels", [(), (3,)], ids=["gray", "colour"])
def test_no_faces_at_all_have_no_blanks(make_faces, channels):
    empty = replace(make_faces(3).take(np.array([], int)), images=np.empty((0, 48, 48, *channels), np.uint8))
    assert blank(empty).shape == (0,)


def test_one_colour_everywhere_is_blank_and_one_channel_that_varies_is_not(make_faces):
    images = np.zeros((2, 48, 48, 3), np.uint8) + np.array([9, 80, 200], np.uint8)
    images[1, 5, 5, 2] = 0
    assert blank(replace(make_faces(2), images=images)).tolist() == [True, False]
