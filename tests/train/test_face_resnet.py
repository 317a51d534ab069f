"""dlib's face network: which sizes it takes, and how few of its layers it runs on."""

import pytest
import torch

from mien.errors import RecipeError
from mien.train.face_resnet import FaceBackbone, FaceBlock, FaceResNet


def test_it_has_the_29_convolutions_and_the_numbers_of_the_published_network() -> None:
    net = FaceBackbone(channels=3)
    convolutions = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 29
    assert sum(m.weight.numel() + m.bias.numel() for m in convolutions) == 5_574_720


@pytest.mark.parametrize("size", [48, 64, 96, 104, 150])
def test_faces_of_any_side_give_every_depth(size: int) -> None:
    net = FaceResNet(7, n_votes=10).eval()
    emotions, votes = net.forward_with_votes(torch.zeros(2, 1, size, size))
    assert net.features(torch.zeros(2, 1, size, size)).shape == (2, 32 + 64 + 128 + 256 + 256)
    assert emotions.shape == (2, 7)
    assert votes is not None
    assert votes.shape == (2, 10)


def test_fewer_blocks_are_the_first_of_the_published_ones() -> None:
    small, whole = FaceBackbone(blocks=(3, 4, 3, 1, 0)), FaceBackbone()
    assert small.n_features == 32 + 64 + 128 + 256
    small.load_state_dict(whole.state_dict(), strict=False)
    face = torch.rand(1, 1, 104, 104)
    assert torch.equal(small.eval()(face)[:, :224], whole.eval()(face)[:, :224])


@pytest.mark.parametrize("blocks", [(3, 4, 3, 4, 1), (3, 4), (3, 4, 3, -1, 0)])
def test_more_blocks_than_published_are_refused(blocks: tuple[int, ...]) -> None:
    with pytest.raises(RecipeError, match=r"net.options.blocks must be at most \[3, 4, 3, 3, 1\]"):
        FaceResNet(7, blocks=blocks)


def test_a_halving_block_fills_what_one_side_lacks_with_zeros() -> None:
    block = FaceBlock(2, 3, halve=True).eval()
    torch.nn.init.zeros_(block.second[1].weight)  # the shortcut alone
    x = torch.rand(1, 2, 8, 8)
    out = block(x)
    assert out.shape == (1, 3, 4, 4)
    assert torch.equal(out[:, :2], torch.nn.functional.avg_pool2d(x, 2))
    assert bool((out[:, 2] == 0).all())
