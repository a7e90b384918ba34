"""Validation of a data set before training: counts, broken pictures and labels, leaks from train to test."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from lightmark.data.check.duplicates import (
    DUPLICATE_BY_BOX,
    DUPLICATE_BY_EYES,
    aligned_by_eyes,
    comparison_crop,
    near_duplicates,
)
from lightmark.data.check.symmetry import swapped_groups
from lightmark.data.crops.picture_cache import PictureCache
from lightmark.data.sample import LABELLED_SIZE, RELATIVE, Sample, at_first_pixel, label_box
from lightmark.errors import GeometryError, ImageError
from lightmark.geometry import Array, labelled, tight_box
from lightmark.image import Picture

Kind = Literal[
    "unreadable label",
    "missing picture",
    "unreadable picture",
    "points not finite",
    "no labelled point",
    "empty box",
    "size contradicts picture",
    "points outside picture",
    "labels of a smaller picture",
    "sides swapped",
    "photograph in train and test",
    "same picture in train and test",
    "alike pictures in train and test",
]

# Findings after which a face cannot be cropped.
BROKEN: tuple[Kind, ...] = (
    "missing picture",
    "unreadable picture",
    "points not finite",
    "no labelled point",
    "empty box",
)

# Largest distance of a point from the picture's edge, relative to the face's longer side: the jaws of faces at the
# border are labelled outside. Of 9764 faces of 300W, 300W-LP, WFLW, HELEN, YouTube Faces and SCUT-FBP5500, one is
# further out.
FAR_OUTSIDE = 0.1

# If all labels of a folder lie within this share of width and height, its pictures were probably enlarged after the
# labelling, at least twice. In each of 17 folders of the sets above, labels reach 0.83 in one direction.
CORNER = 0.5
FEWEST = 8  # faces in a folder from which this is no coincidence

CACHED_BYTES = 1 << 28  # of decoded pictures: faces of one picture, which follow each other, decode it once


@dataclass(frozen=True)
class Finding:
    """A problem of the faces called `names`; of a leak the training face comes first."""

    kind: Kind
    names: tuple[str, ...]
    detail: str


@dataclass(frozen=True)
class CheckReport:
    """Result of `check`: counts of faces by schema and subset, and all findings.

    `missing` is the number of faces of each schema without a label of a point, by the index of the point.
    """

    faces: int
    photographs: int
    schemas: Mapping[str, int]
    subsets: Mapping[str, int]
    missing: Mapping[str, Mapping[int, int]]
    findings: tuple[Finding, ...]

    @property
    def clean(self) -> bool:
        """Whether there are no findings."""
        return not self.findings


@dataclass(frozen=True)
class _Inspection:
    """Findings and facts of one face, without its picture.

    `digest` is of the pixels, `crop` for the search for near duplicates; `reach` is the right and lower end of the
    labels, relative to the picture's width and height.
    """

    findings: tuple[Finding, ...]
    digest: str = ""
    crop: Picture | None = None
    reach: tuple[float, float] | None = None


def check(samples: Sequence[Sample], left_out: Sequence[str] = ()) -> CheckReport:
    """Check `samples`, reading each picture once; bad data does not raise, but is in the report.

    `left_out` are messages about labels that could not be read, from `read_samples`. Each leak is reported once: as a
    shared photograph, otherwise as equal pixels, otherwise as near duplicates.
    """
    pictures = PictureCache(CACHED_BYTES)
    inspections = [_inspect(sample, pictures) for sample in samples]
    findings = [
        *(Finding("unreadable label", (), message) for message in left_out),
        *(finding for inspection in inspections for finding in inspection.findings),
        *_in_a_corner(samples, inspections),
        *_swapped(samples),
        *_shared_photographs(samples),
        *_same_pictures(samples, inspections),
        *_near_duplicates(samples, inspections),
    ]
    order = get_args(Kind)
    return CheckReport(
        faces=len(samples),
        photographs=len({sample.photo for sample in samples}),
        schemas=dict(Counter(sample.schema.name for sample in samples).most_common()),
        subsets=dict(Counter(name for sample in samples for name in sample.subsets).most_common()),
        missing=_count_missing(samples),
        findings=tuple(sorted(findings, key=lambda finding: order.index(finding.kind))),
    )


def _count_missing(samples: Iterable[Sample]) -> dict[str, dict[int, int]]:
    """`CheckReport.missing` of `samples`."""
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    for sample in samples:
        counts[sample.schema.name].update(np.flatnonzero(~labelled(sample.points)).tolist())
    return {schema: dict(sorted(of_point.items())) for schema, of_point in counts.items() if of_point}


def usable(samples: Sequence[Sample], report: CheckReport) -> list[Sample]:
    """Samples that can be cropped according to `report`."""
    broken = {name for finding in report.findings if finding.kind in BROKEN for name in finding.names}
    return [sample for sample in samples if sample.name not in broken]


def _inspect(sample: Sample, pictures: PictureCache) -> _Inspection:
    broken = _broken_points(sample)
    try:
        picture = pictures.of_sample(sample)
    except ImageError as error:
        # Path.exists raises for some invalid names.
        exists = sample.member is not None or os.path.exists(sample.path)  # noqa: PTH110  # see above
        kind: Kind = "unreadable picture" if exists else "missing picture"
        return _Inspection((*broken, Finding(kind, (sample.name,), str(error))))
    digest = hashlib.sha256(picture.tobytes() + str(picture.shape).encode()).hexdigest()
    contradiction = _other_size(sample, picture)
    if broken:
        return _Inspection((*broken, *contradiction), digest)
    height, width = picture.shape[:2]
    x, y = (tight_box(sample.points)[2:] + 0.5) / (width, height)
    crop = comparison_crop(picture, sample.points, sample.schema)
    return _Inspection((*contradiction, *_outside(sample, picture)), digest, crop, (float(x), float(y)))


def _broken_points(sample: Sample) -> tuple[Finding, ...]:
    wrong = int(np.isinf(sample.points).any(axis=1).sum())
    if wrong:
        return (Finding("points not finite", (sample.name,), f"{wrong} of {len(sample.points)} points"),)
    if not labelled(sample.points).any():
        return (Finding("no labelled point", (sample.name,), f"none of {len(sample.points)} points"),)
    width, height = _extent(sample)
    try:
        label_box(sample.points, sample.schema)
    except GeometryError:
        detail = f"points span {width:g} × {height:g} pixels"
        detail += f", {RELATIVE}" if at_first_pixel(sample.points) else ""
        return (Finding("empty box", (sample.name,), detail),)
    return ()


def _other_size(sample: Sample, picture: Picture) -> tuple[Finding, ...]:
    """Finding if the label file gives another size than the picture's."""
    size = sample.attributes.get(LABELLED_SIZE)
    height, width = picture.shape[:2]
    # Attributes from shards may have any type.
    if not (isinstance(size, tuple) and len(size) == 2 and all(isinstance(side, int | float) for side in size)):
        return ()
    if size == (width, height):
        return ()
    labelled_on = f"labelled on {size[0]:g} × {size[1]:g} px"
    detail = f"{labelled_on}, the picture has {width} × {height}: scaled, cut or turned since"
    return (Finding("size contradicts picture", (sample.name,), detail),)


def _in_a_corner(samples: Sequence[Sample], inspections: Sequence[_Inspection]) -> Iterator[Finding]:
    """Findings of folders whose labels are all in the upper left corner `CORNER` of the pictures."""
    reaches: dict[Path, dict[str, tuple[float, float]]] = defaultdict(dict)
    for sample, inspection in zip(samples, inspections, strict=True):
        if inspection.reach is not None:
            reaches[sample.path.parent][sample.name] = inspection.reach
    for folder, of_face in reaches.items():
        right, down = np.max(list(of_face.values()), axis=0)
        if len(of_face) >= FEWEST and max(right, down) < CORNER:
            detail = (
                f"{folder}: no label of {len(of_face)} faces lies beyond {right:.2f} of the width or {down:.2f} of the "
                "height; were the pictures enlarged since?"
            )
            yield Finding("labels of a smaller picture", (next(iter(of_face)),), detail)


def _extent(sample: Sample) -> Array:
    """Width and height (2,) of the box around the labelled points."""
    box = tight_box(sample.points)
    return box[2:] - box[:2]


def _outside(sample: Sample, picture: Picture) -> tuple[Finding, ...]:
    height, width = picture.shape[:2]
    beyond = np.nanmax(np.maximum(-0.5 - sample.points, sample.points - [width - 0.5, height - 0.5]))
    extent = _extent(sample).max()
    if beyond <= FAR_OUTSIDE * extent:
        return ()
    detail = f"{beyond:.0f} px beyond the edge of {width} × {height} px"
    if extent > 0:
        detail += f", {beyond / extent:.2f} of the face's longer side"
    return (Finding("points outside picture", (sample.name,), detail),)


def _swapped(samples: Sequence[Sample]) -> Iterator[Finding]:
    by_schema: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if not _broken_points(sample):
            by_schema[sample.schema.name].append(sample)
    for faces in by_schema.values():
        groups = swapped_groups(np.stack([sample.points for sample in faces]), faces[0].schema)
        for sample, names in zip(faces, groups, strict=True):
            if names:
                yield Finding("sides swapped", (sample.name,), f"left and right of {', '.join(names)}")


def _sides(samples: Sequence[Sample]) -> tuple[list[int], list[int]]:
    """Indices of the training faces and of the test faces."""
    train, test = ([i for i, sample in enumerate(samples) if side in sample.subsets] for side in ("train", "test"))
    return train, test


def _shared_photographs(samples: Sequence[Sample]) -> Iterator[Finding]:
    names: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))  # of training and test faces
    for side, indices in enumerate(_sides(samples)):
        for i in indices:
            names[samples[i].photo][side].append(samples[i].name)
    for photo, (train, test) in sorted(names.items()):
        if train and test:
            detail = f"{photo}: {len(train)} training and {len(test)} test faces"
            yield Finding("photograph in train and test", (train[0], test[0]), detail)


def _same_pictures(samples: Sequence[Sample], inspections: Sequence[_Inspection]) -> Iterator[Finding]:
    train, test = _sides(samples)
    by_digest = {inspections[i].digest: i for i in reversed(train) if inspections[i].digest}
    for j in test:
        i = by_digest.get(inspections[j].digest)
        if i is not None and samples[i].photo != samples[j].photo:
            yield Finding("same picture in train and test", (samples[i].name, samples[j].name), "equal in every pixel")


def _near_duplicates(samples: Sequence[Sample], inspections: Sequence[_Inspection]) -> Iterator[Finding]:
    train, test = _sides(samples)
    for by_eyes, threshold in ((True, DUPLICATE_BY_EYES), (False, DUPLICATE_BY_BOX)):
        first, second = (
            [i for i in side if inspections[i].crop is not None and aligned_by_eyes(samples[i].schema) == by_eyes]
            for side in (train, test)
        )
        for a, b, correlation in near_duplicates(_crops(inspections, first), _crops(inspections, second), threshold):
            i, j = first[a], second[b]
            if samples[i].photo != samples[j].photo and inspections[i].digest != inspections[j].digest:
                detail = f"the faces' detail correlates {correlation:.2f}"
                yield Finding("alike pictures in train and test", (samples[i].name, samples[j].name), detail)


def _crops(inspections: Sequence[_Inspection], indices: Iterable[int]) -> list[Picture]:
    return [crop for i in indices if (crop := inspections[i].crop) is not None]
