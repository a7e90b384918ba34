"""Tests of `check`."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lightmark.data.check.check import CheckReport, check
from lightmark.data.check.report import format_report, write_contact_sheet
from lightmark.data.read import read_samples
from lightmark.data.sample import LABELLED_SIZE, Sample
from lightmark.errors import DataError
from lightmark.geometry import tight_box
from lightmark.schema import Schema, plain_schema

FACE = Schema("face4", (1, 0, 2, 3), (0, 1))
POINTS = np.array([[60.0, 60.0], [140.0, 60.0], [100.0, 100.0], [100.0, 150.0]])


def noise(seed: int) -> np.ndarray:
    """A picture (200, 200, 3) of structure at all scales, like no other seed's."""
    rng = np.random.default_rng(seed)
    layers = [cv2.resize(rng.uniform(0, 1, (n, n, 3)), (200, 200), interpolation=cv2.INTER_CUBIC) for n in (5, 12, 40)]
    return np.clip(255 * sum(layers) / 3, 0, 255).astype(np.uint8)


@pytest.fixture
def faces(tmp_path: Path) -> list[Sample]:
    """Four sound training and two sound test faces, each of a photograph of its own."""
    samples = []
    for i in range(6):
        path = tmp_path / f"{i}.png"
        Image.fromarray(noise(i)).save(path)
        points = POINTS + np.random.default_rng(i).normal(0, 1, POINTS.shape)
        side = "train" if i < 4 else "test"
        samples.append(Sample(path, points, tight_box(points), FACE, f"p/{i}", frozenset({side})))
    return samples


def kinds(report: CheckReport) -> list[str]:
    """The kinds of the findings, in order."""
    return [finding.kind for finding in report.findings]


def test_sound_data_is_clean(faces):
    """Nothing is found in sound data, and the counts are right."""
    report = check(faces)
    assert report.clean
    assert (report.faces, report.photographs) == (6, 6)
    assert report.schemas == {"face4": 6}
    assert report.subsets == {"train": 4, "test": 2}


def test_missing_picture_is_found(faces):
    """A face whose picture is not there is found; the others are still looked at."""
    faces[0].path.unlink()
    (finding,) = check(faces).findings
    assert finding.kind == "missing picture"
    assert finding.names == (faces[0].name,)
    assert "no such picture" in finding.detail


def test_unreadable_picture_is_found(faces):
    """A cut picture is found."""
    faces[0].path.write_bytes(faces[0].path.read_bytes()[:100])
    (finding,) = check(faces).findings
    assert finding.kind == "unreadable picture"
    assert "0.png: cannot be read as a picture" in finding.detail


def test_points_that_are_not_finite_are_found(faces):
    """Infinite points are reported, and the other checks continue."""
    points = faces[1].points.copy()
    points[2, 0] = np.inf
    faces[1] = replace(faces[1], points=points, box=tight_box(points))
    (finding,) = check(faces).findings
    assert (finding.kind, finding.detail) == ("points not finite", "1 of 4 points")


def test_missing_points_are_counted_and_are_no_fault(faces):
    """Each point has the number of faces that lack it; the others of such a face are checked all the same."""
    for number, lacking in ((0, [3]), (1, [2, 3]), (3, [2])):
        faces[number].points[lacking] = np.nan
    report = check(faces)
    assert report.clean
    assert report.missing == {"face4": {2: 2, 3: 2}}
    assert "missing  4 points of 6 faces of face4; point (faces without it) 2 in 2, 3 in 2" in format_report(report)
    faces[1].points[0, 0] = -90
    assert kinds(check(faces)) == ["points outside picture"]


def test_most_missing_points_are_named_first(faces):
    """The text names ten indices, the rest is a number."""
    points = np.full((12, 2), np.nan)
    points[0] = 1
    whole = Sample(faces[0].path, points + np.arange(24).reshape(12, 2), tight_box(points), plain_schema(12), "p")
    report = check([whole])
    assert "1 in 1, 2 in 1, 3 in 1, 4 in 1, 5 in 1, 6 in 1, 7 in 1, 8 in 1, 9 in 1, 10 in 1 and 1 more" in (
        format_report(report)
    )


def test_a_face_without_any_point_is_found(faces):
    """A face without labelled points is a finding and cannot be cropped."""
    faces[2].points[:] = np.nan
    (finding,) = check(faces).findings
    assert (finding.kind, finding.detail) == ("no labelled point", "none of 4 points")


def test_coinciding_points_are_found(faces):
    """A face without extent cannot be cropped."""
    points = np.full((4, 2), 30.0)
    faces[1] = replace(faces[1], points=points, box=tight_box(points))
    (finding,) = check(faces).findings
    assert (finding.kind, finding.detail) == ("empty box", "points span 0 × 0 pixels")


def test_points_relative_to_the_pictures_size_are_found(faces):
    """Coordinates from 0 to 1, as many programs write, are those of no face."""
    points = faces[1].points / faces[1].points.max()
    faces[1] = replace(faces[1], points=points, box=tight_box(points))
    (finding,) = check(faces).findings
    assert finding.kind == "empty box"
    assert finding.detail.endswith("all at the picture's first pixel: are they relative to its size?")


def test_points_far_outside_are_found(faces):
    """A face moved off its picture is found, one that sticks out a little is not."""
    near, far = faces[0].points - [64, 0], faces[1].points - [100, 0]
    faces[0] = replace(faces[0], points=near, box=tight_box(near))
    faces[1] = replace(faces[1], points=far, box=tight_box(far))
    (finding,) = check(faces).findings
    assert finding.kind == "points outside picture"
    assert finding.names == (faces[1].name,)
    assert "beyond the edge of 200 × 200 px" in finding.detail


def test_another_size_than_the_label_files_is_found(faces):
    """A picture that was scaled or turned after it was labelled is named with both sizes."""
    for number, size in ((0, (200, 200)), (1, (100, 200))):
        faces[number] = replace(faces[number], attributes={LABELLED_SIZE: size})
    (finding,) = check(faces).findings
    assert (finding.kind, finding.names) == ("size contradicts picture", (faces[1].name,))
    assert finding.detail == "labelled on 100 × 200 px, the picture has 200 × 200: scaled, cut or turned since"


def test_labels_of_half_the_size_are_found(faces):
    """Eight faces without a label in the right or lower half are a finding; one label there is enough for none."""
    many = [replace(face, path=face.path, attributes={"index": i}) for i in range(2) for face in faces]
    halved = [replace(face, points=(face.points + 0.5) / 2 - 0.5) for face in many]
    (finding,) = check(halved).findings
    assert (finding.kind, finding.names) == ("labels of a smaller picture", (halved[0].name,))
    assert "no label of 12 faces lies beyond 0.3" in finding.detail
    assert check([*halved[1:], many[0]]).clean
    assert check(halved[:6]).clean


def test_swapped_sides_are_found(faces):
    """A face whose labels went to the mirror image is found."""
    faces[3] = replace(faces[3], points=faces[3].points[list(FACE.mirror)])
    (finding,) = check(faces).findings
    assert (finding.kind, finding.names) == ("sides swapped", (faces[3].name,))
    assert finding.detail == "left and right of face"


def test_photograph_on_both_sides_is_found(faces):
    """Faces of one photograph in train and test are found by its key, once."""
    faces[4] = replace(faces[4], photo="p/1")
    (finding,) = check(faces).findings
    assert finding.kind == "photograph in train and test"
    assert finding.names == (faces[1].name, faces[4].name)
    assert finding.detail == "p/1: 1 training and 1 test faces"


def test_same_pixels_on_both_sides_are_found(faces):
    """A test picture copied under another name is found once, as the same and not as alike."""
    faces[4].path.write_bytes(faces[1].path.read_bytes())
    (finding,) = check(faces).findings
    assert finding.kind == "same picture in train and test"
    assert finding.names == (faces[1].name, faces[4].name)


def test_resaved_picture_on_both_sides_is_found(faces):
    """A smaller JPEG of a training picture in the test set is found."""
    small = Image.open(faces[1].path).resize((120, 120), Image.Resampling.BOX)
    path = faces[4].path.with_suffix(".jpg")
    small.save(path, quality=70)
    points = (faces[1].points + 0.5) * 0.6 - 0.5
    faces[4] = replace(faces[4], path=path, points=points, box=tight_box(points))
    (finding,) = check(faces).findings
    assert finding.kind == "alike pictures in train and test"
    assert finding.names == (faces[1].name, faces[4].name)


def test_copies_on_one_side_are_no_leak(faces):
    """The same picture twice in training is no leak."""
    faces[2].path.write_bytes(faces[1].path.read_bytes())
    assert check(faces).clean


def test_empty_set_is_clean():
    """No samples, no findings."""
    assert check([]).clean


def test_report_counts_and_shortens(faces):
    """The text gives counts, each kind with its number, the first few findings and how many more there are."""
    for face in faces[:3]:
        face.path.unlink()
    text = format_report(check(faces), shown=2)
    assert text.startswith("6 faces of 6 photographs\nschemas  face4 6\nsubsets  train 4, test 2\n")
    assert "missing picture: 3\n" in text
    assert f"  {faces[0].name}: " in text
    assert faces[2].name not in text
    assert "  and 1 more\n" in text
    assert text.endswith("3 to look at")


def test_a_report_without_findings(faces):
    """A clean report ends in plain words."""
    assert format_report(check(faces)).endswith("nothing to look at")


def test_contact_sheet_shows_broken_faces_too(tmp_path, faces):
    """Missing pictures, NaN and empty boxes get a tile like any other face."""
    faces[0].path.unlink()
    faces[1] = replace(faces[1], points=np.where(np.arange(8).reshape(4, 2) == 3, np.nan, faces[1].points))
    faces[2] = replace(faces[2], points=np.full((4, 2), 30.0))
    write_contact_sheet(faces, check(faces), tmp_path / "sheet.png", np.random.default_rng(0), count=6)
    width, height = Image.open(tmp_path / "sheet.png").size
    assert width > 6 * 160
    assert height > 160
    assert not list(tmp_path.glob("*.tmp"))


def test_contact_sheet_is_the_same_for_the_same_draw(tmp_path, faces):
    """The faces drawn at random depend on the generator alone."""
    report = check(faces)
    for name in ("a.png", "b.png"):
        write_contact_sheet(faces, report, tmp_path / name, np.random.default_rng(5), count=3)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_contact_sheet_of_nothing_is_an_error(tmp_path):
    """Without samples there is nothing to draw."""
    with pytest.raises(DataError, match="no samples for a contact sheet"):
        write_contact_sheet([], check([]), tmp_path / "sheet.png", np.random.default_rng(0))


def test_real_300w_has_three_known_leaks_and_nothing_else(real_data):
    """LFPW has three test pictures in its training set, as scans of other size or tone; all else is sound."""
    report = check(read_samples(real_data / "300w"))
    assert kinds(report) == ["alike pictures in train and test"] * 3
    assert {tuple(Path(name).stem for name in finding.names) for finding in report.findings} == {
        ("image_0215", "image_0066"),
        ("image_0828", "image_0096"),
        ("image_0862", "image_0007"),
    }


def test_real_sets_are_not_flagged_wholesale(real_data):
    """Of 2831 faces in studios, profiles and scenes only one is found: a WFLW face with its brows' sides swapped."""
    faces = [face for name in ("scut86", "300w_lp", "helen29", "wflw") for face in read_samples(real_data / name)]
    (finding,) = check(faces).findings
    assert (finding.kind, finding.detail) == ("sides swapped", "left and right of brows")


def test_real_ytf_shares_its_people(real_data):
    """YouTube Faces' two parts show the same 347 people: every one is found."""
    report = check(read_samples(real_data / "ytf68"))
    assert Counter(kinds(report)) == {"photograph in train and test": 347, "points outside picture": 1}
