"""Valence and arousal derived from probabilities of emotions."""

from collections.abc import Sequence

AFFECT = {
    "angry": (-0.51, 0.59),
    "disgust": (-0.60, 0.35),
    "fear": (-0.64, 0.60),
    "happy": (0.81, 0.51),
    "sad": (-0.63, -0.27),
    "surprise": (0.40, 0.67),
    "neutral": (0.0, 0.0),
}
"""Valence and arousal, -1 to 1, of emotion words: coordinates in the plane of Russell's circumplex ("A
circumplex model of affect", J. Pers. Soc. Psychol. 39, 1980). The values are the mean ratings of pleasure and
arousal in Russell and Mehrabian, "Evidence for a three-factor theory of emotions", J. Res. Pers. 11, 1977;
neutral is the origin. Contempt is not among them."""


def affect(labels: Sequence[str], probs: Sequence[float]) -> tuple[float, float]:
    """Valence and arousal, -1 to 1, that probabilities of emotions amount to: their expected coordinates.

    Derived, not measured: nothing but the probabilities goes in. Labels without a place in `AFFECT` are left
    out and the others weigh more; where nothing is left, the answer is the origin.
    """
    placed = [(prob, AFFECT[label]) for label, prob in zip(labels, probs, strict=True) if label in AFFECT]
    total = sum(prob for prob, _ in placed)
    if total <= 0:
        return 0.0, 0.0
    valence, arousal = (sum(prob * place[axis] for prob, place in placed) / total for axis in (0, 1))
    return valence, arousal
