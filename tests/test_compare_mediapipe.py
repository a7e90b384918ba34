"""The comparison with MediaPipe: what it learns on training faces and how it counts, with a stand-in for MediaPipe."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from lightmark.data.sample import Sample
from lightmark.errors import DataError, MissingExtraError, SchemaError
from lightmark.geometry import crop_matrix, tight_box, transform
from lightmark.schema import IBUG68
from lightmark.spec import ModelSpec, spec_to_json

SHAPE = np.random.default_rng(0).uniform(0, 1, (68, 2))


@pytest.fixture(scope="module")
def script(open_script: Callable[[str], ModuleType]) -> Iterator[ModuleType]:
    yield open_script("compare_mediapipe")
    del sys.modules["compare_mediapipe"]


def face(points: np.ndarray, path: str = "a.jpg", subsets: tuple[str, ...] = (), index: int | None = None) -> Sample:
    attributes = {} if index is None else {"index": index}
    return Sample(Path(path), points, tight_box(points), IBUG68, path, frozenset(subsets), attributes)


def turned(points: np.ndarray, degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    """Points (..., 2) after a similarity."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return scale * points @ np.array([[cos, sin], [-sin, cos]]) + shift


def varied_faces(count: int, seed: int = 1) -> np.ndarray:
    """Faces (F, 68, 2) of about one shape, each somewhere else, of another size and roll."""
    rng = np.random.default_rng(seed)
    shapes = SHAPE + rng.normal(0, 0.05, (count, 68, 2))
    return np.stack([turned(s, rng.uniform(-20, 20), rng.uniform(50, 200), rng.uniform(0, 99, 2)) for s in shapes])


def affinely_labelled(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (F, 68, 2) and labels that are one affine map of them, whatever the place, size and roll."""
    points = varied_faces(count)
    moved = points.copy()
    moved[:, 0] += 0.3 * (points[:, 1] - points[:, 2])  # commutes with every similarity
    return points, moved


# Choosing mesh points


def test_each_label_gets_the_mesh_point_nearest_on_average(script: ModuleType) -> None:
    """Of a shuffled mesh with points of its own, the ones that lie at the labels are found."""
    truth = varied_faces(6)
    order = np.random.default_rng(2).permutation(100)
    meshes = np.concatenate([truth + 0.01, truth[:, :32] + 500], axis=1)[:, order]
    chosen = script.nearest_mesh_points(meshes, truth, np.ones(6))
    assert [int(order[i]) for i in chosen] == list(range(68))


def test_nearness_is_measured_in_normalisers(script: ModuleType) -> None:
    """A mesh point 8 px off on a large face and 1 on a small one is nearer than 6 and 2 in shares of the face."""
    truth = np.zeros((2, 1, 2))
    meshes = np.array([[[8.0, 0.0], [6.0, 0.0]], [[1.0, 0.0], [2.0, 0.0]]])
    assert script.nearest_mesh_points(meshes, truth, np.array([100.0, 10.0])) == (0,)
    assert script.nearest_mesh_points(meshes, truth, np.ones(2)) == (1,)


# The affine map


def test_affine_map_is_learned_and_carries_over_to_other_faces(script: ModuleType) -> None:
    """Labels that are an affine map of the points are met on faces it was not fitted on."""
    points, truth = affinely_labelled(400)
    fitted = script.apply_affine(script.fit_affine(points[:300], truth[:300], ridge=1e-9), points[300:])
    assert np.abs(fitted - truth[300:]).max() < 1e-3 < np.abs(points - truth)[300:].max()


def test_affine_map_moves_with_the_face(script: ModuleType) -> None:
    """Shifting, enlarging or turning a face's points does the same to its fitted points."""
    points, truth = affinely_labelled(50)
    affine = script.fit_affine(points, truth + np.random.default_rng(3).normal(0, 3, truth.shape), ridge=0.1)
    first = script.apply_affine(affine, points[:1])
    second = script.apply_affine(affine, turned(points[:1], 40, 3, (100, -20)))
    assert second == pytest.approx(turned(first, 40, 3, (100, -20)))


def test_strong_ridge_leaves_points_where_they_are(script: ModuleType) -> None:
    """With all the weight on the ridge only a shift common to the faces is learned, here none."""
    points = varied_faces(20)
    affine = script.fit_affine(points, points, ridge=1e12)
    assert script.apply_affine(affine, points) == pytest.approx(points)


def test_cross_validation_never_fits_on_the_face_it_moves(script: ModuleType) -> None:
    """A face whose labels alone are far off gets points that do not know of it."""
    points, truth = affinely_labelled(30)
    folds = script.photo_folds([f"photo {i}" for i in range(30)])
    spoilt = truth.copy()
    spoilt[4] += 50
    same = [script.cross_validated(points, labels, folds, 1.0)[4] for labels in (truth, spoilt)]
    assert same[0] == pytest.approx(same[1])


def test_faces_of_one_photograph_share_a_fold(script: ModuleType) -> None:
    """Folds are numbered by photograph, and there are five of them."""
    folds = script.photo_folds(["a", "b", "a", "c", "d", "e", "f", "f"])
    assert folds[0] == folds[2]
    assert folds[6] == folds[7]
    assert set(folds.tolist()) == set(range(script.FOLDS))


# Finding and matching


def test_overlap_by_hand(script: ModuleType) -> None:
    """Two squares of 4 that share half of each: 2 over 6; squares apart: 0."""
    boxes = np.array([[1.0, 0.0, 3.0, 2.0], [9.0, 9.0, 10.0, 10.0]])
    assert script.overlaps(np.array([[0.0, 0.0, 2.0, 2.0]]), boxes).tolist() == [[1 / 3, 0.0]]


def test_matching_takes_the_best_overlap_first_and_each_box_once(script: ModuleType) -> None:
    """Both labels want the second box; the better one gets it, the other what is left, a third nothing."""
    labelled = np.array([[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0], [50.0, 50.0, 60.0, 60.0]])
    found = np.array([[3.0, 0.0, 13.0, 10.0], [0.0, 0.0, 10.0, 10.0]])
    assert script.match_boxes(labelled, found) == {0: 1, 1: 0}


def test_matching_refuses_little_overlap(script: ModuleType) -> None:
    """A neighbour's face that only touches the labelled one is no match."""
    assert script.match_boxes(np.array([[0.0, 0.0, 10.0, 10.0]]), np.array([[8.0, 0.0, 18.0, 10.0]])) == {}


def write_picture(path: Path, width: int = 300, height: int = 200) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(path)
    return path


def test_whole_picture_gives_each_labelled_face_its_own_mesh(script: ModuleType, tmp_path: Path) -> None:
    """The picture is shown once; normalized points become pixels by each side; the face that was not found is None."""
    path = str(write_picture(tmp_path / "scene.png"))
    places = [SHAPE * 40 + (20, 30), SHAPE * 40 + (120, 30), SHAPE * 40 + (220, 100)]
    samples = [face(points, path, index=i) for i, points in enumerate(places)]
    shown = []

    def detector(picture: np.ndarray) -> list[np.ndarray]:
        shown.append(picture.shape)
        return [(points + 0.5) / (300, 200) for points in (places[1], places[0])]

    meshes = script.find_meshes(samples, detector, None)
    assert shown == [(200, 300, 3)]
    assert meshes[0] == pytest.approx(places[0])
    assert meshes[1] == pytest.approx(places[1])
    assert meshes[2] is None


def unit_face(margin: float, size: int) -> np.ndarray:
    """normalized_points (68, 2) of `SHAPE` in the crop that `margin` cuts around it."""
    points = SHAPE * 100
    return (transform(crop_matrix(tight_box(points), size, margin), points) + 0.5) / size


def test_crop_view_brings_the_mesh_back_to_the_picture(script: ModuleType, tmp_path: Path) -> None:
    """Each face is detected alone in a square crop, and its points are converted to pixels of the picture."""
    path = str(write_picture(tmp_path / "scene.png"))
    places = [SHAPE * 40 + (20, 30), SHAPE * 60 + (120, 30)]
    samples = [face(points, path, index=i) for i, points in enumerate(places)]
    normalized_points = unit_face(2.0, script.CROP_SIZE)
    meshes = script.find_meshes(samples, lambda _picture: [normalized_points], 2.0)
    assert [mesh == pytest.approx(points) for mesh, points in zip(meshes, places, strict=True)] == [True, True]


def test_missed_faces_are_tried_at_further_margins(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first margin's mesh stands; the next margin is shown only what is still missing."""
    found = {2.0: {"a": 1.0}, 3.0: {"a": 9.0, "b": 2.0}}
    shown: list[str] = []

    def find(samples: list[Sample], _detector: object, margin: float) -> list[np.ndarray | None]:
        shown.extend(sample.photo for sample in samples)
        return [np.array([found[margin][s.photo]]) if s.photo in found[margin] else None for s in samples]

    monkeypatch.setattr(script, "find_meshes", find)
    meshes, left = script.find_at_margins([face(SHAPE, name) for name in "abc"], None, [2.0, 3.0])
    assert [None if mesh is None else mesh.tolist() for mesh in meshes] == [[1.0], [2.0], None]
    assert shown == ["a", "b", "c", "b", "c"]
    assert left == [{"margin": 2.0, "missed": 2}, {"margin": 3.0, "missed": 1}]


def test_margin_that_finds_more_faces_wins(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missed face counts as failed, so a margin cannot win by leaving the hard faces out."""
    points, truth = affinely_labelled(40)
    samples = [face(labels, f"{i}.jpg") for i, labels in enumerate(truth)]

    def find(samples: list[Sample], _detector: object, margin: float) -> list[np.ndarray | None]:
        return [None if margin == 3.0 and i % 4 == 0 else points[i] for i in range(len(samples))]

    monkeypatch.setattr(script, "find_meshes", find)
    labels, trials = script.learn_labels(samples, None, [3.0, 2.0])
    assert labels.trial.margin == 2.0
    assert [(trial.margin, trial.missed) for trial in trials] == [(3.0, 10), (2.0, 0)]
    assert script.learn_labels(samples, None, [3.0, 2.0], 3.0)[0].trial.margin == 3.0  # where it is asked for


def test_learning_needs_faces_that_were_found(script: ModuleType, tmp_path: Path) -> None:
    """If MediaPipe detects hardly any training face, the error has their number."""
    samples = [face(SHAPE * 50 + 20, str(write_picture(tmp_path / "a.png")))]
    with pytest.raises(DataError, match="found 0 of 1 training faces"):
        script.learn_at(samples, lambda _picture: [], 2.0)


# Which faces, and what of them


def write_face(folder: Path, name: str, points: np.ndarray) -> None:
    write_picture(folder / f"{name}.png")
    lines = "\n".join(f"{x + 1:.6f} {y + 1:.6f}" for x, y in points)
    (folder / f"{name}.pts").write_text(f"version: 1\nn_points: 68\n{{\n{lines}\n}}\n", encoding="utf-8")


def test_training_refuses_test_faces(script: ModuleType, tmp_path: Path) -> None:
    """A folder with test faces is an error, not something to be sorted out silently."""
    write_face(tmp_path / "lfpw" / "trainset", "image_0001", SHAPE * 50 + 20)
    write_face(tmp_path / "lfpw" / "testset", "image_0001", SHAPE * 50 + 20)
    with pytest.raises(DataError, match=r"testset/image_0001.png: no training face"):
        script.training_faces(tmp_path)


def test_training_leaves_out_repeats_of_test_faces(script: ModuleType, tmp_path: Path) -> None:
    """LFPW's image_0215 is a test photograph too."""
    for name in ("image_0001", "image_0215"):
        write_face(tmp_path / "lfpw" / "trainset", name, SHAPE * 50 + 20)
    assert [sample.path.stem for sample in script.training_faces(tmp_path)] == ["image_0001"]


def test_equal_subsets_are_listed_once(script: ModuleType) -> None:
    """ "full" repeats "all", and "ibug" repeats "challenging"."""
    common, hard = ("test", "full", "common"), ("test", "full", "challenging", "ibug")
    samples = [face(SHAPE, subsets=names) for names in (common, common, hard)]
    assert script.subset_members(samples) == {"all": [0, 1, 2], "common": [0, 1], "challenging": [2]}


def test_subset_names_missed_faces_and_averages_the_others(script: ModuleType) -> None:
    """Errors belong to the faces found; members and faces found are both counted among all faces."""
    errors = {
        system: {"all": np.array(values)}
        for system, values in ((script.NEAREST, [0.4, 0.2]), (script.FITTED, [0.3, 0.1]), (script.OURS, [0.2, 0.1]))
    }
    result = script.subset_result([1, 2], ["a", "b", "c"], [0, 2], errors, seed=0)
    assert (result.labelled, result.missed) == (2, ("b",))
    assert result.groups["all"].errors[script.NEAREST].value == 0.2
    assert result.groups["all"].medians[script.OURS] == 0.1
    assert result.groups["all"].differences[script.NEAREST].value == pytest.approx(-0.1)
    assert script.subset_result([1], ["a", "b", "c"], [0, 2], errors, seed=0).groups == {}


def test_missed_words(script: ModuleType) -> None:
    """The misses at the first margin, then what further margins left."""
    left = [{"margin": 2.0, "missed": 13}, {"margin": 2.5, "missed": 7}]
    assert script.missed_words(left) == "It missed 13 faces there, 7 after crops of 2.5."
    assert script.missed_words([{"margin": None, "missed": 0}]) == "It missed 0 faces there."


def test_missing_mediapipe_names_the_install_line(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without MediaPipe the error holds the install line."""
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(MissingExtraError, match=r"pip install mediapipe==0\.10\.21"), script.face_mesh(False):
        pass


def test_whole_comparison(
    script: ModuleType, tmp_path: Path, write_onnx, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Faces of one shape: a stand-in mesh that lies right gives no error, a model that is off gives its own."""
    places = [(20 + 5 * i, 10 + 3 * i, 60 + 4 * i) for i in range(12)]
    for i, (x, y, scale) in enumerate(places):
        folder = tmp_path / "300w" / "lfpw" / ("testset" if i < 4 else "trainset")
        write_face(folder, f"image_{i:04}", SHAPE * scale + (x, y))
    crop = crop_matrix(tight_box(SHAPE * 100), 32, 1.25)
    off = transform(crop, SHAPE * 100 + (2, 0))
    model = write_onnx("m.onnx", (off + 0.5) / 32, 32, spec_to_json(ModelSpec(IBUG68, 32)))
    normalized_points = unit_face(2.0, script.CROP_SIZE)
    shown = []

    def detector(_picture: np.ndarray) -> list[np.ndarray]:
        shown.append(1)
        return [] if len(shown) == 9 else [normalized_points]  # the first test face comes after eight training faces

    @contextmanager
    def stand_in(_refine: bool) -> Iterator[object]:
        yield detector

    monkeypatch.setattr(script, "face_mesh", stand_in)
    monkeypatch.setattr(script, "origin", lambda *_: {})
    options = argparse.Namespace(
        model=str(model), train=tmp_path / "300w/lfpw/trainset", data=tmp_path / "300w", view="crop", margins=[2.0],
        margin=None, refine=False, threads=1, seed=0,
    )  # fmt: skip
    data = json.loads(script.compare(options))
    whole = data["subsets"]["all"]
    assert (whole["labelled"], whole["missed"]) == (4, ["lfpw/testset/image_0000.png"])
    eyes = np.linalg.norm(SHAPE[36] - SHAPE[45])
    assert whole["groups"]["all"]["errors"]["mediapipe_nearest"]["value"] == pytest.approx(0, abs=1e-6)
    assert whole["groups"]["all"]["errors"]["mediapipe_fitted"]["value"] == pytest.approx(0, abs=1e-6)
    assert whole["groups"]["inner 51"]["errors"]["lightmark"]["value"] == pytest.approx(0.02 / eyes, rel=1e-4)
    assert whole["groups"]["jaw"]["differences"]["mediapipe_fitted"]["value"] == pytest.approx(0.02 / eyes, rel=1e-4)
    table = script.render(data)
    assert "MediaPipe missed 1: lfpw/testset/image_0000.png" in table
    assert f"| all | all | 3 | 1 | 0.00 [0.00, 0.00] / 0.00 | 0.00 [0.00, 0.00] / 0.00 | {2 / eyes:.2f} " in table


def test_model_of_other_points_is_refused(script: ModuleType, write_onnx) -> None:
    """A model of three points has nothing that could be compared with the 68."""
    from lightmark.runtime.onnx_model import OnnxModel
    from lightmark.schema import plain_schema

    path = write_onnx("m.onnx", np.zeros((3, 2)), 32, spec_to_json(ModelSpec(plain_schema(3), 32)))
    with pytest.raises(SchemaError, match="gives points3; only models of ibug68"):
        script.require_68_points(OnnxModel(path), "m.onnx")
