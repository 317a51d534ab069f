"""Train the one-stage detector's second look, on the faces and the mistakes of its first network.

    python tools/train_refiner.py fer2013.h5 LANDMARKS BACKGROUNDS.npz RUN [--scenes N] [--init FILE]

The shipped first network searches scenes such as it was trained on (`train_detector.py` says of what), of
which three in five show no face. Every place that it takes for a face is learned as it frames it; with
``--init``, ``weights.pt`` of an earlier run, also as that network frames it better, and the mistakes that
it makes too are learned more often. The examples are kept in RUN.
"""

import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from detector_net import RefineNet
from face_scenes import BOX_SIDE, Laid, Scenes
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from train_detector import arguments, averaged, begin, scenes_of, set_rate

from mien.core.detection import DetectorSettings
from mien.core.geometry import invert, non_max_suppression, similarity, transform
from mien.core.landmarks import MIRRORED
from mien.core.one_stage import (
    FRAME,
    REFINE_POINTS,
    REFINE_UNIT,
    SAME_PLACE,
    OneStage,
    answered_points,
    boxes_of,
    frames,
    placed,
)
from mien.core.preprocess import FER2013_POINTS

BATCH, RATE = 256, 2e-3
UNSURE = 0.01  # of a label
NEAR, FAR = 0.25, 0.6  # from the middle of a face, in its sides: what is one, and what is none
EASY, HARD = -3.0, -1.0  # scores, as logits, below and above which a mistake is easy and hard
KEPT = 0.1  # the share of the easy ones that is learned
SMALL_JITTER, LARGE_JITTER = (0.026, 0.06, 0.08), (0.062, 0.12, 0.2)  # shift in sides, log of scale, roll

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Example:
    """A place of five landmarks (5, 2), as somebody sees them, and the true ones where it is a face."""

    seen: Floats
    is_face: bool
    points: Floats | None = None


class Examples:
    """Scenes searched by the shipped first network."""

    def __init__(self, scenes: Scenes, refiner: RefineNet | None, seed: int) -> None:
        self.scenes, self.refiner = scenes, refiner
        self.rng = np.random.default_rng(seed)
        self.detector = OneStage(DetectorSettings(min_face=24))
        self.detector.threshold = 0.03

    def make(self) -> Iterator[tuple[NDArray[np.uint8], bool, Floats]]:
        """Frames (48, 48), whether each is a face, and its landmarks (5, 2), fractions of it or NaN."""
        if self.rng.random() < 0.4:
            scene, laid = self.scenes.make_laid()
        else:
            scene, laid = self.scenes.make_empty(), []
        work = Image.fromarray(scene)
        chosen = list(self.of_scene(work, laid))
        maps = [similarity(example.seen, REFINE_POINTS) for example in chosen]
        shown = frames([work], [invert(matrix) for matrix in maps])
        for example, matrix, frame in zip(chosen, maps, shown, strict=True):
            true = np.full((5, 2), np.nan)
            if example.points is not None:
                true = transform(example.points, matrix) / FRAME
            yield frame, example.is_face, true

    def of_scene(self, work: Image.Image, laid: list[Laid]) -> Iterator[Example]:
        found = self.detector.candidates(work)
        scores, places = (np.concatenate(parts) for parts in zip(*found, strict=True))
        # As the detector asks for a second look.
        best = non_max_suppression(boxes_of(places), scores, SAME_PLACE)
        places = places[best].astype(np.float64)
        logits, better = self.refined(work, scores[best], places)
        for logit, seen, again in zip(logits, places, better, strict=True):
            middle = seen.mean(axis=0)
            apart = [math.dist(middle, place[:2]) / place[2] for place, _ in laid]
            nearest = int(np.argmin(apart)) if apart else 0
            if not apart or apart[nearest] > FAR:
                yield from self.mistake(seen, again, logit)
            elif apart[nearest] < NEAR:
                yield from self.face(seen, again, laid[nearest][1])

    def refined(
        self, work: Image.Image, scores: NDArray[np.float32], places: Floats
    ) -> tuple[Floats, Floats]:
        """Scores (N,) as logits, and landmarks (N, 5, 2), by the earlier network; as they are without one."""
        if self.refiner is None or not len(places):
            return np.log(scores / (1 - scores)), places
        points, logits = placed([work], places, self.look)
        return logits, points

    @torch.no_grad()
    def look(self, shown: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Landmarks (N, 5, 2), in pixels, and logits (N,) of frames (N, 48, 48) by the earlier network."""
        answers = self.refiner(torch.from_numpy(shown)[:, None].float()).numpy()
        return answered_points(answers), answers[:, 0]

    def face(self, seen: Floats, again: Floats, points: Floats | None) -> Iterator[Example]:
        if points is None:
            yield Example(seen, True)
        elif 0.5 < size_of(seen) / size_of(points) < 2:
            yield Example(seen, True, points)
            yield Example(self.jittered(points, SMALL_JITTER), True, points)
        else:
            return
        if self.refiner is not None:
            yield Example(again, True, points)

    def mistake(self, seen: Floats, again: Floats, logit: float) -> Iterator[Example]:
        if logit < EASY and self.rng.random() > KEPT:
            return
        yield Example(seen, False)
        if logit > HARD:
            yield Example(self.jittered(seen, LARGE_JITTER), False)
        if self.refiner is not None:
            yield Example(again, False)

    def jittered(self, points: Floats, by: tuple[float, float, float]) -> Floats:
        rng, middle = self.rng, points.mean(axis=0)
        shift, log_scale, turn = rng.normal(0, by[0], 2), rng.normal(0, by[1]), rng.normal(0, by[2])
        a, b = math.exp(log_scale) * math.cos(turn), math.exp(log_scale) * math.sin(turn)
        moved: Floats = (points - middle) @ np.array([[a, b], [-b, a]]) + middle
        return moved + shift * size_of(points)


def size_of(points: Floats) -> float:
    """The side of the usual face whose landmarks (5, 2) are as far apart."""
    usual = np.abs(FER2013_POINTS - FER2013_POINTS.mean(axis=0)).mean()
    return float(np.abs(points - points.mean(axis=0)).mean() / usual * BOX_SIDE)


Part = tuple[Tensor, Tensor, Tensor]
"""Frames (N, 48, 48), uint8, whether each is a face (N,), and its landmarks (N, 10)."""


def collect(examples: Examples, scenes: int) -> dict[str, NDArray]:
    made, clock = [], time.monotonic()
    for number in range(scenes):
        made += examples.make()
        if (number + 1) % 1000 == 0:
            rate = (number + 1) / (time.monotonic() - clock)
            print(f"{number + 1} of {scenes} scenes, {len(made)} examples, {rate:.0f}/s", flush=True)
    shown, is_face, points = zip(*made, strict=True)
    return {"frames": np.stack(shown), "faces": np.array(is_face), "points": np.float32(points)}


def part(path: Path) -> Part:
    with np.load(path) as file:
        frames_, faces, points = (torch.from_numpy(file[name]) for name in ("frames", "faces", "points"))
    return frames_, faces.float(), points.flatten(1)


def losses(answers: Tensor, faces: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Of the scores, and of the landmarks where they are known."""
    score = nn.functional.binary_cross_entropy_with_logits(answers[:, 0], faces * (1 - 2 * UNSURE) + UNSURE)
    known = ~points.isnan().any(dim=1)
    usual = torch.from_numpy(REFINE_POINTS).float().flatten()
    wanted = (points[known] * FRAME - usual) / REFINE_UNIT
    return score, nn.functional.smooth_l1_loss(answers[known, 1:], wanted, beta=0.1)


def drawn(learned: Part) -> tuple[Tensor, Tensor, Tensor]:
    """A batch, half of it faces: mirrored, and in another light."""
    shown, faces, points = learned
    groups = (torch.nonzero(faces == value).flatten() for value in (1, 0))
    rows = torch.cat([group[torch.randint(len(group), (BATCH // 2,))] for group in groups])
    pixels, faces, points = shown[rows, None].float(), faces[rows], points[rows].clone()
    mirrored = torch.rand(BATCH) < 0.5
    pixels[mirrored] = pixels[mirrored].flip(3)
    flipped = points[mirrored].view(-1, 5, 2)[:, MIRRORED[5]] * torch.tensor([-1.0, 1])
    points[mirrored] = (flipped + torch.tensor([1.0, 0])).flatten(1)
    contrast, light = torch.empty(BATCH, 1, 1, 1).uniform_(0.6, 1.3), torch.randn(BATCH, 1, 1, 1) * 15
    pixels = ((pixels - 127.5) * contrast + 127.5 + light).clamp(0, 255)
    return pixels.contiguous(memory_format=torch.channels_last), faces, points


@torch.no_grad()
def score(net: nn.Module, kept: Part) -> str:
    """The losses, and the recall at two shares of mistakes."""
    net.eval()
    shown, faces, points = kept
    answers = torch.cat([net(chunk[:, None].float()) for chunk in shown.split(512)])
    loss, places = losses(answers, faces, points)
    logits = answers[:, 0]
    at = [logits[faces == 0].quantile(1 - share) for share in (0.02, 0.005)]
    recall = "  ".join(f"{(logits[faces == 1] > t).float().mean():.3f}" for t in at)
    return f"validation: loss {loss:.3f} places {places:.3f} recall at 2 and 0.5 % of the mistakes {recall}"


def train(learned: Part, kept: Part, steps: int) -> RefineNet:
    net = RefineNet().to(memory_format=torch.channels_last)
    print(f"{len(learned[0])} examples, {sum(p.numel() for p in net.parameters()):,} parameters", flush=True)
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=0.02, fused=True)
    ema = averaged(net)
    sums, clock = np.zeros(2), time.monotonic()
    for step in range(steps):
        set_rate(optimiser, RATE, step / steps)
        pixels, faces, points = drawn(learned)
        with torch.autocast("cpu", torch.bfloat16):
            answers = net(pixels)
        loss, places = losses(answers.float(), faces, points)
        optimiser.zero_grad()
        (loss + 2 * places).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5)
        optimiser.step()
        ema.update_parameters(net)
        sums += [loss.item(), places.item()]
        if (step + 1) % 500 == 0:
            rate_s = 500 / (time.monotonic() - clock)
            print(f"step {step + 1} loss {sums[0] / 500:.3f} places {sums[1] / 500:.3f} {rate_s:.1f}/s")
            print(score(ema.module, kept), flush=True)
            sums, clock = np.zeros(2), time.monotonic()
    best: RefineNet = ema.module
    return best


def main() -> None:
    parser = arguments(__doc__, 12_000)
    parser.add_argument("--scenes", type=int, default=60_000)
    parser.add_argument("--init", type=Path, help="weights.pt of an earlier run, which frames faces again")
    args = parser.parse_args()
    begin(args.run)
    files = [args.run / f"{name}.npz" for name in ("learned", "kept")]
    if not all(file.exists() for file in files):
        refiner = None
        if args.init:
            refiner = RefineNet().eval()
            refiner.load_state_dict(torch.load(args.init, weights_only=True))
        numbers = args.scenes, args.scenes // 25
        for seed, (file, n, scenes) in enumerate(zip(files, numbers, scenes_of(args, (0, 1)), strict=True)):
            np.savez(file, **collect(Examples(scenes, refiner, seed), n))  # type: ignore[arg-type]
    net = train(*(part(file) for file in files), args.steps)
    torch.save(net.state_dict(), args.run / "weights.pt")


if __name__ == "__main__":
    sys.exit(main())
