from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mien.core.draw import COLOURS, OTHER_COLOUR, annotate
from mien.core.emotions import LABEL_SETS
from mien.core.images import open_image
from mien.core.results import Box, Face, Landmarks, Reading
from mien.errors import ImageError

LABELS = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt")


def reading(
    x1: float, y1: float, x2: float, y2: float, emotion: str = "happy", landmarks: Landmarks | None = None
) -> Reading:
    probs = tuple(0.93 if label == emotion else 0.01 for label in LABELS)
    return Reading(Face(Box(x1, y1, x2, y2), 0.9, landmarks), LABELS, probs)


def gray(height: int, width: int, value: int = 128) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def has_colour(pixels: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((pixels == colour).all(axis=-1).any())


def test_an_uncertain_face_bears_a_question_mark_in_its_tag() -> None:
    face = Reading(Face(Box(100, 100, 300, 300), 0.9), ("happy", "sad"), (0.5, 0.5))
    plain, marked = (annotate(gray(400, 600), [replace(face, uncertain_below=t)]) for t in (0.5, 0.51))
    alike = annotate(gray(400, 600), [face], ["happy?  50%"])
    assert np.array_equal(marked, alike)
    assert not np.array_equal(marked, plain)


def test_without_readings_the_result_is_an_equal_copy() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    drawn = annotate(image, ())
    np.testing.assert_array_equal(drawn, image)
    assert not np.shares_memory(drawn, image)


def test_the_input_is_not_changed_even_where_it_may_not_be_written() -> None:
    image = gray(200, 300)
    image.flags.writeable = False
    drawn = annotate(image, [reading(50, 50, 120, 140)])
    assert (image == 128).all()
    assert drawn.flags.writeable


@pytest.mark.parametrize("value", [0, 128, 255])
def test_every_edge_of_the_box_is_drawn_in_the_colour_of_the_emotion(value: int) -> None:
    drawn = annotate(gray(400, 600, value), [reading(100, 120, 220, 260, "sad")])
    edges = (
        drawn[120:126, 100:220],
        drawn[254:260, 100:220],
        drawn[120:260, 100:106],
        drawn[120:260, 214:220],
    )
    for edge in edges:
        for part in np.array_split(edge, 7, axis=int(edge.shape[1] > edge.shape[0])):
            assert has_colour(part, COLOURS["sad"])


def test_the_inside_of_the_box_stays_as_it_was() -> None:
    drawn = annotate(gray(400, 600), [reading(100, 120, 220, 260)])
    assert (drawn[132:248, 112:208] == 128).all()


def test_the_label_stands_above_the_box_and_the_bars_beside_it() -> None:
    drawn = annotate(gray(400, 600), [reading(100, 120, 220, 260)])
    assert has_colour(drawn[:118, 100:220], COLOURS["happy"])
    assert has_colour(drawn[120:260, 224:], COLOURS["happy"])
    assert (drawn[264:] == 128).all()
    assert (drawn[:, :98] == 128).all()


def test_a_longer_bar_means_a_higher_probability() -> None:
    def bar_pixels(prob: float) -> int:
        face = Face(Box(100, 120, 220, 260), 0.9)
        drawn = annotate(gray(400, 600), [Reading(face, ("happy", "fear"), (1 - prob, prob))])
        return int((drawn[120:, 224:] == COLOURS["fear"]).all(axis=-1).sum())

    counts = [bar_pixels(prob) for prob in (0.0, 0.1, 0.2, 0.4)]
    assert counts[0] == 0
    assert counts[2] == pytest.approx(2 * counts[1], rel=0.2)
    assert counts[3] == pytest.approx(4 * counts[1], rel=0.2)


@pytest.mark.parametrize(
    ("box", "side"),
    [((450, 100, 590, 260), "left"), ((150, 20, 320, 200), "right"), ((20, 10, 580, 200), "below")],
    ids=lambda value: str(value),
)
def test_the_bars_go_where_there_is_room(box: tuple[int, int, int, int], side: str) -> None:
    drawn = annotate(gray(500, 600), [reading(*box, "fear")])
    x1, _, x2, y2 = box
    regions = {"left": drawn[:, : x1 - 3], "right": drawn[:, x2 + 3 :], "below": drawn[y2 + 40 :]}
    assert has_colour(regions[side], COLOURS["fear"])


def test_bars_cover_no_other_face() -> None:
    readings = [reading(x, 100, x + 80, 190) for x in range(20, 520, 90)]
    drawn = annotate(gray(300, 560), readings)
    for x in range(20, 520, 90):
        assert (drawn[112:178, x + 12 : x + 68] == 128).all()


@pytest.mark.parametrize("step", [50, 42], ids=["apart", "touching"])
def test_labels_of_neighbours_do_not_cover_each_other(step: int) -> None:
    boxes = [Box(30 + step * i, 80, 70 + step * i, 120) for i in range(6)]
    no_bars = "x" * 200  # so long a name leaves no room for them
    faces = [
        Reading(Face(box, 0.9), (emotion, no_bars), (0.9, 0.1))
        for box, emotion in zip(boxes, LABELS, strict=False)
    ]

    def n_pixels(drawn: np.ndarray, face: Reading) -> int:
        return int((drawn == COLOURS[face.emotion]).all(axis=-1).sum())

    together = annotate(gray(200, 420), faces)
    for face in faces:
        assert n_pixels(together, face) == n_pixels(annotate(gray(200, 420), [face]), face) > 500


def test_landmarks_are_small_dots() -> None:
    points = ((130, 170), (190, 170), (160, 195), (135, 225), (185, 225))
    drawn = annotate(gray(400, 600), [reading(100, 120, 220, 260, landmarks=Landmarks(*points))])
    for x, y in points:
        assert (drawn[y - 3 : y + 3, x - 3 : x + 3] != 128).any()
    assert (drawn[132:248, 112:208] != 128).any(axis=-1).mean() < 0.02


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (30, 1), (8, 8), (25, 40)], ids=str)
@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 4, 4),
        (-5, -5, 60, 60),
        (0.2, 0.2, 0.4, 0.4),
        (-1e12, -1e12, 1e12, 1e12),
        (5, 5, 5, 5),
        (0, 0, 1, 1),
    ],
    ids=str,
)
def test_a_tiny_image_keeps_its_shape(shape: tuple[int, int], box: tuple[float, ...]) -> None:
    landmarks = Landmarks((0, 0), (1e9, 2), (3, 3), (-5, -5), (1, 1))
    drawn = annotate(gray(*shape), [reading(*box, landmarks=landmarks)])
    assert drawn.shape == (*shape, 3)
    assert drawn.dtype == np.uint8


def test_of_a_box_partly_outside_the_visible_edges_are_drawn() -> None:
    drawn = annotate(gray(300, 300), [reading(-40, 100, 80, 200)])
    assert has_colour(drawn[100:200, 74:80], COLOURS["happy"])
    assert has_colour(drawn[100:106, :74], COLOURS["happy"])
    assert (drawn[112:188, :68] == 128).all()


@pytest.mark.parametrize("box", [(400, 10, 450, 60), (-90, 10, -20, 60), (10, -200, 60, -100)], ids=str)
def test_a_box_outside_the_image_draws_nothing(box: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(annotate(gray(300, 300), [reading(*box)]), gray(300, 300))


def test_a_larger_image_gets_larger_marks() -> None:
    small = annotate(gray(300, 400), [reading(80, 90, 180, 210)])
    large = annotate(gray(1200, 1600), [reading(320, 360, 720, 840)])
    shrunk = np.asarray(Image.fromarray(large).resize((400, 300), Image.Resampling.BOX)).astype(int)
    assert np.abs(shrunk - small).mean() < 6
    assert np.abs(gray(300, 400).astype(int) - small).mean() > 8  # for comparison: nothing drawn


def test_a_hundred_faces_are_drawn() -> None:
    readings = [
        reading(x, y, x + 30, y + 36, LABELS[(x + y) % 8])
        for x in range(0, 500, 50)
        for y in range(0, 500, 50)
    ]
    drawn = annotate(gray(500, 500), readings)
    for box in (r.box for r in readings):
        assert (drawn[round(box.y1) : round(box.y2), round(box.x1)] != 128).any()


def test_an_empty_caption_draws_no_text() -> None:
    faces = [reading(60, 80, 160, 190)]
    told, empty = annotate(gray(300, 400), faces, ["me"]), annotate(gray(300, 400), faces, [""])
    assert (told[:78] != 128).any()
    assert (empty[:78] == 128).all()
    assert np.array_equal(empty[80:], told[80:])


def test_every_emotion_of_the_label_sets_has_its_own_colour() -> None:
    emotions = set(LABEL_SETS["fer2013"]) | set(LABEL_SETS["ferplus"])
    assert emotions <= set(COLOURS)
    assert len({*COLOURS.values(), OTHER_COLOUR}) == len(COLOURS) + 1


def test_an_unknown_emotion_gets_the_fallback_colour() -> None:
    drawn = annotate(gray(300, 400), [Reading(Face(Box(50, 60, 150, 180), 0.9), ("awe", "joy"), (0.7, 0.3))])
    assert has_colour(drawn, OTHER_COLOUR)


def test_another_kind_of_array_is_refused() -> None:
    with pytest.raises(
        ImageError, match=r"^an array must be uint8 of shape .*, got float64 \(4, 4, 3\); pass"
    ):
        annotate(np.zeros((4, 4, 3)), ())


@pytest.mark.parametrize("channels", [0, 1, 4])
def test_gray_and_alpha_are_drawn_on_as_they_are_read(channels: int) -> None:
    shape = (200, 300, channels) if channels else (200, 300)
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    faces = [reading(60, 60, 160, 160)]
    wanted = annotate(open_image(image), faces)
    assert np.array_equal(annotate(image, faces), wanted)
    turned = image[..., [2, 1, 0, 3]] if channels == 4 else image
    assert np.array_equal(annotate(turned, faces, color="bgr"), wanted[..., ::-1])
