"""The command parses, calls one function, prints; errors are one line and status 2."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from lightmark.cli import MODULES, main
from lightmark.cli.training import training_samples


@pytest.fixture
def run() -> CliRunner:
    return CliRunner()


@pytest.fixture
def five_point_faces(tmp_path: Path) -> Path:
    """Twelve pictures with five points each, and the schema that describes them."""
    folder = tmp_path / "faces"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(12):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(folder / f"{index}.png")
        rows = [f"{x + index % 3} {y}" for x, y in ((12, 15), (28, 15), (20, 22), (14, 30), (26, 30))]
        (folder / f"{index}.pts").write_text("\n".join(["version: 1", "n_points: 5", "{", *rows, "}"]))
    schema = {"name": "five", "mirror": [1, 0, 2, 4, 3], "normaliser": [0, 1], "groups": {"eyes": [0, 1]}}
    (tmp_path / "five.json").write_text(json.dumps(schema))
    return folder


def test_help_lists_every_command(run: CliRunner) -> None:
    """`lightmark --help` names all commands."""
    result = run.invoke(main, ["--help"])
    assert result.exit_code == 0
    listed = [line.split()[0] for line in result.output.splitlines() if line.startswith("  ") and line.strip()]
    assert set(MODULES) <= set(listed)
    assert max(map(len, result.output.splitlines())) <= 80
    assert "..." not in result.output.partition("Options:")[2]


def test_models_fit_a_narrow_terminal(run: CliRunner) -> None:
    """Names that must be typed are not shortened at 80 columns."""
    output = run.invoke(main, ["models"], env={"COLUMNS": "80"}).output
    table = output.split("fast: ")[0]
    assert max(map(len, table.splitlines())) <= 80
    assert {"fast", "fast-int8", "standard", "standard-int8"} <= set(table.split())


def test_info_is_a_dozen_lines(run: CliRunner) -> None:
    """`info` prints the main facts; --json the rest."""
    lines = run.invoke(main, ["info", "fast"]).output.splitlines()
    assert len(lines) <= 12
    assert max(map(len, lines)) <= 80
    assert lines[0] == "points     68 of ibug68, errors in shares of the inter-ocular distance"
    assert lines[1] == "input      128 x 128 px, 1.25 times the 68 points' box"


def test_import_loads_neither_torch_nor_opencv() -> None:
    """`import lightmark` and the command's own module stay light."""
    code = "import sys, lightmark, lightmark.cli; print(sorted({'torch', 'cv2', 'numpy', 'scipy'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_command_imports_what_it_uses(tmp_path: Path) -> None:
    """`detect` waits for no other command's module, for no reader of labels and for nothing that trains."""
    Image.new("RGB", (64, 64)).save(tmp_path / "grey.png")
    code = (
        "import sys; from lightmark.cli import MODULES, main; main(['detect', sys.argv[1]], standalone_mode=False); "
        "print(*[name for name in sys.modules if name.startswith('lightmark.')], file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "grey.png")]
    loaded = set(subprocess.run(command, capture_output=True, text=True, check=True).stderr.split())
    assert {name for name in loaded if name.startswith("lightmark.cli.")} == {
        f"lightmark.cli.{name}" for name in ("detecting", "options", "signals", "streams")
    }
    assert not any(name.startswith(("lightmark.data.formats", "lightmark.train", "lightmark.draw")) for name in loaded)
    assert len(loaded) <= 38


def test_recipes_are_listed_with_their_stages(run: CliRunner) -> None:
    """Each recipe shows its networks, size and steps."""
    output = run.invoke(main, ["recipes"]).output
    assert "cpu128-plain: mobilenetv2, spatial head, 128 px, l1, 15000 steps of 16" in output
    assert "paper224-tough: efficientnet-b3, pooling head, 224 px, l2" in output


def test_our_errors_are_one_line_and_status_two(run: CliRunner, five_point_faces: Path, tmp_path: Path) -> None:
    """An unknown recipe gives the known ones, without a traceback."""
    options = ["--data", str(five_point_faces), "--out", str(tmp_path / "run")]
    result = run.invoke(main, ["train", "cpu128-nobody", *options])
    assert result.exit_code == 2
    assert result.output.startswith("lightmark: no recipe called 'cpu128-nobody'; known: cpu128-tough")
    assert "Traceback" not in result.output
    assert not (tmp_path / "run").exists()


def test_a_distilled_recipe_is_not_trained_alone(run: CliRunner, five_point_faces: Path, tmp_path: Path) -> None:
    """`train cpu128-student` says which command trains its teachers too."""
    options = ["--data", str(five_point_faces), "--out", str(tmp_path / "run")]
    result = run.invoke(main, ["train", "cpu128-student", *options])
    assert result.exit_code == 2
    assert "lightmark distill" in result.output


def test_custom_points_train_and_evaluate(run: CliRunner, five_point_faces: Path, tmp_path: Path) -> None:
    """Five points of one's own go through training, inspection, evaluation and comparison."""
    schema = ["--schema", str(tmp_path / "five.json")]
    many = [str(five_point_faces)] * 3  # 36 faces, so that a batch of 32 is full
    data = [word for path in many for word in ("--data", path)]
    out = tmp_path / "run"
    options = ["--out", str(out), "--steps", "2", "--seed", "3"]
    trained = run.invoke(main, ["train", "demo64-plain", *data, *options, *schema])
    assert trained.exit_code == 0, trained.output
    model = str(out / "model.safetensors")
    assert json.loads(run.invoke(main, ["info", model, "--json"]).output)["schema"]["name"] == "five"
    report = tmp_path / "report"
    options = ["--data", str(five_point_faces), "--report", str(report), "--box-jitter", "0,0.1"]
    evaluated = run.invoke(main, ["evaluate", model, *options, *schema])
    assert evaluated.exit_code == 0, evaluated.output
    assert json.loads((report / "report.json").read_text())
    # These pictures are noise: the shipped student sees no face there, so the crops are those of the points themselves.
    exported = run.invoke(main, ["export", model, "--out", str(tmp_path / "model.onnx")])
    assert exported.exit_code == 2
    assert "its crops are cut around its own points (five)" in exported.output
    again = tmp_path / "again"
    options = ["--data", str(five_point_faces), "--report", str(again)]
    assert run.invoke(main, ["evaluate", model, *options, *schema]).exit_code == 0
    first, second = (json.loads((folder / "report.json").read_text()) for folder in (report, again))
    nmes = [next(iter(one["subsets"].values()))["nme_inter_ocular"]["value"] for one in (first, second)]
    assert nmes[0] == pytest.approx(nmes[1], rel=1e-3)
    compared = run.invoke(main, ["compare", str(report), str(report), "--json"])
    assert compared.exit_code == 0, compared.output
    assert json.loads(compared.output)


def test_training_leaves_out_test_faces_and_their_copies(real_data: Path) -> None:
    """Of 300W's training faces here three repeat a test photograph; none of these, and no test face, is trained on."""
    kept = training_samples([real_data / "300w"])
    assert len(kept) == 2012 - 3
    root = (real_data / "300w").resolve()
    names = {sample.path.resolve().relative_to(root).as_posix() for sample in kept}
    assert not names & {f"lfpw/trainset/image_{number}.jpg" for number in ("0215", "0828", "0862")}
    assert not any(name.startswith(("ibug", "helen/testset", "lfpw/testset")) for name in names)


def test_bad_jitter_levels_are_explained(run: CliRunner, five_point_faces: Path) -> None:
    """Words where shares should be are refused with an example."""
    result = run.invoke(main, ["evaluate", __file__, "--data", str(five_point_faces), "--box-jitter", "much"])
    assert result.exit_code == 2
    assert "such as 0,0.05,0.1" in result.output


def test_evaluate_refuses_what_is_no_model(run: CliRunner, five_point_faces: Path, tmp_path: Path) -> None:
    """A text file is named with the reason."""
    (tmp_path / "model.safetensors").write_text("hello")
    result = run.invoke(main, ["evaluate", str(tmp_path / "model.safetensors"), "--data", str(five_point_faces)])
    assert result.exit_code == 2
    assert "model.safetensors: not a complete safetensors file" in result.output


def test_check_counts_and_draws(run: CliRunner, five_point_faces: Path, tmp_path: Path) -> None:
    """Clean data gives status 0, the count and a contact sheet; a missing picture gives status 1."""
    schema = ["--schema", str(tmp_path / "five.json")]
    sheet = tmp_path / "sheet.png"
    clean = run.invoke(main, ["data", "check", str(five_point_faces), "--sheet", str(sheet), *schema])
    assert clean.exit_code == 0, clean.output
    assert "12" in clean.output
    assert Image.open(sheet).size[0] > 100
    (five_point_faces / "3.png").unlink()
    assert run.invoke(main, ["data", "check", str(five_point_faces), *schema]).exit_code == 1


def test_convert_writes_coco_and_keeps_what_is_there(run: CliRunner, five_point_faces: Path, tmp_path: Path) -> None:
    """A second run without --force is refused and changes nothing."""
    out = tmp_path / "faces.json"
    options = ["--to", "coco", "--schema", str(tmp_path / "five.json")]
    command = ["data", "convert", str(five_point_faces), str(out), *options]
    assert "12 faces" in run.invoke(main, command).output
    before = out.read_bytes()
    refused = run.invoke(main, command)
    assert refused.exit_code == 2
    assert out.read_bytes() == before
    assert run.invoke(main, [*command, "--force"]).exit_code == 0


def test_unknown_mirror_pairs_are_named(run: CliRunner, five_point_faces: Path, tmp_path: Path) -> None:
    """Who gives no schema learns that crops are not mirrored, and how to change that."""
    options = ["--data", str(five_point_faces), "--out", str(tmp_path / "run"), "--steps", "1", "--batch", "4"]
    output = run.invoke(main, ["train", "demo64-plain", *options]).stderr
    assert "points5: which points are left and right is unknown, so crops are not mirrored; name the pairs" in output


def test_unknown_schema_names_the_known(run: CliRunner, five_point_faces: Path) -> None:
    """A typing error in --schema is answered with the built-in names."""
    result = run.invoke(main, ["data", "check", str(five_point_faces), "--schema", "ibug86"])
    assert result.exit_code == 2
    assert "no schema called 'ibug86'; known: ibug68, wflw98, cofw29" in result.output


def test_models_lists_the_licence_of_each_file() -> None:
    """Students and detectors alike: weights are not under the code's licence."""
    result = CliRunner().invoke(main, ["models"])
    assert result.exit_code == 0
    text = " ".join(result.output.split())
    for name in ("fast: ", "face, a face detector: "):
        assert name in text
    assert "Licence of the weights of fast, fast-int8, standard, standard-int8: research use only" in text
    assert "Licence of the weights of face: research use only" in text


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("lightmark info fa", {"fast", "fast-int8"}),
        ("lightmark detect --model standard-", {"standard-int8"}),
        ("lightmark train cpu128-p", {"cpu128-plain"}),
        ("lightmark distill --recipe paper224-", {"paper224-released"}),
        ("lightmark train-d", {"train-detector"}),
    ],
)
def test_names_are_completed(run: CliRunner, typed: str, offered: set[str]) -> None:
    """In bash, Tab completes commands and the names of models and recipes."""
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1), "_LIGHTMARK_COMPLETE": "bash_complete"}
    output = run.invoke(main, prog_name="lightmark", env=words).output
    assert {line.partition(",")[2] for line in output.splitlines() if line.startswith("plain,")} == offered
