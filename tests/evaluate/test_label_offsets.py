"""Labels against a model: a moved folder and a wrong face are found, noise and one good folder are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lightmark.cli import main
from lightmark.data.read import read_samples
from lightmark.data.sample import Sample
from lightmark.errors import DataError, SchemaError
from lightmark.evaluate.label_offsets import FAR, FEWEST, format_offsets, label_offsets
from lightmark.evaluate.predict import open_model
from lightmark.geometry import tight_box
from lightmark.schema import IBUG68


def moved(sample: Sample, dx: float, dy: float) -> Sample:
    """The face with its labels, not its picture, moved."""
    points = sample.points + np.array([dx, dy])
    return replace(sample, points=points, box=tight_box(points))


@pytest.fixture
def folders(blob_sample):
    """Twelve faces in each of three folders, labelled with a noise of 0.4 px, on whose eyes 40 px lie."""
    rng = np.random.default_rng(0)
    faces = []
    for number in range(36):
        face = blob_sample(number, name=f"set/{'abc'[number // 12]}/{number}.png")
        points = face.points + rng.normal(0, 0.4, (3, 2))
        faces.append(replace(face, points=points, box=tight_box(points)))
    return faces


def test_noise_is_no_offset(centroid_model, folders):
    """Folders labelled by the same hand agree with the model within their standard errors."""
    found = label_offsets(centroid_model, folders, Path("set"))
    assert found.clean
    assert {folder.folder: folder.faces for folder in found.folders} == {"a": 12, "b": 12, "c": 12}
    assert all(abs(value) < 0.4 for folder in found.folders for value in folder.pixels)


def test_a_moved_folder_is_found_with_its_pixels(centroid_model, folders):
    """A pixel and a half is beyond noise; the folder comes first, and the others are not blamed."""
    faces = [moved(face, 1.1, -1.0) if "/b/" in face.name else face for face in folders]
    found = label_offsets(centroid_model, faces, Path("set"))
    assert [folder.verdict for folder in found.folders] == ["moved", "", ""]
    first = found.folders[0]
    assert first.folder == "b"
    assert first.pixels == pytest.approx((-1.1, 1.0), abs=3 * max(first.pixel_errors))
    assert first.pixel_errors == pytest.approx((0.4 / 6, 0.4 / 6), rel=0.5)  # 12 faces of 3 points each
    assert "labels of 1 folders moved" in format_offsets(found, "blobs")


def test_a_folder_unlike_the_others_is_found_where_the_model_is_off(centroid_model, folders):
    """A model's own bias, in all folders alike, hides a moved folder from itself, not from the others."""
    faces = [moved(face, 0.15, 0.0) if "/b/" in face.name else moved(face, -0.4, 0.0) for face in folders]
    found = label_offsets(centroid_model, faces, Path("set"))
    assert {folder.folder: folder.verdict for folder in found.folders}["b"] == "unlike the others"


def test_few_faces_give_no_offset(centroid_model, folders):
    """A mean of fewer than ten faces is no folder's."""
    faces = [moved(face, 3.0, 0.0) for face in folders[: FEWEST - 1]]
    assert not any(folder.verdict for folder in label_offsets(centroid_model, faces).folders)
    alone = label_offsets(centroid_model, faces[:1]).folders[0]
    assert np.isnan(alone.pixel_errors).all()


def test_a_wrong_face_is_named_first(centroid_model, folders):
    """One face whose labels are far off is found by name, its folder is not blamed for it."""
    folders[5] = moved(folders[5], 7.0, 3.0)
    found = label_offsets(centroid_model, folders, Path("set"))
    assert found.faces[0].name == "a/5.png"
    assert found.faces[0].nme >= FAR > found.faces[1].nme
    assert found.faces[0].pixels == pytest.approx((-7, -3), abs=1)
    assert not any(folder.verdict for folder in found.folders)
    assert not found.clean
    assert "  a/5.png: " in format_offsets(found, "blobs")


def test_missing_points_are_passed_over(centroid_model, folders):
    """Offsets are those of labelled points; a face without the normaliser is counted and left out."""
    folders[0].points[1], folders[1].points[2] = np.nan, np.nan
    found = label_offsets(centroid_model, folders, Path("set"))
    assert (found.left_out, len(found.faces)) == (1, 35)
    assert found.clean
    assert "1 faces lack a point that errors are divided by" in format_offsets(found, "blobs")


def test_other_points_are_refused(fixed_model, centroid_model, folders):
    """Labels of another schema and an empty list of samples raise errors."""
    spec = replace(centroid_model.spec, schema=IBUG68)
    with pytest.raises(SchemaError, match="expected ibug68"):
        label_offsets(fixed_model(spec, np.zeros((68, 2))), folders)
    with pytest.raises(DataError, match="no faces whose labels could be compared"):
        label_offsets(centroid_model, [])


def test_the_command_compares(tree_300w, model_68):
    """`data check --against` shows each folder below the data, and ends with 1 where one is off."""
    result = CliRunner().invoke(main, ["data", "check", str(tree_300w), "--against", str(model_68(off=0.1))])
    assert result.exit_code == 1
    assert "points of grid.onnx − labels" in result.output
    assert all(f"\n{folder} " in result.output for folder in ("afw", "ibug", "helen/testset", "lfpw/testset"))


def test_real_labels_moved_by_a_pixel_are_found(real_data):
    """AFW's labels were once 1.1 px right of and 1.0 px above its pictures: 1.5 % of the eye distance."""
    faces = read_samples(real_data / "300w", subset="train")
    afw = [face for face in faces if face.path.parent.name == "afw"][:60]
    others = [face for face in faces if face.path.parent.parent.name in ("helen", "lfpw")][::20]
    model = open_model("fast")
    before = label_offsets(model, [*afw, *others], real_data / "300w")
    assert not any(folder.verdict for folder in before.folders)
    after = label_offsets(model, [*(moved(face, 1.1, -1.0) for face in afw), *others], real_data / "300w")
    assert [folder.folder for folder in after.folders if folder.verdict] == ["afw"]


def test_real_labels_of_half_size_are_found_one_by_one(real_data):
    """Labels made on pictures of half the size lie beside the faces."""
    afw = read_samples(real_data / "300w" / "afw")[:12]
    halved = [replace(face, points=(face.points + 0.5) / 2 - 0.5) for face in afw]
    found = label_offsets(open_model("fast"), halved)
    assert sum(face.nme >= FAR for face in found.faces) >= 11
