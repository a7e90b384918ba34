"""No command writes over what is there without --force, and none over an input."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from lightmark.cli import main
from lightmark.cli.options import Command, InputPath, OutputFile, OutputFolder

LABELLED = "FACES --schema SCHEMA"
TRAINING = "--data FACES --schema SCHEMA --start MODEL"
# Command, parameter of the output, words with OUT for its value, a file that would be written there.
OUTPUTS = [
    ("detect", "out", "FACES --model MODEL --format json --out OUT", "OUT"),
    ("detect", "out", "FACES --model MODEL --format pts --out OUT", "OUT/1.pts"),
    ("detect", "draw", "FACES --model MODEL --draw OUT", "OUT/1.png"),
    ("detect", "crops", "FACES --model MODEL --crops OUT", "OUT/1.png"),
    ("track", "out", "FILM --model MODEL --out OUT.mp4", "OUT.mp4"),
    ("track", "records", "FILM --model MODEL --records OUT.csv", "OUT.csv"),
    ("track", "events", "FILM --model MODEL --events OUT.csv", "OUT.csv"),
    ("track", "plot", "FILM --model MODEL --plot OUT.png", "OUT.png"),
    ("annotate", "out", "FACES --engine local --model MODEL --out OUT", "OUT/part-000000.parquet"),
    ("bench", "out", "MODEL --json OUT", "OUT"),
    ("data check", "sheet", f"{LABELLED} --sheet OUT", "OUT"),
    ("data review", "out", f"{LABELLED} --against MODEL --out OUT", "OUT"),
    ("data convert", "out", f"{LABELLED} OUT --to coco", "OUT"),
    ("data convert", "out", f"{LABELLED} OUT --to pts", "OUT/1.pts"),
    ("data convert", "out", f"{LABELLED} OUT --to cvat", "OUT"),
    ("data convert", "out", f"{LABELLED} OUT --to yolo", "OUT/data.yaml"),
    ("data pack", "out", f"{LABELLED} --out OUT", "OUT/faces-000000.tar"),
    ("init", "name", "OUT --from FACES --schema SCHEMA", "OUT.json"),
    ("finetune", "out", "fast --data FACES --schema SCHEMA --out OUT", "OUT/log.csv"),
    ("evaluate", "report_dir", "MODEL --data FACES --schema SCHEMA --report OUT", "OUT/faces.csv"),
    ("export", "out", "MODEL --out OUT.onnx", "OUT.onnx"),
    ("export", "out", "MODEL --to onnx,onnx-fp16 --out OUT", "OUT/model-fp16.onnx"),
    ("train", "out", f"demo64-plain {TRAINING} --out OUT", "OUT/log.csv"),
    ("distill", "out", f"--recipe demo64 {TRAINING} --out OUT", "OUT/student/log.csv"),
    ("confidence", "out", "MODEL --data FACES --schema SCHEMA --out OUT", "OUT"),
    ("train-detector", "out", f"{TRAINING} --background FACES --out OUT", "OUT/model.safetensors"),
    ("demo", "out", "--out OUT", "OUT/report/report.json"),
]
IDS = [f"{command.replace(' ', '-')}-{victim}" for command, _, _, victim in OUTPUTS]
# These go on with what they began, and otherwise take no folder that holds anything.
RESUMED = ("annotate", "train", "finetune", "distill", "train-detector", "data pack")


def commands(group: click.Group = main, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command by its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{before}{name} ")
        else:
            yield before + name, command


def run(command: str, text: str, world, *more: str) -> Result:
    """The command with its output at ROOT/made/out."""
    words = [*command.split(), *world.words(text.replace("OUT", "ROOT/made/out")), *more]
    result = CliRunner().invoke(main, words)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def victim_of(text: str, world) -> Path:
    """Path of the file that would be written over, in a folder that is there."""
    path = Path(text.replace("OUT", str(world.root / "made" / "out")))
    path.parent.mkdir(parents=True)
    return path


def test_every_path_is_an_input_or_an_output() -> None:
    """The protection follows from the types of a command's parameters, so that a new command has it too."""
    found = set()
    for name, command in commands():
        assert isinstance(command, Command), f"{name}: @click.command(cls=Command), which keeps to the rule"
        for parameter in command.params:
            kind = parameter.type
            assert not isinstance(kind, click.File), f"{name}: {parameter.name} opens before the rule is asked"
            if isinstance(kind, OutputFile | OutputFolder):
                found.add((name, parameter.name))
            elif isinstance(kind, click.Path) and not isinstance(kind, InputPath):
                assert (name, parameter.name) == ("serve", "page"), f"{name}: is {parameter.name} read or written?"
    assert found == {(command, parameter) for command, parameter, _, _ in OUTPUTS}


@pytest.mark.parametrize(("command", "_parameter", "text", "victim"), OUTPUTS, ids=IDS)
def test_what_is_there_stays(world, command: str, _parameter: str, text: str, victim: str) -> None:
    """Status 2 and one line, before any work."""
    path = victim_of(victim, world)
    path.write_text("mine")
    result = run(command, text, world)
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("lightmark: ")
    assert "is there already" in lines[0] or "holds something" in lines[0]
    assert path.read_text() == "mine"


@pytest.mark.parametrize(("command", "_parameter", "text", "victim"), OUTPUTS, ids=IDS)
def test_an_input_stays_with_force(world, command: str, _parameter: str, text: str, victim: str) -> None:
    """An input is never replaced, even with --force and under another name."""
    path = victim_of(victim, world)
    for source in [world.words(name)[0] for name in ("FACES/2.png", "MODEL", "FILM", "SCHEMA") if name[:5] in text]:
        path.unlink(missing_ok=True)
        path.hardlink_to(source)
        before = path.read_bytes()
        result = run(command, text, world, *(() if command in RESUMED else ("--force",)))
        assert result.exit_code == 2, source
        assert path.read_bytes() == before
        assert command in RESUMED or "is one of the inputs" in result.stderr
