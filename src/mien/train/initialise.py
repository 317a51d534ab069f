"""Start a network from a released model or a checkpoint of mien, torchvision, timm, or a VGGFace export."""

import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mien.core.model_store import is_run
from mien.core.run_names import WEIGHTS, is_run_folder
from mien.errors import ModelError
from mien.train.checkpoints import load_note
from mien.train.exported import VOTES, of_emotions, read_exported, unfolded

PICKLED = (".pth", ".pt", ".bin", ".ckpt", ".tar")
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "weights")
PREFIX = re.compile(r"^(module|_orig_mod|model|net|backbone|encoder|base_model|features|layer0)\.")

# VGGFace2 in Caffe's names: conv3_1_1x1_reduce is the first convolution of the second stage's first block.
CAFFE = re.compile(r"^conv(\d)_(\d)_(1x1_reduce|3x3|1x1_increase|1x1_proj|1x1_down|1x1_up)([_/]bn)?\.")
CAFFE_PLACES = {"1x1_reduce": "1", "3x3": "2", "1x1_increase": "3"}
CAFFE_STEM = re.compile(r"^conv1[_/]7x7_s2([_/]bn)?\.")
VGG = re.compile(r"^conv(\d)_(\d)\.")
VGG_STARTS = (0, 5, 10, 17, 24)
"""Places of each group's first convolution in torchvision's VGG16; each is followed by its ReLU."""
SE = re.compile(r"\.se_module\.|(?<=\.)(conv4|conv5)\.")
SE_PLACES = {"conv4": "se.fc1.", "conv5": "se.fc2."}


@dataclass(frozen=True)
class InitReport:
    """What a checkpoint set.

    Attributes:
        path: The checkpoint.
        matched: The network's tensors that were set.
        missing: Those that stay as they were drawn.
        left: The checkpoint's tensors that the network has no place for.
        released: The checkpoint is a released model: `mien.train.exported.settle` is due before training.
        new: Emotions that the start does not name; their rows of the last layer are as drawn.
    """

    path: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    left: tuple[str, ...]
    released: bool = False
    new: tuple[str, ...] = ()

    def __str__(self) -> str:
        n = len(self.matched) + len(self.missing)
        return (
            f"{self.path}: {len(self.matched)} of {n} tensors set; "
            f"as drawn: {_some(self.missing)}; not used: {_some(self.left)}"
            + (f"; emotions that it does not name: {', '.join(self.new)}" if self.new else "")
        )


def load_initial(net: nn.Module, path: str, emotions: Sequence[str] = ()) -> InitReport:
    """Set every tensor of ``net`` that a checkpoint or a released model holds.

    Names agree if they do so without prefixes such as ``module.``, or in the words of VGGFace's exports. A
    first kernel for colour is summed for a network that takes gray. A linear layer with another number of
    rows, as of other emotions, stays as it was drawn.

    Args:
        net: Any network; changed in place.
        path: A ``.safetensors`` file, a ``.pth`` or ``.pt`` file that holds tensors alone, a run folder, or
            a released model by name or ``.onnx`` file.
        emotions: What the network will name; a released model's last layer follows their order.

    Raises:
        ModelError: the file cannot be read, no weight matches, or one has another shape; or a released model
            is of another network.
        MissingExtraError: a released model, and onnx is not installed.
    """
    if is_released(path):
        return _load_released(net, path, emotions)
    tensors = read_tensors(Path(path))
    known = tuple(start_note(path).get("labels", emotions))
    tensors = of_emotions(tensors, net, known, emotions) if emotions else tensors
    return replace(_set(net, tensors, path), new=_new(emotions, known))


def start_note(path: str) -> dict[str, Any]:
    """What lies with the weights of a run folder or of its file, also of a copy; empty for other files."""
    file = Path(path) / WEIGHTS if Path(path).is_dir() else Path(path)
    with suppress(ModelError):
        return load_note(file)
    return {}


def start_folder(path: str) -> Path:
    """The run folder of a start, also where a file in it is given; a file of no run is left as it is."""
    file = Path(path)
    return file.parent if file.suffix == ".safetensors" and is_run_folder(file.parent) else file


def is_released(path: str) -> bool:
    """Whether a start is a released model: an ``.onnx`` or ``.json`` file, or a name that is no path here."""
    given = Path(path)
    is_file_name = len(given.parts) > 1 or given.suffix in (".safetensors", *PICKLED)
    return given.suffix in (".onnx", ".json") or not (is_file_name or given.is_file() or is_run(path))


def _load_released(net: nn.Module, path: str, emotions: Sequence[str]) -> InitReport:
    tensors, card = read_exported(path)
    state = of_emotions(unfolded(tensors, net), net, card.labels, emotions)
    report = _set(net, state, f"{card.name} (sha256 {card.sha256[:12]})")
    if lacking := [name for name in report.missing if not name.startswith(f"{VOTES}.")]:
        raise ModelError(
            f"{path} is a model of another network, or of one whose layers cannot be told apart in its file: "
            f"it lacks {_some(lacking)}; set net.name and net.options to what it was trained with"
        )
    return replace(report, released=True, new=_new(emotions, card.labels))


def _new(emotions: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in emotions if name not in known)


def _set(net: nn.Module, tensors: Mapping[str, Tensor], path: str) -> InitReport:
    wanted = {n: t for n, t in net.state_dict().items() if not n.endswith("num_batches_tracked")}
    found = {canonical(name): name for name in tensors}
    linear = {n for n, m in net.named_modules() if isinstance(m, nn.Linear)}
    chosen: dict[str, Tensor] = {}
    wrong, used = [], set()
    for name, tensor in wanted.items():
        source = name if name in tensors else found.get(canonical(name))
        if source is None:
            continue
        given = _fitted(tensors[source], tensor)
        if given is not None:
            chosen[name] = given
        elif name.rpartition(".")[0] not in linear or tensors[source].shape[1:] != tensor.shape[1:]:
            wrong.append(
                f"{name}: expected {tuple(tensor.shape)}, got {source} {tuple(tensors[source].shape)}"
            )
        used.add(source)
    if wrong:
        raise ModelError(f"{path} is of another network; {len(wrong)} tensor(s) do not fit: {wrong[0]}")
    if not any(t.ndim > 1 for t in chosen.values()):
        raise ModelError(
            f"{path} holds no weights for this network: it has {_some(sorted(tensors))}, "
            f"the network needs {_some(sorted(wanted))}"
        )
    net.load_state_dict(chosen, strict=False)
    left = tuple(n for n in tensors if n not in used and not n.endswith("num_batches_tracked"))
    return InitReport(path, tuple(chosen), tuple(n for n in wanted if n not in chosen), left)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name; of a run folder, its weights. No code in the file is run.

    Raises:
        ModelError: the file is missing, damaged, of another kind, or a pickle of more than tensors.
    """
    path = path / WEIGHTS if path.is_dir() else path
    if not path.is_file():
        raise ModelError(
            f"no checkpoint at {path}; give a .safetensors, .pth or .pt file, a run folder, "
            "or a model of `mien models`"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix not in PICKLED:
            raise ModelError(f"{path} is not a checkpoint for mien: .safetensors, {', '.join(PICKLED)}")
        with warnings.catch_warnings():  # of pickle protocols; what it cannot read raises
            warnings.simplefilter("ignore")
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as e:
        raise ModelError(
            f"{path} holds more than tensors, or is damaged; save its state_dict alone, "
            "better as .safetensors"
        ) from e
    except (OSError, EOFError, MemoryError, RuntimeError, ValueError, KeyError, SafetensorError) as e:
        raise ModelError(f"{path} cannot be read: {(str(e).splitlines() or ['it ends too soon'])[0]}") from e
    for key in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds a {type(content).__name__}, not tensors by name")
    return {str(name): t for name, t in content.items() if isinstance(t, Tensor)}


def canonical(name: str) -> str:
    """A tensor's name without prefixes, and in torchvision's words where it is in Caffe's."""
    while PREFIX.match(name):
        name = PREFIX.sub("", name, count=1)
    name = CAFFE.sub(_from_caffe, name)
    name = CAFFE_STEM.sub(lambda m: "bn1." if m[1] else "conv1.", name)
    name = VGG.sub(lambda m: f"{VGG_STARTS[int(m[1]) - 1] + 2 * (int(m[2]) - 1)}.", name)
    return SE.sub(lambda m: SE_PLACES[m[1]] if m[1] else ".se.", name)


def _from_caffe(match: re.Match[str]) -> str:
    stage, block, kind, norm = match.groups()
    if kind in CAFFE_PLACES:
        layer = ("bn" if norm else "conv") + CAFFE_PLACES[kind]
    elif kind == "1x1_proj":
        layer = f"downsample.{1 if norm else 0}"
    else:
        layer = "se.fc1" if kind == "1x1_down" else "se.fc2"
    return f"layer{int(stage) - 1}.{int(block) - 1}.{layer}."


def _fitted(given: Tensor, wanted: Tensor) -> Tensor | None:
    if given.shape == wanted.shape:
        return given
    summed = given.sum(1, keepdim=True) if given.ndim == 4 and given.shape[1] == 3 else given
    return summed if summed.shape == wanted.shape else None


def _some(names: list[str] | tuple[str, ...]) -> str:
    if not names:
        return "nothing"
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
