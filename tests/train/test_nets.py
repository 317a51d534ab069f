"""Networks: shapes, parameter counts, and what they start as."""

import pytest
import torch

from mien.errors import RecipeError
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


def test_each_stage_drops_whole_maps_with_its_own_probability() -> None:
    torch.manual_seed(0)
    net = SpaceToDepthResNet(3, widths=(64, 64), blocks=(1, 2), dropout=(0.25, 0.75, 0))
    seen = {}
    for place in (0, 2):
        net.stages[place].register_forward_hook(lambda *_: torch.ones(40, 64, 8, 8))
    net.stages[1].register_forward_hook(lambda _, inputs, __: seen.setdefault("first", inputs[0]))
    net.head.register_forward_hook(lambda _, inputs, __: seen.setdefault("last", inputs[0]))
    net(torch.zeros(40, 1, 16, 16))
    whole = seen["first"].flatten(2)
    assert bool((whole == whole[..., :1]).all()), "a map is dropped as a whole"
    assert float((seen["first"] == 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert float((seen["last"] == 0).float().mean()) == pytest.approx(0.75, abs=0.03)
    with pytest.raises(RecipeError, match="dropout must be 1 or 3 numbers"):
        SpaceToDepthResNet(3, widths=(8, 8), blocks=(1, 1), dropout=(0.1,))
