"""The converter of a published face-recognition MobileNet, on files that the tests make."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def tool(module_at: Any) -> ModuleType:
    return module_at("tools/convert_hse_face.py")


def made_up() -> Arrays:
    """Small random weights in the names, the order of axes and the precision of the published file."""
    from mien.train.face_mobilenet import BLOCKS, STEM

    rng = np.random.default_rng(0)
    found: Arrays = {"age_pred/bias": rng.normal(size=100)}

    def norm(name: str, width: int) -> None:
        found[f"{name}_bn/batchnorm_1/sub"] = rng.normal(0, 0.5, width)

    found["conv1/convolution/merged_input"] = rng.normal(0, 0.005, (3, 3, 3, STEM))
    norm("conv1", STEM)
    inputs = STEM
    for number, (width, _) in enumerate(BLOCKS, 1):
        found[f"conv_dw_{number}/depthwise_kernel"] = rng.normal(0, 0.4, (3, 3, inputs, 1))
        found[f"conv_dw_{number}_bn/batchnorm_1/mul"] = rng.uniform(0.5, 1.5, inputs)
        norm(f"conv_dw_{number}", inputs)
        found[f"conv_pw_{number}/convolution/merged_input"] = rng.normal(
            0, inputs**-0.5, (1, 1, inputs, width)
        )
        norm(f"conv_pw_{number}", width)
        inputs = width
    return {name: array.astype(np.float16) for name, array in found.items()}


def write(arrays: Arrays, folder: Path, tool: ModuleType) -> Path:
    """Two groups in one file; a whole number among them is not quantised."""
    counts = np.arange(3, dtype=np.int32)
    half = {"dtype": "float16", "original_dtype": "float32"}
    entries = [
        {"name": name, "shape": list(a.shape), "dtype": "float32", "quantization": half}
        for name, a in arrays.items()
    ]
    first = {"name": "axes", "shape": [3], "dtype": "int32"}
    manifest = {"weightsManifest": [{"weights": [first]}, {"weights": entries}]}
    path = folder / tool.BIN
    path.with_suffix(".json").write_text(json.dumps(manifest))
    path.write_bytes(counts.tobytes() + b"".join(a.tobytes() for a in arrays.values()))
    return path


def test_the_manifest_is_read_in_its_order_and_precision(tool: ModuleType, tmp_path: Path) -> None:
    given = made_up()
    got = tool.read_manifest(write(given, tmp_path, tool))
    assert got.pop("axes").tolist() == [0, 1, 2]
    assert got.keys() == given.keys()
    assert all(np.array_equal(got[name], given[name].astype(np.float32)) for name in given)


def test_every_layer_has_its_place_and_the_first_takes_rgb_in_0_to_1(tool: ModuleType) -> None:
    from mien.train.face_mobilenet import MobileNetBackbone

    given = {name: array.astype(np.float32) for name, array in made_up().items()}
    net = MobileNetBackbone(channels=3).eval()
    report = net.load_state_dict(tool.to_torch(given), strict=False)
    assert not report.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in report.missing_keys)
    patch = np.random.default_rng(1).integers(0, 256, (3, 3, 3)).astype(np.float32)  # RGB of 3 x 3 pixels
    bgr = patch[..., ::-1] - np.array([103.939, 116.779, 123.68], np.float32)
    kernel, shift = given["conv1/convolution/merged_input"], given["conv1_bn/batchnorm_1/sub"]
    wanted = np.clip((bgr[..., None] * kernel).sum((0, 1, 2)) + shift, 0, 6)
    face = torch.zeros(1, 3, 32, 32)
    face[0, :, 4:7, 6:9] = torch.from_numpy(patch / 255).permute(2, 0, 1)
    with torch.no_grad():
        got = net.stem(face)[0, :, 2, 3]  # a halving kernel begins at twice its place
    np.testing.assert_allclose(got.numpy(), wanted, atol=1e-4)
    assert 0 < np.count_nonzero(wanted) < len(wanted)


def test_a_depthwise_kernel_sees_its_own_channel(tool: ModuleType) -> None:
    from mien.train.face_mobilenet import MobileNetBackbone

    given = {name: array.astype(np.float32) for name, array in made_up().items()}
    net = MobileNetBackbone(channels=3).eval()
    net.load_state_dict(tool.to_torch(given), strict=False)
    x = np.random.default_rng(2).uniform(0, 6, (9, 9, 32)).astype(np.float32)
    kernel = given["conv_dw_1/depthwise_kernel"][..., 0]
    scale, shift = (given[f"conv_dw_1_bn/batchnorm_1/{part}"] for part in ("mul", "sub"))
    wanted = np.clip((x[3:6, 3:6] * kernel).sum((0, 1)) * scale + shift, 0, 6)
    with torch.no_grad():
        got = net.pairs[0][0](torch.from_numpy(x).permute(2, 0, 1)[None])[0, :, 4, 4]
    np.testing.assert_allclose(got.numpy(), wanted, atol=1e-4)


def test_a_file_that_is_not_the_published_one_is_refused(tool: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"holds no faceres\.bin"):
        tool.find(tmp_path)
    path = write(made_up(), tmp_path, tool)
    with pytest.raises(SystemExit, match="is not the published file"):
        tool.find(path)


def test_statistics_of_faces_change_no_output(tool: ModuleType, tmp_path: Path, noise_faces: Any) -> None:
    from mien.data.store import write_store
    from mien.train.face_mobilenet import MobileNetBackbone

    write_store(noise_faces(32), tmp_path / "faces.h5")
    given = {name: array.astype(np.float32) for name, array in made_up().items()}
    plain = tool.to_torch(given)
    rebased = plain | tool.batch_statistics(
        MobileNetBackbone(channels=3), plain, tmp_path / "faces.h5", tool.SIZE
    )
    assert not torch.equal(plain["stem.norm.weight"], rebased["stem.norm.weight"])
    face, outputs = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(0)), []
    for tensors in (plain, rebased):
        net = MobileNetBackbone(channels=3).eval()
        net.load_state_dict(tensors, strict=False)
        with torch.no_grad():
            outputs.append(net(face))
    assert outputs[0].std() > 0
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-3, atol=1e-3 * outputs[0].std().item())
