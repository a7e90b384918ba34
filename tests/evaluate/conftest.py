"""Faces made of three coloured blobs, a model that finds them exactly, and a small tree in 300W's form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightmark.data.sample import Sample
from lightmark.geometry import tight_box
from lightmark.schema import IBUG68, plain_schema
from lightmark.spec import ModelSpec, spec_to_json

BLOBS = replace(plain_schema(3), groups={"eyes": (0, 2), "mouth": (1,)})


class CentroidModel:
    """Finds the centre of brightness of each colour: point 0 is red, 1 green, 2 blue."""

    def __init__(self, size: int = 64, crop_scale: float = 2.0) -> None:
        self.spec = ModelSpec(BLOBS, size=size, crop_scale=crop_scale)
        self.batches: list[int] = []

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        """normalized_points (B, 3, 2) of crops (B, S, S, 3)."""
        self.batches.append(len(crops))
        weights = crops.astype(np.float64)
        total = np.maximum(weights.sum(axis=(1, 2)), 1)
        at = (np.arange(self.spec.size) + 0.5) / self.spec.size
        x = np.einsum("bhwc,w->bc", weights, at) / total
        y = np.einsum("bhwc,h->bc", weights, at) / total
        return np.stack([x, y], axis=-1)


class FixedModel:
    """Gives the same normalized_points (N, 2) for every crop."""

    def __init__(self, spec: ModelSpec, normalized_points: np.ndarray) -> None:
        self.spec, self.normalized_points = spec, normalized_points

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        """normalized_points (B, N, 2)."""
        return np.broadcast_to(self.normalized_points, (len(crops), *self.normalized_points.shape))


@pytest.fixture
def centroid_model() -> CentroidModel:
    """Model whose points depend on the pixels."""
    return CentroidModel()


@pytest.fixture
def fixed_model():
    """Class of models whose points do not depend on the pixels."""
    return FixedModel


@pytest.fixture
def blob_sample():
    """Function that makes a face of three blobs: seed, subsets and name in, Sample with its picture out."""

    def make(seed: int = 0, subsets: tuple[str, ...] = (), name: str | None = None) -> Sample:
        rng = np.random.default_rng(seed)
        points = np.array([[40.0, 45], [60, 85], [80, 45]]) + rng.uniform(-5, 5, (3, 2))
        y, x = np.mgrid[:130, :120]
        squares = (x[..., None] - points[:, 0]) ** 2 + (y[..., None] - points[:, 1]) ** 2
        picture = np.rint(255 * np.exp(-squares / (2 * 3.0**2))).astype(np.uint8)
        path = Path(name or f"faces/face_{seed}.png")
        return Sample(path, points, tight_box(points), BLOBS, path.stem, frozenset(subsets), image=picture)

    return make


@pytest.fixture
def blob_samples(blob_sample) -> list[Sample]:
    """Twelve blob faces, the first eight "common", the rest "challenging"."""
    return [blob_sample(seed, ("common",) if seed < 8 else ("challenging",)) for seed in range(12)]


def _write_face(folder: Path, stem: str, rng: np.random.Generator) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    grid = np.stack([np.arange(68) % 10, np.arange(68) // 10], axis=1) * 8.0
    points = 20 + grid + rng.normal(0, 0.2, (68, 2))
    lines = "\n".join(f"{x + 1:.6f} {y + 1:.6f}" for x, y in points)
    (folder / f"{stem}.pts").write_text(f"version: 1\nn_points: 68\n{{\n{lines}\n}}\n")
    Image.fromarray(rng.integers(0, 256, (100, 120, 3), dtype=np.uint8)).save(folder / f"{stem}.png")


@pytest.fixture
def tree_300w(tmp_path) -> Path:
    """A tree in 300W's form: 5 HELEN, 4 LFPW and 3 iBUG test faces, 4 AFW training faces."""
    root, rng = tmp_path / "300w", np.random.default_rng(0)
    for folder, count in {"helen/testset": 5, "lfpw/testset": 4, "ibug": 3, "afw": 4}.items():
        for index in range(count):
            _write_face(root / folder, f"image_{index}", rng)
    return root


@pytest.fixture
def model_68(write_onnx):
    """Function that writes an ONNX file giving the grid on which the tree's faces lie, off by a share of the crop."""

    def write(name: str = "grid.onnx", off: float = 0.0) -> Path:
        spec = ModelSpec(IBUG68, size=32, crop_scale=1.25, provenance={"recipe": "test"})
        grid = np.stack([np.arange(68) % 10, np.arange(68) // 10], axis=1) * 8.0
        side = 1.25 * (grid[:, 0].max() - grid[:, 0].min())
        centre = (grid.max(axis=0) + grid.min(axis=0)) / 2
        return write_onnx(name, (grid - centre) / side + 0.5 + off, 32, spec_to_json(spec))

    return write
