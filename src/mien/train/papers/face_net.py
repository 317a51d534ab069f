"""What the papers' networks share: one input size, gray copied to colour, logits out."""

import torch
from torch import Tensor, nn

from mien.errors import ModelError, RecipeError


class FaceNet(nn.Module):
    """A network built for faces of one size. A subclass sets `body` and `head`, or replaces `logits`.

    Args:
        channels: Input channels; gray faces are copied to all of them, as the papers do.
        size: Side of the faces in pixels.
        smallest: The least side that leaves a pixel after every layer.

    Raises:
        RecipeError: ``size`` is below ``smallest``.
    """

    body: nn.Module
    head: nn.Module

    def __init__(self, channels: int, size: int, smallest: int) -> None:
        super().__init__()
        if size < smallest:
            raise RecipeError(
                f"{type(self).__name__} needs faces of at least {smallest} px, got {size}; "
                "set net.options.size"
            )
        self.channels, self.size = channels, size

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, n_classes) of float32 faces (N, channels, size, size), or gray ones (N, 1, size, size).

        Raises:
            ModelError: the faces have another shape.
        """
        if x.shape[1] == 1:
            x = x.expand(-1, self.channels, -1, -1)
        if x.shape[1:] != (self.channels, self.size, self.size):
            raise ModelError(
                f"{type(self).__name__} was built for faces (N, {self.channels}, {self.size}, {self.size}), "
                f"got {tuple(x.shape)}; make net.options.size and .channels agree with run.sizes"
            )
        return self.logits(x)

    def logits(self, x: Tensor) -> Tensor:
        """`forward` without its checks."""
        return self.head(self.body(x))  # type: ignore[no-any-return]

    def flat(self) -> int:
        """Numbers that `body` gives a face, found by running it on one blank face."""
        with torch.no_grad():
            features = self.body.eval()(torch.zeros(1, self.channels, self.size, self.size))
        self.body.train()
        return int(features.numel())


def start_as_keras(net: nn.Module) -> None:
    """Draw the weights as Keras does: Glorot uniform, biases zero."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
