"""Tests of fine-tuning, on blob faces and a tiny student."""

import json
from dataclasses import replace

import pytest

from lightmark.errors import ConfigError
from lightmark.evaluate.predict import open_model
from lightmark.nets.checkpoint import load_checkpoint, save_checkpoint
from lightmark.nets.network import Architecture, build_network
from lightmark.runtime.shipped import model_path
from lightmark.spec import ModelSpec
from lightmark.train import finetune as module
from lightmark.train import loop
from lightmark.train.config import Execution
from lightmark.train.faces import mean_normalized_points
from lightmark.train.finetune import FineTuned, finetune, finetune_recipe, learning_curve, report_lines
from lightmark.train.folder import read_result


@pytest.fixture
def student(tmp_path, faces):
    """A checkpoint of a tiny untrained student."""
    spec = ModelSpec(faces[0].schema, 32, 1.25)
    architecture = Architecture("mobilenetv2", "spatial", width=0.25)
    network = build_network(architecture, mean_normalized_points(faces, spec), 0)
    save_checkpoint(tmp_path / "student.safetensors", network, architecture, spec)
    return tmp_path / "student.safetensors"


@pytest.fixture(autouse=True)
def no_detection(monkeypatch):
    """The blobs' own boxes, without the detector, which takes seconds to find no face in them; and no plots."""
    monkeypatch.setattr(module, "with_face_boxes", list)
    monkeypatch.setattr(loop, "plot_curves", lambda *_: None)


@pytest.fixture
def settings(student):
    """A recipe of a few steps."""
    return replace(finetune_recipe(student, 48), steps=6, batch=4, validate_every=3, log_every=3)


def test_a_fifth_is_held_out_and_the_curve_is_written(tmp_path, student, settings, blob_faces):
    """Three trainings on nested sets, judged by the same faces, and finetune.json with their errors."""
    report = finetune(student, blob_faces(50), tmp_path / "run", settings, execution=Execution(quiet=True))
    assert sorted(report.errors) == [10, 20, 40]
    assert load_checkpoint(report.checkpoint)[1].schema.size == 5
    for folder, count in (("run", 40), ("run/on-20", 20), ("run/on-10", 10)):
        result = read_result(tmp_path / folder)
        assert (result["train_faces"], result["validation_faces"]) == (count, 10)
    content = json.loads((tmp_path / "run" / "finetune.json").read_text())
    assert content["nme"] == report.errors[40]
    assert len(content["learning_curve"]) == 2
    again = finetune(student, blob_faces(50), tmp_path / "run", settings, execution=Execution(quiet=True))
    assert again == report, "a finished run is not repeated"


def test_few_faces_are_left_out_in_turn(tmp_path, student, settings, blob_faces):
    """Five trainings, each validated on the face left out; the checkpoint is trained on all."""
    report = finetune(student, blob_faces(5), tmp_path / "run", settings, execution=Execution(quiet=True))
    results = [read_result(tmp_path / "run" / f"without-{number}") for number in range(5)]
    assert [(result["train_faces"], result["validation_faces"]) for result in results] == [(4, 1)] * 5
    assert report.nme == pytest.approx(sum(result["validation_nme"] for result in results) / 5)
    assert [result["best_step"] for result in results] == [6] * 5, "no face chooses the weights that it judges"
    assert read_result(tmp_path / "run")["train_faces"] == 5
    assert report.start is None


def test_too_few_faces_are_refused(tmp_path, student, settings, blob_faces):
    """Four faces are an error."""
    with pytest.raises(ConfigError, match="4 photographs; label at least 5"):
        finetune(student, blob_faces(4), tmp_path / "run", settings, execution=Execution(quiet=True))


def test_test_faces_are_refused(tmp_path, student, settings, blob_faces):
    """As in every training."""
    faces = [replace(face, subsets=frozenset({"test"})) for face in blob_faces(5)]
    with pytest.raises(ConfigError, match="never train on a test set"):
        finetune(student, faces, tmp_path / "run", settings, execution=Execution(quiet=True))


def test_steps_grow_with_the_faces():
    """Twenty faces need minutes, thousands not a hundred times as many; crops are those of the student."""
    steps = [finetune_recipe(model_path("fast"), count).steps for count in (5, 50, 1000, 100_000)]
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (200, 3000)
    recipe = finetune_recipe(model_path("standard"), 50)
    assert (recipe.size, recipe.early_size, recipe.patience) == (open_model("standard").spec.size, None, 4)


def test_report_has_the_learning_curve(tmp_path):
    """The error at twice the faces is on the fitted line; a flat line is no advice to label more."""
    report = FineTuned(tmp_path / "m", 50, {10: 0.08, 20: 0.06, 40: 0.045}, 0.2)
    scale, exponent = learning_curve(report.errors)
    assert scale * 40**-exponent == pytest.approx(0.045, rel=0.01)
    lines = report_lines(report)
    assert lines[1] == "20.00 % NME on the validation faces before, 4.50 % after"
    assert lines[-1] == "twice as many faces would take 4.5 % to about 3.4 %"
    flat = replace(report, errors={10: 0.05, 20: 0.0502, 40: 0.0499})
    assert report_lines(flat)[-1].startswith("more faces of this kind would hardly help")
    assert learning_curve({40: 0.05}) is None
    worse = replace(report, start=0.04)
    assert report_lines(worse)[-2].startswith("training did not help: start.safetensors beside it is as good")
