"""The converter of dlib's face network: its readers on made-up files, and the real weights against dlib."""

import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")


@pytest.fixture(scope="module")
def tool(module_at: Any) -> ModuleType:
    return module_at("tools/convert_dlib_face.py")


def made_up(tool: ModuleType) -> dict[str, np.ndarray]:
    """Small random weights by the names of the layers."""
    rng = np.random.default_rng(0)
    found = {}
    for conv, norm, shape in tool.layers():
        found[f"{conv}.weight"] = rng.normal(0, 0.05, shape).astype(np.float32)
        found[f"{conv}.bias"] = rng.normal(0, 0.01, shape[0]).astype(np.float32)
        found[f"{norm}.weight"] = rng.uniform(0.5, 1.5, shape[0]).astype(np.float32)
        found[f"{norm}.bias"] = rng.normal(0, 0.1, shape[0]).astype(np.float32)
    found["descriptor"] = rng.normal(0, 0.1, (256, 128)).astype(np.float32)
    return found


def as_dlib(arrays: list[np.ndarray]) -> bytes:
    """Tensors as dlib writes them, with other bytes between."""

    def integer(value: int) -> bytes:
        body = value.to_bytes((max(value.bit_length(), 1) + 7) // 8, "little")
        return bytes([len(body)]) + body

    parts = [b"\x01\x01con_4"]
    for array in arrays:
        dims = [*array.shape, 1, 1, 1][:4] if array.ndim < 4 else list(array.shape)
        parts.append(
            integer(2) + b"".join(map(integer, dims)) + array.astype("<f4").tobytes() + b"\x01\x02\x01\x00"
        )
    return b"".join(parts)


def test_dlibs_file_is_read_layer_by_layer(tool: ModuleType, tmp_path: Path) -> None:
    given = made_up(tool)
    arrays = []
    for conv, norm, _ in tool.layers():
        arrays.append(np.concatenate([given[f"{conv}.weight"].ravel(), given[f"{conv}.bias"]]))
        arrays.append(np.concatenate([given[f"{norm}.weight"], given[f"{norm}.bias"]]))
    path = tmp_path / tool.DAT
    path.write_bytes(as_dlib([*arrays, given["descriptor"]]))
    got = tool.read_dat(path)
    assert got.keys() == given.keys()
    assert all(np.array_equal(got[name], given[name]) for name in given)


def test_the_manifest_gives_bytes_their_scale(tool: ModuleType, tmp_path: Path) -> None:
    given = made_up(tool)
    entries, content = [], b""

    def add(name: str, values: np.ndarray) -> None:
        nonlocal content
        low, scale = float(values.min()), float(np.ptp(values)) / 255
        entries.append(
            {
                "name": name,
                "shape": list(values.shape),
                "dtype": "float32",
                "quantization": {"dtype": "uint8", "scale": scale, "min": low},
            }
        )
        content += np.round((values - low) / scale).astype(np.uint8).tobytes()

    for (conv, norm, _), theirs in zip(tool.layers(), tool.face_api_names(), strict=True):
        add(f"{theirs}/conv/filters", given[f"{conv}.weight"].transpose(2, 3, 1, 0))
        add(f"{theirs}/conv/bias", given[f"{conv}.bias"])
        add(f"{theirs}/scale/weights", given[f"{norm}.weight"])
        add(f"{theirs}/scale/biases", given[f"{norm}.bias"])
    entries.append({"name": "fc", "shape": [256, 128], "dtype": "float32"})
    content += given["descriptor"].tobytes()
    (tmp_path / tool.BIN).write_bytes(content)
    manifest = tmp_path / "face_recognition_model-weights_manifest.json"
    manifest.write_text(json.dumps([{"weights": entries}]))
    got = tool.read_manifest(tmp_path / tool.BIN)
    for name, wanted in given.items():
        np.testing.assert_allclose(got[name], wanted, atol=np.ptp(wanted) / 500, err_msg=name)


def test_a_file_that_is_not_the_published_one_is_refused(tool: ModuleType, tmp_path: Path) -> None:
    (tmp_path / tool.DAT).write_bytes(b"something else")
    with pytest.raises(SystemExit, match="is not the published file"):
        tool.find(tmp_path)
    with pytest.raises(SystemExit, match="holds neither"):
        tool.find(tmp_path / "nowhere")


def test_statistics_of_faces_change_no_output(tool: ModuleType, tmp_path: Path, noise_faces: Any) -> None:
    from mien.data.store import write_store
    from mien.train.face_resnet import FaceBackbone

    write_store(noise_faces(32), tmp_path / "faces.h5")
    plain = tool.to_torch(made_up(tool))
    rebased = plain | tool.batch_statistics(FaceBackbone(channels=3), plain, tmp_path / "faces.h5", tool.SIZE)
    assert not torch.equal(plain["stem.1.weight"], rebased["stem.1.weight"])
    face, outputs = torch.rand(2, 3, 104, 104, generator=torch.Generator().manual_seed(0)), []
    for tensors in (plain, rebased):
        net = FaceBackbone(channels=3).eval()
        net.load_state_dict(tensors, strict=False)
        with torch.no_grad():
            outputs.append(net(face))
    rounding = 1e-4 * outputs[0].std().item()  # kernels of other processors sum in another order
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-3, atol=rounding)


def published() -> Path | None:
    """The folder with dlib's file: of the installed package, or named by MIEN_DLIB_FACE."""
    spec = importlib.util.find_spec("face_recognition_models")
    places = [os.environ.get("MIEN_DLIB_FACE"), *(spec.submodule_search_locations or [] if spec else [])]
    return next((Path(place) for place in places if place), None)


def test_descriptors_are_those_of_dlib(tool: ModuleType) -> None:
    dlib = pytest.importorskip("dlib", reason="needs dlib-bin, of the dev extra")
    data = pytest.importorskip("skimage.data", reason="needs scikit-image, of the dev extra")
    from PIL import Image

    from mien.train.face_resnet import FaceBackbone

    folder = published()
    if folder is None:
        pytest.skip("needs face_recognition_models==0.3.0 (100 MB), or its folder in MIEN_DLIB_FACE")
    path = tool.find(folder)
    faces = [
        np.asarray(Image.fromarray((face * 255).astype(np.uint8)).resize((150, 150)).convert("RGB"))
        for face in data.lfw_subset()[:6]
    ]
    theirs = np.array(
        [dlib.face_recognition_model_v1(str(path)).compute_face_descriptor(face.copy()) for face in faces]
    )
    tensors = tool.to_torch(tool.read_dat(path))
    net = FaceBackbone(channels=3).eval()
    net.load_state_dict(tensors, strict=False)
    with torch.no_grad():
        last = net(torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2) / 255)[:, -256:]
    np.testing.assert_allclose((last @ tensors["descriptor.weight"].T).numpy(), theirs, atol=1e-5)
