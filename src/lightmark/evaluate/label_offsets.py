"""Label check against a model's points: systematic offsets per folder, and outlier faces.

Labels made on another crop or scale, or with pixels counted from 1 instead of 0, shift all points of a folder alike.
The noise of labels and model averages out over faces, so that offsets of a pixel are detected, which are invisible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lightmark.data.missing import with_normaliser
from lightmark.data.sample import Sample, normalisers_of
from lightmark.errors import DataError
from lightmark.evaluate.face_boxes import with_face_boxes
from lightmark.evaluate.predict import predict, to_schema
from lightmark.evaluate.report.rows import face_names
from lightmark.evaluate.report.text import Table, align_columns
from lightmark.geometry import Array
from lightmark.metrics import nme
from lightmark.runtime.exported_model import CropModel

# Mean offset of a folder, relative to the normaliser, from which it is reported: from the model, or from the median of
# the other folders. With `fast`, the folders of 300W are up to 0.9 % from the model (their labels are 0.5 to 0.8 % to
# the right, which a model trained on mirrored crops cannot learn) and up to 0.8 % from the others. 337 faces of AFW
# whose labels were shifted by 1.1 px to the right and 1.0 px up are 1.5 % off.
FROM_MODEL, FROM_OTHERS = 0.012, 0.01
SIGNIFICANT = 5.0  # standard errors that the offset must have in addition
FEWEST = 10  # faces in a folder for a useful standard error
FAR = 0.15  # NME from which a face is an outlier: of 2701 faces of 300W, the worst of `fast` is 11.0 % off
SHOWN = 10  # faces in the text
Verdict = Literal["moved", "unlike the others", ""]


@dataclass(frozen=True)
class FolderOffset:
    """Mean offset (x, y) of point − label over the `faces` of a folder, in pixels and relative to the normaliser.

    Both have standard errors over faces. `from_others` is the relative difference from the median of the other folders
    that are near the model, NaN if there is none.
    """

    folder: str
    faces: int
    pixels: tuple[float, float]
    pixel_errors: tuple[float, float]
    share: tuple[float, float]
    share_errors: tuple[float, float]
    from_others: tuple[float, float]
    nme: float

    @property
    def verdict(self) -> Verdict:
        """Whether the labels of this folder are shifted against the model's points or against the other folders'."""
        if self._is_far(self.share, FROM_MODEL):
            return "moved"
        return "unlike the others" if self._is_far(self.from_others, FROM_OTHERS) else ""

    def _is_far(self, share: tuple[float, float], least: float) -> bool:
        significant = np.hypot(*(np.array(share) / np.maximum(self.share_errors, 1e-12))) >= SIGNIFICANT
        return bool(self.faces >= FEWEST and np.hypot(*share) >= least and significant)


@dataclass(frozen=True)
class FaceOffset:
    """NME of a face's labels against the model's points, and the mean offset (x, y) of point − label in pixels.

    `sample` has the labels, `points` (N, 2) are the model's, `errors` (N,) their distances relative to the normaliser.
    """

    name: str
    nme: float
    pixels: tuple[float, float]
    sample: Sample = field(repr=False, compare=False)
    points: Array = field(repr=False, compare=False)
    errors: Array = field(repr=False, compare=False)


@dataclass(frozen=True)
class LabelOffsets:
    """Offsets of folders and faces, largest first; `left_out` is the number of faces that were not compared."""

    folders: tuple[FolderOffset, ...]
    faces: tuple[FaceOffset, ...]
    left_out: int

    @property
    def clean(self) -> bool:
        """Whether no folder is shifted and no face an outlier."""
        return not any(folder.verdict for folder in self.folders) and not any(face.nme >= FAR for face in self.faces)


def label_offsets(model: CropModel, samples: Sequence[Sample], root: Path | None = None) -> LabelOffsets:
    """Compare the labels of `samples` with the points that `model` predicts on crops around them.

    Faces whose normaliser is not labelled are left out. Raises what `to_schema` and `predict` raise, such as
    `SchemaError` for labels of another schema.
    """
    if not samples:
        raise DataError("label_offsets: no faces whose labels could be compared")
    faces = with_face_boxes(with_normaliser(to_schema(samples, model.spec.schema)), model.spec)
    target, points = np.stack([face.points for face in faces]), predict(model, faces)
    normaliser = normalisers_of(faces)
    errors = nme(points, target, normaliser)
    offsets = np.nanmean(points - target, axis=1)
    folders = _folders(faces, root)
    shares = offsets / normaliser[:, None]
    medians = {name: np.median(shares[folders == name], axis=0) for name in dict.fromkeys(folders.tolist())}
    rows = [_folder_offset(name, medians, folders == name, offsets, shares, errors) for name in medians]
    names = face_names(faces, root)
    distances = np.linalg.norm(points - target, axis=-1) / normaliser[:, None]
    rows_of_faces = tuple(
        FaceOffset(names[i], float(errors[i]), _pair(offsets[i]), faces[i], points[i], distances[i])
        for i in np.argsort(-errors, kind="stable")
    )
    return LabelOffsets(
        tuple(sorted(rows, key=lambda row: -np.hypot(*row.share))),
        rows_of_faces,
        len(samples) - len(faces),
    )


def format_offsets(offsets: LabelOffsets, model: str) -> str:
    """Text of the offsets: a table of the folders and the worst faces."""
    columns = ("folder", "faces", "x px", "y px", "x %", "y %", "NME %", "")
    cells = tuple(_cells(folder) for folder in offsets.folders)
    parts = [
        f"points of {model} − labels, mean ± standard error over faces; % of the normaliser",
        align_columns(Table("", columns, cells)),
        "worst faces (NME %, mean offset in px)",
        *(_face_line(face) for face in offsets.faces[:SHOWN]),
    ]
    if offsets.left_out:
        parts.append(f"{offsets.left_out} faces lack a point that errors are divided by, and were not compared")
    moved, far = sum(bool(one.verdict) for one in offsets.folders), sum(face.nme >= FAR for face in offsets.faces)
    summary = f"labels of {moved} folders moved, of {far} faces {100 * FAR:g} % or more off"
    return "\n".join([*parts, "", "labels and model agree" if offsets.clean else summary])


def _folders(faces: Sequence[Sample], root: Path | None) -> NDArray[np.str_]:
    """Folder (F,) of each face's picture, relative to `root` if it is below."""
    names: dict[Path, str] = {}
    for face in faces:
        folder = face.path.parent
        inside = root is not None and folder.is_relative_to(root)
        names[folder] = folder.relative_to(root).as_posix() if inside and root is not None else folder.as_posix()
    return np.array([names[face.path.parent] for face in faces])


def _folder_offset(
    name: str, medians: Mapping[str, Array], inside: NDArray[np.bool_], offsets: Array, shares: Array, errors: Array
) -> FolderOffset:
    # Only folders near the model are a reference: a shifted folder must not make the correct ones look shifted.
    others = [one for other, one in medians.items() if other != name and np.hypot(*one) < FROM_MODEL]
    reference = np.median(others, axis=0) if others else np.full(2, np.nan)
    return FolderOffset(
        folder=name,
        faces=int(inside.sum()),
        pixels=_pair(offsets[inside].mean(axis=0)),
        pixel_errors=_standard_errors(offsets[inside]),
        share=_pair(shares[inside].mean(axis=0)),
        share_errors=_standard_errors(shares[inside]),
        from_others=_pair(shares[inside].mean(axis=0) - reference),
        nme=float(errors[inside].mean()),
    )


def _standard_errors(values: Array) -> tuple[float, float]:
    """Standard errors of the mean of `values` (F, 2) over faces; NaN for a single face."""
    if len(values) < 2:
        return (float("nan"), float("nan"))
    return _pair(values.std(axis=0, ddof=1) / np.sqrt(len(values)))


def _pair(values: Array) -> tuple[float, float]:
    return float(values[0]), float(values[1])


def _cells(folder: FolderOffset) -> tuple[str, ...]:
    pixels = zip(folder.pixels, folder.pixel_errors, strict=True)
    shares = zip(folder.share, folder.share_errors, strict=True)
    numbers = [*pixels, *((100 * value, 100 * error) for value, error in shares)]
    offsets = [f"{value:+.2f} ± {error:.2f}" for value, error in numbers]
    return (folder.folder, str(folder.faces), *offsets, f"{100 * folder.nme:.2f}", folder.verdict)


def _face_line(face: FaceOffset) -> str:
    x, y = face.pixels
    return f"  {face.name}: {100 * face.nme:.1f} %, {x:+.1f} {y:+.1f}"
