"""Train the one-stage detector on scenes of cut-out faces; `export_detector.py` ships what comes of it.

    python tools/train_detector.py fer2013.h5 LANDMARKS BACKGROUNDS.npz RUN [--steps N] [--init FILE]

The faces are FER2013's Training and the training faces of LANDMARKS, sheets as `landmark_store.py` describes
them; BACKGROUNDS holds gray images without a face. The run goes on where a checkpoint in RUN ended.
"""

import argparse
import csv
import sys
import time
from pathlib import Path

import numpy as np
import torch
from detector_net import DetectorNet, detector_loss
from face_scenes import Cutout, Scenes, cutout
from landmark_store import sheet_faces
from numpy.typing import NDArray
from torch import nn

from mien.core.detectors import landmarks_on_crops
from mien.core.preprocess import FER2013_POINTS
from mien.core.quality import five_of_68
from mien.data.store import read_store
from mien.train.devices import reuse_memory

BATCH, RATE, WARMUP = 32, 3e-3, 0.05
SURE = 0.9  # of landmarks on a crop
UNLEARNED = 20  # every 20th face and background is kept for validation


def fer2013_faces(store: Path) -> list[Cutout]:
    images = read_store(store).select("train").images
    points, sure = landmarks_on_crops(images)
    return [
        cutout(image, p.astype(np.float64) if s > SURE else FER2013_POINTS, bool(s > SURE))
        for image, p, s in zip(images, points, sure, strict=True)
    ]


def landmark_faces(folder: Path) -> tuple[list[Cutout], list[Cutout]]:
    """Photographs' faces, and those of video frames."""
    with (folder / "points.csv").open(newline="") as file:
        _, *lines = csv.reader(file)
    photographs: list[Cutout] = []
    frames: list[Cutout] = []
    for line, image in zip(lines, sheet_faces(folder), strict=False):
        if line[2] == "train":
            points = five_of_68(np.array(line[3:], np.float64).reshape(-1, 2))
            (frames if line[1].lower().startswith("y") else photographs).append(cutout(image, points))
    return photographs, frames


def read_backgrounds(path: Path) -> list[NDArray[np.uint8]]:
    with np.load(path) as file:
        return [file[name] for name in file.files]


def split(items: list, learned: bool) -> list:
    return [item for i, item in enumerate(items) if (i % UNLEARNED != 0) == learned]


def batch(scenes: Scenes, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    images, targets = zip(*(scenes.make() for _ in range(n)), strict=True)
    pixels = torch.from_numpy(np.stack(images)[:, None].astype(np.float32))
    return pixels, torch.from_numpy(np.stack(targets))


@torch.no_grad()
def score(net: DetectorNet, pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> str:
    """Recall of the centres at the threshold that gives one false cell in ten scenes, and the losses."""
    net.eval()
    hits, empty, losses = [], [], []
    for pixels, target in pairs:
        cells = net(pixels)
        p, height = cells[:, 0].sigmoid(), target[:, 0]
        losses.append(torch.stack(detector_loss(cells, target)))
        best = torch.nn.functional.max_pool2d(p[:, None], 3, 1, 1)[:, 0]
        hits.append(best[height == 1])
        empty.append((p * ((height == 0) | ((height > 0) & (height < 0.05)))).flatten(1).amax(1))
    net.train()
    found, false = torch.cat(hits), torch.cat(empty)
    loss = torch.stack(losses).mean(0)
    at = [false.quantile(q).item() for q in (0.9, 0.98)]
    shares = "  ".join(f"{(found > t).float().mean():.3f} at {t:.2f}" for t in at)
    return f"loss {loss[0]:.3f} places {loss[1]:.4f} recall {shares}"


def arguments(about: str | None, steps: int) -> argparse.ArgumentParser:
    """What the trainings of both networks are asked."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("store", "landmarks", "backgrounds", "run"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--steps", type=int, default=steps)
    return parser


def begin(run: Path) -> None:
    torch.set_num_threads(1)
    reuse_memory()
    torch.manual_seed(0)
    run.mkdir(exist_ok=True)


def scenes_of(args: argparse.Namespace, seeds: tuple[int, int]) -> tuple[Scenes, Scenes]:
    """Scenes to learn from, and those that are kept for validation."""
    fer, (photographs, frames) = fer2013_faces(args.store), landmark_faces(args.landmarks)
    empty = read_backgrounds(args.backgrounds)
    print(
        f"{len(fer)} + {len(photographs)} + {len(frames)} faces, {len(empty)} images without one", flush=True
    )
    groups = [fer, fer, photographs, photographs, frames]
    learned, kept = (
        Scenes([split(group, part) for group in groups], split(empty, part), seed)
        for part, seed in zip((True, False), seeds, strict=True)
    )
    return learned, kept


def averaged(net: nn.Module) -> torch.optim.swa_utils.AveragedModel:
    return torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998), use_buffers=True
    )


def set_rate(optimiser: torch.optim.Optimizer, peak: float, part: float) -> None:
    """The learning rate after a part of the steps, 0-1: up to its peak, then linearly to zero."""
    rate = peak * min(1, part / WARMUP, (1 - part) / (1 - WARMUP))
    for group in optimiser.param_groups:
        group["lr"] = max(rate, 1e-6)


def main() -> None:
    parser = arguments(__doc__, 22_000)
    parser.add_argument("--init", type=Path, help="weights.pt of another run to begin with")
    args = parser.parse_args()
    begin(args.run)
    learned, kept = scenes_of(args, (time.time_ns() % 2**32, 0))
    validation = [batch(kept, 64) for _ in range(16)]
    net = DetectorNet().to(memory_format=torch.channels_last)
    if args.init:
        net.load_state_dict(torch.load(args.init, weights_only=True))
    print(f"{sum(p.numel() for p in net.parameters()):,} parameters")
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=0.01, fused=True)
    ema = averaged(net)
    saved, start = args.run / "checkpoint.pt", 0
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        net.load_state_dict(state["net"]), ema.load_state_dict(state["ema"])
        optimiser.load_state_dict(state["optimiser"])
        start = state["step"]
    sums, clock = np.zeros(2), time.monotonic()
    for step in range(start, args.steps):
        set_rate(optimiser, RATE, step / args.steps)
        pixels, target = batch(learned, BATCH)
        with torch.autocast("cpu", torch.bfloat16):
            cells = net(pixels.contiguous(memory_format=torch.channels_last))
        losses = detector_loss(cells, target)
        optimiser.zero_grad()
        (losses[0] + 2 * losses[1]).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 10)
        optimiser.step()
        ema.update_parameters(net)
        sums += [loss.item() for loss in losses]
        if (step + 1) % 100 == 0:
            rate_s = 100 / (time.monotonic() - clock)
            print(
                f"step {step + 1} loss {sums[0] / 100:.3f} places {sums[1] / 100:.4f} {rate_s:.1f}/s",
                flush=True,
            )
            sums, clock = np.zeros(2), time.monotonic()
        if (step + 1) % 500 == 0 or step + 1 == args.steps:
            print(score(ema.module, validation), flush=True)
            state = {"net": net.state_dict(), "ema": ema.state_dict(), "optimiser": optimiser.state_dict()}
            torch.save({**state, "step": step + 1}, saved.with_suffix(".tmp"))
            saved.with_suffix(".tmp").rename(saved)
            clock = time.monotonic()
    torch.save(ema.module.state_dict(), args.run / "weights.pt")


if __name__ == "__main__":
    sys.exit(main())
