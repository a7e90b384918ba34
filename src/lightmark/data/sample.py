"""Sample: one labelled face, the same whatever file it came from."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from lightmark.data.shards.tar import Member, read_member
from lightmark.errors import DataError, GeometryError
from lightmark.geometry import Array, labelled, longer_side, require_box, tight_box
from lightmark.image import Picture
from lightmark.schema import Schema
from lightmark.source import to_picture
from lightmark.spec import spans_face

LABELLED_SIZE = "labelled_size"  # attribute: width and height of the picture, as the label file has them


@dataclass(frozen=True, eq=False)
class Sample:
    """One face: `points` (N, 2) and face `box` (4,) in image pixels, counted from 0, pixel centres at integers.

    The box is what crops are cut around: the tight box of the labelled points, as readers set it, where these are the
    68 or WFLW's 98; `lightmark.evaluate.face_boxes` replaces it for other points, by the box of the 68 that the shipped
    model sees. A missing point, one that nobody labelled, is NaN in both coordinates (`lightmark.geometry.labelled`).
    `photo` names the source photograph or person: samples that share it must not be split between training and
    validation. `image` holds the pixels where the format keeps them inside its own file, `member` is where they lie
    encoded in a packed shard, else `path` is read. `occluded` (N,) is true for covered points where the set says so.
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
    member: Member | None = None

    @property
    def name(self) -> str:
        """Key of this face in reports and prediction files: the path, with `#index` where a picture has several."""
        index = self.attributes.get("index")
        return self.path.as_posix() if index is None else f"{self.path.as_posix()}#{index}"


def load_image(sample: Sample) -> Picture:
    """RGB uint8 (H, W, 3) of the sample's picture; raises `ImageError` naming the file."""
    if sample.image is not None:
        return sample.image
    if sample.member is not None:
        return to_picture(read_member(sample.member), name=sample.path.as_posix())
    return to_picture(sample.path)


def label_box(points: Array, schema: Schema) -> Array:
    """Tight box (4,) of a face's labels; raises `GeometryError` for labels from which no face could be cropped.

    The 68 and 98 points must span it. For others it is found in the picture: a single point, or two above one another,
    are whole labels, several in one place are not.
    """
    box = tight_box(points)
    if spans_face(schema):
        return require_box(box)
    if not np.isfinite(box).all():
        raise GeometryError(f"box {np.array2string(box)}: needs a labelled point, and none that is infinite")
    if labelled(points).sum() > 1 and not longer_side(box) > 0:
        raise GeometryError(f"all labelled points lie in one place, {np.array2string(box[:2])}")
    return box


def encoded_picture(sample: Sample) -> bytes:
    """The sample's picture as its file or shard holds it, byte for byte; as PNG where it is in memory.

    Raises `DataError` or `ImageError` naming the file.
    """
    if sample.image is not None:
        stream = io.BytesIO()
        PilImage.fromarray(sample.image).save(stream, format="PNG")
        return stream.getvalue()
    if sample.member is not None:
        return read_member(sample.member)
    try:
        return sample.path.read_bytes()
    except (OSError, ValueError) as error:  # a null byte in the path
        raise DataError(f"{sample.path}: cannot be read: {error}; run check on the data first") from error


def encoded_suffix(sample: Sample) -> str:
    """What the name of a file with `encoded_picture` should end in."""
    return ".png" if sample.image is not None else sample.path.suffix
