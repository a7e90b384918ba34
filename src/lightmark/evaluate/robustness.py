"""Robustness curves: NME on small, blurred, compressed and noisy faces, and with perturbed boxes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from lightmark.data.sample import Sample, load_image, normalisers_of
from lightmark.evaluate.predict import predict
from lightmark.evaluate.report.summary import JitterPoint, RobustnessCurve, RobustnessPoint
from lightmark.geometry import Array, longer_side, transform
from lightmark.image import compress_jpeg
from lightmark.metrics import bootstrap_interval, nme
from lightmark.runtime.exported_model import CropModel

# Longer side of a face to which it is reduced before compression and noise. These act per pixel: the crop of a face of
# 1000 px averages JPEG artefacts of quality 20 or noise of sigma 20 away. At a common size a level has the same effect
# on all faces, and 128 px is about the size of a face in the crops.
COMMON_PX = 128.0
UNCOMPRESSED = 100.0  # a level of `compress_face` without JPEG
JITTER_LEVELS = (0.0, 0.05, 0.1, 0.2)

Degrade = Callable[[Sample, float, np.random.Generator], Sample | None]


@dataclass(frozen=True)
class Disturbance:
    """Degradation of faces at `levels` from the mildest to the strongest.

    `degrade` returns the face at a level, with its picture in memory and its points transformed alike, or None for a
    face that is too small for the level. `when` ends the sentence "error when …"; `axis` is the meaning of a level with
    its unit.
    """

    name: str
    when: str
    axis: str
    levels: tuple[float, ...]
    degrade: Degrade


def robustness_curves(
    model: CropModel, samples: Sequence[Sample], disturbances: Sequence[Disturbance], seed: int = 0, batch: int = 32
) -> tuple[RobustnessCurve, ...]:
    """NME at each level of each disturbance, over the faces that are large enough for it; no point without such faces.

    Crops are cut around the labels of the degraded face. The random numbers of a face are the same at all levels, only
    scaled. Raises what `predict` raises.
    """
    errors = np.stack(
        [_face_errors(model, sample, disturbances, (seed, index), batch) for index, sample in enumerate(samples)]
    )
    original, ends = errors[:, 0], np.cumsum([1, *(len(one.levels) for one in disturbances)])
    return tuple(
        RobustnessCurve(one.name, one.when, one.axis, _points(one.levels, errors[:, start:end], original, seed))
        for one, start, end in zip(disturbances, ends[:-1], ends[1:], strict=True)
    )


def box_jitter_curve(
    model: CropModel,
    samples: Sequence[Sample],
    levels: Sequence[float],
    threshold: float,
    seed: int = 0,
    batch: int = 32,
) -> tuple[JitterPoint, ...]:
    """NME and failure rate at each level of box jitter, relative to the box's size as in `jitter_boxes`.

    The random error of a face's box has the same direction at all levels. Raises what `predict` raises.
    """
    target = np.stack([sample.points for sample in samples])
    normaliser = normalisers_of(samples)
    points = []
    for level in sorted(set(levels)):
        errors = nme(predict(model, samples, batch, level, seed), target, normaliser)
        failures = bootstrap_interval(errors > threshold, seed=seed)
        points.append(JitterPoint(level, bootstrap_interval(errors, seed=seed), failures))
    return tuple(points)


def reduce_face(sample: Sample, side_px: float) -> Sample | None:
    """`sample` with its picture reduced by area averaging, so that the longer side of the face has `side_px` pixels.

    None for a smaller face: faces are never enlarged. Partial pixels at the border are filled with the border pixel;
    points are transformed by (x + 0.5) · zoom − 0.5.
    """
    zoom = side_px / _side(sample)
    if zoom > 1:
        return None
    picture = load_image(sample)
    rows, columns = picture.shape[:2]
    # Padded to a square whose side is reduced to a whole number of pixels, so that both directions have exactly the
    # same zoom; the padding brings it to within half a pixel of the requested one.
    large = max(rows, columns)
    small = math.ceil(large * zoom)
    large = max(large, round(small / zoom))
    square = cv2.copyMakeBorder(picture, 0, large - rows, 0, large - columns, cv2.BORDER_REPLICATE)
    reduced = cv2.resize(square, (small, small), interpolation=cv2.INTER_AREA)
    image = np.asarray(reduced[: -(-rows * small // large), : -(-columns * small // large)], dtype=np.uint8)
    zoom = small / large
    matrix = np.array([[zoom, 0, (zoom - 1) / 2], [0, zoom, (zoom - 1) / 2]])
    box = transform(matrix, sample.box.reshape(2, 2)).ravel()
    return replace(sample, image=image, points=transform(matrix, sample.points), box=box)


def blur_face(sample: Sample, sigma: float) -> Sample:
    """`sample` with a Gaussian blur of `sigma`, in % of the longer side of the face; 0 returns the sample itself."""
    if sigma == 0:
        return sample
    blurred = cv2.GaussianBlur(load_image(sample), (0, 0), sigma / 100 * _side(sample))
    return replace(sample, image=np.asarray(blurred, dtype=np.uint8))


def compress_face(sample: Sample, quality: float) -> Sample | None:
    """`sample` reduced to 128 px and compressed as JPEG of `quality` 1 to 99 with chroma subsampling; 100 skips JPEG.

    None for a face below 128 px.
    """
    reduced = reduce_face(sample, COMMON_PX)
    if reduced is None or quality == UNCOMPRESSED:
        return reduced
    return replace(reduced, image=compress_jpeg(load_image(reduced), round(quality)))


def add_noise(sample: Sample, sigma: float, rng: np.random.Generator) -> Sample | None:
    """`sample` reduced to 128 px with independent Gaussian noise of `sigma` (of 255) in each pixel and channel.

    An approximation of sensor noise at high gain, without its dependence on brightness. None for a face below 128 px.
    """
    reduced = reduce_face(sample, COMMON_PX)
    if reduced is None or sigma == 0:
        return reduced
    picture = load_image(reduced)
    noisy = picture + np.float32(sigma) * rng.standard_normal(picture.shape, dtype=np.float32)
    return replace(reduced, image=np.rint(np.clip(noisy, 0, 255)).astype(np.uint8))


DISTURBANCES = (
    Disturbance(
        "face_size",
        "the face is small",
        "longer side of the face, px",
        (256.0, 192.0, 128.0, 96.0, 64.0, 48.0, 32.0, 20.0),
        lambda sample, level, _: reduce_face(sample, level),
    ),
    Disturbance(
        "blur",
        "the picture is blurred",
        "blur sigma, % of the face's longer side",
        (0.0, 0.5, 1.0, 2.0, 4.0),
        lambda sample, level, _: blur_face(sample, level),
    ),
    Disturbance(
        "jpeg",
        "the picture is compressed",
        "JPEG quality of a face of 128 px (100: not compressed)",
        (UNCOMPRESSED, 80.0, 60.0, 40.0, 20.0, 10.0, 5.0),
        lambda sample, level, _: compress_face(sample, level),
    ),
    Disturbance(
        "noise",
        "the picture is noisy",
        "noise sigma on a face of 128 px, grey levels of 255",
        (0.0, 5.0, 10.0, 20.0, 40.0),
        add_noise,
    ),
)


def _side(sample: Sample) -> float:
    """Longer side of the face's box, px."""
    return longer_side(sample.box)


def _face_errors(
    model: CropModel, sample: Sample, disturbances: Sequence[Disturbance], key: tuple[int, int], batch: int
) -> Array:
    """NME (1 + L,) of one face: the original, then the L levels of all disturbances; NaN where it is too small.

    One face at a time, so that its picture is decoded once and only its copies are in memory.
    """
    face = replace(sample, image=load_image(sample))
    degraded = [one.degrade(face, level, np.random.default_rng(key)) for one in disturbances for level in one.levels]
    faces = [face, *(one for one in degraded if one is not None)]
    target = np.stack([one.points for one in faces])
    errors = np.full(1 + len(degraded), np.nan)
    errors[[True, *(one is not None for one in degraded)]] = nme(
        predict(model, faces, batch), target, normalisers_of(faces)
    )
    return errors


def _points(levels: Sequence[float], errors: Array, original: Array, seed: int) -> tuple[RobustnessPoint, ...]:
    """Points of one curve from its errors (F, L), NaN for a face that is too small, and the `original` errors (F,)."""
    points = []
    for level, column in zip(levels, errors.T, strict=True):
        measured = np.isfinite(column)
        if measured.any():
            interval = bootstrap_interval(column[measured], seed=seed)
            points.append(RobustnessPoint(level, int(measured.sum()), interval, float(original[measured].mean())))
    return tuple(points)
