"""Tests of the review page: wrong labels come first, with their points, and the page needs nothing but itself."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from lightmark.data.read import read_samples
from lightmark.evaluate.label_offsets import label_offsets
from lightmark.evaluate.predict import open_model
from lightmark.evaluate.report.review import error_ratios, review_page
from lightmark.geometry import tight_box


@pytest.fixture
def faces(blob_sample):
    """Twelve faces of three points, labelled with a noise of 0.4 px, the third ten times worse; face 5 has one wrong.
    """
    rng = np.random.default_rng(0)
    made = []
    for number in range(12):
        face = blob_sample(number, name=f"set/{number}.png")
        points = face.points + rng.normal(0, 0.4, (3, 2)) * [[1], [1], [10]]
        if number == 5:
            points = face.points + np.array([[5, 0], [0, 0], [0, 0]])
        made.append(replace(face, points=points, box=tight_box(points)))
    return made


def drawings(page: str) -> list[ElementTree.Element]:
    """The SVGs of a page, in order."""
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]


def test_the_face_with_the_wrong_point_comes_first(centroid_model, faces):
    """Though noise at an uncertain point makes other faces' NME larger."""
    offsets = label_offsets(centroid_model, faces, Path("set"))
    assert offsets.faces[0].name != "5.png", "the NME would hide it"
    page = review_page(offsets, "blobs", count=4)
    names = re.findall(r"<figcaption><b>(.*?)</b>", page)
    assert len(names) == 4
    assert names[0] == "5.png"
    assert re.search(r"<b>5\.png</b><br>0: 5\.\d px, \d+ ×", page)


def test_labels_and_points_are_drawn_on_the_crop(centroid_model, faces):
    """Both where they are on the crop, pixel centres half a pixel off the corner, and a line between the wrong ones."""
    offsets = label_offsets(centroid_model, faces, Path("set"))
    svg = drawings(review_page(offsets, "blobs", count=1))[0]
    places = {
        group.get("class"): np.array([[float(one.get("cx")), float(one.get("cy"))] for one in group])
        for group in svg.findall("g")
        if group.get("class")
    }
    assert [title.text for title in svg.iter("title")] == ["0", "1", "2"] * 2
    shown = next(face for face in offsets.faces if face.name == "5.png")
    scale = np.linalg.norm(places["labels"][0] - places["labels"][1]) / np.linalg.norm(
        shown.sample.points[0] - shown.sample.points[1]
    )
    offset = scale * (shown.sample.points - shown.points)
    np.testing.assert_allclose(places["labels"] - places["model"], offset, atol=0.2)
    assert len(svg.findall("g/line")) == 1
    assert svg.find("image").get("href").startswith("data:image/jpeg;base64,")


def test_the_page_refers_to_nothing_outside(centroid_model, faces):
    """No script, no address; names are escaped."""
    named = [replace(face, path=Path("set/<b>&.png")) for face in faces[:1]]
    page = review_page(label_offsets(centroid_model, [*named, *faces[1:]], Path("set")), "<m>")
    assert "<script" not in page
    assert "&lt;b&gt;&amp;.png" in page
    assert "&lt;m&gt;" in page
    assert "http" not in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_missing_points_and_pictures_are_passed_over(centroid_model, faces):
    """A missing label is not drawn, and a picture that is gone is said to be."""
    points = faces[5].points.copy()
    points[1] = np.nan
    offsets = label_offsets(centroid_model, [*faces[:5], replace(faces[5], points=points), *faces[6:]], Path("set"))
    assert np.isnan(error_ratios(offsets.faces)).sum() == 1
    page = review_page(offsets, "blobs", count=1)
    labels = next(group for group in drawings(page)[0].findall("g") if group.get("class") == "labels")
    assert [title.text for title in labels.iter("title")] == ["0", "2"]
    gone = [replace(face, sample=replace(face.sample, image=None)) for face in offsets.faces]
    assert "no picture" in review_page(replace(offsets, faces=tuple(gone)), "blobs", count=1)


def test_wrong_labels_of_real_faces_come_first(real_data):
    """Of sixty training faces of LFPW, six with a point moved by a fifth of the eye distance are among the first nine.
    """
    samples = read_samples(real_data / "300w" / "lfpw" / "trainset")[:60]
    rng, wrong = np.random.default_rng(0), set()
    for number in rng.permutation(60)[:6].tolist():
        face, point = samples[number], int(rng.integers(17, 68))
        points = face.points.copy()
        points[point] += 0.2 * np.linalg.norm(points[45] - points[36]) * np.array([0.6, 0.8])
        samples[number] = replace(face, points=points, box=tight_box(points))
        wrong.add((samples[number].path.name, str(point)))
    model = open_model("fast", threads=1)
    page = review_page(label_offsets(model, samples, samples[0].path.parent), "fast", count=9)
    shown = set(re.findall(r"<figcaption><b>(.*?)</b><br>(\d+):", page))
    assert len(wrong & shown) >= 5
