"""Sample: one labelled face, independent of the file format."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from lightmark.data.shards.tar import Member, read_member
from lightmark.data.video_frame import VideoFrame, read_frame
from lightmark.errors import DataError, GeometryError
from lightmark.geometry import Array, labelled, longer_side, require_box, tight_box
from lightmark.image import Picture
from lightmark.metrics import interocular
from lightmark.schema import Schema
from lightmark.source import to_picture
from lightmark.spec import spans_face

RELATIVE = "all at the picture's first pixel: are they relative to its size?"
LABELLED_SIZE = "labelled_size"  # attribute: width and height of the picture, as the label file has them


@dataclass(frozen=True, eq=False)
class Sample:
    """One face: `points` (N, 2) and face `box` (4,) in image pixels, counted from 0, pixel centres at integers.

    Crops are cut around the box. For the 68 points and WFLW's 98 it is the tight box of the labelled points, which the
    readers set; for other points `lightmark.evaluate.face_boxes` replaces it by the box of the 68 points that the
    shipped model predicts. A missing (unlabelled) point is NaN in both coordinates (`lightmark.geometry.labelled`).
    `photo` names the source photograph or person: samples that share it must not be split between training and
    validation. `image` holds the pixels where the label file contains them, `member` their place in a packed shard or
    a video; else `path` is read. `occluded` (N,) is true for occluded points, None where the set has no such labels.
    `subsets` are names such as "common" or "pose".
    """

    path: Path
    points: Array
    box: Array
    schema: Schema
    photo: str
    subsets: frozenset[str] = frozenset()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    occluded: NDArray[np.bool_] | None = None
    image: Picture | None = None
    member: Member | VideoFrame | None = None

    @property
    def name(self) -> str:
        """Key of this face in reports and prediction files: the path, with `#index` where a picture has several."""
        index = self.attributes.get("index")
        return self.path.as_posix() if index is None else f"{self.path.as_posix()}#{index}"


def load_image(sample: Sample) -> Picture:
    """RGB uint8 (H, W, 3) of the sample's picture; raises `ImageError` naming the file."""
    if sample.image is not None:
        return sample.image
    if isinstance(sample.member, VideoFrame):
        return read_frame(sample.member)
    if sample.member is not None:
        return to_picture(read_member(sample.member), name=sample.path.as_posix())
    return to_picture(sample.path)


def at_first_pixel(points: Array) -> bool:
    """Whether several labelled points are all within a pixel of the picture's corner: such are relative to its size."""
    return bool(labelled(points).sum() > 1 and (abs(tight_box(points)) <= 1).all())


def label_box(points: Array, schema: Schema) -> Array:
    """Tight box (4,) of a face's labels; raises `GeometryError` where no face can be cropped around them.

    The 68 and 98 points must span a box. For other schemas the face's box is detected in the picture, so a single point
    or points on one line are valid, but several points in one place are not.
    """
    box = tight_box(points)
    if at_first_pixel(points):
        raise GeometryError(f"labelled points are {RELATIVE}")
    if spans_face(schema):
        return require_box(box)
    if not np.isfinite(box).all():
        raise GeometryError(f"box {np.array2string(box)}: needs a labelled point, and none that is infinite")
    if labelled(points).sum() > 1 and not longer_side(box) > 0:
        raise GeometryError(f"all labelled points lie in one place, {np.array2string(box[:2])}")
    return box


def encoded_picture(sample: Sample) -> bytes:
    """Encoded bytes of the sample's picture, unchanged from its file or shard; PNG where it is in memory.

    Raises `DataError` or `ImageError` naming the file.
    """
    if sample.image is not None or isinstance(sample.member, VideoFrame):
        stream = io.BytesIO()
        PilImage.fromarray(load_image(sample)).save(stream, format="PNG")
        return stream.getvalue()
    if sample.member is not None:
        return read_member(sample.member)
    try:
        return sample.path.read_bytes()
    except (OSError, ValueError) as error:  # a null byte in the path
        raise DataError(f"{sample.path}: cannot be read: {error}; run check on the data first") from error


def encoded_suffix(sample: Sample) -> str:
    """File suffix for the bytes of `encoded_picture`."""
    in_memory = sample.image is not None or isinstance(sample.member, VideoFrame)
    return ".png" if in_memory else sample.path.suffix


def normalisers_of(samples: Sequence[Sample]) -> Array:
    """Lengths (F,), in image pixels, that the errors of `samples`, all of one schema, are divided by.

    The distance of the two points that the schema names, NaN where one of them is missing; the longer side of the
    face's box, around which crops are cut, where it names none.
    """
    schema = samples[0].schema
    if schema.normaliser:
        return interocular(np.stack([sample.points for sample in samples]), schema)
    return np.array([longer_side(sample.box) for sample in samples])
