"""From a face in an image to the input of a network: one path for training, evaluation and reading."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.core.geometry import invert, similarity, warp
from mien.core.results import Face

# FER2013's framing on its 48 x 48 grid: the mean shape and place of ONet's landmarks on 6,000 Training faces,
# each turned upright first, made symmetric; and MTCNN's mean box on photographs, seen in crops so framed.
FER2013_SIZE = 48
FER2013_POINTS = np.array([(14.9, 17.7), (33.1, 17.7), (24.0, 28.2), (16.3, 37.8), (31.7, 37.8)])
FER2013_BOX = np.array([4.0, -2.5, 43.3, 50.0])


def crop_matrix(face: Face, size: int, scale: float = 1.0) -> NDArray[np.float64]:
    """The similarity (2, 3) from the image to the crop that `face_crop` makes.

    Raises:
        MienError: the landmarks lie in one place.
    """
    zoom = size / FER2013_SIZE
    middle = np.full(2, size / 2)
    if face.is_crop:
        enlarge = scale * size / float(np.sqrt(face.box.width * face.box.height))
        return _about(face, enlarge, middle)
    if face.landmarks is None:
        return _from_box(face, zoom, middle, scale)
    template = middle + scale * (FER2013_POINTS * zoom - middle)
    return similarity(face.landmarks.points, template)


def crop_reach(face: Face) -> float:
    """Side in pixels of the upright square around what `face_crop` sees of the image, at a scale of 1.

    Raises:
        MienError: the landmarks lie in one place, or no map leads back from the crop.
    """
    back = invert(crop_matrix(face, FER2013_SIZE))
    return FER2013_SIZE * float(np.abs(back[0, :2]).sum())


def face_crop(
    image: NDArray[np.uint8], face: Face, size: int = FER2013_SIZE, scale: float = 1.0, channels: int = 1
) -> NDArray[np.uint8]:
    """Cut a face out upright and framed as FER2013 frames its faces, gray or in colour.

    The five landmarks are brought by rotation, uniform scale and shift as near as possible to their mean
    places in FER2013; without landmarks, the box's centre and area are brought to the mean box's there. Of a
    face that is a crop already, all is taken; if it is not square, a square of the same middle and area.

    Args:
        image: The image, uint8 RGB (H, W, 3).
        face: A face in it.
        size: Side of the crop in pixels.
        scale: Size of the face against FER2013's; above 1 the crop is tighter.
        channels: 1 for gray, 3 for RGB.

    Returns:
        uint8 (size, size), ITU-R 601 luma, or RGB (size, size, 3); beyond the image its edge repeats.

    Raises:
        MienError: the landmarks lie in one place.
    """
    colour = warp(image, crop_matrix(face, size, scale), (size, size))
    return colour if channels == 3 else luma(colour)


def luma(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A gray image (H, W) as it is, or an RGB one (H, W, 3) as ITU-R 601 luma (H, W)."""
    return image if image.ndim == 2 else np.array(Image.fromarray(image).convert("L"))


def in_channels(crops: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Faces, gray (N, S, S) or RGB (N, S, S, 3), as a network of 1 or 3 channels takes them."""
    if channels == 1 and crops.ndim == 4:
        return np.stack([luma(crop) for crop in crops]) if len(crops) else crops[..., 0]
    return np.repeat(crops[..., None], 3, axis=3) if channels == 3 and crops.ndim == 3 else crops


def resized(crops: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Square gray or RGB faces, uint8 (N, S, S) or (N, S, S, 3), at another side, bilinear."""
    if crops.shape[1:3] == (size, size):
        return crops
    out = np.empty((len(crops), size, size, *crops.shape[3:]), np.uint8)
    for row, crop in zip(out, crops, strict=True):
        row[:] = np.asarray(Image.fromarray(crop).resize((size, size), Image.Resampling.BILINEAR))
    return out


def network_crops(crops: NDArray[np.uint8], size: int, channels: int) -> NDArray[np.uint8]:
    """Gray or RGB faces of any side as a network of that side, and of 1 or 3 channels, takes them."""
    return resized(in_channels(crops, channels), size)


def to_input(crops: NDArray[np.uint8], mean: float, std: float) -> NDArray[np.float32]:
    """Normalised network input.

    Args:
        crops: Gray faces, uint8 (N, S, S), or RGB ones, (N, S, S, 3).
        mean: Mean gray value of the training faces, 0-1.
        std: Standard deviation of the training faces' gray values, 0-1.

    Returns:
        float32 (N, 1, S, S), or (N, 3, S, S).
    """
    values = (crops.astype(np.float32) / np.float32(255) - np.float32(mean)) / np.float32(std)
    return np.moveaxis(values, -1, 1) if crops.ndim == 4 else values[:, None]


def _from_box(face: Face, zoom: float, middle: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    x1, y1, x2, y2 = FER2013_BOX
    enlarge = scale * zoom * float(np.sqrt((x2 - x1) * (y2 - y1) / (face.box.width * face.box.height)))
    centre = middle + scale * (np.array([x1 + x2, y1 + y2]) / 2 * zoom - middle)
    return _about(face, enlarge, centre)


def _about(face: Face, enlarge: float, centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """The map that enlarges the image and brings the middle of the face's box to ``centre``."""
    shift = centre - enlarge * np.array(face.box.center)
    return np.array([[enlarge, 0, shift[0]], [0, enlarge, shift[1]]])
