"""One training run as an object that makes steps; its state can be saved and restored after any step."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mien.core.own_files import NUMBER, check_shape
from mien.core.preprocess import resized, to_input
from mien.data.records import FaceSet
from mien.errors import MienError, RecipeError
from mien.train import checkpoints
from mien.train.batches import Batch, TrainingBatches, step_seed
from mien.train.devices import mixed_precision, reuse_memory
from mien.train.exported import settle
from mien.train.inference import predict
from mien.train.initialise import InitReport, load_initial
from mien.train.losses import votes_loss
from mien.train.optim import AveragedWeights, Position, learning_rate, make_optimizer
from mien.train.parallel import ALONE, Workers
from mien.train.recipe import Recipe
from mien.train.targets import Target, make_target
from mien.train.zoo import build

CHECK_EVERY = 50
"""Steps after which a GPU is asked whether the loss is still a number: each question waits for its work."""
SETTLING = 512
"""Training faces, spread over all, by which a released model's batch normalisations get their statistics."""


NOTE = {
    "step": int,
    "seconds": NUMBER,
    "totals": {"loss": NUMBER, "correct": NUMBER, "seen": int},
    "history": [{}],
}
"""The shape of the note that lies with a checkpoint."""


@dataclass
class Totals:
    """Sums over the steps since the last look at the validation rows."""

    loss: float | Tensor = 0.0
    correct: float | Tensor = 0.0
    seen: int = 0

    def note(self) -> dict[str, float]:
        """The sums as numbers, JSON-ready."""
        return {"loss": float(self.loss), "correct": float(self.correct), "seen": self.seen}


@dataclass
class Trainer:
    """A network, what it learns from, and how far it is.

    To make one checks all that can be checked at once; `prepare` does what takes minutes.

    Args:
        recipe: What to do.
        train: Training faces; see `mien.train.batches.training_rows`.
        mean_std: What pixels in 0-1 are normalised by.
        device: Where to train.
        teacher_logits: What the teachers say of each training face, (N, C), where the recipe distils.
        ask: In place of these: teachers that see each batch as the network does; see `Emotions`.
        workers: The processes that train together; all hold the same weights after each step.
        teach: Gives ``teacher_logits`` where they are still to be computed.
    """

    recipe: Recipe
    train: FaceSet
    mean_std: tuple[float, float]
    device: torch.device
    teacher_logits: NDArray[np.float32] | None = None
    ask: Callable[[Tensor], Tensor] | None = None
    workers: Workers = ALONE
    teach: Callable[[], NDArray[np.float32]] | None = None
    step_count: int = 0
    seconds: float = 0.0
    totals: Totals = field(default_factory=Totals)
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        run = self.recipe.run
        if run.threads:
            torch.set_num_threads(max(1, run.threads // self.workers.on_node))
        torch.set_flush_denormal(True)  # decayed averages reach denormals, which are slow on x86
        reuse_memory()
        torch.manual_seed(run.seed)
        n_votes = len(self.train.vote_names or ()) if self.recipe.loss.votes_weight else 0
        self.target = self._make_target()
        net = build(self.recipe.net, len(self.target.names), n_votes)
        self.net = net.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._check_input()
        self.initial = self._start_from(self.recipe.net.init_from) if self.recipe.net.init_from else None
        self.batches = TrainingBatches(self.train, self.recipe, self.mean_std, self.device)
        self._check_batch()
        self._check_sizes()
        self.optimizer = make_optimizer(self.net, self.recipe.optim)
        self.average = AveragedWeights(self.net, run.ema) if run.ema else None

    def _make_target(self) -> Target:
        return make_target(self.train, self.recipe, self.device, self.teacher_logits, self.ask)

    def prepare(self) -> None:
        """Compute what the steps need of all training faces, once: what teachers say of them."""
        if self.teach:
            self.teacher_logits, self.teach = self.teach(), None
            self.target = self._make_target()

    def _check_input(self) -> None:
        """Let the network answer for one face.

        Raises:
            RecipeError: it takes other faces than these.
        """
        face, net = self._faces(self.train.images[:1]), self.recipe.net
        if not (refusal := self._refusal(face)):
            return
        is_rgb = face.shape[1] == 3
        what = f"net.{net.name} cannot take {'RGB' if is_rgb else 'gray'} faces {tuple(face.shape)}"
        if self._refusal(face[:, :1] if is_rgb else face.expand(-1, 3, -1, -1)):
            raise RecipeError(f"{what}: {refusal}")  # of any colour: their size, say
        advice = f"import the data {'without' if is_rgb else 'with'} --color"
        if not net.init_from:
            advice = f"set net.options.channels={face.shape[1]}, or {advice}"
        raise RecipeError(f"{what}; {advice}")

    def _refusal(self, face: Tensor) -> str:
        """Why the network cannot answer for a face (1, channels, S, S); empty where it can."""
        training = self.net.training
        try:
            with torch.no_grad():
                self.net.eval()(face)
        except RuntimeError as e:
            return str(e).splitlines()[0]
        finally:
            self.net.train(training)
        return ""

    def _check_batch(self) -> None:
        """Let the network learn from one face where a process has no more of a batch.

        Raises:
            MienError: a process has none.
            RecipeError: the network needs more, for batch normalisation has no deviation of one value.
        """
        n_faces, count = self.batches.batch_size, self.workers.count
        if n_faces < count:
            raise MienError(
                f"a batch has {n_faces} faces, too few for {count} processes; raise run.batch_size"
            )
        if n_faces >= 2 * count:
            return
        before = {name: t.clone() for name, t in self.net.state_dict().items()}
        small = resized(self.train.images[:1], min(side for _, side in self.recipe.run.sizes))
        try:
            with torch.no_grad():
                self.net.train()(torch.from_numpy(to_input(small, *self.mean_std)).to(self.device))
        except ValueError as e:
            each = "a batch" if count == 1 else "a process"
            raise RecipeError(
                f"net.{self.recipe.net.name} needs 2 faces or more for its batch normalisation, and {each} "
                f"has 1: set run.batch_size={2 * count} or more, and train on as many faces"
            ) from e
        self.net.load_state_dict(before)

    def _check_sizes(self) -> None:
        """Raise a RecipeError where no step is as late as the last size, which is scored."""
        start, size = max(self.recipe.run.sizes)
        steps = self.batches.steps
        if self.batches.size(steps - 1) != size:
            raise RecipeError(
                f"run.sizes: {size} px start at {start:g} of the run, and the last of {steps} steps lies at "
                f"{(steps - 1) / steps:.4g}, so no step would train at the size that is scored; start it "
                "earlier, or raise run.epochs"
            )

    def _faces(self, images: NDArray[np.uint8]) -> Tensor:
        """Faces (N, H, W) as the whole network takes them, also where a part of it has run already."""
        return torch.from_numpy(Trainer.inputs(self, images)).to(self.device)

    def _start_from(self, path: str) -> InitReport:
        report = load_initial(self.net, path, self.target.names)
        if report.released:
            some = np.linspace(0, len(self.train) - 1, min(len(self.train), SETTLING)).astype(int)
            settle(self.net, self._faces(self.train.images[some]))
        return report

    @property
    def watched(self) -> str:
        """What of a validation says which is best: `run.watch`, or the loss where no label is learned."""
        return self.recipe.run.watch if self.target.counts_right else "val_loss"

    @property
    def done(self) -> bool:
        """The last step is made, or enough validations brought nothing better."""
        patience = self.recipe.run.stop_after
        waited = len(self.history) - 1 - best_look(self.history, self.watched)
        return self.step_count >= self.batches.steps or bool(patience and self.history and waited >= patience)

    @property
    def epoch(self) -> float:
        """Passes over the training faces so far."""
        return self.step_count / self.batches.per_epoch

    def step(self) -> Tensor:
        """Learn from one batch, and return its loss; a GPU is waited for every `CHECK_EVERY` steps alone.

        Raises:
            MienError: the loss is no finite number.
        """
        self.prepare()
        batch = self.batches.at(self.step_count)
        dropped = step_seed(self.recipe.run.seed + 1 + self.workers.rank, self.step_count)
        torch.manual_seed(dropped)  # dropout draws from it
        key, sign = ("val_accuracy", 1) if self.target.counts_right else ("val_loss", -1)
        scores = [sign * line[key] for line in self.history if key in line]
        at = Position(self.step_count, self.batches.steps, self.batches.per_epoch, scores)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(at, self.recipe.optim) * group.get("rate", 1.0)
        self.net.train()
        with self._autocast():
            logits, loss = self.forward(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.workers.add_up(self.net)
        self.optimizer.step()
        if self.average:
            self.average.update(self.net, self.step_count)
        self.step_count += 1
        value = loss.detach().double()
        if self.device.type == "cpu" or self.step_count % CHECK_EVERY == 0:
            self._check(value)
        self.totals.loss = self.totals.loss + value * len(batch.rows)
        self.totals.correct = self.totals.correct + self.target.right(logits, batch)
        self.totals.seen += len(batch.rows)
        return value

    def _check(self, loss: Tensor) -> None:
        if not math.isfinite(float(loss)):
            raise MienError(f"the loss is {float(loss)} at step {self.step_count}: lower optim.lr")

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits (N, C) of a batch, and its loss."""
        n = len(batch.rows)
        faces = batch.faces[self.workers.own(n)].contiguous(memory_format=torch.channels_last)
        if self.target.votes is None:
            logits = self.workers.whole(self.net(faces).float(), n)
            return logits, self.target.loss(logits, batch)
        net: Any = self.net  # `zoo.build` made sure that it has a head for votes
        logits, vote_logits = (self.workers.whole(part.float(), n) for part in net.forward_with_votes(faces))
        vote_loss = votes_loss(vote_logits, batch.mix(self.target.votes))
        return logits, self.target.loss(logits, batch) + self.recipe.loss.votes_weight * vote_loss

    def _autocast(self) -> torch.autocast:
        return mixed_precision(self.device, self.recipe.run.precision)

    def current_weights(self) -> dict[str, Tensor]:
        """The weights to look at now: the averaged ones where the recipe keeps them."""
        return self.average.tensors if self.average else self.net.state_dict()

    def weights(self) -> dict[str, Tensor]:
        """The weights to release: the current ones, or those of the best validation if so asked."""
        return self.best or self.current_weights()

    def logits(
        self, images: NDArray[np.uint8], weights: dict[str, Tensor] | None = None
    ) -> NDArray[np.float32]:
        """Logits (N, C) of faces (N, H, W) by the weights to release, as inference would see them."""
        training = {name: t.clone() for name, t in self.net.state_dict().items()}
        self.net.load_state_dict(weights or self.weights())
        faces = self.inputs(images)
        try:
            part = predict(self.net, faces[self.workers.own(len(faces))], self.device)
            rows = self.workers.whole(torch.from_numpy(part).to(self.device), len(faces))
            return np.asarray(rows.cpu().numpy(), np.float32)
        finally:
            self.net.load_state_dict(training)

    def inputs(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What the network takes for faces (N, H, W)."""
        return to_input(resized(images, scored_size(self.recipe)), *self.mean_std)

    def validate(self, val: FaceSet) -> dict[str, float]:
        """Score the validation rows, add a line to the history, and start new totals."""
        totals = self.totals.note()
        line = {
            "epoch": self.epoch,
            "lr": self.optimizer.param_groups[0]["lr"],
            "train_loss": totals["loss"] / max(totals["seen"], 1),
        }
        if self.target.counts_right:
            line["train_accuracy"] = totals["correct"] / max(totals["seen"], 1)
        if len(val):
            line |= self.target.scores(self.logits(val.images, self.current_weights()), val)
        self.totals = Totals()
        self.history.append(line)
        run = self.recipe.run
        if run.keep == "best" and best_look(self.history, self.watched) == len(self.history) - 1:
            self.best = {name: t.detach().clone() for name, t in self.current_weights().items()}
        return line

    def tensors(self) -> dict[str, Tensor]:
        """Everything that `restore` needs, by name."""
        return {
            **checkpoints.with_prefix("net", self.net.state_dict()),
            **checkpoints.with_prefix("average", self.average.tensors if self.average else {}),
            **checkpoints.with_prefix("best", self.best),
            **checkpoints.with_prefix("optimizer", checkpoints.optimizer_tensors(self.optimizer)),
            **checkpoints.with_prefix("teachers", self._answers()),
        }

    def _answers(self) -> dict[str, Tensor]:
        """What the teachers said, where they were asked once; a file of soft targets is read again."""
        is_asked = self.teacher_logits is not None and self.recipe.distil.teachers
        return {"logits": torch.from_numpy(self.teacher_logits)} if is_asked else {}

    def note(self) -> dict[str, Any]:
        """The rest of the state, JSON-ready."""
        return {
            "step": self.step_count,
            "seconds": self.seconds,
            "totals": self.totals.note(),
            "history": self.history,
        }

    def restore(self, tensors: dict[str, Tensor], note: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.net.load_state_dict(checkpoints.without_prefix("net", tensors))
        if self.average:
            for name, tensor in checkpoints.without_prefix("average", tensors).items():
                self.average.tensors[name].copy_(tensor)
        self.best = checkpoints.without_prefix("best", tensors)
        checkpoints.restore_optimizer(self.optimizer, checkpoints.without_prefix("optimizer", tensors))
        if answers := checkpoints.without_prefix("teachers", tensors):
            self.teach = lambda: answers["logits"].numpy()
        check_shape(note, NOTE)
        self.step_count, self.seconds = note["step"], note["seconds"]
        self.totals = Totals(**note["totals"])
        self.history = [{name: float(value) for name, value in line.items()} for line in note["history"]]


def best_look(history: list[dict[str, float]], watch: str) -> int:
    """Which line of the history is best; the first of equals; the last where none was scored."""
    sign = -1 if watch == "val_loss" else 1
    scored = [sign * line.get(watch, -math.inf * sign) for line in history]
    if not scored or max(scored) == -math.inf:
        return len(history) - 1
    return scored.index(max(scored))


def scored_size(recipe: Recipe) -> int:
    """Side in pixels of the faces that a finished run's network is given."""
    return max(recipe.run.sizes)[1]
