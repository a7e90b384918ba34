"""Review page: faces whose labels and model disagree most, worst first, in one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightmark.data.sample import load_image
from lightmark.draw import GREEN, TARGET
from lightmark.errors import ImageError
from lightmark.evaluate.label_offsets import FaceOffset, LabelOffsets
from lightmark.evaluate.report.html import data_uri, dot, html_page, jpeg
from lightmark.geometry import Array, crop_matrix, finite, longer_side, tight_box, transform
from lightmark.image import warp

FACES = 60  # on a page
SIZE, SCALE = 360, 1.5  # of a crop: pixels, and its side relative to the face's box
NAMED = 3  # points that a caption names
FLOOR = 0.25  # of the median over all points: a point whose usual error is smaller would make trifles look wrong
SOUND = 3.0  # times its usual error up to which a point is not marked

STYLE = Path(__file__).parent / "review.css"


def review_page(offsets: LabelOffsets, model: str, count: int = FACES) -> str:
    """HTML text with the `count` faces whose labels are most probably wrong.

    A face counts by its worst point: the distance of label and model's point relative to the median of that point over
    all faces, since a jaw is always less certain than the corner of an eye. Pictures that cannot be read are named.
    """
    ratios = error_ratios(offsets.faces)
    worst = np.argsort([-np.nanmax(ratio) for ratio in ratios], kind="stable")[:count]
    figures = "".join(_figure(offsets.faces[i], ratios[i]) for i in worst)
    toggles = "".join(
        f'<label><input type="checkbox" id="{name}" checked> {dot(colour)} {text}</label>'
        for name, colour, text in (("labels", TARGET, "labels"), ("model", GREEN, f"points of {escape(model)}"))
    )
    about = (
        f"The {len(worst)} of {len(offsets.faces)} faces whose labels are most probably wrong. A face counts by its "
        "worst point: its distance from the model's, as a multiple of what is usual at that point. Lines join points "
        f"more than {SOUND:g} times as far apart as usual; numbers appear under the pointer. A model may be wrong, "
        "too: correct labels only where the picture says so."
    )
    body = f'<h1>Labels to review</h1><p>{about}</p><p class="toggles">{toggles}</p><div class="review">{figures}</div>'
    return html_page("Labels to review", body, STYLE.read_text(encoding="utf-8"))


def error_ratios(faces: Sequence[FaceOffset]) -> Array:
    """Distances (F, N) of labels and model's points, each relative to the median of its point over the faces."""
    errors = np.stack([face.errors for face in faces])
    usual = np.nanmedian(errors, axis=0)
    usual = np.where(np.isnan(usual), np.inf, usual)
    return np.asarray(errors / np.maximum(usual, max(FLOOR * float(np.nanmedian(errors)), 1e-9)))


def _figure(face: FaceOffset, ratios: Array) -> str:
    names = face.sample.schema.point_labels
    order = [i for i in np.argsort(-np.nan_to_num(ratios)) if ratios[i] > SOUND][:NAMED] or [int(np.nanargmax(ratios))]
    pixels = np.linalg.norm(face.points - face.sample.points, axis=1)
    listed = "; ".join(f"{escape(names[i])}: {pixels[i]:.1f} px, {ratios[i]:.0f} ×" for i in order)
    caption = f"<b>{escape(face.name)}</b><br>{listed}<br>NME {100 * face.nme:.1f} %"
    return f"<figure>{_drawing(face, ratios)}<figcaption>{caption}</figcaption></figure>"


def _drawing(face: FaceOffset, ratios: Array) -> str:
    """SVG of the face's crop with the labels, the model's points, and lines between those far apart."""
    both = np.concatenate([face.sample.points, face.points])
    box = tight_box(both[finite(both)])
    if not longer_side(box) > 0:
        box = box + np.array([-8.0, -8.0, 8.0, 8.0])
    matrix = crop_matrix(box, SIZE, SCALE)
    try:
        crop = warp(load_image(face.sample), matrix, SIZE)
    except ImageError:
        return '<div class="none">no picture</div>'
    labels, points = transform(matrix, face.sample.points) + 0.5, transform(matrix, face.points) + 0.5
    names = face.sample.schema.point_labels
    known = finite(labels)
    lines = "".join(
        f'<line x1="{labels[i, 0]:.1f}" y1="{labels[i, 1]:.1f}" x2="{points[i, 0]:.1f}" y2="{points[i, 1]:.1f}"/>'
        for i in np.flatnonzero(known & (ratios > SOUND))
    )
    return (
        f'<svg viewBox="0 0 {SIZE} {SIZE}" role="img" aria-label="{escape(face.name)}">'
        f'<image href="{data_uri("image/jpeg", jpeg(crop))}" width="{SIZE}" height="{SIZE}"/>'
        f"<g>{lines}</g>"
        f'<g class="model" fill="rgb{GREEN}">{_circles(points, names, np.ones(len(names), dtype=bool))}</g>'
        f'<g class="labels" fill="rgb{TARGET}">{_circles(labels, names, known)}</g></svg>'
    )


def _circles(points: Array, names: Sequence[str], shown: NDArray[np.bool_]) -> str:
    return "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.2"><title>{escape(name)}</title></circle>'
        for (x, y), name, one in zip(points.tolist(), names, shown, strict=True)
        if one
    )
