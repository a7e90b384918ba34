"""`lightmark detect` from words to files: what it reads, writes, refuses, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from lightmark.cli import main
from lightmark.cli.detecting import detect as detect_command
from lightmark.data.formats.pts import read_pts
from lightmark.detectors.open import FixedBoxes
from lightmark.landmarker import Landmarker
from lightmark.overlay import PLAIN
from lightmark.schema import Schema
from lightmark.source import MAX_PIXELS, to_picture
from lightmark.spec import ModelSpec, spec_to_json

FIVE = Schema("five", mirror=(1, 0, 2, 4, 3), normaliser=(0, 1), edges=((3, 4),))
SHAPE = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.55], [0.35, 0.7], [0.65, 0.7]])
BOX = [20.0, 10.0, 60.0, 50.0]


@pytest.fixture
def model(write_onnx: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of five points, and a detector that sees one face in every picture that is wide enough."""
    spec = ModelSpec(FIVE, 32, crop_scale=1.0, template=((0.0, 0.0), *[(0.1, 0.1)] * 4))

    class WideEnough(FixedBoxes):
        """One face where the picture is wider than 50 px."""

        def __call__(self, image: np.ndarray) -> np.ndarray:
            """One box or none."""
            return super().__call__(image)[: int(image.shape[1] > 50)]

    monkeypatch.setattr("lightmark.landmarker.open_detector", lambda *_, **__: WideEnough([BOX]))
    return write_onnx("model.onnx", SHAPE, spec.size, spec_to_json(spec))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two pictures with a face, one of them in a folder below, and one without."""
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    Image.new("RGB", (80, 60), (90, 90, 90)).save(folder / "one.jpg")
    Image.new("L", (100, 60), 90).save(folder / "below" / "two.png")
    Image.new("RGB", (40, 60), (90, 90, 90)).save(folder / "none.webp")
    return folder


@pytest.fixture
def detect(model: Path) -> Callable[..., Result]:
    """Runs the command on words, with the model of five points."""

    def run(*words: str | Path, stdin: bytes | None = None) -> Result:
        return CliRunner().invoke(main, ["detect", "--model", str(model), *map(str, words)], input=stdin)

    return run


def files_in(folder: Path) -> list[str]:
    """Every file below `folder`, hidden ones too."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def lines(result: Result) -> list[dict]:
    """Pictures in the JSON Lines of standard output."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_pipe_gets_a_json_line_a_picture(detect: Callable[..., Result], photos: Path) -> None:
    """Folders are gone through; a picture without a face has an empty list, and the status is 0."""
    result = detect(photos)
    assert result.exit_code == 0, result.output
    assert [Path(one["file"]).name for one in lines(result)] == ["two.png", "none.webp", "one.jpg"]
    assert [len(one["faces"]) for one in lines(result)] == [1, 0, 1]
    np.testing.assert_allclose(lines(result)[0]["faces"][0]["points"], BOX[:2] + SHAPE * 40, atol=1e-4)


def test_standard_input_is_one_picture(detect: Callable[..., Result], photos: Path) -> None:
    """Its bytes, whatever their format, under the name "-"."""
    result = detect("-", stdin=(photos / "below" / "two.png").read_bytes())
    assert result.exit_code == 0, result.output
    assert [(one["file"], one["width"], len(one["faces"])) for one in lines(result)] == [("-", 100, 1)]


def test_unreadable_pictures_are_listed_at_the_end(detect: Callable[..., Result], photos: Path, tmp_path: Path) -> None:
    """Empty, cut, missing, foreign files and folders without pictures: each a line, the rest done, status 1."""
    (photos / "empty.jpg").touch()
    (photos / "cut.jpg").write_bytes((photos / "one.jpg").read_bytes()[:300])
    (tmp_path / "bare").mkdir()
    result = detect(tmp_path / "bare", photos, tmp_path / "missing.png", "-", stdin=b"hello")
    assert result.exit_code == 1
    assert len(lines(result)) == 3
    errors = result.stderr.splitlines()
    assert errors[0] == "lightmark: 5 of 8 inputs could not be read:"
    for text in ("bare: no picture", "empty.jpg: cannot", "cut.jpg: cannot", "missing.png: no such", "standard input:"):
        assert sum(text in line for line in errors[1:]) == 1
    assert "Traceback" not in result.stderr


def test_nothing_to_read_at_all_is_status_one(detect: Callable[..., Result], tmp_path: Path) -> None:
    """A pattern that nothing fits is an input that cannot be read."""
    result = detect(tmp_path / "*.jpg")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "nothing fits it as a pattern" in result.stderr


def test_above_the_limit_of_pixels_a_picture_is_refused(detect: Callable[..., Result], photos: Path) -> None:
    """--max-pixels holds for each picture; the others are done."""
    result = detect(photos, "--max-pixels", "5000")
    assert result.exit_code == 1
    assert len(lines(result)) == 2
    assert "two.png: 100×60 are 6,000 pixels, more than the limit of 5,000" in result.stderr


def test_the_limit_is_that_of_the_library() -> None:
    """The command repeats the constant, so that its help needs no Pillow."""
    (option,) = [one for one in detect_command.params if one.name == "max_pixels"]
    assert option.default == MAX_PIXELS


@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "coco"])
def test_a_file_is_written_and_not_written_over(
    detect: Callable[..., Result], photos: Path, tmp_path: Path, form: str
) -> None:
    """A second run is refused with status 2, before anything is read, unless forced."""
    out = tmp_path / "results" / "faces"
    assert detect(photos, "--format", form, "--out", out).exit_code == 0
    whole = out.read_bytes()
    assert b"two.png" in whole
    refused = detect(photos / "one.jpg", "--format", form, "--out", out)
    assert refused.exit_code == 2
    assert "is there already" in refused.stderr
    assert out.read_bytes() == whole
    assert detect(photos / "one.jpg", "--format", form, "--out", out, "--force").exit_code == 0
    assert b"two.png" not in out.read_bytes()
    assert files_in(tmp_path / "results") == ["faces"]


def test_the_suffix_chooses_the_format(detect: Callable[..., Result], photos: Path, tmp_path: Path) -> None:
    """.json, .jsonl and .csv; any other needs --format."""
    assert detect(photos, "--out", tmp_path / "a.json").exit_code == 0
    assert len(json.loads((tmp_path / "a.json").read_text())) == 3
    assert detect(photos, "--out", tmp_path / "a.csv").exit_code == 0
    assert (tmp_path / "a.csv").read_text().count("\n") == 3
    refused = detect(photos, "--out", tmp_path / "a.txt")
    assert refused.exit_code == 2
    assert "say what to write with --format" in refused.stderr


def test_pts_and_drawings_keep_folders(detect: Callable[..., Result], photos: Path, tmp_path: Path) -> None:
    """Points count from 1; drawings are complete pictures, also those without a face."""
    result = detect(photos, "--format", "pts", "--out", tmp_path / "pts", "--draw", tmp_path / "drawn")
    assert result.exit_code == 0, result.output
    assert files_in(tmp_path / "pts") == ["below/two.pts", "one.pts"]
    assert files_in(tmp_path / "drawn") == ["below/two.png", "none.png", "one.png"]
    points = read_pts(tmp_path / "pts" / "one.pts")
    drawn = to_picture(tmp_path / "drawn" / "one.png")
    assert drawn.shape == (60, 80, 3)
    column, row = np.rint(points[2]).astype(int)
    np.testing.assert_allclose(drawn[row, column], PLAIN, atol=40)
    np.testing.assert_array_equal(to_picture(tmp_path / "drawn" / "none.png"), to_picture(photos / "none.webp"))


def test_an_input_is_not_drawn_over(detect: Callable[..., Result], photos: Path) -> None:
    """Drawings beside the pictures would replace two.png, --force or not."""
    before = (photos / "below" / "two.png").read_bytes()
    result = detect(photos, "--draw", photos, "--force")
    assert result.exit_code == 2
    assert "two.png: is one of the inputs" in result.stderr
    assert (photos / "below" / "two.png").read_bytes() == before


def test_crops_are_aligned_and_keep_folders(
    detect: Callable[..., Result], model: Path, photos: Path, tmp_path: Path
) -> None:
    """A PNG of each face, of 112 px or as asked for; written over only with --force, inputs never."""
    crops = tmp_path / "crops"
    result = detect(photos, "--crops", crops)
    assert (result.exit_code, f"3 of 3 inputs read, written to {crops}" in result.stderr) == (0, True)
    assert files_in(crops) == ["below/two.png", "one.png"]
    assert to_picture(crops / "one.png").shape == (112, 112, 3)
    refused = detect(photos / "one.jpg", "--crops", crops)
    assert (refused.exit_code, "one.png: is there already" in refused.stderr) == (2, True)
    assert detect(photos / "one.jpg", "--crops", crops, "--crop-size", "64", "--force").exit_code == 0
    face = Landmarker(model).detect(photos / "one.jpg")[0]
    expected = face.aligned(to_picture(photos / "one.jpg"), 64).image
    np.testing.assert_array_equal(to_picture(crops / "one.png"), expected)
    before = (photos / "below" / "two.png").read_bytes()
    assert "two.png: is one of the inputs" in detect(photos, "--crops", photos, "--force").stderr
    assert (photos / "below" / "two.png").read_bytes() == before


def test_crops_need_a_folder_of_their_own_and_eyes_nose_and_mouth(
    photos: Path, tmp_path: Path, write_onnx: Callable[..., Path], detect: Callable[..., Result]
) -> None:
    """Options of crops without --crops, drawings in the same folder, and points that no template fits are refused."""
    spec = ModelSpec(replace(FIVE, name="paw"), 32, crop_scale=1.0, template=((0.0, 0.0), *[(0.1, 0.1)] * 4))
    paws = write_onnx("paws.onnx", SHAPE, spec.size, spec_to_json(spec))
    for words, text in (
        (["--crop-size", "64"], "--crop-size and --crop-template are for aligned crops"),
        (["--crops", tmp_path / "a", "--draw", tmp_path / "a"], "is the name of two outputs"),
        (["--crops", tmp_path / "a", "--model", paws], "paw has no conversion to 'five'"),
    ):
        result = detect(photos, *words)
        assert (result.exit_code, text in result.stderr) == (2, True), result.output
    assert not (tmp_path / "a").exists()


@pytest.mark.usefixtures("model")
def test_faces_below_the_least_confidence_are_left_out(photos: Path, model: Path) -> None:
    """The shipped model gives scores: what the detector takes for a face is plain grey to it."""
    few, all_of_them = (
        CliRunner().invoke(main, ["detect", str(photos / "one.jpg"), "--min-confidence", least])
        for least in ("0.5", "0")
    )
    assert few.exit_code == all_of_them.exit_code == 0
    assert [len(lines(one)[0]["faces"]) for one in (few, all_of_them)] == [0, 1]


def test_measures_are_written_on_request(detect: Callable[..., Result], photos: Path) -> None:
    """As keys of JSON; formats that have no place for them are refused before anything is read."""
    face = lines(detect(photos / "one.jpg", "--measures"))[0]["faces"][0]
    assert len(face["inside"]) == len(face["points"])
    result = detect(photos, "--measures", "--format", "coco")
    assert result.exit_code == 2
    assert "--measures: coco has no place for them; use json, jsonl or csv" in result.stderr


def test_a_least_confidence_needs_a_model_with_confidence(detect: Callable[..., Result], photos: Path) -> None:
    """--min-confidence with a model without confidence raises an error."""
    result = detect(photos, "--min-confidence", "0.5")
    assert result.exit_code == 2
    assert "needs a model with confidence" in result.stderr


@pytest.mark.parametrize(
    "words",
    [["a.jpg", "--detector", "casacde"], ["a.jpg", "--format", "xml"], ["a.jpg", "--model", "nowhere.onnx"], []],
)
def test_wrong_use_is_status_two(words: list[str]) -> None:
    """Unknown names, and no inputs at all."""
    result = CliRunner().invoke(main, ["detect", *words])
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def interrupt_after(pictures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the picture after so many is looked at."""
    real, seen = Landmarker.detect, []

    def detect(self: Landmarker, source: np.ndarray) -> list:
        seen.append(source.shape)
        if len(seen) > pictures:
            raise KeyboardInterrupt
        return real(self, source)

    monkeypatch.setattr(Landmarker, "detect", detect)


@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "coco"])
def test_an_interrupted_run_leaves_the_file_as_it_was(
    detect: Callable[..., Result], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """Status 130; the old file is unchanged, and no partial one is left."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "faces").write_text("old")
    interrupt_after(2, monkeypatch)
    result = detect(photos, "--format", form, "--out", tmp_path / "out" / "faces", "--force")
    assert result.exit_code == 130
    assert (tmp_path / "out" / "faces").read_text() == "old"
    assert files_in(tmp_path / "out") == ["faces"]


def test_an_interrupted_run_keeps_what_is_whole_in_folders(
    detect: Callable[..., Result], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each .pts and each drawing is written in whole or not at all."""
    interrupt_after(2, monkeypatch)
    result = detect(photos, "--format", "pts", "--out", tmp_path / "pts", "--draw", tmp_path / "drawn")
    assert result.exit_code == 130
    assert files_in(tmp_path / "pts") == ["below/two.pts"]
    assert files_in(tmp_path / "drawn") == ["below/two.png", "none.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_gets_a_table(model: Path, photos: Path) -> None:
    """People see files, faces and boxes; a name with brackets is no markup."""
    (photos / "one.jpg").rename(photos / "[red]one.jpg")
    command = [sys.executable, "-c", "from lightmark.cli import main; main()", "detect", str(photos)]
    reader, writer = pty.openpty()
    environment = {**os.environ, "COLUMNS": "300", "TERM": "dumb"}
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=environment, check=False)
    os.close(writer)
    shown = os.read(reader, 2**16).decode()
    os.close(reader)
    assert done.returncode == 0, done.stderr
    assert "± px" in shown
    assert "[red]one.jpg" in shown
    assert shown.count("no face") == 3


def test_the_base_set_of_imports_finds_a_face(tmp_path: Path) -> None:
    """A photograph, the command as users run it: one face near where it is, and torch is not even imported."""
    data = pytest.importorskip("skimage.data", reason="the photograph comes with scikit-image: the demo extra")
    Image.fromarray(data.astronaut()).save(tmp_path / "astronaut.jpg", quality=95)
    code = (
        "import sys\n"
        "sys.modules |= dict.fromkeys(['torch', 'scipy', 'safetensors', 'matplotlib', 'skimage', 'onnx'])\n"
        "from lightmark.cli import main\n"
        "main()"
    )
    command = [sys.executable, "-c", code, "detect", str(tmp_path / "astronaut.jpg"), "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (face,) = json.loads(done.stdout)["faces"]
    assert face["confidence"] > 0.9
    np.testing.assert_allclose(np.mean(face["points"], axis=0), [224, 128], atol=10)


def test_damaged_exif_is_no_noise(detect: Callable[..., Result], photos: Path) -> None:
    """A script's error stream holds what went wrong, not Pillow's remarks on what did not."""
    Image.new("RGB", (80, 60)).save(photos / "odd.jpg", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff")
    with warnings.catch_warnings(record=True) as heard:
        assert detect(photos / "odd.jpg").exit_code == 0
    assert heard == []


def test_a_picture_is_drawn_in_the_styles_that_are_named(
    detect: Callable[..., Result], photos: Path, tmp_path: Path
) -> None:
    """The corners of the box alone, the points alone, both; unknown styles and those the model cannot show fail."""
    drawn = {}
    for style in ("box", "points", "box,points"):
        assert detect(photos / "one.jpg", "--draw", tmp_path / style, "--style", style).exit_code == 0
        drawn[style] = to_picture(tmp_path / style / "one.png")
    assert not np.array_equal(drawn["box"], drawn["points"])
    assert np.abs(drawn["box,points"].astype(int) - drawn["points"]).max() > 20
    for style, text in (("dots", "'dots': give some of box, filled"), ("axes", "style axes: needs the head's pose")):
        result = detect(photos / "one.jpg", "--draw", tmp_path / "no", "--style", style)
        assert result.exit_code == 2
        assert text in result.stderr
    assert not (tmp_path / "no").exists()


def test_anonymised_pictures_show_no_face_and_no_points(detect: Callable[..., Result], tmp_path: Path) -> None:
    """The face is blurred and not drawn; the original is never written over; --draw is needed."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "one.png")
    assert detect(tmp_path / "one.png", "--draw", tmp_path / "drawn", "--anonymise", "faces").exit_code == 0
    hidden = to_picture(tmp_path / "drawn" / "one.png").astype(float)
    assert hidden[12:48, 22:58].std() < 5 < noise[12:48, 22:58].std()
    np.testing.assert_array_equal(hidden[:, 75:], noise[:, 75:])
    result = detect(tmp_path / "one.png", "--draw", tmp_path, "--anonymise", "faces", "--force")
    assert (result.exit_code, "one.png: is one of the inputs" in result.stderr) == (2, True)
    np.testing.assert_array_equal(to_picture(tmp_path / "one.png"), noise)
    for part, text in (("faces", "--style and --anonymise are for drawn pictures"), ("eyes", "no group of points")):
        result = detect(tmp_path / "one.png", "--anonymise", part, *(["--draw", tmp_path / "no"] * (part == "eyes")))
        assert (result.exit_code, text in result.stderr) == (2, True)
