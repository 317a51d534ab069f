"""Convert a face-recognition MobileNet to a safetensors file that `net.init_from` reads.

    npm pack @vladmandic/human@3.3.6 && tar xzf vladmandic-human-3.3.6.tgz
    python tools/convert_hse_face.py package/models --faces fer2013.h5

The source is `faceres.bin` beside its manifest `faceres.json`, in half precision, given as the file or as a
folder that holds it; its SHA-256 is checked. It is a MobileNet that Andrey Savchenko trained to recognise the
people of VGGFace2 (github.com/av-savchenko/HSE_FaceRec_tf), in a package under the MIT licence. VGGFace2's
photographs were collected from the web for research: a model that learned from this start says so in its
card.

The network was published for BGR in 0-255 less a mean colour; both are folded into the first convolution,
so that it takes RGB in 0-1 (`data.input = "unit"`). What it pads at the right and the lower border is black
then, where it was the mean colour. Normalisations had been folded away before publication. With --faces
they become batch normalisations again, with the statistics of these training faces: the same function, but
one that can be trained on at a high rate.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from published_weights import EPS, N_FACES, Array, batch_statistics, published_file, read_tfjs
from safetensors.torch import save_file
from torch import Tensor

from mien.train.face_mobilenet import BLOCKS, MobileNetBackbone

BIN = "faceres.bin"
SHA256 = "2c7d2d62b76c97528b736527aa09d310ea71743c9e3e79fb6c62d4b2d73af79b"
MEAN_RGB = (123.68, 116.779, 103.939)
SIZE = 112
"""Side in pixels at which --faces are seen."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="the file, or a folder that holds it")
    parser.add_argument("--out", type=Path, default=Path("face-mobilenet.safetensors"))
    parser.add_argument("--faces", type=Path, help="data set file whose training faces set the statistics")
    args = parser.parse_args()
    path = find(args.source)
    tensors = to_torch(read_manifest(path))
    if args.faces:
        tensors |= batch_statistics(MobileNetBackbone(channels=3), tensors, args.faces, SIZE)
    note = {
        "source": BIN,
        "sha256": SHA256,
        "licence": "MIT",
        "author": "Andrey V. Savchenko, converted by Vladimir Mandic, github.com/vladmandic/human",
        "statistics": f"{N_FACES} training faces of {args.faces.name}" if args.faces else "none",
    }
    save_file({name: t.contiguous() for name, t in tensors.items()}, args.out, metadata=note)
    print(f"wrote {args.out}: {sum(t.numel() for t in tensors.values()):,} numbers")


def find(source: Path) -> Path:
    """The weights' file, its hash checked."""
    return published_file(source, {BIN: SHA256})


def layers() -> Iterator[tuple[str, str, str]]:
    """Place in `MobileNetBackbone`, and the published names of its kernel and of its normalisation."""
    yield "stem", "conv1", "conv1_bn"
    for number in range(1, len(BLOCKS) + 1):
        yield f"pairs.{number - 1}.0", f"conv_dw_{number}", f"conv_dw_{number}_bn"
        yield f"pairs.{number - 1}.1", f"conv_pw_{number}", f"conv_pw_{number}_bn"


def read_manifest(path: Path) -> dict[str, Array]:
    """Every published tensor by its name, as float32."""
    manifest = json.loads(path.with_suffix(".json").read_text())["weightsManifest"]
    return read_tfjs([entry for group in manifest for entry in group["weights"]], path.read_bytes())


def to_torch(given: dict[str, Array]) -> dict[str, Tensor]:
    """Tensors of `MobileNetBackbone` for RGB in 0-1."""
    tensors: dict[str, Tensor] = {}
    for place, conv, norm in layers():
        kernel = next(array for name, array in given.items() if name.startswith(f"{conv}/"))
        order = (2, 3, 0, 1) if "_dw_" in conv else (3, 2, 0, 1)
        tensors[f"{place}.conv.weight"] = torch.from_numpy(kernel.transpose(order).copy())
        shift = torch.from_numpy(given[f"{norm}/batchnorm_1/sub"].copy())
        scale = given.get(f"{norm}/batchnorm_1/mul")
        tensors[f"{place}.norm.weight"] = (
            torch.ones_like(shift) if scale is None else torch.from_numpy(scale.copy())
        )
        tensors[f"{place}.norm.bias"] = shift
        tensors[f"{place}.norm.running_mean"] = torch.zeros_like(shift)
        tensors[f"{place}.norm.running_var"] = torch.full_like(shift, 1 - EPS)
    stem = tensors["stem.conv.weight"].flip(1)  # published for BGR
    tensors["stem.norm.bias"] = tensors["stem.norm.bias"] - stem.sum((2, 3)) @ torch.tensor(MEAN_RGB)
    tensors["stem.conv.weight"] = stem * 255
    return tensors


if __name__ == "__main__":
    main()
