"""Procedural faces with exact landmarks, for tests and for a demo that needs no download."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from lightmark.data.sample import Sample
from lightmark.data.synthetic.render import render_scene
from lightmark.data.synthetic.scene import random_scene
from lightmark.errors import DataError
from lightmark.geometry import tight_box
from lightmark.schema import IBUG68

__all__ = ["render_face", "synthetic_samples"]


def render_face(rng: np.random.Generator, size: int = 160, path: Path = Path("synthetic/face.png")) -> Sample:
    """Sample with one random face in a `size`×`size` picture; the same state of `rng` gives the same pixels.

    `path` is only a name: the picture is in memory. The attributes are the head's "yaw", "pitch" and "roll" in degrees.
    """
    if size < 32:
        raise DataError(f"render_face: size {size}; a face needs a picture of at least 32 pixels a side")
    scene = random_scene(rng, size)
    rendering = render_scene(scene)
    return Sample(
        path=path,
        points=rendering.points,
        box=tight_box(rendering.points),
        schema=IBUG68,
        photo=path.with_suffix("").as_posix(),
        attributes={"yaw": scene.pose.yaw, "pitch": scene.pose.pitch, "roll": scene.pose.roll},
        occluded=rendering.occluded,
        image=rendering.image,
    )


def synthetic_samples(count: int, seed: int, size: int = 160, subsets: Iterable[str] = ()) -> list[Sample]:
    """Samples of `count` random faces of different persons, named synthetic/SEED/NUMBER.png.

    Face i depends only on `seed` and i, so that a longer list begins with the shorter one.
    """
    folder, names = Path("synthetic") / str(seed), frozenset(subsets)
    return [
        replace(render_face(np.random.default_rng([seed, i]), size, folder / f"{i:06d}.png"), subsets=names)
        for i in range(count)
    ]
