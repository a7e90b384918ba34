"""Faces that a detector missed in WFLW pictures, and what it took for some: hands, ears, clothes, balls.

    python benchmarks/scene_faces.py unlabelled/scenes --out scene-faces

benchmarks/scene-faces.json names them by picture, looked through by eye: of each face the box and the roll, of what is
none a region in which there is no face. Every fourth picture is for validation. Below OUT/train and OUT/validation it
writes faces.json, the faces with the points of --model, and not_faces, the regions as pictures.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2

from lightmark.data.convert import write_coco
from lightmark.data.sample import Sample
from lightmark.files import replacing
from lightmark.geometry import tight_box
from lightmark.landmarker import Landmarker
from lightmark.outputs import require_free
from lightmark.source import to_picture

LIST = Path(__file__).with_name("scene-faces.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--model", default="standard", help="student that labels the faces")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    landmarker = Landmarker(options.model, "face")
    for role, listed in json.loads(LIST.read_text(encoding="utf-8")).items():
        folder = options.out / role
        require_free([folder / "faces.json"], force=options.force)
        (folder / "not_faces").mkdir(parents=True, exist_ok=True)
        faces = labelled(options.pictures, listed["faces"], landmarker)
        write_coco(faces, folder / "faces.json", options.force)
        count = cut_out(options.pictures, listed["not_faces"], folder / "not_faces")
        print(f"{folder}: {len(faces)} faces, {count} pictures of what is none")


def labelled(
    pictures: Path, faces: Mapping[str, Sequence[Sequence[float]]], landmarker: Landmarker
) -> list[Sample]:
    """The `faces` (x0, y0, x1, y1 and roll by picture) with the landmarker's points."""
    samples = []
    for name, rows in faces.items():
        path = pictures / name
        found = landmarker.landmarks(path, [row[:4] for row in rows], [row[4] for row in rows])
        samples += [Sample(path, face.points, tight_box(face.points), face.schema, path.stem) for face in found]
    return samples


def cut_out(pictures: Path, regions: Mapping[str, Sequence[Sequence[int]]], folder: Path) -> int:
    """Write the `regions` (x0, y0, x1, y1, ends excluded, by picture) as PNG files and return their number."""
    count = 0
    for name, rows in regions.items():
        image = to_picture(pictures / name)
        for number, (x0, y0, x1, y1) in enumerate(rows):
            _, encoded = cv2.imencode(".png", cv2.cvtColor(image[y0:y1, x0:x1], cv2.COLOR_RGB2BGR))
            with replacing(folder / f"{Path(name).stem}-{number}.png") as path:
                path.write_bytes(encoded.tobytes())
            count += 1
    return count


if __name__ == "__main__":
    main()
