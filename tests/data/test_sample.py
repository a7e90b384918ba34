"""The length that errors are divided by: of two points where a schema names them, else of the face's box."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lightmark.data.missing import with_normaliser
from lightmark.data.sample import Sample, normalisers_of
from lightmark.errors import SchemaError
from lightmark.evaluate.report.rows import face_rows, nme_key
from lightmark.metrics import interocular
from lightmark.schema import FACE_BOX, Schema, plain_schema

BOX = np.array([10.0, 20.0, 50.0, 120.0])
NOSE = Sample(Path("a.png"), np.array([[30.0, 60.0]]), BOX, plain_schema(1), "a")
EYES = replace(NOSE, points=np.array([[20.0, 50.0], [50.0, 90.0]]), schema=plain_schema(2))


def test_two_points_give_their_distance() -> None:
    """The box does not count."""
    assert normalisers_of([EYES]).tolist() == [50.0]


def test_one_point_is_divided_by_the_longer_side_of_the_box() -> None:
    """In image pixels, one a face; the error of a point 7 px off is 7 % of a face of 100 px."""
    small = replace(NOSE, path=Path("b.png"), box=BOX / 2)
    assert normalisers_of([NOSE, small]).tolist() == [100.0, 50.0]
    (row,) = face_rows([NOSE], NOSE.points[None] + [7.0, 0.0])
    assert (row.nme, row.normaliser_px, row.size_px) == (0.07, 100.0, 100.0)
    assert nme_key(NOSE.schema) == "nme_face_box"


def test_no_face_lacks_a_normaliser_that_is_its_box() -> None:
    """Missing points leave no face out there."""
    two = Schema("two", (0, 1), (), normaliser_name=FACE_BOX)
    half = replace(EYES, points=np.array([[np.nan, np.nan], [50.0, 90.0]]), schema=two)
    assert with_normaliser([half]) == [half]
    assert normalisers_of([half]).tolist() == [100.0]


def test_no_distance_stands_in_for_a_box() -> None:
    """The inter-point distance is refused for a schema that names no two points."""
    with pytest.raises(SchemaError, match="points1 names no two points; divide errors by the face's box instead"):
        interocular(NOSE.points[None], NOSE.schema)


def test_validation_crops_keep_the_share_of_the_face() -> None:
    """In the crop, 1.25 times as wide as the face, its longer side is 0.8; two points keep their distance's share."""
    pytest.importorskip("torch")
    from lightmark.spec import ModelSpec
    from lightmark.train.faces import ValidationCrops

    for face, share in ((NOSE, 0.8), (EYES, 0.4)):
        face = replace(face, image=np.zeros((200, 200, 3), np.uint8))
        crops = ValidationCrops([face], [face.points], ModelSpec(face.schema, 64, crop_scale=1.25))
        assert crops.normalisers == pytest.approx([share])
