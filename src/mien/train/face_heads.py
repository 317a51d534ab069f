"""Emotions, and FER+ votes, from all depths of a network that was trained to recognise faces."""

from torch import Tensor, nn


class FaceHeads(nn.Module):
    """A backbone under one linear layer for emotions and one for votes.

    Args:
        backbone: From faces (N, channels, H, W) to features (N, ``backbone.n_features``).
        n_classes: Number of emotions.
        n_votes: Outputs of the auxiliary head (FER+ votes); 0 leaves it out.
        dropout: Probability of dropping a feature before the heads.
    """

    def __init__(self, backbone: nn.Module, n_classes: int, n_votes: int, dropout: float) -> None:
        super().__init__()
        self.backbone = backbone
        n_features = int(backbone.n_features)  # type: ignore[arg-type]
        self.norm = nn.BatchNorm1d(n_features)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(n_features, n_classes)
        self.votes_head = nn.Linear(n_features, n_votes) if n_votes else None

    def features(self, x: Tensor) -> Tensor:
        """The backbone's features, normalised, shape (N, n_features)."""
        return self.norm(self.backbone(x))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (N, n_classes)."""
        return self.head(self.dropout(self.features(x)))  # type: ignore[no-any-return]

    def forward_with_votes(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Emotion logits (N, n_classes), and vote logits (N, n_votes) where the net has that head."""
        features = self.dropout(self.features(x))
        return self.head(features), self.votes_head(features) if self.votes_head else None
