"""Chmura and Krukar, "Emotion recognition with Convolutional neural networks", 2020: the second approach.

Built as in the authors' code (github.com/krukarkonrad/EmotionRecognition, Keras); text and code agree. The
input is gray, 48 px, in 0-1.
"""

from torch import nn

from mien.train.papers.face_net import FaceNet, start_as_keras


class Cnn(FaceNet):
    """Conv 64, conv 64, pool; conv 128, conv 128, conv 256, conv 256, pool; linear 1024; linear.

    Each convolution is 3x3 with ReLU; the first of each pair is padded, the second is not. Dropout 0.25 after
    each pooling and 0.5 after the first linear layer; no batch normalisation.
    """

    def __init__(self, n_classes: int, *, channels: int = 1, size: int = 48) -> None:
        super().__init__(channels, size, smallest=14)

        def pair(inputs: int, outputs: int) -> list[nn.Module]:
            padded, plain = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3)
            return [padded, nn.ReLU(), plain, nn.ReLU()]

        self.body = nn.Sequential(
            *pair(channels, 64),
            nn.MaxPool2d(2),
            nn.Dropout(0.25),
            *pair(64, 128),
            *pair(128, 256),
            nn.MaxPool2d(2),
            nn.Dropout(0.25),
            nn.Flatten(),
        )
        self.head = nn.Sequential(
            nn.Linear(self.flat(), 1024), nn.ReLU(), nn.Dropout(0.5), nn.Linear(1024, n_classes)
        )
        start_as_keras(self)
