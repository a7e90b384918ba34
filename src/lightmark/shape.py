"""The active shape model: principal components of face shapes, and the Soft-landmarks they leave.

Shapes are normalized_points (F, N, 2), or points of any one frame; missing points are NaN. Source: T. F. Cootes et al.,
"Active Shape Models – Their Training and Application", CVIU 61 (1995).
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lightmark.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    SchemaError,
    describe_error,
    foreign_errors_as,
    reader,
)
from lightmark.files import replacing
from lightmark.geometry import Array, Floats, align, invert, labelled, transform

Align = Literal["none", "procrustes"]

# How far a shape may lie from the mean along each mode, in standard deviations: the bound of Cootes et al.
REACH = 3.0
MOST_ROUNDS = 100
# Share of the mean shape's size below which a round of Procrustes alignment counts as no change.
SETTLED = 1e-10
FORMAT = 1
MOST_BYTES = 256 * 2**20  # unfolded; 400 modes of 4096 points have 26 MB


def _stay(mean: Floats, shape: Floats) -> Array:
    return np.eye(2, 3)


def _align_labelled(mean: Floats, shape: Floats) -> Array:
    there = labelled(shape)
    return align(mean[there], shape[there])


# The matrix (2, 3) that lays the mean (N, 2) on a shape (N, 2): its pose, which the model leaves as it is.
POSES: Mapping[Align, Callable[[Floats, Floats], Array]] = {"none": _stay, "procrustes": _align_labelled}


@dataclass(frozen=True, eq=False)
class ShapeModel:
    """Faces as `mean` (N, 2) plus a weighted sum of `modes` (M, N, 2), orthonormal, the strongest first.

    `variances` (M,) are the weights' variances λ over the training shapes; `explained` is the share of all variance
    that they hold. With `align` "procrustes" the model describes shapes freed of position, size and rotation, with
    "none" shapes as they lie in the crop. Raises `DataError` where the parts contradict one another.
    """

    mean: Array
    modes: Array
    variances: Array
    align: Align
    explained: float

    def __post_init__(self) -> None:
        count = self.mean.shape[0] if self.mean.ndim == 2 else 0
        modes = self.modes.shape[0] if self.modes.ndim == 3 else 0
        if not count or self.mean.shape != (count, 2) or self.modes.shape != (modes, count, 2) or not modes:
            raise DataError(f"ShapeModel: mean {self.mean.shape}, modes {self.modes.shape}; needs (N, 2) and (M, N, 2)")
        if self.variances.shape != (modes,):
            raise DataError(f"ShapeModel: variances {self.variances.shape} for {modes} modes; needs one a mode")
        if not all(np.isfinite(part).all() for part in (self.mean, self.modes, self.variances)):
            raise DataError("ShapeModel: mean, modes or variances hold values that are not finite")
        if (self.variances < 0).any() or not 0 < self.explained <= 1:
            raise DataError("ShapeModel: variances must not be negative, and `explained` lies in (0, 1]")
        _require_align(self.align)


def mean_labelled(shapes: Floats, schema: str, faces: str) -> Array:
    """Mean (N, 2) of shapes (F, N, 2), each point over the shapes that have it labelled.

    Raises `DataError` where a point of the schema called `schema` is labelled in none of the `faces`, as the error
    calls the shapes.
    """
    there = labelled(shapes)
    never = np.flatnonzero(~there.any(axis=0))
    if never.size:
        raise DataError(
            f"point {never[0]} of {schema} is labelled in none of {len(shapes)} {faces} ({never.size} such points); "
            "use a schema without it, or label it"
        )
    return np.asarray(np.where(there[..., None], shapes, 0.0).sum(axis=0) / there.sum(axis=0)[:, None])


def fit(shapes: Floats, variance: float = 0.90, align: Align = "none") -> ShapeModel:
    """Shape model of `shapes` (F, N, 2): the fewest modes that hold at least the share `variance` of all variance.

    Shapes with missing points are left out: a mean and a covariance of different faces a point need not fit together.
    "none" is the released form of the Tolerant-Teacher: no alignment, 90 %. "procrustes" first brings all shapes into
    the frame of their mean (generalised Procrustes); of the smaller variance that is left, the same share needs more
    modes. Raises `ConfigError` for a share outside (0, 1] or an unknown `align`, `DataError` for fewer than two whole
    shapes, for values that are not finite and for shapes that are all alike.
    """
    if not 0 < variance <= 1:
        raise ConfigError(f"shape model: variance {variance}; needs a share above 0 and up to 1, 0.9 say")
    _require_align(align)
    given = _require_shapes(shapes, align)
    shapes = given[labelled(given).all(axis=1)]
    if len(shapes) < 2:
        raise DataError(
            f"shape model: {len(shapes)} of {len(given)} shapes have all their points; variance needs two, and some "
            "hundreds to be of use"
        )
    mean, framed = _settle(shapes, align)
    _, deviations, rows = np.linalg.svd((framed - mean).reshape(len(shapes), -1), full_matrices=False)
    variances = deviations**2 / (len(shapes) - 1)
    if deviations[0] <= SETTLED * np.abs(framed).max():
        raise DataError(f"shape model: all {len(shapes)} shapes are alike; there is no variance to model")
    held = np.cumsum(variances)
    shares = held / held[-1]
    count = int(np.searchsorted(shares, variance)) + 1
    modes = rows[:count].reshape(count, *mean.shape)
    return ShapeModel(mean, modes, variances[:count], align, float(shares[count - 1]))


def soften(model: ShapeModel, shapes: Floats) -> Array:
    """Soft-landmarks of `shapes` (..., N, 2): the nearest shapes that the model allows, in the shapes' own frame.

    b = Vᵀ(p − mean), each b_i clipped to ±3·√λ_i, soft = mean + V·b; with Procrustes p is the shape in the mean's
    frame, and soft is laid back where the shape was. Of a shape with missing points, b is the least-squares fit to the
    labelled ones, the smallest where several fit; missing points stay missing. Raises `SchemaError` for another number
    of points, `DataError` for values that are not finite and for shapes without any point.
    """
    count = len(model.mean)
    if shapes.ndim < 2 or shapes.shape[-2:] != (count, 2):
        raise SchemaError(f"soften: shapes of shape {shapes.shape}, this shape model needs (..., {count}, 2)")
    stack = _require_shapes(shapes.reshape(-1, count, 2), model.align)
    poses = _poses(model.mean, stack, model.align)
    offsets = _into_frame(poses, stack) - model.mean
    reach = REACH * np.sqrt(model.variances)
    there = labelled(offsets)
    weights = np.einsum("mnc,fnc->fm", model.modes, np.where(there[..., None], offsets, 0.0))
    for face in np.flatnonzero(~there.all(axis=1)):
        weights[face] = _fit_labelled(model.modes, offsets[face], there[face])
    soft = model.mean + np.einsum("fm,mnc->fnc", np.clip(weights, -reach, reach), model.modes)
    return _out_of_frame(poses, np.where(there[..., None], soft, np.nan)).reshape(shapes.shape)


def _fit_labelled(modes: Array, offsets: Array, there: NDArray[np.bool_]) -> Array:
    """Weights (M,) with which `modes` come nearest to the `offsets` (N, 2) of the points that are `there` (N,)."""
    matrix = modes[:, there].reshape(len(modes), -1).T
    return np.asarray(np.linalg.lstsq(matrix, offsets[there].ravel())[0])


def save(model: ShapeModel, path: str | Path) -> None:
    """Write `model` as .npz, without pickle; the file is whole or not there."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            lightmark_shape=np.array(FORMAT),
            mean=model.mean,
            modes=model.modes,
            variances=model.variances,
            align=np.array(model.align),
            explained=np.array(model.explained),
        )


@reader("a shape model", CheckpointError)
def load(path: str | Path) -> ShapeModel:
    """Shape model that `save` wrote; raises `CheckpointError` naming the file and what is wrong with it."""
    parts = _read_parts(path)
    try:
        if int(parts["lightmark_shape"]) != FORMAT:
            raise DataError(f"its format is {parts['lightmark_shape']}, this Lightmark reads {FORMAT}")
        return ShapeModel(
            mean=parts["mean"].astype(np.float64),
            modes=parts["modes"].astype(np.float64),
            variances=parts["variances"].astype(np.float64),
            align=str(parts["align"]),  # type: ignore[arg-type]  # ShapeModel itself refuses what is no Align
            explained=float(parts["explained"]),
        )
    except KeyError as error:
        raise CheckpointError(f"{path}: no shape model: it lacks {error}; write one with shape.save") from error
    except Exception as error:  # of whatever kind: the file may come from anybody
        raise CheckpointError(f"{path}: no usable shape model: {describe_error(error)}; fit it again") from error


def _read_parts(path: str | Path) -> dict[str, NDArray[Any]]:
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: no such file")
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path}: not a whole .npz file; it is cut or of another kind: copy or fit it again")
    with foreign_errors_as(CheckpointError, f"{path}: a damaged .npz file, copy or fit it again"):
        with zipfile.ZipFile(path) as archive:
            unfolded = sum(part.file_size for part in archive.infolist())
        if unfolded > MOST_BYTES:
            raise ValueError(f"its parts unfold to {unfolded:,} bytes, a shape model has at most {MOST_BYTES:,}")
        with np.load(path, allow_pickle=False) as parts:
            return dict(parts)


def _settle(shapes: Array, align: Align) -> tuple[Array, Array]:
    """Mean shape and all shapes in its frame, from which their mean is again that mean.

    Each shape is moved by the inverse of the similarity that best lays the mean on it, so that its component along the
    mean is the mean's own (the tangent projection of Cootes et al.): the mean neither shrinks nor turns between rounds.
    """
    mean = shapes[0]
    for _ in range(MOST_ROUNDS):
        framed = _into_frame(_poses(mean, shapes, align), shapes)
        before, mean = mean, framed.mean(axis=0)
        if np.abs(mean - before).max() <= SETTLED * np.ptp(mean, axis=0).max():
            return mean, framed
    raise DataError(f"shape model: Procrustes alignment has not settled in {MOST_ROUNDS} rounds; are all shapes faces?")


def _poses(mean: Array, shapes: Array, align: Align) -> list[Array]:
    return [POSES[align](mean, shape) for shape in shapes]


def _into_frame(poses: list[Array], shapes: Array) -> Array:
    return np.stack([transform(invert(pose), shape) for pose, shape in zip(poses, shapes, strict=True)])


def _out_of_frame(poses: list[Array], framed: Array) -> Array:
    return np.stack([transform(pose, shape) for pose, shape in zip(poses, framed, strict=True)])


def _require_align(align: str) -> None:
    if align not in POSES:
        raise ConfigError(f"shape model: align {align!r}; known: {', '.join(POSES)}")


def _require_shapes(shapes: Floats, align: Align) -> Array:
    if shapes.ndim != 3 or shapes.shape[2] != 2 or 0 in shapes.shape:
        raise SchemaError(f"shape model: shapes of shape {shapes.shape}; needs (F, N, 2) with at least one point")
    broken = np.flatnonzero(np.isinf(shapes).any(axis=(1, 2)) | ~labelled(shapes).any(axis=1))
    if broken.size:
        raise DataError(f"shape model: {broken.size} of {len(shapes)} shapes, the first {broken[0]}, are not finite")
    extent = np.fmax.reduce(shapes, axis=1) - np.fmin.reduce(shapes, axis=1)  # which pass missing points over
    flat = np.flatnonzero(extent.max(axis=1) == 0)
    if align == "procrustes" and flat.size:
        raise DataError(f"shape model: all points of shape {flat[0]} coincide; it has no size to align by")
    return shapes.astype(np.float64)
