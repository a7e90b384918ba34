"""Fixtures every test may use: the real data, where it is at hand, and a tiny picture."""

import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real faces: LIGHTMARK_DATA, or ../shared/data beside the repository; skips where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("LIGHTMARK_DATA", beside))
    if not (folder / "300w").is_dir():
        pytest.skip(f"no real faces in {folder}; set LIGHTMARK_DATA to their folder")
    return folder


@pytest.fixture
def tiny_picture() -> np.ndarray:
    """RGB uint8 (48, 64, 3) of smooth noise: like no other picture, and it survives JPEG."""
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.repeat(np.repeat(coarse, 8, axis=0), 8, axis=1)


@pytest.fixture
def write_onnx(tmp_path):
    """Function that writes an ONNX landmark model: a fixed shape (N, 2), moved by `gain` times the mean of its input.

    `metadata` is the text under the key "lightmark", None for a file without; `batch` 1 fixes the batch.
    """
    from onnx import TensorProto, helper, numpy_helper, save

    def write(name: str, shape: np.ndarray, size: int, metadata: str | None, gain: float = 0.0, batch: str | int = "b"):
        constants = {
            "shape": np.asarray(shape, np.float32)[None],
            "gain": np.full((1, 1, 1, 1), gain, np.float32),
            "last": np.array([3]),
        }
        nodes = [
            helper.make_node("ReduceMean", ["crops"], ["mean"], axes=[1, 2, 3], keepdims=1),
            helper.make_node("Mul", ["mean", "gain"], ["shift"]),
            helper.make_node("Squeeze", ["shift", "last"], ["shift3"]),
            helper.make_node("Add", ["shape", "shift3"], ["unit_points"]),
        ]
        graph = helper.make_graph(
            nodes,
            "shape",
            [helper.make_tensor_value_info("crops", TensorProto.FLOAT, [batch, 3, size, size])],
            [helper.make_tensor_value_info("unit_points", TensorProto.FLOAT, [batch, *np.shape(shape)])],
            [numpy_helper.from_array(value, key) for key, value in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        if metadata is not None:
            helper.set_model_props(model, {"lightmark": metadata})
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save(model, path)
        return path

    return write
