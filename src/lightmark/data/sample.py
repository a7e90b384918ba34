"""Sample: one labelled face, the same whatever file it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmark.geometry import Array
from lightmark.image import Picture
from lightmark.schema import Schema
from lightmark.source import to_picture


@dataclass(frozen=True, eq=False)
class Sample:
    """One face: `points` (N, 2) and tight `box` (4,) in image pixels, counted from 0, pixel centres at integers.

    `photo` names the source photograph or person: samples that share it must not be split between training and
    validation. `image` holds the pixels where the format keeps them inside its own file, else `path` is read.
    `occluded` (N,) is true for covered points where the set says so. `subsets` are names such as "common" or "pose".
    """

    path: Path
    points: Array
    box: Array
    schema: Schema
    photo: str
    subsets: frozenset[str] = frozenset()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    occluded: NDArray[np.bool_] | None = None
    image: Picture | None = None

    @property
    def name(self) -> str:
        """Key of this face in reports and prediction files: the path, with `#index` where a picture has several."""
        index = self.attributes.get("index")
        return self.path.as_posix() if index is None else f"{self.path.as_posix()}#{index}"


def load_image(sample: Sample) -> Picture:
    """RGB uint8 (H, W, 3) of the sample's picture; raises `ImageError` naming the file."""
    return sample.image if sample.image is not None else to_picture(sample.path)
