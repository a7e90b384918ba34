"""Draw pictures of synthetic people for the documents: docs/figures/landmarks.jpg, styles.jpg, tracked.gif.

python benchmarks/plot_landmarks.py [--out FOLDER]
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
from PIL import Image

from lightmark import Landmarker, Tracker, to_picture
from lightmark.anonymise import Part
from lightmark.data.synthetic.render import render_scene
from lightmark.data.synthetic.scene import Scene, random_scene
from lightmark.draw import contact_sheet, draw_landmarks
from lightmark.files import replacing
from lightmark.image import Picture
from lightmark.outputs import require_free
from lightmark.overlay import STYLES, overlaid
from lightmark.video.track import draw_tracked

ROOT = Path(__file__).parents[1]
SAMPLES = [ROOT / "web" / "public" / "samples" / f"{name}.jpg" for name in ("curls", "meeting", "turned")]
HEIGHT, TILE = 400, 200  # pixels of the strip, of a tile of the styles
FRAMES, SIDE, RATE = 36, 288, 15  # of the animation: frames, pixels, frames a second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "figures")
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    strip, styles, animation = (options.out / name for name in ("landmarks.jpg", "styles.jpg", "tracked.gif"))
    require_free([strip, styles, animation], force=options.force)
    landmarker = Landmarker("fast", threads=1)
    with replacing(strip) as path:
        Image.fromarray(samples_with_landmarks(landmarker)).save(path, format="JPEG", quality=88)
    with replacing(styles) as path:
        Image.fromarray(style_sheet(landmarker)).save(path, format="JPEG", quality=88)
    frames = [Image.fromarray(frame).quantize(96, dither=Image.Dither.NONE) for frame in tracked_frames(landmarker)]
    with replacing(animation) as path:
        frames[0].save(
            path, format="GIF", save_all=True, append_images=frames[1:], duration=1000 // RATE, loop=0, optimize=True
        )
    for path in (strip, styles, animation):
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def samples_with_landmarks(landmarker: Landmarker) -> Picture:
    """The page's samples side by side, each face's points and edges drawn."""
    tiles = []
    for path in SAMPLES:
        picture = to_picture(path)
        for face in landmarker.detect(picture):
            picture = draw_landmarks(picture, face.points, face.schema)
        tiles.append(Image.fromarray(picture).resize((HEIGHT, HEIGHT), Image.Resampling.LANCZOS))
    return np.concatenate([np.asarray(tile) for tile in tiles], axis=1)


def style_sheet(landmarker: Landmarker) -> Picture:
    """One sample in each style and blurred, as `lightmark detect --draw` writes it."""
    picture = to_picture(SAMPLES[0])
    faces = landmarker.detect(picture)
    drawn: dict[str, Picture] = {style: overlaid(picture, faces, [style]) for style in STYLES}
    drawn["default"] = overlaid(picture, faces)
    drawn |= {f"anonymise {part}": overlaid(picture, faces, part=part) for part in get_args(Part)}
    tiles = [np.asarray(Image.fromarray(one).resize((TILE, TILE), Image.Resampling.LANCZOS)) for one in drawn.values()]
    return contact_sheet(tiles, list(drawn), columns=5)


def tracked_frames(landmarker: Landmarker) -> list[Picture]:
    """A head that turns and nods through one period, as `lightmark track --out` draws it."""
    first = quiet_scene(61)
    tracker = Tracker(landmarker)
    # One period before the first drawn frame, so that the filter has settled and the loop closes.
    drawn = []
    for number in range(2 * FRAMES):
        phase = 2 * math.pi * number / FRAMES
        pose = replace(first.pose, yaw=32 * math.sin(phase), pitch=8 * math.sin(2 * phase), roll=6 * math.cos(phase))
        expression = replace(first.expression, jaw_drop=0.35 - 0.35 * math.cos(2 * phase))
        frame = render_scene(replace(first, pose=pose, expression=expression)).image
        drawn.append(draw_tracked(frame, tracker.update(frame, number / RATE)))
    return drawn[FRAMES:]


def quiet_scene(number: int) -> Scene:
    """One well-lit person before a quiet background."""
    scene = random_scene(np.random.default_rng([7, number]), SIDE)
    photo = replace(scene.photo, blur=0.0, noise=0.0, quality=95, grey=False, gain=(1.0, 1.0, 1.0), gamma=1.0)
    return replace(scene, photo=photo, backdrop="gradient", cover=None)


if __name__ == "__main__":
    main()
