"""Fingerprints cover everything that decides a run, and errors name the difference."""

from __future__ import annotations

import hashlib
import json
import string
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightmark.data.crops.dataset import TeacherPoints
from lightmark.data.sample import Sample
from lightmark.errors import CheckpointError
from lightmark.train.config import DetectorRecipe, Recipe
from lightmark.train.faces import Split
from lightmark.train.fingerprint import detector_fingerprint, differences, plain, run_fingerprint
from lightmark.train.recipes import get_recipe


@pytest.fixture
def split(faces: list[Sample], tmp_path: Path) -> Split:
    """Six training and two validation faces, each with a picture file."""
    made = []
    for number, face in enumerate(faces[:8]):
        assert face.image is not None
        path = tmp_path / f"{number}.png"
        Image.fromarray(face.image).save(path)
        made.append(replace(face, path=path, image=None))
    return Split(made[:6], made[6:])


def darker(path: Path) -> None:
    """Change one pixel of a picture file in place."""
    pixels = np.array(Image.open(path))
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(path)


def changed(before: Split, after: Split, recipe: Recipe) -> str:
    """Differences of the fingerprints of a run and the same run on other faces."""
    return differences(run_fingerprint(recipe, before, None), run_fingerprint(recipe, after, None))


def test_a_fingerprint_changes_with_every_field_of_the_recipe() -> None:
    """Every field of a recipe changes the fingerprint."""
    recipe = get_recipe("cpu128-plain")
    others = [
        replace(recipe, seed=1),
        replace(recipe, steps=7),
        replace(recipe, augmentation=replace(recipe.augmentation, blur=0.9)),
        replace(recipe, architecture=replace(recipe.architecture, width=0.5)),
    ]
    assert len({json.dumps(plain(asdict(r)), sort_keys=True) for r in (recipe, *others)}) == len(others) + 1


def test_the_same_run_has_the_same_fingerprint(split: Split, recipe: Recipe) -> None:
    """The fingerprint does not depend on the process, and survives JSON."""
    fingerprint = run_fingerprint(recipe, split, None)
    assert differences(fingerprint, run_fingerprint(recipe, split, None)) == ""
    assert plain(fingerprint) == fingerprint


def test_settings_are_named_with_their_values(split: Split, recipe: Recipe) -> None:
    """A changed setting is named with its old and new value."""
    longer = replace(recipe, steps=9, augmentation=replace(recipe.augmentation, blur=0.5))
    found = differences(run_fingerprint(recipe, split, None), run_fingerprint(longer, split, None))
    assert found == "recipe: steps (was 8, is 9), recipe: augmentation: blur (was 0.15, is 0.5)"


@pytest.mark.parametrize("side", ["train", "validation"])
def test_one_moved_label_changes_the_fingerprint(split: Split, recipe: Recipe, side: str) -> None:
    """One moved point of one training or validation face changes the fingerprint."""
    whose = {"train": "training faces", "validation": "validation faces"}[side]
    moved = list(getattr(split, side))
    moved[1] = replace(moved[1], points=moved[1].points + np.eye(5, 2) * 1e-6)
    assert changed(split, replace(split, **{side: moved}), recipe) == f"{whose}: labels"


def test_one_changed_pixel_changes_the_fingerprint(split: Split, recipe: Recipe) -> None:
    """One changed pixel changes the fingerprint."""
    before = run_fingerprint(recipe, split, None)
    darker(split.train[3].path)
    assert differences(before, run_fingerprint(recipe, split, None)) == "training faces: pictures"


def test_boxes_order_and_number_change_the_fingerprint(split: Split, recipe: Recipe) -> None:
    """Boxes, order and number of the faces change the fingerprint."""
    box = [replace(split.train[0], box=split.train[0].box + 1), *split.train[1:]]
    assert changed(split, replace(split, train=box), recipe) == "training faces: boxes"
    assert "labels" in changed(split, replace(split, train=split.train[::-1]), recipe)
    assert "number (was 6, is 5)" in changed(split, replace(split, train=split.train[:5]), recipe)


def test_folders_do_not_count(split: Split, recipe: Recipe, tmp_path: Path) -> None:
    """Moving a data set to another folder does not change the fingerprint."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    moved = [replace(face, path=face.path.rename(folder / face.path.name)) for face in split.train]
    before = run_fingerprint(recipe, replace(split, train=moved), None)
    for face in moved:
        face.path.rename(tmp_path / face.path.name)
    assert differences(before, run_fingerprint(recipe, split, None)) == ""


def test_pictures_in_memory_are_hashed_by_their_pixels(faces: list[Sample], recipe: Recipe) -> None:
    """Pictures in memory, as of COFW, are hashed by their pixels."""
    image = faces[0].image
    assert image is not None
    other = [replace(faces[0], image=image ^ 1), *faces[1:4]]
    assert changed(Split(faces[:4], faces[4:6]), Split(other, faces[4:6]), recipe) == "training faces: pictures"


def test_weights_of_the_start_change_the_fingerprint(split: Split, recipe: Recipe, tmp_path: Path) -> None:
    """Other weights under the same path change the fingerprint."""
    start = tmp_path / "start.safetensors"
    start.write_bytes(b"one")
    before = run_fingerprint(recipe, split, start)
    start.write_bytes(b"two")
    assert differences(before, run_fingerprint(recipe, split, start)) == "start"
    with pytest.raises(CheckpointError, match=r"gone\.safetensors: cannot be read"):
        run_fingerprint(recipe, split, tmp_path / "gone.safetensors")


def test_teachers_points_change_the_fingerprint(split: Split, recipe: Recipe) -> None:
    """Other teachers' points change the fingerprint of the student."""
    points = np.zeros((2, 6, 5, 2), np.float32)
    before, after = TeacherPoints(points, points), TeacherPoints(points, points + 1e-3)
    found = differences(run_fingerprint(recipe, split, None, before), run_fingerprint(recipe, split, None, after))
    assert found == "teachers' points: tolerant"


def test_backgrounds_of_the_detector_change_the_fingerprint(split: Split) -> None:
    """Backgrounds are hashed by their bytes, training and validation separately."""
    known, unknown = [face.path for face in split.train[:2]], [face.path for face in split.train[2:4]]
    before = detector_fingerprint(DetectorRecipe(), split, known, unknown, None)
    after = detector_fingerprint(DetectorRecipe(), split, known, unknown[::-1], None)
    assert differences(before, after) == "backgrounds: validation: pictures"
    after = detector_fingerprint(DetectorRecipe(), split, known[::-1], unknown, None)
    assert differences(before, after) == "backgrounds: training: pictures"
    after = detector_fingerprint(DetectorRecipe(steps=9), split, known, unknown, None)
    assert differences(before, after) == "recipe: steps (was 12000, is 9)"


def test_a_start_has_the_same_name_in_both_fingerprints(split: Split, recipe: Recipe, tmp_path: Path) -> None:
    """Both fingerprints have the hash of the start under the same name, empty without one."""
    start = tmp_path / "start.safetensors"
    start.write_bytes(b"one")
    for given, expected in ((None, ""), (start, hashlib.sha256(b"one").hexdigest())):
        assert run_fingerprint(recipe, split, given)["start"] == expected
        assert detector_fingerprint(DetectorRecipe(), split, [], [], given)["start"] == expected


def test_a_long_list_of_differences_is_cut() -> None:
    """Five differences are named, the others counted."""
    before, after = (dict.fromkeys("abcdefg", value) for value in (1, 2))
    assert differences(before, after).endswith("e (was 1, is 2) and 2 more")
    before, after = (dict.fromkeys("abcde", value) for value in (1, 2))
    assert differences(before, after).endswith("e (was 1, is 2)")


def test_hashes_are_named_but_not_shown() -> None:
    """Differing hashes are named without their values; other texts of that length are shown."""
    one, other = (hashlib.sha256(content).hexdigest() for content in (b"one", b"other"))
    assert {differences({"start": a}, {"start": b}) for a, b in ((one, other), ("", one), (one, ""))} == {"start"}
    for letter in set(string.ascii_letters) - set("abcdef"):
        word = one + letter
        assert differences({"start": word}, {"start": ""}) == f"start (was {word!r}, is '')"


def test_a_part_that_one_run_lacks_is_a_difference() -> None:
    """A part that only one fingerprint has is a difference."""
    part = {"backgrounds": {"training": 3}}
    assert differences({}, part) == "backgrounds (was None, is {'training': 3})"
    assert differences(part, {}) == "backgrounds (was {'training': 3}, is None)"
