"""Robustness curves: NME on small, blurred, compressed and noisy faces."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from lightmark.data.normaliser import normalisers_of
from lightmark.data.sample import Sample, load_image
from lightmark.evaluate.predict import predict
from lightmark.evaluate.report.summary import RobustnessCurve, RobustnessPoint
from lightmark.geometry import Array, longer_side, transform
from lightmark.image import compress_jpeg
from lightmark.metrics import bootstrap_interval, nme
from lightmark.runtime.exported_model import CropModel

# Compression and noise count in pixels: quality 20 or a sigma of 20 is nothing to a face of a thousand pixels, whose
# crop averages it away. At one size a level says the same of every face, and 128 px is about what the crops hold.
COMMON_PX = 128.0
UNCOMPRESSED = 100.0
JITTER_LEVELS = (0.0, 0.05, 0.1, 0.2)

Spoil = Callable[[Sample, float, np.random.Generator], Sample | None]


@dataclass(frozen=True)
class Disturbance:
    """A way to spoil faces, at `levels` from the mildest to the worst.

    `spoil` gives the face at a level, its picture in memory and its points moved with it, or None for a face that is
    too small for the level. `when` ends the sentence "error when …"; `axis` says what a level is, and its unit.
    """

    name: str
    when: str
    axis: str
    levels: tuple[float, ...]
    spoil: Spoil


def robustness_curves(
    model: CropModel, samples: Sequence[Sample], disturbances: Sequence[Disturbance], seed: int = 0, batch: int = 32
) -> tuple[RobustnessCurve, ...]:
    """NME at each level of each disturbance, over the faces large enough for the level; none large enough, no point.

    Crops are cut around the labels of the spoilt face. What is random is the same at every level of a face, only
    more. Raises what `predict` raises.
    """
    errors = np.stack(
        [_face_errors(model, sample, disturbances, (seed, index), batch) for index, sample in enumerate(samples)]
    )
    untouched, ends = errors[:, 0], np.cumsum([1, *(len(one.levels) for one in disturbances)])
    return tuple(
        RobustnessCurve(one.name, one.when, one.axis, _points(one.levels, errors[:, start:end], untouched, seed))
        for one, start, end in zip(disturbances, ends[:-1], ends[1:], strict=True)
    )


def reduce_face(sample: Sample, side_px: float) -> Sample | None:
    """`sample` with its picture averaged over areas until the longer side of the labels' box has `side_px` pixels.

    None where it has fewer already: a face is never enlarged. A pixel of the reduced picture that the border cuts is
    filled up with the border pixel; points move as (x + 0.5) · zoom − 0.5.
    """
    wanted = side_px / _side(sample)
    if wanted > 1:
        return None
    picture = load_image(sample)
    rows, columns = picture.shape[:2]
    # A square, so that one zoom serves both directions, and whole pixels before and after: `wanted` is met within half
    # a pixel of the large square.
    large = max(rows, columns)
    small = math.ceil(large * wanted)
    large = max(large, round(small / wanted))
    square = cv2.copyMakeBorder(picture, 0, large - rows, 0, large - columns, cv2.BORDER_REPLICATE)
    reduced = cv2.resize(square, (small, small), interpolation=cv2.INTER_AREA)
    kept = np.asarray(reduced[: -(-rows * small // large), : -(-columns * small // large)], dtype=np.uint8)
    zoom = small / large
    matrix = np.array([[zoom, 0, (zoom - 1) / 2], [0, zoom, (zoom - 1) / 2]])
    box = transform(matrix, sample.box.reshape(2, 2)).ravel()
    return replace(sample, image=kept, points=transform(matrix, sample.points), box=box)


def blur_face(sample: Sample, sigma: float) -> Sample:
    """`sample` under a Gaussian blur of `sigma`, in % of the longer side of the labels' box; 0 is the face itself."""
    if sigma == 0:
        return sample
    blurred = cv2.GaussianBlur(load_image(sample), (0, 0), sigma / 100 * _side(sample))
    return replace(sample, image=np.asarray(blurred, dtype=np.uint8))


def compress_face(sample: Sample, quality: float) -> Sample | None:
    """`sample` reduced to 128 px and through JPEG of `quality` 1 to 99, chroma halved; 100 leaves out JPEG.

    None for a face below 128 px.
    """
    reduced = reduce_face(sample, COMMON_PX)
    if reduced is None or quality == UNCOMPRESSED:
        return reduced
    return replace(reduced, image=compress_jpeg(load_image(reduced), round(quality)))


def add_noise(sample: Sample, sigma: float, rng: np.random.Generator) -> Sample | None:
    """`sample` reduced to 128 px with Gaussian noise of `sigma` grey levels of 255, each channel of a pixel its own.

    So a sensor's noise looks at high gain, but for its dependence on brightness. None for a face below 128 px.
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
    """NME (1 + L,) of one face untouched and at the L levels of all disturbances, nan where it is too small.

    Face by face, so that each picture is decoded once and one face's copies are all that is held.
    """
    face = replace(sample, image=load_image(sample))
    spoilt = [one.spoil(face, level, np.random.default_rng(key)) for one in disturbances for level in one.levels]
    faces = [face, *(one for one in spoilt if one is not None)]
    truth = np.stack([one.points for one in faces])
    errors = np.full(1 + len(spoilt), np.nan)
    errors[[True, *(one is not None for one in spoilt)]] = nme(
        predict(model, faces, batch), truth, normalisers_of(faces)
    )
    return errors


def _points(levels: Sequence[float], errors: Array, untouched: Array, seed: int) -> tuple[RobustnessPoint, ...]:
    """Points of the levels of one curve from its errors (F, L), nan for a face left out."""
    points = []
    for level, column in zip(levels, errors.T, strict=True):
        counted = np.isfinite(column)
        if counted.any():
            interval = bootstrap_interval(column[counted], seed=seed)
            points.append(RobustnessPoint(level, int(counted.sum()), interval, float(untouched[counted].mean())))
    return tuple(points)
