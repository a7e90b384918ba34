"""Broken labels and pictures among good ones: each command on data names their places and goes on with the rest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from lightmark.cli import main
from lightmark.data.read import read_samples
from lightmark.data.shards.read import read_manifest
from lightmark.spec import ModelSpec

POINTS = [[12.0, 15.0], [28.0, 15.0], [20.0, 22.0], [14.0, 30.0], [26.0, 30.0]]


def write_pts_files(folder: Path) -> str:
    """Three faces, the second with a line that is no point; the place of the fault."""
    for index in range(3):
        rows = [f"{x} {y}" for x, y in POINTS]
        if index == 1:
            rows[2] = "twenty 22"
        (folder / f"{index}.pts").write_text("\n".join(["version: 1", "n_points: 5", "{", *rows, "}"]))
    return f"{folder / '1.pts'}: line 6: got 'twenty 22'"


def write_table(folder: Path) -> str:
    """The same as a wide CSV, in which the second row lacks a cell."""
    header = ["name", *(f"{axis}{index}" for index in range(5) for axis in "xy")]
    rows = [[f"{index}.png", *(str(value) for point in POINTS for value in point)] for index in range(3)]
    rows[1].pop()
    (folder / "labels.csv").write_text("\n".join(",".join(row) for row in (header, *rows)))
    return f"{folder / 'labels.csv'}: line 3: got 10 columns"


def write_coco(folder: Path) -> str:
    """The same as COCO, in which the second annotation names no picture of the file."""
    annotations = [
        {
            "id": index,
            "image_id": 9 if index == 1 else index,
            "category_id": 1,
            "keypoints": [value for point in POINTS for value in (*point, 2)],
            "bbox": [12, 15, 16, 15],
        }
        for index in range(3)
    ]
    document = {
        "images": [{"id": index, "file_name": f"{index}.png", "width": 40, "height": 40} for index in range(3)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "five", "keypoints": list("abcde")}],
    }
    (folder / "labels.json").write_text(json.dumps(document))
    return f"{folder / 'labels.json'}: annotation 1: KeyError: '9'"


@pytest.fixture(params=[write_pts_files, write_table, write_coco], ids=["pts", "csv", "coco"])
def broken(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A folder of three labelled pictures, one label of which is broken, and the fault's place."""
    return make(tmp_path, request.param)


def make(root: Path, write: Callable[[Path], str]) -> tuple[Path, str]:
    folder, rng = root / "faces", np.random.default_rng(0)
    folder.mkdir()
    for index in range(3):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    return folder, write(folder)


def invoke(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_check_lists_a_broken_label_and_counts_the_rest(broken) -> None:
    """Status 1, the place of the fault, and both complete faces."""
    folder, place = broken
    result = invoke("data", "check", folder)
    assert result.exit_code == 1, result.output
    assert "2 faces of" in result.stdout
    assert "unreadable label: 1\n" in result.stdout
    assert f"  {place}" in result.stdout


def test_check_draws_the_rest(broken, tmp_path: Path) -> None:
    """The contact sheet has no tile for an unreadable label."""
    result = invoke("data", "check", broken[0], "--sheet", tmp_path / "sheet.png")
    assert (result.exit_code, (tmp_path / "sheet.png").exists()) == (1, True), result.output


def test_review_shows_the_rest_and_counts_what_is_left_out(broken, tmp_path: Path) -> None:
    """The page of the two whole faces, against a model of their points; a model of others is refused."""
    pytest.importorskip("torch")
    from lightmark.nets.checkpoint import save_checkpoint
    from lightmark.nets.network import Architecture, build_network

    folder, out = broken[0], tmp_path / "review.html"
    refused = invoke("data", "review", folder, "--out", out)
    assert refused.exit_code == 2
    assert "(5 points), expected ibug68" in refused.output
    assert not out.exists()
    architecture = Architecture("mobilenetv2", "spatial", width=0.25)
    schema = read_samples(folder, left_out=[])[0].schema
    network = build_network(architecture, np.full((5, 2), 0.5), seed=0)
    save_checkpoint(tmp_path / "five.safetensors", network, architecture, ModelSpec(schema, 32))
    made = invoke("data", "review", folder, "--against", tmp_path / "five.safetensors", "--out", out)
    assert made.exit_code == 0, made.output
    assert out.read_text(encoding="utf-8").count("<figure>") == 2
    assert "1 faces left out" in made.stderr


@pytest.mark.parametrize(("form", "name"), [("coco", "out.json"), ("cvat", "out.xml"), ("pts", "out"), ("yolo", "out")])
def test_convert_writes_the_rest(broken, form: str, name: str, tmp_path: Path) -> None:
    """Status 1, the fault by its place, and two faces written."""
    folder, place = broken
    result = invoke("data", "convert", folder, tmp_path / name, "--to", form)
    assert result.exit_code == 1, result.output
    assert result.stdout.startswith("2 faces written to")
    assert "lightmark: left out, 1 broken labels or pictures:\n" in result.stderr
    assert f"  {place}" in result.stderr
    assert len(read_samples(tmp_path / name)) == 2


def test_convert_leaves_out_a_broken_picture(tmp_path: Path) -> None:
    """A cut picture is named, and the other faces are written."""
    folder, _ = make(tmp_path, write_table)
    whole = (folder / "2.png").read_bytes()
    (folder / "2.png").write_bytes(whole[: len(whole) // 2])
    result = invoke("data", "convert", folder, tmp_path / "out", "--to", "pts")
    assert result.exit_code == 1, result.output
    assert result.stdout.startswith("1 faces written to")
    assert f"  {folder / '2.png'}: " in result.stderr


def test_pack_goes_on_and_the_manifest_holds_what_was_left_out(broken, tmp_path: Path) -> None:
    """Status 1; started again, the finished folder is refused and nothing is listed twice."""
    folder, place = broken
    result = invoke("data", "pack", folder, "--out", tmp_path / "packed")
    assert result.exit_code == 1, result.output
    assert result.stdout.startswith("2 faces in 2 pictures packed")
    assert f"  {place}" in result.stderr
    assert [sentence.startswith(place) for sentence in read_manifest(tmp_path / "packed")["left_out"]] == [True]


def test_a_folder_of_nothing_but_broken_labels_is_one_line(tmp_path: Path) -> None:
    """A folder of broken labels gives status 2 and one line with the first of them."""
    folder, place = make(tmp_path, write_pts_files)
    for index in (0, 2):
        (folder / f"{index}.pts").unlink()
    for words in (["check", folder], ["pack", folder, "--out", tmp_path / "out"]):
        result = invoke("data", *words)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"lightmark: {folder}: none of its labels can be used; {place}")


def test_training_still_stops_at_a_broken_label(broken) -> None:
    """A label that `data check` reports and skips is an error in training."""
    pytest.importorskip("torch")
    folder, place = broken
    result = invoke("train", "demo64-plain", "--data", folder, "--out", folder.parent / "run")
    assert result.exit_code == 2
    assert place in result.stderr
