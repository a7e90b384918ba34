"""Write web/tests/golden.json: what the Python code gives, for the page's tests to be held against.

    PYTHONPATH=src python web/golden.py

Run it again when geometry, warp, detector, pose, the shipped models or the samples change.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from lightmark.data.sample import Sample
from lightmark.data.synthetic import render_face
from lightmark.demo import astronaut
from lightmark.detectors.face_detector import INPUT_SIZE, Detections, FaceDetector, fit_input, merge_cells
from lightmark.detectors.keypoint_box import roll_of_keypoints
from lightmark.face import Face
from lightmark.files import replacing
from lightmark.geometry import Array, crop_matrix, invert, rotation_matrix, similarity_matrix, transform, upright_box
from lightmark.image import Picture, reduce_by_area, region_of, warp
from lightmark.landmarker import Landmarker
from lightmark.mean_head import head_points
from lightmark.pose import head_pose
from lightmark.runtime.shipped import shipped_models
from lightmark.schema import IBUG68, WFLW98
from lightmark.schemes import ibug68_from_wflw98
from lightmark.source import to_picture
from lightmark.spec import ModelSpec, box_around, face_roll, normalise_crops
from lightmark.video.smoothing import OneEuro

HERE = Path(__file__).parent
GOLDEN, SAMPLES = HERE / "tests" / "golden.json", HERE / "public" / "samples"


def main() -> None:
    """Write every golden number, seed 0."""
    rng = np.random.default_rng(0)
    face = render_face(rng, 96)
    golden = {
        "matrices": matrices(),
        "picture": encoded(picture()),
        "warps": warps(),
        "reductions": reductions(),
        "fits": fits(),
        "choices": choices(rng),
        "finer_inputs": finer_inputs(),
        "planes": planes(),
        "head": head_points().tolist(),
        "poses": poses(rng, face),
        "wflw98": wflw98(rng),
        "smoothing": smoothing(rng, face),
        "faces": faces(),
    }
    with replacing(GOLDEN) as temporary:
        temporary.write_text(json.dumps(golden) + "\n", encoding="utf-8")


def encoded(image: Picture) -> dict[str, Any]:
    height, width = image.shape[:2]
    return {"width": width, "height": height, "rgb": base64.b64encode(image.tobytes()).decode()}


def picture() -> Picture:
    """Slopes that wrap around: smooth parts and hard edges."""
    rows, columns = np.mgrid[:61, :83]
    return np.stack([(rows * 7 + columns * 3) % 256, (columns * 11) % 256, (rows * columns) % 256], -1).astype(np.uint8)


WARPS = {  # name → box, size, scale: what `crop_matrix` takes
    "enlarged": ((10.3, 12.1, 30.7, 35.9), 32, 1.25),
    "beyond the edges": ((-20.0, -11.5, 40.0, 37.0), 24, 1.4),
    "halved": ((5.0, 4.0, 69.0, 50.0), 32, 1.0),
    "reduced by 2": ((5.5, 4.25, 60.5, 50.0), 24, 1.0),
    "reduced by 3, over the last blocks": ((40.2, 20.1, 90.7, 70.3), 16, 1.1),
    "outside": ((200.0, 200.0, 230.0, 240.0), 8, 1.0),
    "far outside, reduced": ((900.0, 900.0, 1400.0, 1400.0), 16, 1.0),
}


ROLLS = (30.0, -45.0, 90.0, 180.0, -135.5, 270.0, 1e-3)  # degrees


def matrices() -> list[dict[str, Any]]:
    template = np.array([[-0.2, -0.1], [0.2, -0.12], [0.0, 0.1], [0.1, 0.35]])
    listed = []
    for (box, size, scale), roll in zip(WARPS.values(), ROLLS, strict=True):
        matrix = crop_matrix(box, size, scale)
        centre, side = np.array([box[0] + box[2], box[1] + box[3]]) / 2, max(box[2] - box[0], box[3] - box[1])
        turned = similarity_matrix(np.zeros(2), centre, side, 25.0)
        points = transform(turned, template) + np.array([[1, 0], [0, 2], [-1, 1], [0, 0]])
        box_map = np.arange(24).reshape(3, 4, 2) / 20 - 0.4
        around, mapped = box_around(template, points), box_around(template, points, box_map=box_map)
        listed.append(
            {"box": box, "size": size, "scale": scale, "matrix": matrix.ravel().tolist(),
             "inverse": invert(matrix).ravel().tolist(), "template": template.tolist(), "points": points.tolist(),
             "around": around.tolist(), "box_map": box_map.tolist(), "mapped": mapped.tolist(),
             "roll": roll, "rolled": crop_matrix(box, size, scale, -roll).ravel().tolist(),
             "upright": upright_box(points, roll).tolist()}
        )  # fmt: skip
    return listed


def warps() -> list[dict[str, Any]]:
    image = picture()
    listed = []
    for (name, (box, size, scale)), roll in zip(WARPS.items(), ROLLS, strict=True):
        for label, matrix in (
            (name, crop_matrix(box, size, scale)),
            (f"{name}, rolled by {roll:g}°", crop_matrix(box, size, scale, -roll)),
        ):
            listed.append(
                {"name": label, "matrix": matrix.ravel().tolist(), "crop": encoded(warp(image, matrix, size))}
            )
    matrix, extent = fit_input(image.shape[:2], 24, 8)
    listed.append({"name": "whole", "matrix": matrix.ravel().tolist(), "crop": encoded(warp(image, matrix, extent))})
    return listed


def reductions() -> list[dict[str, Any]]:
    image = picture()
    listed = []
    for factor, matrix in (
        (2, np.array([[0.4, 0, 3.0], [0, 0.4, -7.0]])),
        (4, np.array([[0.2, 0, -3], [0, 0.2, 0.5]])),
    ):
        region = region_of(matrix, (16, 12))
        reduced, moved = reduce_by_area(image, factor, region)
        listed.append(
            {"factor": factor, "view": matrix.ravel().tolist(), "region": region, "matrix": moved.ravel().tolist(),
             "reduced": encoded(reduced)}
        )  # fmt: skip
    return listed


def fits() -> list[dict[str, Any]]:
    listed = []
    for width, height in ((640, 480), (512, 512), (1, 4000), (333, 1001), (256, 32)):
        matrix, (columns, rows) = fit_input((height, width), INPUT_SIZE, 32)
        listed.append({"picture": [width, height], "matrix": matrix.ravel().tolist(), "network": [columns, rows]})
    return listed


def choices(rng: np.random.Generator) -> dict[str, Any]:
    """Sixty cells about five faces."""
    faces = rng.integers(0, 5, 60)
    middles = rng.uniform(20, 300, (5, 2))[faces] + rng.normal(0, 4, (60, 2))
    half = rng.uniform(15, 40, (5, 2))[faces] * rng.uniform(0.8, 1.25, (60, 2))
    boxes = np.concatenate([middles - half, middles + half], 1).astype(np.float32)
    scores = rng.uniform(0, 1, 60).astype(np.float32)
    keypoints = (middles[:, None] + np.random.default_rng(1).normal(0, 20, (60, 5, 2))).astype(np.float32)
    cells, merged = merge_cells(boxes.astype(np.float64), scores, 0.3)
    return {"boxes": boxes.ravel().tolist(), "scores": scores.tolist(), "keypoints": keypoints.ravel().tolist(),
            "least": 0.3, "kept": merged.tolist(), "certain": scores[cells].tolist(),
            "rolls": roll_of_keypoints(keypoints[cells]).tolist()}  # fmt: skip


def finer_inputs() -> list[dict[str, Any]]:
    """Second input sizes of pictures, after the detection of a face with this side, or of none."""
    listed = []
    for width, height, min_face, side in (
        (640, 480, 16, 30), (1600, 1200, 0.02, 30), (300, 400, 2, 30), (9000, 20, 30, 30), (500, 500, 90, 30),
        (640, 480, None, 30), (900, 1200, None, 30), (900, 1200, None, 181), (900, 1200, None, 183),
        (640, 480, None, 90), (640, 480, None, 0), (250, 256, None, 0),
    ):  # fmt: skip
        count = int(side > 0)
        near = Detections(np.array([[0.0, 0, side, 1]])[:count], np.ones(count), np.zeros((count, 5, 2)))
        finer = FaceDetector(min_face=min_face, threads=1).finer_input((height, width), near)
        listed.append({"picture": [width, height], "min_face": min_face, "side": side, "finer": finer})
    return listed


def planes() -> dict[str, Any]:
    spec = replace(Landmarker(threads=1).spec, size=16, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    crops = np.arange(2 * 16 * 16 * 3, dtype=np.uint8).reshape(2, 16, 16, 3)
    flat = normalise_crops(crops, spec).ravel()
    return {"mean": spec.mean, "std": spec.std, "size": 16, "every_13th": flat[::13].astype(float).tolist()}


def poses(rng: np.random.Generator, face: Sample) -> list[dict[str, Any]]:
    """Heads turned at random, their jitter, and a drawn face."""
    head = head_points()
    listed = [(face.points, IBUG68)]
    for yaw, pitch, roll in ((0, 0, 0), (35, -12, 8), (-70, 20, -25), (12, 30, 170), (88, 3, 1)):
        points = rng.uniform(0, 400, (68, 2))
        turned = head @ rotation_matrix(yaw, pitch, roll).T
        points[17:48] = 90 * turned[:, :2] + [310, 205] + rng.normal(0, 2, (31, 2))
        listed.append((points, IBUG68))
    return [
        {"points": points.tolist(), "schema": schema.name, "pose": asdict(head_pose(points, schema)),  # type: ignore[arg-type]  # every one of these has a pose
         "openness": openness(Face(points, points[0], schema)),
         "roll": face_roll(ModelSpec(schema, 64), points)}
        for points, schema in listed
    ]


def openness(face: Face) -> list[float]:
    """Of the left eye, the right eye and the mouth."""
    assert face.eye_openness is not None
    assert face.mouth_openness is not None
    return [*face.eye_openness, face.mouth_openness]


def wflw98(rng: np.random.Generator) -> dict[str, Any]:
    points = rng.uniform(0, 100, (WFLW98.size, 2))
    roll = face_roll(ModelSpec(WFLW98, 64), points)
    return {"points": points.tolist(), "ibug68": ibug68_from_wflw98(points).tolist(), "roll": roll}


def smoothing(rng: np.random.Generator, face: Sample) -> list[dict[str, Any]]:
    """Eight frames of four points of a face that moves and rests, some more doubtful than others."""
    filtered, listed, seconds = OneEuro(), [], 0.0
    for step in range(8):
        seconds += float(rng.uniform(0.02, 0.06))
        points: Array = face.points[[0, 8, 16, 30]] + 3.0 * min(step, 4) + rng.normal(0, 0.5, (4, 2))
        doubt = rng.uniform(0.1, 6, 4)
        smooth = filtered(points, seconds, doubt)
        listed.append(
            {"seconds": seconds, "points": points.tolist(), "doubt": doubt.tolist(), "smooth": smooth.tolist()}
        )
    return listed


def faces() -> dict[str, Any]:
    """What `Landmarker` finds in the samples and in the astronaut, with every model the page offers."""
    shown = {path.name: to_picture(path) for path in sorted(SAMPLES.glob("*.jpg"))} | {"astronaut.png": astronaut()}
    return {
        model: {
            name: [rounded(face) for face in Landmarker(model, threads=1).detect(image)]
            for name, image in shown.items()
        }
        for model in offered()
    }


def offered() -> list[str]:
    return [name for name in shipped_models() if not name.endswith("-int8")]


def rounded(face: Face) -> dict[str, Any]:
    expected_error = None if face.expected_error is None else np.round(face.expected_error, 3).tolist()
    pose = None if face.pose is None else {name: round(angle, 2) for name, angle in asdict(face.pose).items()}
    return {"box": np.round(face.box, 3).tolist(), "points": np.round(face.points, 3).tolist(),
            "confidence": face.confidence, "expected_error": expected_error, "pose": pose,
            "openness": [round(value, 4) for value in openness(face)]}  # fmt: skip


if __name__ == "__main__":
    main()
