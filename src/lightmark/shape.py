"""Active shape model: principal component analysis of face shapes, and Soft-landmarks, the shapes it can represent.

Shapes are normalized_points (F, N, 2), or points in any other common frame; missing points are NaN. Source: T. F.
Cootes et al., "Active Shape Models – Their Training and Application", CVIU 61 (1995).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lightmark.errors import ConfigError, DataError, SchemaError
from lightmark.geometry import Array, Floats, align, invert, labelled, transform

Align = Literal["none", "procrustes"]

REACH = 3.0  # largest weight of a mode, in standard deviations: the bound of Cootes et al.
MAX_ITERATIONS = 100  # of Procrustes alignment, which takes about six on faces
TOLERANCE = 1e-10  # of Procrustes alignment: change of the mean shape relative to its size


def _identity(mean: Floats, shape: Floats) -> Array:
    return np.eye(2, 3)


def _align_labelled(mean: Floats, shape: Floats) -> Array:
    """Similarity (2, 3) from the mean (N, 2) to the labelled points of a shape (N, 2)."""
    mask = labelled(shape)
    return align(mean[mask], shape[mask])


# Pose of a shape (N, 2): the matrix (2, 3) from the mean (N, 2) to it. The model does not describe the pose.
POSES: Mapping[Align, Callable[[Floats, Floats], Array]] = {"none": _identity, "procrustes": _align_labelled}


@dataclass(frozen=True, eq=False)
class ShapeModel:
    """Shape model: a shape is `mean` (N, 2) plus a weighted sum of `modes` (M, N, 2).

    The modes are the principal components: orthonormal, largest variance first. `variances` (M,) are the variances λ of
    their weights over the training shapes; `explained` is their share of the total variance. With `align` "procrustes"
    the model describes shapes without position, size and rotation, with "none" shapes in the frame of the crop. Raises
    `DataError` for parts of inconsistent shapes or values.
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
    """Mean (N, 2) of `shapes` (F, N, 2), each point over the shapes in which it is labelled.

    Raises `DataError` if a point is labelled in no shape; the message calls the schema `schema` and the shapes `faces`.
    """
    mask = labelled(shapes)
    never = np.flatnonzero(~mask.any(axis=0))
    if never.size:
        raise DataError(
            f"point {never[0]} of {schema} is labelled in none of {len(shapes)} {faces} ({never.size} such points); "
            "use a schema without it, or label it"
        )
    return np.asarray(np.where(mask[..., None], shapes, 0.0).sum(axis=0) / mask.sum(axis=0)[:, None])


def fit(shapes: Floats, variance: float = 0.90, align: Align = "none") -> ShapeModel:
    """Fit a shape model to `shapes` (F, N, 2): the fewest modes that explain the share `variance` of the variance.

    Shapes with missing points are not used: a covariance whose entries come from different faces need not be positive
    semi-definite. The Tolerant-Teacher of the released code has `align` "none" and a `variance` of 0.9. "procrustes"
    first aligns all shapes to their mean (generalised Procrustes analysis). That leaves less variance, of which the
    same share needs more modes: compare models by their modes or their error, not by `variance`. Raises `ConfigError`
    for a share outside (0, 1] or an unknown `align`, `DataError` for fewer than two complete shapes, for values that
    are not finite and for identical shapes.
    """
    if not 0 < variance <= 1:
        raise ConfigError(f"shape model: variance {variance}; needs a share above 0 and up to 1, 0.9 say")
    _require_align(align)
    checked = _require_shapes(shapes, align)
    shapes = checked[labelled(checked).all(axis=1)]
    if len(shapes) < 2:
        raise DataError(
            f"shape model: {len(shapes)} of {len(checked)} shapes have all their points; variance needs two, and some "
            "hundreds to be of use"
        )
    mean, framed = _procrustes_mean(shapes, align)
    _, singular_values, rows = np.linalg.svd((framed - mean).reshape(len(shapes), -1), full_matrices=False)
    variances = singular_values**2 / (len(shapes) - 1)
    if singular_values[0] <= TOLERANCE * np.abs(framed).max():
        raise DataError(f"shape model: all {len(shapes)} shapes are alike; there is no variance to model")
    cumulated = np.cumsum(variances)
    shares = cumulated / cumulated[-1]
    count = int(np.searchsorted(shares, variance)) + 1
    modes = rows[:count].reshape(count, *mean.shape)
    return ShapeModel(mean, modes, variances[:count], align, float(shares[count - 1]))


def soften(model: ShapeModel, shapes: Floats) -> Array:
    """Soft-landmarks of `shapes` (..., N, 2): their projections on the shape model, in the shapes' own frame.

    b = Vᵀ(p − mean), each b_i clipped to ±3·√λ_i, soft = mean + V·b. With "procrustes", p is the shape in the mean's
    frame, and soft is transformed back to the shape's pose. For a shape with missing points, b is the least-squares fit
    to the labelled ones, of minimum norm if that is not unique; missing points stay missing. Raises `SchemaError` for
    another number of points, `DataError` for values that are not finite and for shapes without labelled points.
    """
    count = len(model.mean)
    if shapes.ndim < 2 or shapes.shape[-2:] != (count, 2):
        raise SchemaError(f"soften: shapes of shape {shapes.shape}, this shape model needs (..., {count}, 2)")
    stack = _require_shapes(shapes.reshape(-1, count, 2), model.align)
    poses = _poses(model.mean, stack, model.align)
    offsets = _into_frame(poses, stack) - model.mean
    reach = REACH * np.sqrt(model.variances)
    mask = labelled(offsets)
    weights = np.einsum("mnc,fnc->fm", model.modes, np.where(mask[..., None], offsets, 0.0))
    for face in np.flatnonzero(~mask.all(axis=1)):
        weights[face] = _fit_labelled(model.modes, offsets[face], mask[face])
    soft = model.mean + np.einsum("fm,mnc->fnc", np.clip(weights, -reach, reach), model.modes)
    return _out_of_frame(poses, np.where(mask[..., None], soft, np.nan)).reshape(shapes.shape)


def _fit_labelled(modes: Array, offsets: Array, mask: NDArray[np.bool_]) -> Array:
    """Least-squares weights (M,) of `modes` (M, N, 2) for the `offsets` (N, 2) of the points in `mask` (N,)."""
    matrix = modes[:, mask].reshape(len(modes), -1).T
    return np.asarray(np.linalg.lstsq(matrix, offsets[mask].ravel())[0])


def _procrustes_mean(shapes: Array, align: Align) -> tuple[Array, Array]:
    """Mean shape (N, 2) and all shapes (F, N, 2) in its frame, by generalised Procrustes analysis.

    Each shape is transformed by the inverse of the similarity from the mean to it (the tangent projection of Cootes et
    al.). The direct least-squares fit of a shape to the mean would shrink the mean in every iteration.
    """
    mean = shapes[0]
    for _ in range(MAX_ITERATIONS):
        framed = _into_frame(_poses(mean, shapes, align), shapes)
        before, mean = mean, framed.mean(axis=0)
        if np.abs(mean - before).max() <= TOLERANCE * np.ptp(mean, axis=0).max():
            return mean, framed
    raise DataError(
        f"shape model: Procrustes alignment has not converged in {MAX_ITERATIONS} iterations; are all shapes faces?"
    )


def _poses(mean: Array, shapes: Array, align: Align) -> list[Array]:
    """Pose (2, 3) of each shape; see `POSES`."""
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
    extent = np.fmax.reduce(shapes, axis=1) - np.fmin.reduce(shapes, axis=1)  # these ignore NaN, the missing points
    flat = np.flatnonzero(extent.max(axis=1) == 0)
    if align == "procrustes" and flat.size:
        raise DataError(f"shape model: all points of shape {flat[0]} coincide; it has no size to align by")
    return shapes.astype(np.float64)
