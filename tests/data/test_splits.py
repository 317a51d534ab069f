import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold, StratifiedShuffleSplit

from mien.data.splits import by_code, connected, divide
from mien.errors import DataError

PARTS = (0.8, 0.1, 0.1)
LABELS = np.repeat(np.arange(7), [400, 44, 410, 720, 483, 317, 497])


def singles(labels=LABELS):
    return np.arange(len(labels))


def counts(labels, split):
    return np.stack([np.bincount(labels[split == part], minlength=7) for part in range(3)])


@pytest.mark.parametrize("parts", [PARTS, (0.5, 0.25, 0.25), (0.7, 0.0, 0.3)], ids=str)
def test_every_label_is_shared_out_to_within_one_face(parts):
    split = divide(LABELS, singles(), parts, np.random.default_rng(0))
    exact = np.outer(parts, np.bincount(LABELS))
    assert np.abs(counts(LABELS, split) - exact).max() < 1


def test_labels_are_shared_out_as_by_scikit_learn():
    split = divide(LABELS, singles(), (0.8, 0.0, 0.2), np.random.default_rng(0))
    ((train, test),) = StratifiedShuffleSplit(1, test_size=0.2, random_state=0).split(LABELS, LABELS)
    theirs = np.zeros(len(LABELS), int)
    theirs[test] = 2
    assert np.abs(counts(LABELS, split) - counts(LABELS, theirs)).max() <= 1
    assert abs((split == 0).sum() - len(train)) <= 3


def test_persons_are_never_torn_and_labels_are_balanced_as_well_as_by_scikit_learn():
    rng = np.random.default_rng(1)
    persons = rng.integers(0, 120, 1200)
    labels = np.minimum((rng.random(1200) * 4 + persons % 4).astype(int), 6)  # persons differ in their labels
    split = divide(labels, persons, (0.8, 0.0, 0.2), np.random.default_rng(0))
    assert all(len(set(split[persons == person])) == 1 for person in range(120))

    def worst(test):
        share = np.bincount(labels[test], minlength=7) / np.bincount(labels, minlength=7)
        return np.abs(share - 0.2).max()

    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0).split(labels, labels, persons)
    theirs = np.mean([worst(test) for _, test in folds])
    assert worst(split == 2) <= max(theirs, 0.05)


def test_single_faces_make_good_for_what_the_groups_took():
    labels = np.zeros(100, int)
    groups = np.concatenate([np.zeros(60, int), np.arange(1, 41)])
    split = divide(labels, groups, (0.6, 0.2, 0.2), np.random.default_rng(0))
    assert set(split[:60]) == {0}
    assert np.bincount(split).tolist() == [60, 20, 20]


@pytest.mark.parametrize("n_persons", [3, 5, 9])
def test_a_few_persons_leave_no_split_without_faces(n_persons):
    persons = np.arange(20 * n_persons) % n_persons
    split = divide(np.arange(len(persons)) // 20, persons, PARTS, np.random.default_rng(0))
    assert np.bincount(split, minlength=3).tolist() == [20 * (n_persons - 2), 20, 20]
    split = divide(np.zeros_like(persons), persons, (0.9, 0.0, 0.1), np.random.default_rng(0))
    assert np.bincount(split, minlength=3).tolist() == [20 * (n_persons - 1), 0, 20]


def test_the_seed_decides_and_nothing_else():
    def drawn(seed):
        return divide(LABELS, singles(), PARTS, np.random.default_rng(seed)).tolist()

    assert drawn(0) == drawn(0) != drawn(1)


def test_no_faces_are_divided_into_none():
    assert not len(divide(np.array([], int), np.array([], int), PARTS, np.random.default_rng(0)))


@pytest.mark.parametrize("parts", [(0.8, 0.1, 0.2), (1.2, -0.1, -0.1), (0.9, 0.1), (np.nan, 0.5, 0.5)])
def test_parts_that_are_no_shares_are_refused(parts):
    with pytest.raises(DataError, match=r"three shares \(train, val, test\) that sum to 1, got"):
        divide(LABELS, singles(), parts, np.random.default_rng(0))


def test_links_join_through_others():
    groups = connected(7, [np.array(link) for link in ([0, 3], [1, 4], [5, 6], [1, 6], [3, 0])])
    assert [set(np.flatnonzero(groups == g)) for g in dict.fromkeys(groups.tolist())] == [
        {0, 3},
        {1, 4, 5, 6},
        {2},
    ]


def test_unknown_persons_are_no_group():
    assert [members.tolist() for members in by_code(np.array([-1, 2, 0, 2, -1, 2]))] == [[1, 3, 5]]
    assert by_code(np.array([-1, -1])) == []
