"""Tests of splitting by photograph."""

import re
from pathlib import Path

import numpy as np
import pytest

from lightmark.data.sample import Sample
from lightmark.data.split import _position, split_by_photo
from lightmark.errors import DataError
from lightmark.schema import plain_schema


def faces(photos: int, each: int = 3) -> list[Sample]:
    """`each` faces of every one of `photos` photographs."""
    points, schema = np.array([[0.0, 0.0], [1.0, 1.0]]), plain_schema(2)
    return [
        Sample(Path(f"{photo}_{i}.jpg"), points, np.array([0.0, 0, 1, 1]), schema, photo=f"p/{photo}")
        for photo in range(photos)
        for i in range(each)
    ]


def test_no_photograph_is_torn_apart():
    """Every photograph lies on one side, and no face is lost."""
    samples = faces(200)
    train, validation = split_by_photo(samples, 0.2, seed=0)
    assert not {s.photo for s in train} & {s.photo for s in validation}
    assert sorted(s.name for s in train + validation) == sorted(s.name for s in samples)


def test_share_is_about_right():
    """Of 1000 photographs a fifth go to validation, to within three standard deviations."""
    _, validation = split_by_photo(faces(1000, each=1), 0.2, seed=0)
    assert len(validation) == pytest.approx(200, abs=3 * (1000 * 0.2 * 0.8) ** 0.5)


def test_split_is_the_same_on_every_machine():
    """The hash does not depend on the process: these photographs are in validation for good."""
    _, validation = split_by_photo(faces(30, each=1), 0.2, seed=0)
    assert [s.photo for s in validation] == ["p/5", "p/7", "p/22", "p/23", "p/27"]


def test_added_photographs_move_no_other():
    """A photograph's side depends on its key and the seed alone."""
    few = {s.name for s in split_by_photo(faces(100), 0.2, seed=3)[1]}
    many = {s.name for s in split_by_photo(faces(150), 0.2, seed=3)[1]}
    assert few == many & {s.name for s in faces(100)}


def test_seeds_differ():
    """Another seed draws other photographs."""
    assert {s.name for s in split_by_photo(faces(100), 0.2, 0)[1]} != {
        s.name for s in split_by_photo(faces(100), 0.2, 1)[1]
    }


def test_empty_side_is_an_error():
    """One photograph cannot be on both sides."""
    with pytest.raises(DataError, match=r"1 photographs at share 0\.2, seed 0 give . training and . validation faces"):
        split_by_photo(faces(1), 0.2, seed=0)


@pytest.mark.parametrize("share", [0, 1, -0.1, 20])
def test_share_must_lie_between_0_and_1(share):
    """A share in percent is refused."""
    with pytest.raises(DataError, match=f"share {share}; expected a share between 0 and 1"):
        split_by_photo(faces(10), share, seed=0)


@pytest.mark.parametrize("photos", [2, 3, 6])
def test_advice_for_few_photographs_works(photos):
    """The seed that the message names leaves some on each side."""
    samples = faces(photos, each=1)
    seed = next(seed for seed in range(99) if not 0 < sides(samples, seed) < photos)
    with pytest.raises(DataError, match=r"give more photographs, or seed \d+, which leaves some") as raised:
        split_by_photo(samples, 0.1, seed)
    found = re.search(r"or seed (\d+)", str(raised.value))
    assert found is not None
    assert all(split_by_photo(samples, 0.1, int(found[1])))


def sides(samples: list[Sample], seed: int) -> int:
    """Photographs in validation at a share of 0.1."""
    return sum(_position(sample.photo, seed) < 0.1 for sample in samples)
