"""Tests of pre-annotations: what `annotate --to` writes is read back by the readers, with flags of doubtful points."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("pyarrow", reason='pyarrow is not installed: pip install "lightmark[annotate]"')

from lightmark.annotate import labelling
from lightmark.annotate.chunk import Settings
from lightmark.annotate.job import Job
from lightmark.annotate.labelling import write_labelling
from lightmark.annotate.listing import Chunk, Listing
from lightmark.annotate.part import good_row, part_path, write_part
from lightmark.cli import main
from lightmark.data.formats.coco import read_coco
from lightmark.data.formats.cvat import read_cvat
from lightmark.data.formats.label_studio import read_label_studio
from lightmark.data.synthetic import synthetic_samples
from lightmark.draw import write_png
from lightmark.errors import ConfigError
from lightmark.face import Face
from lightmark.schema import IBUG68

SIZE = 160
SURE, UNSURE = 1.0, 9.0  # pixels, of faces some 80 px large


@pytest.fixture(scope="module")
def face() -> Face:
    """A face whose point 8 is below its picture, and whose point 30 is doubtful."""
    sample = synthetic_samples(1, seed=0, size=SIZE)[0]
    points, errors = sample.points.copy(), np.full(68, SURE)
    points[8], errors[[8, 30]] = (80, SIZE + 3), UNSURE
    return Face(points, sample.box, IBUG68, errors, 0.875)


@pytest.fixture
def job(tmp_path: Path, face: Face) -> Job:
    """A finished job on one picture with two faces and one without any."""
    out, source = tmp_path / "out", tmp_path / "in"
    out.mkdir()
    (source / "sub").mkdir(parents=True)
    for name in ("sub/a b.png", "empty.png"):
        write_png(np.zeros((SIZE, SIZE, 3), np.uint8), source / name)
    faces = [face, replace(face, points=face.points - 2, expected_error=None, confidence=None)]
    rows = [good_row("sub/a b.png", SIZE, SIZE, faces), good_row("empty.png", SIZE, SIZE, [])]
    write_part(part_path(out, 0), rows, {})
    chunk = Chunk(0, "pictures", source, 2, names=("sub/a b.png", "empty.png"))
    return Job(out, Listing((chunk,), 2, "", ()), Settings())


def require_the_faces(read: list, face: Face, picture: Path) -> None:
    """Points to a thousandth, the one outside missing, doubtful ones flagged where they are known."""
    first, second = read
    assert first.path.resolve() == picture.resolve()
    inside = np.arange(68) != 8
    np.testing.assert_allclose(first.points[inside], face.points[inside], atol=2e-3)
    np.testing.assert_allclose(second.points[inside], face.points[inside] - 2, atol=2e-3)
    assert np.isnan(first.points[8]).all()


def test_cvat_reads_doubtful_points_as_occluded(job, face, tmp_path):
    """Skeletons named from the source, with the confidence and the expected errors as attributes."""
    written = write_labelling(job, "cvat")
    assert (written.faces, written.points, written.doubtful) == (2, 136, 2)
    xml = tmp_path / "in" / "cvat.xml"
    xml.write_bytes((job.out / "cvat.xml").read_bytes())
    read = read_cvat(xml, IBUG68)
    require_the_faces(read, face, tmp_path / "in" / "sub" / "a b.png")
    assert np.flatnonzero(read[0].occluded).tolist() == [30]
    root = ElementTree.parse(xml).getroot()
    assert [image.get("name") for image in root.iter("image")] == ["sub/a b.png"]
    first, second = root.iter("skeleton")
    assert first.findtext("attribute") == "0.875"
    assert first.find("points[@label='30']").findtext("attribute") == "9"
    assert second.find(".//attribute") is None, "no made-up numbers"


def test_cvat_gets_the_labels_of_its_task(job):
    """One skeleton as the Raw tab takes it: a point for each of the schema's, joined by its edges, within 100 × 100."""
    write_labelling(job, "cvat")
    (label,) = json.loads((job.out / "cvat-labels.json").read_text())
    assert (label["name"], label["type"]) == ("ibug68", "skeleton")
    assert [one["name"] for one in label["sublabels"]] == list(IBUG68.point_labels)
    svg = ElementTree.fromstring(f"<svg>{label['svg']}</svg>")
    circles = svg.findall("circle")
    assert [one.get("data-label-name") for one in circles] == list(IBUG68.point_labels)
    assert all(0 <= float(one.get(axis)) <= 100 for one in circles for axis in ("cx", "cy"))
    edges = {(int(one.get("data-node-from")) - 1, int(one.get("data-node-to")) - 1) for one in svg.findall("line")}
    assert edges == set(IBUG68.edges)


def test_label_studio_gets_predictions_with_notes(job, face, tmp_path):
    """A task for every picture; what a labeller submits unchanged is read as the faces."""
    write_labelling(job, "labelstudio")
    tasks = json.loads((job.out / "labelstudio.json").read_text())
    assert [task["data"]["image"] for task in tasks] == [
        "/data/local-files/?d=sub/a b.png", "/data/local-files/?d=empty.png",
    ]  # fmt: skip
    result = tasks[0]["predictions"][0]["result"]
    notes = [(one["id"], one["meta"]["text"]) for one in result if "meta" in one]
    assert notes == [("face0.30", ["doubtful: expected error 9.0 px"])]
    config = ElementTree.fromstring((job.out / "labelstudio.xml").read_bytes())
    controls = {one.get("name"): {label.get("value") for label in one} for one in config}
    assert {(one["from_name"], one["to_name"]) for one in result} == {("face", "image"), ("point", "image")}
    assert controls["point"] == set(IBUG68.point_labels)
    submitted = [{"id": 1, "data": tasks[0]["data"], "annotations": [{"result": result}]}]
    (tmp_path / "in" / "project.json").write_text(json.dumps(submitted))
    read = read_label_studio(tmp_path / "in" / "project.json", IBUG68)
    require_the_faces(read, face, tmp_path / "in" / "sub" / "a b.png")


def test_coco_keeps_flags_and_expected_errors(job, face, tmp_path):
    """Flag 1 for doubtful points, 0 for those outside the picture."""
    write_labelling(job, "coco")
    read = read_coco(job.out / "coco.json", pictures=tmp_path / "in")
    require_the_faces(read, face, tmp_path / "in" / "sub" / "a b.png")
    assert np.flatnonzero(read[0].occluded).tolist() == [30]
    assert (read[0].attributes["confidence"], read[0].attributes["expected_error"][30]) == (0.875, 9.0)
    assert "confidence" not in read[1].attributes


def test_pictures_inside_archives_are_refused(job):
    """No labelling tool opens a tar."""
    chunk = replace(job.listing.chunks[0], kind="tar", place=Path("faces.tar"))
    packed = replace(job, listing=replace(job.listing, chunks=(chunk,)))
    with pytest.raises(ConfigError, match=r"faces\.tar: labelling tools open picture files only; unpack it"):
        write_labelling(packed, "coco")


def test_a_finished_job_is_written_for_another_tool(tmp_path):
    """The same command with another --to detects nothing again."""
    source = tmp_path / "in"
    source.mkdir()
    write_png(synthetic_samples(1, seed=0, size=SIZE)[0].image, source / "a.png")
    command = ["annotate", str(source), "--out", str(tmp_path / "out"), "--engine", "local", "--to"]
    first = CliRunner().invoke(main, [*command, "cvat", "--doubtful", "0"])
    assert first.exit_code == 0, first.output
    faces = len(list(ElementTree.parse(tmp_path / "out" / "cvat.xml").iter("skeleton")))
    assert f"{faces} faces, {68 * faces} of {68 * faces} points doubtful" in first.output
    part = (tmp_path / "out" / "part-000000.parquet").stat().st_mtime_ns
    second = CliRunner().invoke(main, [*command, "coco"])
    assert second.exit_code == 0, second.output
    assert len(read_coco(tmp_path / "out" / "coco.json")) == faces
    assert (tmp_path / "out" / "part-000000.parquet").stat().st_mtime_ns == part


def test_every_tool_of_the_command_has_a_writer():
    """The choices of --to are those of the module."""
    (option,) = [one for one in main.get_command(None, "annotate").params if one.name == "tool"]
    assert list(option.type.choices) == list(labelling._WRITERS)
