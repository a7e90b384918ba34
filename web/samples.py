"""Draw the page's sample pictures, web/public/samples: people that do not exist, by Lightmark's own generator.

PYTHONPATH=src python web/samples.py
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from lightmark.data.synthetic.render import render_scene
from lightmark.data.synthetic.scene import Scene, random_scene
from lightmark.files import replacing
from lightmark.image import Picture
from lightmark.landmarker import Landmarker

FOLDER = Path(__file__).parent / "public" / "samples"
SEED = 7
GAP = 6  # pixels between the people who meet


def main() -> None:
    """Write the samples; refuse one in which the shipped models do not find everybody."""
    landmarker = Landmarker(threads=1)
    for name, (picture, people) in samples().items():
        found = len(landmarker.detect(picture))
        if found != people:
            raise SystemExit(f"{name}: {found} of {people} faces found; choose another scene")
        with replacing(FOLDER / f"{name}.jpg") as temporary:
            Image.fromarray(picture).save(temporary, format="JPEG", quality=90, optimize=True)


def samples() -> dict[str, tuple[Picture, int]]:
    """Picture and number of faces of each sample."""
    meeting = [portrait(scene_of(number, 320)) for number in (32, 46, 17, 34)]
    return {
        "curls": (portrait(scene_of(19, 640)), 1),
        "turned": (portrait(scene_of(61, 640)), 1),
        "meeting": (side_by_side(meeting), len(meeting)),
    }


def scene_of(number: int, size: int) -> Scene:
    """One person, well lit, before a quiet background, behind nothing."""
    scene = random_scene(np.random.default_rng([SEED, number]), size)
    photo = replace(scene.photo, blur=0.0, noise=0.0, quality=95, grey=False, gain=(1.0, 1.0, 1.0), gamma=1.0)
    return replace(scene, photo=photo, backdrop="gradient", cover=None)


def portrait(scene: Scene) -> Picture:
    return render_scene(scene).image


def side_by_side(pictures: list[Picture]) -> Picture:
    """Pictures of one size in two rows, as in a video call."""
    size, columns = pictures[0].shape[0], (len(pictures) + 1) // 2
    sheet = np.full((2 * size + GAP, columns * (size + GAP) - GAP, 3), 24, np.uint8)
    for index, picture in enumerate(pictures):
        y, x = (size + GAP) * (index // columns), (size + GAP) * (index % columns)
        sheet[y : y + size, x : x + size] = picture
    return sheet


if __name__ == "__main__":
    main()
