"""Write scikit-image's astronaut as PNG and as a film that a fake camera shows: python photographs.py FOLDER.

A photograph by NASA in the public domain; it stays out of the repository all the same.
"""

from __future__ import annotations

import io
import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

ORIENTATION = 0x0112  # EXIF 2.3


def main(folder: Path) -> None:
    """Write the pictures and camera.mjpeg: turned.jpg is upright by its EXIF only, far.png is 70 times its face."""
    picture = Image.fromarray(data.astronaut())
    picture.save(folder / "astronaut.png")
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # to be turned clockwise by a quarter
    picture.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.jpg", quality=97, subsampling=0, exif=exif)
    picture.resize((4400, 4400)).save(folder / "large.jpg", quality=80)
    far = Image.new("RGB", (1600, 1200), (90, 96, 104))
    far.paste(picture.resize((100, 100), Image.Resampling.LANCZOS), (1100, 400))
    far.save(folder / "far.png")
    Image.fromarray(np.full((240, 320, 3), 127, np.uint8)).save(folder / "blank.png")
    with (folder / "camera.mjpeg").open("wb") as film:
        for frame in range(60):
            shift = round(30 * math.sin(2 * math.pi * frame / 60))
            view = Image.new("RGB", (640, 480), (40, 44, 52))
            view.paste(picture, (64 + shift, 0))
            packed = io.BytesIO()
            view.save(packed, format="JPEG", quality=92)
            film.write(packed.getvalue())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
