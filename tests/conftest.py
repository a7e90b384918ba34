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
