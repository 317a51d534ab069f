"""A cluster of two nodes on this machine, and images to read on it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

N_IMAGES = 48
CLUSTER = """
import sys, ray
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
cluster.add_node(num_cpus=1)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.fixture(scope="session")
def cluster() -> str:
    """The address of a cluster of two nodes, one CPU each."""
    pytest.importorskip("ray", reason="needs ray: pip install 'mien[ray]'")
    command = [sys.executable, "-c", CLUSTER]
    silent = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=silent
    ) as process:
        yield next(line.strip() for line in process.stdout if ":" in line)


@pytest.fixture
def images(tmp_path) -> Path:
    """A folder of images without faces, one that is no image, and what is named like none."""
    folder = tmp_path / "in"
    (folder / "below").mkdir(parents=True)
    for n in range(N_IMAGES - 1):
        Image.new("RGB", (64, 48), (5 * n, 100, 60)).save(folder / f"{n:02d}.png")
    (folder / "below" / "bad.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def photo() -> Path:
    """A photograph of one happy face."""
    skimage = pytest.importorskip("skimage", reason="needs a photograph of scikit-image")
    return Path(skimage.__file__).parent / "data" / "astronaut.png"
