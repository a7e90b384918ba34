"""From a model file and a folder of faces to a report on disk."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from lightmark.data.read import read_samples
from lightmark.errors import ConfigError, DataError, MissingExtraError, SchemaError, WriteError
from lightmark.evaluate.compare import compare_runs
from lightmark.evaluate.notes import box_note
from lightmark.evaluate.predictions import read_predictions, write_predictions
from lightmark.evaluate.run import choose_faces, evaluate_model, threshold_for
from lightmark.files import sha256_of
from lightmark.runtime.shipped import model_path, shipped_models
from lightmark.schema import COFW29, IBUG68, WFLW98, plain_schema
from lightmark.spec import ModelSpec

FILES = ["faces.csv", "predictions.json", "report.html", "report.json", "report.md"]


def test_a_good_model_has_small_errors(tree_300w, model_68) -> None:
    """The grid on which the faces lie is found but for their noise of a pixel."""
    assert evaluate_model(model_68(), tree_300w).summaries["all"].nme.value < 0.08


def test_test_faces_are_taken_where_none_are_asked_for(tree_300w, model_68) -> None:
    """Training faces are left out, with a note in the report."""
    report = evaluate_model(model_68(), tree_300w)
    assert report.summaries["all"].faces == 12
    assert any("Only the 12 test faces of 16 were taken" in note for note in report.notes)


def test_300w_is_reported_by_its_official_subsets(tree_300w, model_68) -> None:
    """Full, common and challenging, and the sets they come from."""
    counts = {name: summary.faces for name, summary in evaluate_model(model_68(), tree_300w).summaries.items()}
    assert counts == {"all": 12, "full": 12, "common": 9, "helen": 5, "lfpw": 4, "challenging": 3, "ibug": 3}


def test_a_subset_can_be_asked_for(tree_300w, model_68) -> None:
    """The report has that subset's faces only, and no note on a default choice."""
    report = evaluate_model(model_68(), tree_300w, subset="challenging")
    assert report.summaries["all"].faces == 3
    assert not any("test faces" in note for note in report.notes)


def test_all_takes_every_face(tree_300w, model_68) -> None:
    """All faces include training faces, which are a subset of their own in the table."""
    summaries = evaluate_model(model_68(), tree_300w, subset="all").summaries
    assert (summaries["all"].faces, summaries["train"].faces, summaries["test"].faces) == (16, 4, 12)


def test_an_unknown_subset_names_those_there_are(tree_300w, model_68) -> None:
    """The error lists what could have been meant."""
    with pytest.raises(DataError, match=r"no face of subset 'pose'; subsets here: .*common \(9\)"):
        evaluate_model(model_68(), tree_300w, subset="pose")


def test_data_without_test_faces_are_taken_whole(blob_samples) -> None:
    """Without test faces in the data all faces are evaluated."""
    assert choose_faces(blob_samples, None, "d") == (blob_samples, ())


def test_nothing_but_test_faces_needs_no_note(blob_sample) -> None:
    """A choice that left nothing out is none."""
    samples = [blob_sample(seed, ("test",)) for seed in range(3)]
    chosen, notes = choose_faces(samples, None, "d")
    assert [sample.name for sample in chosen] == [sample.name for sample in samples]
    assert notes == ()


def test_a_part_is_not_called_by_the_name_of_the_whole(tree_300w, model_68) -> None:
    """The challenging faces alone are not 300W's full set, nor are they all test faces."""
    summaries = evaluate_model(model_68(), tree_300w, subset="challenging").summaries
    assert list(summaries) == ["all", "challenging", "ibug"]


def test_the_threshold_follows_the_schema() -> None:
    """8 % for 68 points, 10 % for WFLW and COFW, unless a threshold is set."""
    assert [threshold_for(schema) for schema in (IBUG68, WFLW98, COFW29)] == [0.08, 0.10, 0.10]
    assert threshold_for(IBUG68, 0.1) == 0.1


def test_a_report_is_five_files(tree_300w, model_68, tmp_path) -> None:
    """Each is there, and nothing temporary is left."""
    evaluate_model(model_68(), tree_300w, report_dir=tmp_path / "out" / "report")
    assert sorted(file.name for file in (tmp_path / "out" / "report").iterdir()) == FILES


def test_without_a_folder_nothing_is_written(tree_300w, model_68, tmp_path, monkeypatch) -> None:
    """Without a report folder no file is written."""
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    model = model_68()
    evaluate_model(model, tree_300w)
    assert sorted(set(tmp_path.rglob("*")) - set(before)) == [model]


def test_the_json_has_command_commit_and_seed(tree_300w, model_68, tmp_path) -> None:
    """Model and its hash, data, options, seed, command, versions."""
    model = model_68()
    evaluate_model(
        model, tree_300w, report_dir=tmp_path / "r", box_jitter=[0.1], seed=7, command=["lightmark", "evaluate", "x"]
    )
    data = json.loads((tmp_path / "r" / "report.json").read_text())
    origin = data["origin"]
    assert origin["source"]["sha256"] == sha256_of(model)
    assert origin["source"]["model"]["provenance"] == {"recipe": "test"}
    assert origin["data"] == {"root": str(tree_300w), "subset": None, "faces": 12}
    assert origin["options"]["box_jitter"] == [0.1]
    assert origin["command"] == ["lightmark", "evaluate", "x"]
    assert "lightmark" in origin["versions"]
    assert origin["machine"].keys() == {"processor", "vnni"}
    assert data["seed"] == 7


def test_the_same_run_writes_the_same_bytes(tree_300w, model_68, tmp_path) -> None:
    """A report can be made again, byte for byte."""
    model = model_68()
    for folder in ("one", "two"):
        evaluate_model(model, tree_300w, report_dir=tmp_path / folder, box_jitter=[0.05])
    one, two = ([(tmp_path / folder / name).read_bytes() for name in FILES] for folder in ("one", "two"))
    assert one == two


def test_a_report_replaces_the_one_before(tree_300w, model_68, tmp_path) -> None:
    """Writing to the same folder leaves the newer report."""
    evaluate_model(model_68(), tree_300w, report_dir=tmp_path / "r")
    evaluate_model(model_68("other.onnx", off=0.02), tree_300w, report_dir=tmp_path / "r", subset="common")
    assert json.loads((tmp_path / "r" / "report.json").read_text())["title"] == "other.onnx on 300w, common"


def test_a_folder_that_cannot_be_made_is_named(tree_300w, model_68, tmp_path) -> None:
    """A file in place of the report folder raises our error."""
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"r/report\.json: cannot be written: a file is where its folder should be"):
        evaluate_model(model_68(), tree_300w, report_dir=tmp_path / "file" / "r")


def test_rows_are_named_below_the_data(tree_300w, model_68) -> None:
    """No machine's own folders in the rows."""
    names = {row.name for row in evaluate_model(model_68(), tree_300w).rows}
    assert "helen/testset/image_0.png" in names


def test_notes_of_the_user_are_kept(tree_300w, model_68) -> None:
    """A caution about the data goes into the report."""
    assert evaluate_model(model_68(), tree_300w, notes=["mapped points"]).notes[-1] == "mapped points"


def test_the_report_names_the_source_of_boxes(tree_300w, model_68) -> None:
    """The report notes that crops are around the labels' boxes, which are better than a detector's."""
    assert any("tight box of the labels" in note for note in evaluate_model(model_68(), tree_300w).notes)
    placed = ModelSpec(plain_schema(3), 32, template=((0.0, 0.0), (0.5, 0.0), (0.0, 0.5)))
    assert "the shipped detector and student found" in box_note(placed)


def test_two_reports_can_be_compared(tree_300w, model_68, tmp_path) -> None:
    """A model off by two hundredths of the crop is found to be worse."""
    for name, off in {"good": 0.0, "off": 0.02}.items():
        evaluate_model(model_68(f"{name}.onnx", off), tree_300w, report_dir=tmp_path / name)
    whole = compare_runs(tmp_path / "good", tmp_path / "off").summaries["all"]
    assert whole.verdict == "a is better"


def test_its_own_predictions_give_the_same_report(tree_300w, model_68, tmp_path) -> None:
    """The predictions of a report can be evaluated without the model, with the same result."""
    first = evaluate_model(model_68(), tree_300w, report_dir=tmp_path / "r")
    again = evaluate_model(tmp_path / "r" / "predictions.json", tree_300w)
    assert [row.nme for row in again.rows] == pytest.approx([row.nme for row in first.rows], abs=1e-5)


def test_perfect_predictions_have_no_error(tree_300w, tmp_path) -> None:
    """A prediction file of all faces can be evaluated on one subset."""
    samples = read_samples(tree_300w)
    names = [sample.path.relative_to(tree_300w).as_posix() for sample in samples]
    write_predictions(tmp_path / "p.json", "ibug68", names, np.stack([sample.points for sample in samples]))
    whole = evaluate_model(tmp_path / "p.json", tree_300w, subset="common").summaries["all"]
    assert whole.faces == 9
    assert whole.nme.value < 1e-5


def test_predictions_that_miss_a_face_are_refused(tree_300w, model_68, tmp_path) -> None:
    """Leaving out hard faces is not evaluating."""
    evaluate_model(model_68(), tree_300w, report_dir=tmp_path / "r", subset="common")
    with pytest.raises(DataError, match=r"3 of 12 faces have no prediction of their own, such as .*ibug/"):
        evaluate_model(tmp_path / "r" / "predictions.json", tree_300w)


def test_predictions_of_other_points_are_refused(tree_300w, tmp_path) -> None:
    """Predictions of 29 points on labels of 68 raise an error."""
    write_predictions(tmp_path / "p.json", "cofw29", ["a.png"], np.zeros((1, 29, 2)))
    with pytest.raises(SchemaError, match=r"labelled with ibug68 .*expected cofw29"):
        evaluate_model(tmp_path / "p.json", tree_300w)


def test_box_jitter_of_predictions_is_refused(tree_300w, model_68, tmp_path) -> None:
    """Points on file cannot be made again from other boxes."""
    evaluate_model(model_68(), tree_300w, report_dir=tmp_path / "r")
    with pytest.raises(ConfigError, match="box jitter needs the model itself"):
        evaluate_model(tmp_path / "r" / "predictions.json", tree_300w, box_jitter=[0.1])


@pytest.mark.parametrize(
    ("options", "complaint"), [({"threshold": 8.0}, "0.08 for 8 %"), ({"box_jitter": [5]}, "box jitter 5")]
)
def test_percentages_are_refused_before_the_work(options, complaint: str) -> None:
    """A wrong option costs no evaluation: not even the files are looked at."""
    with pytest.raises(ConfigError, match=complaint):
        evaluate_model("nowhere.onnx", "nowhere", **options)


def test_missing_matplotlib_is_an_error_before_the_work(monkeypatch, tmp_path) -> None:
    """The error comes before the evaluation."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"lightmark\[report\]"):
        evaluate_model("nowhere.onnx", "nowhere", report_dir=tmp_path)


def test_written_predictions_are_those_of_the_report(tree_300w, model_68, tmp_path) -> None:
    """predictions.json has the faces of the report by the same names."""
    report = evaluate_model(model_68(), tree_300w, report_dir=tmp_path / "r")
    assert list(read_predictions(tmp_path / "r" / "predictions.json").points) == [row.name for row in report.rows]


def test_wflw_faces_are_judged_by_a_68_point_model(real_data: Path, model_68) -> None:
    """Labels are converted, with a note in the report; WFLW's subsets stay."""
    report = evaluate_model(model_68(), real_data / "wflw")
    assert report.schema == "ibug68"
    assert any("98 points turned into 68" in note for note in report.notes)
    assert "pose" in report.summaries


def test_a_shipped_model_is_named_by_name(tree_300w, tmp_path) -> None:
    """By name and hash, without the package's path, whether named or opened by its path."""
    for source in ("fast", model_path("fast")):
        evaluate_model(source, tree_300w, report_dir=tmp_path / "r", subset="ibug")
        data = json.loads((tmp_path / "r" / "report.json").read_text())
        assert data["title"] == "fast on 300w, ibug"
        named = {key: data["origin"]["source"].get(key) for key in ("name", "file", "sha256")}
        assert named == {"name": "fast", "file": None, "sha256": shipped_models()["fast"].sha256}
        assert str(model_path("fast").parent) not in (tmp_path / "r" / "report.json").read_text()


def test_confidence_is_measured_where_the_model_has_it(tree_300w, tmp_path) -> None:
    """In every form of the report, with two pictures."""
    report = evaluate_model("fast", tree_300w, report_dir=tmp_path / "r", subset="ibug")
    written = {file.name for file in (tmp_path / "r").iterdir()}
    assert written == {*FILES, "calibration.png", "roc.png"}
    data = json.loads((tmp_path / "r" / "report.json").read_text())["confidence"]
    assert data["roc"]["face_crops"] == 3
    assert data["roc"]["auc"] == report.confidence.roc.auc
    assert data["calibration"]["actual_over_expected"]["value"] == report.confidence.calibration.ratio.value
    assert len(data["calibration"]["bins"]) == 10
    for text in ((tmp_path / "r" / name).read_text() for name in ("report.md", "report.html")):
        assert "mean actual over mean expected error" in text
        assert "favours the constant" in text


def test_a_report_without_confidence_is_as_ever(tree_300w, model_68, tmp_path) -> None:
    """No word of it, and the pictures of a report before are gone."""
    evaluate_model("fast", tree_300w, report_dir=tmp_path / "r", subset="ibug")
    report = evaluate_model(model_68(), tree_300w, report_dir=tmp_path / "r", subset="ibug")
    assert report.confidence is None
    assert sorted(file.name for file in (tmp_path / "r").iterdir()) == FILES
    assert "confidence" not in json.loads((tmp_path / "r" / "report.json").read_text())
    assert "Expected errors" not in (tmp_path / "r" / "report.md").read_text()


def test_a_confident_report_is_compared_with_one_that_is_not(tree_300w, model_68, tmp_path) -> None:
    """What confidence adds is no part of the pairs."""
    evaluate_model("fast", tree_300w, report_dir=tmp_path / "fast")
    evaluate_model(model_68(), tree_300w, report_dir=tmp_path / "grid")
    assert compare_runs(tmp_path / "fast", tmp_path / "grid").summaries["all"].verdict == "b is better"


def mark_missing(label: Path, *indices: int) -> None:
    """Write `-1 -1` for these points of a `.pts` file."""
    lines = label.read_text().splitlines()
    for index in indices:
        lines[3 + index] = "-1 -1"
    label.write_text("\n".join(lines))


def test_missing_points_are_counted_and_leave_the_error_as_it_is(tree_300w, model_68, tmp_path) -> None:
    """The error of a face without some jaw points is that of its other points; the report has their number."""
    before = evaluate_model(model_68(), tree_300w, subset="common")
    mark_missing(tree_300w / "helen/testset/image_0.pts", 34, 35)
    mark_missing(tree_300w / "lfpw/testset/image_2.pts", *range(17, 27))
    report = evaluate_model(model_68(), tree_300w, subset="common", report_dir=tmp_path / "r", box_jitter=[0.1])
    assert report.summaries["all"].points == 9 * 68 - 12
    assert report.summaries["all"].nme.value == pytest.approx(before.summaries["all"].nme.value, rel=0.1)
    assert "12 of 612 points are not labelled, in 2 faces: a face's error is the mean over its labelled points." in (
        report.notes
    )
    assert json.loads((tmp_path / "r" / "report.json").read_text())["subsets"]["all"]["points"] == 600


def test_faces_without_the_normaliser_are_named_and_left_out(tree_300w, model_68) -> None:
    """Their error could not be compared with the others'; predictions of them may be there all the same."""
    mark_missing(tree_300w / "ibug/image_1.pts", 36)
    report = evaluate_model(model_68(), tree_300w)
    assert len(report.rows) == 11
    assert not any(row.name.endswith("ibug/image_1.png") for row in report.rows)
    (note,) = (note for note in report.notes if "left out" in note)
    assert note.startswith("1 faces are left out, since point 36 or 45, whose distance divides errors, is not labelled")
    assert note.endswith("ibug/image_1.png.")


def test_predictions_of_faces_left_out_are_passed_over(tree_300w, tmp_path) -> None:
    """Predictions of faces that are left out are accepted."""
    samples = read_samples(tree_300w)
    names = [sample.path.relative_to(tree_300w).as_posix() for sample in samples]
    write_predictions(tmp_path / "p.json", "ibug68", names, np.stack([sample.points for sample in samples]))
    mark_missing(tree_300w / "ibug/image_1.pts", 36, 60)
    report = evaluate_model(tmp_path / "p.json", tree_300w)
    assert report.summaries["all"].faces == 11
    assert any("1 faces are left out" in note for note in report.notes)
