"""Networks: shapes, parameter counts, and what they start as."""

import pytest
import torch

from mien.train.nets import BasicBlock, SpaceToDepthResNet


def test_parameter_count_is_the_sum_worked_by_hand() -> None:
    def conv(inputs: int, outputs: int, k: int) -> int:
        return inputs * outputs * k * k + 2 * outputs  # no bias; scale and shift of batch normalisation

    stages = [(64, 64), (64, 128), (128, 128), (128, 256), (256, 256)]
    body = sum(conv(a, b, 3) + conv(b, b, 3) + (conv(a, b, 1) if a != b else 0) for a, b in stages)
    expected = conv(4, 64, 3) + body + 513 * 7 + 513 * 10
    assert sum(p.numel() for p in SpaceToDepthResNet(7, 10).parameters()) == expected


@pytest.mark.parametrize("size", [16, 32, 40, 48, 64])
def test_any_even_size_gives_one_row_of_logits_a_face(size: int) -> None:
    net = SpaceToDepthResNet(7, 10, widths=(8, 16, 16), blocks=(1, 1, 1)).eval()
    emotions, votes = net.forward_with_votes(torch.zeros(2, 1, size, size))
    assert emotions.shape == (2, 7)
    assert votes.shape == (2, 10)
    assert torch.equal(net(torch.zeros(2, 1, size, size)), emotions)


def test_a_block_begins_as_its_shortcut() -> None:
    x = torch.rand(2, 8, 6, 6)
    assert torch.equal(BasicBlock(8, 8, 1).eval()(x), x)
