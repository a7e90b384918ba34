"""Tests of subsets and photographs derived from paths."""

from pathlib import Path

import pytest

from lightmark.data.subsets import photo_of, subsets_of


@pytest.mark.parametrize(
    ("path", "photo"),
    [
        ("/d/300w/afw/1051618982_1.jpg", "afw/1051618982"),
        ("/d/300w_lp/afw/AFW_1051618982_1_10.jpg", "afw/1051618982"),
        ("/d/300W_LP/AFW_Flip/AFW_1051618982_1_10.jpg", "afw/1051618982"),
        ("/d/300w/helen/trainset/100040721_2.jpg", "helen/100040721"),
        ("/d/helen29/100040721_2.jpg", "helen/100040721"),
        ("/d/300W_LP/HELEN/HELEN_100040721_2_3.jpg", "helen/100040721"),
        ("/d/300w/lfpw/trainset/image_0001.png", "lfpw/trainset/image_0001"),
        ("/d/300w/lfpw/testset/image_0001.png", "lfpw/testset/image_0001"),
        ("/d/300W_LP/LFPW/LFPW_image_test_0001_4.jpg", "lfpw/testset/image_0001"),
        ("/d/300w/ibug/image_014_01.jpg", "ibug/image_014"),
        ("/d/300w/ibug/image_006.jpg", "ibug/image_006"),
        ("/d/300W_LP/IBUG/IBUG_image_014_01_2.jpg", "ibug/image_014"),
        ("/d/300W_LP/IBUG/IBUG_image_006_2.jpg", "ibug/image_006"),
        ("/d/mine/party.jpg", "mine/party"),
    ],
)
def test_copies_and_faces_of_a_photograph_share_its_key(path, photo):
    """Faces, turned copies and relabelled copies of one photograph have one key, different photographs two."""
    assert photo_of(Path(path)) == photo


@pytest.mark.parametrize(
    ("path", "subsets"),
    [
        ("/d/300w/afw/1_1.jpg", {"train"}),
        ("/d/300w/helen/trainset/1_1.jpg", {"train"}),
        ("/d/300W/LFPW/trainset/image_0001.png", {"train"}),
        ("/d/300w/helen/testset/1_1.jpg", {"test", "common", "full", "helen"}),
        ("/d/300w/lfpw/testset/image_0001.png", {"test", "common", "full", "lfpw"}),
        ("/d/300w/ibug/image_003_1.jpg", {"test", "challenging", "full", "ibug"}),
        ("/d/300w_lp/afw/AFW_1_1_10.jpg", {"train", "300w_lp"}),
        ("/d/scut86/test/AF1.jpg", {"test"}),
        ("/d/mine/a.jpg", set()),
    ],
)
def test_subsets_follow_the_official_folders(path, subsets):
    """Each folder of 300W stands for the subsets the field reports."""
    assert subsets_of(Path(path)) == subsets


@pytest.mark.parametrize("number", ["0215", "0828", "0862"])
def test_training_pictures_that_repeat_test_ones_are_known(number):
    """LFPW's training set holds three photographs of its own test set; the same numbers elsewhere are others."""
    assert subsets_of(Path(f"/d/300w/lfpw/trainset/image_{number}.png")) == {"train", "repeats-test"}
    assert "repeats-test" not in subsets_of(Path(f"/d/300w/lfpw/testset/image_{number}.png"))
