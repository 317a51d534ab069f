"""The face-recognition MobileNet as a start: its numbers, the sides that it takes, how it halves a map."""

import pytest
import torch

from mien.train.face_mobilenet import ConvNorm, FaceMobileNet, MobileNetBackbone


def test_it_has_the_convolutions_and_the_numbers_of_the_published_network() -> None:
    convolutions = [m for m in MobileNetBackbone(channels=3).modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 27
    assert sum(m.weight.numel() for m in convolutions) == 3_185_088  # Keras' MobileNet without its last layer


@pytest.mark.parametrize("size", [32, 48, 80, 97, 112])
def test_faces_of_any_side_give_every_depth(size: int) -> None:
    net = FaceMobileNet(7, n_votes=10).eval()
    emotions, votes = net.forward_with_votes(torch.zeros(2, 1, size, size))
    assert net.features(torch.zeros(2, 1, size, size)).shape == (2, 128 + 256 + 512 + 1024)
    assert emotions.shape == (2, 7)
    assert votes is not None
    assert votes.shape == (2, 10)


@pytest.mark.parametrize(("side", "first", "last"), [(8, 0, 3), (9, 1, 4)])
def test_a_halving_layer_pads_as_tensorflow(side: int, first: int, last: int) -> None:
    """An even side is padded behind alone: the first kernel begins at the first pixel; an odd one on both."""
    layer = ConvNorm(1, 1, 3, stride=2).eval()
    torch.nn.init.zeros_(layer.conv.weight)
    layer.conv.weight.data[0, 0, 0, 0] = 1  # what lies at the kernel's first place
    ramp = torch.arange(side).float().div(10).expand(1, 1, side, side)
    seen = layer(ramp)[0, 0, -1] * 10
    assert seen.shape == (last + 1,)
    begins = torch.arange(last + 1) * 2 - first
    torch.testing.assert_close(seen, begins.clamp(min=0).float(), rtol=1e-4, atol=1e-4)
