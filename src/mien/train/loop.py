"""One training run as an object that makes steps; its state can be saved and restored after any of them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mien.core.preprocess import to_input
from mien.data.records import FaceSet
from mien.train import checkpoints
from mien.train.batches import TrainingBatches, step_seed
from mien.train.losses import emotion_loss, votes_loss
from mien.train.optim import AveragedWeights, learning_rate, make_optimizer
from mien.train.recipe import Recipe
from mien.train.zoo import build


@dataclass
class Totals:
    """Sums over the steps since the last look at the validation rows."""

    loss: float = 0.0
    correct: float = 0.0
    seen: int = 0


@dataclass
class Trainer:
    """A network, what it learns from, and how far it is.

    Args:
        recipe: What to do.
        train: Training faces; see `mien.train.batches.training_rows`.
        mean_std: Mean and standard deviation of the training pixels, in 0-1.
        device: Where to train.
    """

    recipe: Recipe
    train: FaceSet
    mean_std: tuple[float, float]
    device: torch.device
    step_count: int = 0
    totals: Totals = field(default_factory=Totals)
    history: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        run = self.recipe.run
        if run.threads:
            torch.set_num_threads(run.threads)
        torch.set_flush_denormal(True)  # decayed averages reach denormals, which are slow on x86
        torch.manual_seed(run.seed)
        n_votes = len(self.train.vote_names or ()) if self.recipe.loss.votes_weight else 0
        net = build(self.recipe.net, len(self.train.label_names), n_votes)
        self.net = net.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.batches = TrainingBatches(self.train, self.recipe, self.mean_std, self.device)
        self.optimizer = make_optimizer(self.net, self.recipe.optim)
        self.average = AveragedWeights(self.net, run.ema) if run.ema else None

    @property
    def done(self) -> bool:
        return self.step_count >= self.batches.steps

    @property
    def epoch(self) -> float:
        """Passes over the training faces so far."""
        return self.step_count / self.batches.per_epoch

    def step(self) -> float:
        """Learn from one batch, and return its loss."""
        batch = self.batches.at(self.step_count)
        torch.manual_seed(step_seed(self.recipe.run.seed + 1, self.step_count))  # dropout draws from it
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate((self.step_count + 1) / self.batches.steps, self.recipe.optim)
        self.net.train()
        faces = batch.faces.contiguous(memory_format=torch.channels_last)
        with self._autocast():
            logits, loss = self._forward(faces, batch.labels, batch.votes)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        if self.average:
            self.average.update(self.net, self.step_count)
        self.step_count += 1
        value = float(loss.detach())
        self.totals.loss += value * len(faces)
        self.totals.correct += float((logits.argmax(1) == batch.labels).sum())
        self.totals.seen += len(faces)
        return value

    def _forward(self, faces: Tensor, labels: Tensor, votes: Tensor | None) -> tuple[Tensor, Tensor]:
        settings = self.recipe.loss
        if votes is None:
            logits = self.net(faces).float()
            return logits, emotion_loss(logits, labels, settings)
        net: Any = self.net  # `zoo.build` made sure that it has a head for votes
        emotion_logits, vote_logits = net.forward_with_votes(faces)
        emotion_logits = emotion_logits.float()
        loss = emotion_loss(emotion_logits, labels, settings)
        return emotion_logits, loss + settings.votes_weight * votes_loss(vote_logits.float(), votes)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.run.precision == "bf16")

    def weights(self) -> dict[str, Tensor]:
        """The weights to evaluate and release: the averaged ones where the recipe keeps them."""
        return self.average.tensors if self.average else self.net.state_dict()

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits (N, C) of gray faces (N, H, W) by the weights to release, as inference would see them."""
        training = {name: t.clone() for name, t in self.net.state_dict().items()}
        self.net.load_state_dict(self.weights())
        try:
            return predict(self.net, to_input(images, *self.mean_std), self.device)
        finally:
            self.net.load_state_dict(training)

    def look(self, val: FaceSet) -> dict[str, float]:
        """Score the validation rows, add a line to the history, and start new totals."""
        logits = torch.from_numpy(self.logits(val.images)) if len(val) else torch.zeros(0, 1)
        labels = torch.from_numpy(val.labels)
        line = {
            "epoch": self.epoch,
            "lr": self.optimizer.param_groups[0]["lr"],
            "train_loss": self.totals.loss / max(self.totals.seen, 1),
            "train_accuracy": self.totals.correct / max(self.totals.seen, 1),
        }
        if len(val):
            line["val_loss"] = float(nn.functional.cross_entropy(logits, labels))
            line["val_accuracy"] = float((logits.argmax(1) == labels).float().mean())
        self.totals = Totals()
        self.history.append(line)
        return line

    def tensors(self) -> dict[str, Tensor]:
        """Everything that `restore` needs, by name."""
        return {
            **checkpoints.with_prefix("net", self.net.state_dict()),
            **checkpoints.with_prefix("average", self.average.tensors if self.average else {}),
            **checkpoints.with_prefix("optimizer", checkpoints.optimizer_tensors(self.optimizer)),
        }

    def note(self) -> dict[str, Any]:
        """The rest of the state, JSON-ready."""
        return {"step": self.step_count, "totals": vars(self.totals), "history": self.history}

    def restore(self, tensors: dict[str, Tensor], note: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.net.load_state_dict(checkpoints.without_prefix("net", tensors))
        if self.average:
            for name, tensor in checkpoints.without_prefix("average", tensors).items():
                self.average.tensors[name].copy_(tensor)
        checkpoints.restore_optimizer(self.optimizer, checkpoints.without_prefix("optimizer", tensors))
        self.step_count = note["step"]
        self.totals = Totals(**note["totals"])
        self.history = note["history"]


@torch.no_grad()
def predict(net: nn.Module, faces: NDArray[np.float32], device: torch.device) -> NDArray[np.float32]:
    """Logits (N, C), in fp32, of normalised faces (N, 1, S, S)."""
    net.eval()
    parts = []
    for start in range(0, max(len(faces), 1), 256):
        batch = torch.from_numpy(faces[start : start + 256]).to(device)
        parts.append(net(batch.contiguous(memory_format=torch.channels_last)).float().cpu().numpy())
    return np.concatenate(parts)
