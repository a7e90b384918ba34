"""Each format holds the faces and can be read back; files are complete or absent."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightmark.data.formats.coco import read_coco
from lightmark.data.formats.pts import read_pts
from lightmark.data.read import read_samples
from lightmark.data.synthetic import synthetic_samples
from lightmark.errors import ConfigError, DataError, WriteError
from lightmark.face import MEASURES, Face
from lightmark.geometry import tight_box
from lightmark.photos.detect import Detection
from lightmark.photos.inputs import Input
from lightmark.photos.results import WRITERS, FileFormat, crop_writer, open_results, planned_files, pts_writer
from lightmark.pose import assumed_camera
from lightmark.schema import IBUG68
from lightmark.source import to_picture
from lightmark.video.frames import Frame
from lightmark.video.records import writing_records
from lightmark.video.tracker import TrackedFace

POINTS = 10 + np.arange(136, dtype=np.float64).reshape(68, 2) / 7
MOVED = POINTS + np.array([50, 0])
BOX = np.array([8.0, 9.0, 30.5, 31.0])


def face(shift: float = 0.0, confidence: float | None = 0.75) -> Face:
    """A face of 68 points, `shift` pixels further right."""
    errors = None if confidence is None else np.full(68, 2.0)
    right = np.array([shift, 0])
    return Face(POINTS + right, BOX + np.tile(right, 2), IBUG68, errors, confidence)


def source(name: str) -> Input:
    """An input whose place is its name."""
    return Input(Path(name), Path(name))


def detection(name: str, *faces: Face) -> Detection:
    """What was found in a picture of 200×100 pixels."""
    return Detection(source(name), 200, 100, list(faces))


FOUND = [detection("a/one.jpg", face(), face(50)), detection("none.png"), detection("ñ.jpg", face(confidence=None))]


def written(file_format: str, found: list[Detection] = FOUND, measures: bool = False) -> str:
    """Text of the format."""
    stream = io.StringIO()
    with WRITERS[file_format](stream, IBUG68, Path(), measures) as add:
        for one in found:
            add(one)
    return stream.getvalue()


@pytest.mark.parametrize("file_format", ["json", "jsonl"])
def test_json_holds_every_picture(file_format: str) -> None:
    """Pictures in order, those without faces too, faces as plain numbers."""
    text = written(file_format)
    pictures = json.loads(text) if file_format == "json" else [json.loads(line) for line in text.splitlines()]
    assert [one["file"] for one in pictures] == ["a/one.jpg", "none.png", "ñ.jpg"]
    assert [len(one["faces"]) for one in pictures] == [2, 0, 1]
    assert (pictures[0]["width"], pictures[0]["height"]) == (200, 100)
    np.testing.assert_array_equal(pictures[0]["faces"][1]["points"], MOVED.round(3))
    assert pictures[0]["faces"][0]["confidence"] == 0.75
    assert "confidence" not in pictures[2]["faces"][0]


def test_nothing_found_is_an_empty_array() -> None:
    """Not an empty file."""
    assert json.loads(written("json", [])) == []
    assert written("jsonl", []) == ""


def test_a_line_is_out_before_the_next_picture() -> None:
    """Each picture is flushed when it is done."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with WRITERS["jsonl"](stream, IBUG68, Path(), False) as add:
        add(FOUND[0])
        assert json.loads(stream.buffer.getvalue())["file"] == "a/one.jpg"  # type: ignore[attr-defined]  # BytesIO


@pytest.mark.parametrize("file_format", ["json", "coco"])
def test_an_array_that_is_broken_off_is_closed(file_format: str) -> None:
    """On standard output the partial result is valid JSON where the format allows it."""
    stream = io.StringIO()

    def interrupted() -> None:
        with WRITERS[file_format](stream, IBUG68, Path(), False) as add:
            add(FOUND[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert json.loads(stream.getvalue())


def test_csv_has_a_row_a_face() -> None:
    """Names, numbers with three decimals, and empty cells for outputs that the model lacks."""
    rows = list(csv.DictReader(io.StringIO(written("csv"))))
    assert [(row["file"], row["face"], row["confidence"], row["expected_error"]) for row in rows] == [
        ("a/one.jpg", "0", "0.7500", "2.000"),
        ("a/one.jpg", "1", "0.7500", "2.000"),
        ("ñ.jpg", "0", "", ""),
    ]
    assert float(rows[1]["box_x1"]) == 80.5
    assert float(rows[1]["y67"]) == pytest.approx(POINTS[67, 1], abs=5e-4)


def test_coco_comes_back_through_our_reader(tmp_path: Path) -> None:
    """The COCO file has points, boxes and names of pictures relative to its folder."""
    inputs = [Input(tmp_path / "in" / "one.jpg", Path("one.jpg"))]
    with open_results("coco", tmp_path / "out" / "faces.json", IBUG68, inputs) as add:
        add(Detection(inputs[0], 200, 100, [face(), face(50)]))
    first, second = read_coco(tmp_path / "out" / "faces.json")
    assert first.path.resolve() == tmp_path / "in" / "one.jpg"
    np.testing.assert_allclose(second.points, MOVED)
    assert second.attributes["rect"] == (58.0, 9.0, 80.5, 31.0)
    assert second.schema == IBUG68


def test_coco_comes_back_through_pycocotools(tmp_path: Path) -> None:
    """Images without faces too; 68 visible keypoints, bbox as corner and size, confidence."""
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    (tmp_path / "faces.json").write_text(written("coco"))
    read = coco.COCO(tmp_path / "faces.json")
    assert [one["file_name"] for one in read.loadImgs(read.getImgIds())] == ["a/one.jpg", "none.png", "ñ.jpg"]
    assert read.getAnnIds(imgIds=[2]) == []
    (_, second) = read.loadAnns(read.getAnnIds(imgIds=[1]))
    assert second["num_keypoints"] == 68
    np.testing.assert_allclose(np.reshape(second["keypoints"], (68, 3))[:, :2], MOVED)
    assert second["bbox"] == [58.0, 9.0, 22.5, 22.0]
    assert second["score"] == 0.75
    assert "score" not in read.loadAnns(read.getAnnIds(imgIds=[3]))[0]
    (category,) = read.loadCats(read.getCatIds())
    assert len(category["keypoints"]) == 68


def test_coco_without_faces_still_names_its_category() -> None:
    """The keypoints' names are in the file."""
    document = json.loads(written("coco", [detection("none.png")]))
    assert (len(document["images"]), document["annotations"], len(document["categories"])) == (1, [], 1)


def test_pts_files_count_from_one_and_keep_folders(tmp_path: Path) -> None:
    """One a face, called after its picture, with an index where there are several."""
    inputs = [source("a/one.jpg"), source("b/one.jpg"), source("c/two.jpg")]
    with open_results("pts", tmp_path, IBUG68, inputs) as add:
        add(Detection(inputs[0], 200, 100, [face(), face(50)]))
        add(Detection(inputs[1], 200, 100, [face(7)]))
        add(Detection(inputs[2], 200, 100, []))
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*"))
    assert names == ["a/one_0.pts", "a/one_1.pts", "b/one.pts"]
    np.testing.assert_allclose(read_pts(tmp_path / "a" / "one_1.pts"), MOVED, atol=1e-6)
    assert (tmp_path / "b" / "one.pts").read_text().startswith("version: 1\nn_points: 68\n{\n18.000000 11.142857\n")


def test_pts_beside_their_pictures_are_a_labelled_set(tmp_path: Path) -> None:
    """The folder reads back as training data does."""
    Image.new("RGB", (200, 100)).save(tmp_path / "one.jpg")
    inputs = [Input(tmp_path / "one.jpg", Path("one.jpg"))]
    with open_results("pts", tmp_path, IBUG68, inputs) as add:
        add(Detection(inputs[0], 200, 100, [face()]))
    (sample,) = read_samples(tmp_path)
    assert sample.path == tmp_path / "one.jpg"


def test_two_faces_never_share_a_pts(tmp_path: Path) -> None:
    """x_0.jpg with one face, and the first of two in x.jpg: an error, not a lost face."""
    inputs = [source("x_0.jpg"), source("x.jpg")]

    def write() -> None:
        with open_results("pts", tmp_path, IBUG68, inputs) as add:
            add(Detection(inputs[0], 200, 100, [face()]))
            add(Detection(inputs[1], 200, 100, [face(), face(50)]))

    with pytest.raises(DataError, match=r"x\.jpg: .*x_0\.pts is the name of another picture's face, too"):
        write()
    np.testing.assert_allclose(read_pts(tmp_path / "x_0.pts"), POINTS, atol=1e-6)


def test_names_that_are_no_text_are_written_with_their_bytes(tmp_path: Path) -> None:
    """A file name of Latin-1 bytes, as Linux has them, comes out as it was."""
    name = "caf\udce9.jpg"
    for file_format in ("csv", "json", "coco"):
        with open_results(file_format, tmp_path / file_format, IBUG68, []) as add:
            add(detection(name, face()))
    assert b"caf\xe9.jpg,0" in (tmp_path / "csv").read_bytes()
    assert json.loads((tmp_path / "json").read_text())[0]["file"] == name


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file stands where a folder is needed."""
    (tmp_path / "file").touch()

    def write(file_format: FileFormat, out: Path) -> None:
        with open_results(file_format, out, IBUG68, [FOUND[0].source]) as add:
            add(FOUND[0])

    for file_format in ("json", "pts"):
        with pytest.raises(WriteError, match="cannot be written"):
            write(file_format, tmp_path / "file" / "out")


def test_the_files_of_results_are_known_before(tmp_path: Path) -> None:
    """One for all, or one a picture in each folder: what is asked whether it is there already."""
    inputs = [source("a/x.jpg"), source("a/x.png")]
    assert planned_files(tmp_path / "o.csv", "csv", inputs, None) == [tmp_path / "o.csv"]
    drawn = [tmp_path / "a" / "x.jpg.png", tmp_path / "a" / "x.png.png"]
    labels = [tmp_path / "a" / "x.jpg.pts", tmp_path / "a" / "x.png.pts"]
    assert planned_files(tmp_path, "pts", inputs, tmp_path, None) == [*drawn, *labels]


def test_files_and_folders_are_not_mixed_up(tmp_path: Path) -> None:
    """A file is not taken for a folder; .pts need one."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file; a folder is needed"):
        planned_files(tmp_path / "file", "pts", [])
    with pytest.raises(ConfigError, match="give the folder to write them to with --out"):
        planned_files(None, "pts", [])


def test_numbered_labels_that_are_there_are_kept(tmp_path: Path) -> None:
    """How many faces a picture has is not known before: a label file in the way keeps all of its picture's back."""
    (tmp_path / "x_1.pts").write_text("old")
    two = detection("x.jpg", face(), face(50))
    with pytest.raises(DataError, match=r"x\.jpg: .*x_1\.pts is there already; give another folder, or --force"):
        pts_writer(tmp_path, [two.source])(two)
    assert [path.name for path in tmp_path.iterdir()] == ["x_1.pts"]
    pts_writer(tmp_path, [two.source], force=True)(two)
    np.testing.assert_allclose(read_pts(tmp_path / "x_1.pts"), MOVED, atol=1e-6)


def test_a_numbered_label_never_replaces_an_input(tmp_path: Path) -> None:
    """A picture that is called so, or to which the name leads: --force or not."""
    (tmp_path / "y.jpg").write_text("old")
    (tmp_path / "x_1.pts").symlink_to("y.jpg")
    two, other = detection("x.jpg", face(), face(50)), Input(tmp_path / "y.jpg", Path("y.jpg"))
    with pytest.raises(DataError, match=r"x_1\.pts is there already; give another folder$"):
        pts_writer(tmp_path, [two.source, other], force=True)(two)
    assert (tmp_path / "y.jpg").read_text() == "old"


def test_crops_are_those_of_the_faces_and_named_as_their_labels(tmp_path: Path) -> None:
    """One a face, of the size and template that are asked for; a crop in the way keeps all of its picture's back."""
    picture = np.random.default_rng(0).integers(0, 256, (100, 200, 3), dtype=np.uint8)
    two = detection("x.jpg", face(), face(50))
    crop_writer(tmp_path, [two.source], 96, "ffhq")(picture, two)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x_0.png", "x_1.png"]
    np.testing.assert_array_equal(to_picture(tmp_path / "x_1.png"), two.faces[1].aligned(picture, 96, "ffhq").image)
    with pytest.raises(DataError, match=r"x\.jpg: .*x_0\.png is there already; give another folder, or --force"):
        crop_writer(tmp_path, [two.source], 112, "arcface")(picture, two)
    assert to_picture(tmp_path / "x_1.png").shape == (96, 96, 3)


def test_tables_of_detect_and_track_have_the_same_columns_of_a_face(tmp_path: Path) -> None:
    """Whatever stands before them: a script that reads one reads the other."""
    with writing_records(tmp_path / "rows.csv") as write:
        write(Frame(0, 0.0, np.zeros((4, 4, 3), np.uint8)), TrackedFace(0, face(), POINTS, 0.0))
    (of_track,) = csv.DictReader((tmp_path / "rows.csv").open(newline=""))
    of_detect = next(iter(csv.DictReader(io.StringIO(written("csv")))))
    shared = [name for name in of_detect if name not in ("file", "face")]
    assert [name for name in of_track if name not in ("frame", "seconds", "id")] == shared
    assert [of_track[name] for name in shared] == [of_detect[name] for name in shared]


def measured() -> Face:
    """A procedural face, which has a pose, a part of it left of the picture."""
    points = synthetic_samples(1, seed=0)[0].points - [40, 0]
    return Face(points, tight_box(points), IBUG68)


def test_measures_are_in_json_on_request() -> None:
    """The numbers of the face, as plain values; without the request nothing is added."""
    one = measured()
    plain, more = (
        json.loads(written("jsonl", [detection("x.jpg", one)], measures))["faces"][0] for measures in (False, True)
    )
    names = {"inside", "five_points", "eye_openness", "eyes_closed", "mouth_openness", "transform"}
    assert more.keys() - plain.keys() == names
    assert more["inside"] == one.inside(200, 100).tolist()
    assert 0 < sum(more["inside"]) < 68
    assert more["eye_openness"] == pytest.approx(one.eye_openness._asdict(), abs=1e-3)
    assert more["eyes_closed"] == one.eyes_closed._asdict()
    assert more["mouth_openness"] == pytest.approx(one.mouth_openness, abs=1e-3)
    np.testing.assert_allclose(more["five_points"], one.five_points, atol=1e-3)
    np.testing.assert_allclose(more["transform"], one.transform(assumed_camera(200, 100)), atol=1e-6)


def test_nothing_is_measured_unasked() -> None:
    """Writing a face without measures computes none: detection and tracking are no slower for them."""
    one = measured()
    for file_format in ("json", "jsonl", "csv", "coco"):
        written(file_format, [detection("x.jpg", one)])
    assert not {"eye_openness", "mouth_openness"} & vars(one).keys()


def test_measures_are_columns_of_tables_on_request(tmp_path: Path) -> None:
    """The same in those of detect and track; empty where a face has no pose."""
    flat = Face(np.zeros((68, 2)), np.array([0.0, 0, 1, 1]), IBUG68)
    full, empty = csv.DictReader(io.StringIO(written("csv", [detection("x.jpg", measured(), flat)], True)))
    assert float(full["eye_openness_left"]) == pytest.approx(measured().eye_openness.left, abs=1e-3)
    assert float(full["yaw"]) == pytest.approx(measured().pose.yaw, abs=1e-3)
    assert [empty[name] for name in MEASURES] == [""] * len(MEASURES)
    assert not set(MEASURES) & set(next(csv.reader(io.StringIO(written("csv")))))
    with writing_records(tmp_path / "rows.csv", measures=True) as write:
        write(Frame(0, 0.0, np.zeros((100, 200, 3), np.uint8)), TrackedFace(0, measured(), POINTS, 0.0))
    (row,) = csv.DictReader((tmp_path / "rows.csv").open(newline=""))
    assert [row[name] for name in MEASURES] == [full[name] for name in MEASURES]


def test_lines_of_track_hold_the_measures(tmp_path: Path) -> None:
    """As those of detect do."""
    with writing_records(tmp_path / "rows.jsonl", measures=True) as write:
        write(Frame(0, 0.0, np.zeros((100, 200, 3), np.uint8)), TrackedFace(0, measured(), POINTS, 0.0))
    row = json.loads((tmp_path / "rows.jsonl").read_text())
    assert {name: row[name] for name in measured().measures(200, 100)} == measured().measures(200, 100)
