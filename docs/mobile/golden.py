"""Write the golden picture, crops and points that an app's own pre- and post-processing can be checked against.

    python docs/mobile/golden.py --force

A drawn face, nobody's photograph; the points are those of the shipped `fast` in float32. Run it again
when `fast` changes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lightmark.data.synthetic import render_face
from lightmark.files import replacing
from lightmark.geometry import Array, box_centre, from_normalized, invert, similarity_matrix, tight_box, transform
from lightmark.image import warp
from lightmark.landmarker import Landmarker
from lightmark.outputs import require_free
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.runtime.shipped import model_path
from lightmark.spec import face_box, face_roll, spec_crop_matrix

FOLDER = Path(__file__).parent
MODEL, SIDE = "fast", 480
ROLL = 70.0  # degrees by which the second crop is turned: what it would take out of a face rolled as much


def main() -> None:
    """Write picture.png, crop.png, rolled.png and golden.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder; by default this file's")
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    names = ("picture.png", "crop.png", "rolled.png", "golden.json")
    require_free([options.out / name for name in names], force=options.force)
    face = render_face(np.random.default_rng(7), SIDE)
    assert face.image is not None
    box = np.round(tight_box(face.points), 1)
    model = OnnxModel(model_path(MODEL))
    crop = warp(face.image, spec_crop_matrix(model.spec, box), model.spec.size)
    rolled = warp(face.image, spec_crop_matrix(model.spec, box, ROLL), model.spec.size)
    outputs = model.outputs(crop[None])
    (found,) = Landmarker(MODEL, "cascade").landmarks(face.image, [box], angles=[0.0])
    assert outputs.expected_error is not None
    assert outputs.confidence is not None
    assert found.expected_error is not None
    golden = {
        "model": MODEL,
        "size": model.spec.size,
        "crop_scale": model.spec.crop_scale,
        "box": box.tolist(),
        "normalized_points": outputs.normalized_points[0].astype(float).round(6).tolist(),
        "normalized_error": outputs.expected_error[0].astype(float).round(6).tolist(),
        "confidence": round(float(outputs.confidence[0]), 6),
        "points": found.points.astype(float).round(3).tolist(),
        "expected_error": found.expected_error.astype(float).round(3).tolist(),
        "rolled": rolled_face(model, box, found.points),
    }
    for name, pixels in (("picture.png", face.image), ("crop.png", crop), ("rolled.png", rolled)):
        with replacing(options.out / name) as path:
            Image.fromarray(pixels).save(path, format="PNG")
    with replacing(options.out / "golden.json") as path:
        path.write_text(json.dumps(golden) + "\n", encoding="utf-8")


def rolled_face(model: OnnxModel, box: Array, points: Array) -> dict[str, Any]:
    """Where the crop of `box` with `ROLL` taken out has its corners, and roll and box of `points`, rolled as much."""
    spec = model.spec
    corners = from_normalized(np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]), spec.size)
    turned = transform(similarity_matrix(box_centre(box), box_centre(box), 1.0, ROLL), points)
    roll = face_roll(spec, turned)
    return {
        "roll": ROLL,
        "corners": transform(invert(spec_crop_matrix(spec, box, ROLL)), corners).round(6).tolist(),
        "points": turned.round(6).tolist(),
        "points_roll": round(roll, 6),
        "points_box": face_box(spec, turned, roll=roll).round(6).tolist(),
    }


if __name__ == "__main__":
    main()
