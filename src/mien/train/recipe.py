"""The tables of a training recipe, and what each of their settings may be."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
LARGEST_SEED = 2**64 - 1
"""That torch takes."""
MOST_THREADS = 1024
"""More than any machine has use for; with a million the process crashes."""


class Settings(BaseModel):
    """A table of the recipe. Unknown keys are mistakes; values never change after checking."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataSettings(Settings):
    """Which faces to learn from."""

    store: str = Field("fer2013.h5", description="HDF5 file written by `mien data import`")
    input: Literal["standard", "unit", "raw"] = Field(
        "standard",
        description="standard subtracts the training pixels' mean and divides by their deviation; "
        "unit leaves 0-1, raw 0-255",
    )
    sampling: Literal["shuffle", "balanced", "in-order"] = Field(
        "shuffle",
        description="balanced draws every emotion as often, with replacement; in-order keeps the order "
        "of the file, and so never shows the faces at its end that fill no batch",
    )
    drop_blank: bool = Field(True, description="leave out training faces of one single gray value")
    drop_non_faces: bool = Field(
        True, description="leave out training rows that every FER+ rater calls no face"
    )


class NetSettings(Settings):
    """Which network to build; `options` go to its constructor."""

    name: str = Field(
        "s2d-resnet",
        description="one of docs/reference/networks.md, a name of timm, or your own as package.module:Class "
        "or file.py:Class",
    )
    options: dict[str, int | float | bool | str | list[int] | list[float]] = Field(
        {}, description="what the network's constructor takes, such as `dropout`, `size`, `freeze`"
    )
    init_from: str = Field(
        "", description="released model, checkpoint (.safetensors, .pth) or run folder to start from"
    )


class AugmentSettings(Settings):
    """What may happen to a training face. Zero switches a part off."""

    flip: Literal["none", "random", "alternate"] = Field(
        "alternate", description="mirror; alternate mirrors each face in every second epoch"
    )
    rotation_deg: float = Field(0.0, ge=0, le=180, description="largest rotation either way")
    zoom: float = Field(0.0, ge=0, lt=1, description="largest relative change of size")
    shift: float = Field(0.0, ge=0, lt=1, description="largest shift as a part of the side")
    brightness: Fraction = Field(0.0, description="largest change, as a part of the full range")
    contrast: float = Field(0.0, ge=0, lt=1, description="largest relative change of contrast")
    jitter: tuple[Fraction, Fraction, Fraction, Annotated[float, Field(ge=0, le=0.5)]] = Field(
        (0.0, 0.0, 0.0, 0.0),
        description="largest change of brightness, contrast, saturation (relative) and hue (turns)",
    )
    erase: Fraction = Field(0.0, description="probability of erasing one rectangle")
    erase_from: Fraction = Field(0.0, description="part of the run after which erasing starts")
    low_resolution: Fraction = Field(0.0, description="probability of shrinking and enlarging again")
    noise: Fraction = Field(0.0, description="probability of Gaussian noise")
    mask: Fraction = Field(0.0, description="probability of a plain background outside an ellipse")
    hide: Fraction = Field(0.0, description="probability of hiding 25-50 % of the face from one side")
    calm_from: Fraction = Field(1.0, description="part of the run after which only flip and shift remain")
    mixup: float = Field(0.0, ge=0, description="alpha of the Beta distribution that mixes pairs of faces")


LossName = Literal["cross-entropy", "focal", "l2-svm", "soft-votes", "valence-arousal", "wing", "squared"]


class LossSettings(Settings):
    """What is minimised; see `mien.train.losses`."""

    name: LossName = Field(
        "cross-entropy",
        description="`soft-votes` is the divergence from the raters' shares; `valence-arousal` the error of "
        "their expected values; `wing` and `squared` learn landmarks",
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of the target spread over all emotions"
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced weighs a face by n / (C * faces of its emotion)"
    )
    focal_gamma: float = Field(2.0, ge=0, description="how much an easy face counts less")
    logit_adjustment: float = Field(
        0.0,
        ge=0,
        description="tau: the loss sees logits + tau * log(share of the emotion), which leaves the logits "
        "themselves balanced; 1 is balanced softmax",
    )
    votes_weight: float = Field(0.0, ge=0, description="weight of the auxiliary FER+ vote loss")


class DistilSettings(Settings):
    """Learn from the probabilities of finished runs, or from a file of them, beside the labels."""

    teachers: list[str] = Field(
        [], description="run folders or released models whose probabilities are averaged; none is off"
    )
    targets: str = Field(
        "", description="file of `mien targets` (.safetensors), or the name of a shipped one"
    )
    view: Literal["original", "same"] = Field(
        "original",
        description="what teachers look at: the face as it is, once; or at each step the same changed and "
        "mixed face as the network",
    )
    alpha: Fraction = Field(0.8, description="weight of the labels; the rest is the teachers'")
    temperature: float = Field(1.0, gt=0, description="softens teacher and student alike")


class OptimSettings(Settings):
    """How it is minimised; see `mien.train.optim`."""

    name: Literal["sgd", "muon", "adam", "adamw", "adamax", "rmsprop", "adagrad"] = Field(
        "sgd",
        description="the optimiser, as in torch; muon makes the steps of all convolutions but the first "
        "orthogonal",
    )
    lr: float = Field(0.1, gt=0, description="peak learning rate")
    sgd_lr: float = Field(0.1, gt=0, description="muon: peak rate of what it leaves to SGD")
    momentum: float = Field(0.9, ge=0, lt=1, description="Nesterov's with sgd; of rmsprop too")
    weight_decay: float = Field(0.0, ge=0, description="L2, on convolution and linear weights only")
    warmup: Fraction = Field(0.0, description="part of the run in which the rate rises from zero")
    schedule: Literal[
        "constant", "linear", "cosine", "one-cycle", "step", "decay", "inverse-time", "plateau"
    ] = Field("linear", description="how the rate falls after the warm-up")
    gamma: Fraction = Field(0.5, description="factor of step, decay (an epoch) and plateau")
    every: int = Field(10, gt=0, description="epochs between the falls of step")
    patience: int = Field(10, gt=0, description="validations without a better accuracy, for plateau")
    min_lr: float = Field(0.0, ge=0, description="plateau goes no lower")
    time_decay: float = Field(1e-4, ge=0, description="inverse-time divides by 1 + time_decay * step")

    @model_validator(mode="after")
    def _agree(self) -> "OptimSettings":
        if self.warmup and self.schedule == "one-cycle":
            raise ValueError("one-cycle warms up by itself: leave out optim.warmup")
        if self.schedule == "plateau" and self.min_lr > self.lr:
            raise ValueError(f"min_lr ({self.min_lr:g}) must not exceed lr ({self.lr:g})")
        return self


class RunSettings(Settings):
    """How long, on what, and how it is kept."""

    epochs: int = Field(gt=0, description="passes over the training faces")
    batch_size: int = Field(
        128,
        gt=0,
        description="faces a step; those that fill no batch wait an epoch; in order, the last ones always",
    )
    seed: int = Field(
        0, ge=0, le=LARGEST_SEED, description="of the first weights, the order, every change and dropout"
    )
    sizes: list[tuple[Fraction, Annotated[int, Field(ge=8, le=1024)]]] = Field(
        [(0.0, 48)],
        min_length=1,
        description="[part of the run, side in pixels] pairs: progressive resizing; the last is scored",
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="bf16 computes in mixed precision; in fp32 on a CPU without bf16 arithmetic"
    )
    ema: float = Field(0.0, ge=0, lt=1, description="decay a step of the averaged weights; 0 keeps none")
    evaluate_every: int = Field(1, gt=0, description="epochs between validations")
    keep: Literal["last", "best"] = Field("last", description="weights kept; best goes by `watch`")
    watch: Literal["val_accuracy", "val_loss"] = Field(
        "val_accuracy", description="what `keep` and `stop_after` go by"
    )
    stop_after: int = Field(
        0, ge=0, description="validations without a better `watch` before the end; 0 never"
    )
    checkpoint_every_s: float = Field(
        60.0, ge=0, description="seconds between checkpoints; 0 writes each step"
    )
    threads: int = Field(0, ge=0, le=MOST_THREADS, description="CPU threads; 0 leaves the choice to torch")


class Recipe(Settings):
    """Everything that decides the weights of a run, given the data."""

    summary: str = ""
    data: DataSettings = DataSettings()  # type: ignore[call-arg]
    net: NetSettings = NetSettings()  # type: ignore[call-arg]
    augment: AugmentSettings = AugmentSettings()  # type: ignore[call-arg]
    loss: LossSettings = LossSettings()  # type: ignore[call-arg]
    distil: DistilSettings = DistilSettings()  # type: ignore[call-arg]
    optim: OptimSettings = OptimSettings()  # type: ignore[call-arg]
    run: RunSettings
