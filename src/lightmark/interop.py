"""Faces from MediaPipe, and to supervision, OpenCV, pandas, FiftyOne, Label Studio and CVAT.

Their coordinates differ: Lightmark, OpenCV and supervision count from the centre of the first pixel; MediaPipe,
FiftyOne, Label Studio and CVAT from its corner, the first three in shares of the picture's sides.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np
from numpy.typing import NDArray

from lightmark import __version__
from lightmark.errors import GeometryError, MissingExtraError, SchemaError
from lightmark.face import Face, table_cells, table_columns
from lightmark.geometry import CORNER, Array, tight_box
from lightmark.mesh_points import MESH, mesh_weights
from lightmark.schema import IBUG68, Schema

if TYPE_CHECKING:
    import cv2
    from supervision import KeyPoints


def from_mediapipe(result: Any, width: int, height: int) -> list[Face]:
    """Faces with the 68 points from a result of MediaPipe for a picture of `width`×`height` pixels.

    `result` is what FaceMesh.process (mp.solutions), FaceLandmarker.detect (mp.tasks) returned, or normalised
    landmarks (F, 468 or 478, 2 or 3). A point is the weighted mean of three mesh points: 4.4 % of the eye distance off
    labels on 300W's test faces, 3.1 % without the jaw (benchmarks/results/mediapipe-points.json). Raises
    `GeometryError` for another number of landmarks.
    """
    meshes = getattr(result, "multi_face_landmarks", getattr(result, "face_landmarks", result))
    faces = []
    for mesh in () if meshes is None else meshes:
        points = _normalised(mesh) * [width, height] - CORNER
        if len(points) not in (MESH, 478):
            raise GeometryError(f"from_mediapipe: a face of {len(points)} landmarks; the face mesh has 468 or 478")
        points68 = mesh_weights() @ points[:MESH]
        faces.append(Face(points68, tight_box(points68), IBUG68))
    return faces


def _normalised(mesh: Any) -> Array:
    """Landmarks (M, 2) of one face: a protobuf's `landmark`, a list of objects with x and y, or an array."""
    marks = getattr(mesh, "landmark", mesh)
    if hasattr(marks[0], "x"):
        return np.array([[mark.x, mark.y] for mark in marks], dtype=np.float64)
    return np.asarray(marks, dtype=np.float64)[:, :2]


def to_opencv(faces: Sequence[Face]) -> list[list[cv2.KeyPoint]]:
    """`cv2.KeyPoint`s of each face: class_id is the point's number, response the confidence (0 if unknown).

    The size is the diameter of the expected error, or 1 pixel.
    """
    from cv2 import KeyPoint

    return [
        [
            KeyPoint(float(x), float(y), size, -1, face.confidence or 0.0, 0, index)
            for index, ((x, y), size) in enumerate(zip(face.points, _diameters(face), strict=True))
        ]
        for face in faces
    ]


def _diameters(face: Face) -> list[float]:
    return [1.0] * len(face.points) if face.expected_error is None else (2 * face.expected_error).tolist()


def to_rows(faces: Sequence[Face], measures: bool = False) -> list[dict[str, float | None]]:
    """Rows for `pandas.DataFrame`, with the columns of CSV files; None where a number is unknown.

    With `measures` also openness and pose.
    """
    return [
        {
            name: float(cell) if cell else None
            for name, cell in zip(
                table_columns(len(face.points), measures), table_cells(face, measures), strict=True
            )
        }
        for face in faces
    ]


def to_fiftyone(faces: Sequence[Face], width: int, height: int) -> dict[str, Any]:
    """JSON of `fiftyone.Keypoints`, as `Keypoints.from_dict` and samples.json of a FiftyOneDataset take it."""
    return {
        "_cls": "Keypoints",
        "keypoints": [
            {
                "_cls": "Keypoint",
                "label": "face",
                "points": ((face.points + CORNER) / [width, height]).tolist(),
                "confidence": [] if face.confidence is None else [face.confidence] * len(face.points),
            }
            for face in faces
        ],
    }


def to_label_studio(
    picture: str, faces: Sequence[Face], width: int, height: int, doubtful: Sequence[NDArray[np.bool_]] = ()
) -> dict[str, Any]:
    """Task of Label Studio with the faces of `picture` (its URL there) as predictions to correct.

    Its labelling interface is `label_studio_config`. Points belong to the rectangle of their face; those outside the
    picture are left out. The points of the masks `doubtful` (N,), one a face, have their expected error as a note.
    """
    results: list[dict[str, Any]] = []
    common = {"to_name": "image", "original_width": width, "original_height": height, "image_rotation": 0}
    share = 100 / np.array([width, height])
    for number, face in enumerate(faces):
        x0, y0, x1, y1 = ((tight_box(face.points) + CORNER) * np.tile(share, 2)).tolist()
        box = {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0, "rotation": 0, "rectanglelabels": ["face"]}
        parent = f"face{number}"
        results.append({"id": parent, "type": "rectanglelabels", "from_name": "face", "value": box, **common})
        places = ((face.points + CORNER) * share).tolist()
        for index in np.flatnonzero(face.inside(width, height)).tolist():
            x, y = places[index]
            value = {"x": x, "y": y, "width": 0.5, "keypointlabels": [face.schema.point_labels[index]]}
            entry: dict[str, Any] = {"id": f"{parent}.{index}", "from_name": "point", "parentID": parent}
            if doubtful and doubtful[number][index] and face.expected_error is not None:
                entry["meta"] = {"text": [f"doubtful: expected error {face.expected_error[index]:.1f} px"]}
            results.append({**entry, "type": "keypointlabels", "value": value, **common})
    scores = [face.confidence for face in faces if face.confidence is not None]
    prediction: dict[str, Any] = {"model_version": f"lightmark {__version__}", "result": results}
    return {"data": {"image": picture}, "predictions": [prediction | ({"score": min(scores)} if scores else {})]}


def label_studio_config(schema: Schema) -> bytes:
    """Labelling interface (XML) of Label Studio for the tasks of `to_label_studio` with faces of `schema`."""
    view = Element("View")
    SubElement(view, "Image", {"name": "image", "value": "$image", "zoom": "true"})
    SubElement(SubElement(view, "RectangleLabels", {"name": "face", "toName": "image"}), "Label", {"value": "face"})
    points = SubElement(view, "KeyPointLabels", {"name": "point", "toName": "image"})
    for name in schema.point_labels:
        SubElement(points, "Label", {"value": name})
    indent(view)
    return bytes(tostring(view, encoding="utf-8"))


def to_cvat(faces: Mapping[str | os.PathLike[str], Sequence[Face]], folder: str | os.PathLike[str] = ".") -> bytes:
    """"CVAT for images" XML with the faces of each picture as skeletons, named relative to `folder`.

    Reads the pictures' sizes. The task needs a skeleton label called as the schema.
    """
    from lightmark.data.formats.cvat import cvat_xml
    from lightmark.data.sample import Sample
    from lightmark.source import to_picture

    samples, sizes = [], []
    for picture, found in faces.items():
        height, width = to_picture(Path(picture)).shape[:2]
        path = Path(picture)
        samples += [Sample(path, face.points, face.box, face.schema, photo=path.stem) for face in found]
        sizes += [(height, width)] * len(found)
    return cvat_xml(samples, [sample.path for sample in samples], sizes, Path(folder))


def faces_to_supervision(faces: Sequence[Face]) -> KeyPoints:
    """Convert the `faces` of one picture to `supervision.KeyPoints` of class 0, "face".

    `detection_confidence` is the faces' confidence, if all have one. `keypoint_confidence` is not set, since an
    expected error in pixels is no probability; it is in `data["expected_error"]` (F, N), and the box in `data["box"]`
    (F, 4). Raises `SchemaError` for faces of several schemas, `MissingExtraError` without supervision 0.29 or later.
    """
    key_points = _key_points_class()
    schemas = {face.schema.name for face in faces}
    if len(schemas) > 1:
        raise SchemaError(f"faces of {', '.join(sorted(schemas))}: KeyPoints hold one number of points; convert each")
    if not faces:
        return key_points.empty()
    return key_points(
        xy=np.stack([face.points for face in faces]).astype(np.float32),
        class_id=np.zeros(len(faces), dtype=int),
        detection_confidence=_stacked([face.confidence for face in faces]),
        data=_data(faces),
    )


def _key_points_class() -> type[KeyPoints]:
    install = 'pip install "lightmark[supervision]"'
    try:
        from supervision import KeyPoints
    except ImportError as error:
        raise MissingExtraError(f"these faces are to go to supervision, which is not installed: {install}") from error
    # Before 0.29 there was one field for the confidence of the detection and of the points.
    if "detection_confidence" not in KeyPoints.__dataclass_fields__:
        raise MissingExtraError(f"this supervision is older than 0.29: {install}")
    checked: type[KeyPoints] = KeyPoints
    return checked


def _stacked(values: Sequence[Any]) -> np.ndarray[Any, np.dtype[np.float32]] | None:
    """`values` of the faces as one array; None if one of them is None."""
    return None if any(value is None for value in values) else np.asarray(values, dtype=np.float32)


def _data(faces: Sequence[Face]) -> dict[str, Any]:
    data: dict[str, Any] = {"class_name": np.full(len(faces), "face"), "box": np.stack([face.box for face in faces])}
    expected_error = _stacked([face.expected_error for face in faces])
    return data if expected_error is None else data | {"expected_error": expected_error}
