"""Contact sheet of the student's extra faces: a teacher's points beside the labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lightmark.data.sample import Sample, load_image
from lightmark.draw import contact_sheet, face_tile, write_png
from lightmark.evaluate.predict import predict
from lightmark.nets.checkpoint import load_model

SHOWN = 64


def write_extra_sheet(
    samples: Sequence[Sample], teacher: Path, path: Path, seed: int, device: str = "cpu", shown: int = SHOWN
) -> None:
    """Write a PNG of up to `shown` random `samples`: the teacher's points green, the labels pink.

    It shows pseudo-labels of the wrong pictures and pictures that were painted on, which no metric reports. Raises what
    `predict` raises, and `WriteError` where `path` cannot be written.
    """
    order = np.random.default_rng(seed).permutation(len(samples))[:shown]
    chosen = [samples[index] for index in sorted(order.tolist())]
    points = predict(load_model(teacher, device), chosen)
    tiles = [
        face_tile(load_image(sample), predicted, sample.schema, target=sample.points)
        for sample, predicted in zip(chosen, points, strict=True)
    ]
    write_png(contact_sheet(tiles, [f"{sample.path.parent.name}/{sample.path.name}" for sample in chosen]), path)
