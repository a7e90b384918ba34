"""For any input a command gives a result or one line with a LightmarkError, never another exception."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from lightmark.cli import main

PICTURE, MODEL, CHECKPOINT, VIDEO = (".jpg",), (".onnx",), (".safetensors",), (".mp4",)
LABELS = (".json", ".csv", ".tar")
TRAINING = "--schema SCHEMA --out ROOT/out --steps 1"
# What is read in each place, with IN for it, and the suffixes of files that are meant there.
PLACES: dict[str, tuple[str, ...]] = {
    "detect IN --model MODEL": PICTURE,
    "detect FACES --model IN": (*MODEL, *CHECKPOINT),
    "track IN --records ROOT/rows.csv": VIDEO,
    "track FILM --model IN --records ROOT/rows.csv": (*MODEL, *CHECKPOINT),
    "annotate IN --engine local --model MODEL --out ROOT/out": (*PICTURE, ".tar", ".parquet"),
    "annotate FACES --engine local --model IN --out ROOT/out": MODEL,
    "bench IN --batch 1 --rounds 1": (*MODEL, *CHECKPOINT),
    "data check IN": LABELS,
    "data check FACES --schema IN": (".json",),
    "data convert IN ROOT/out --to pts": LABELS,
    "data pack IN --out ROOT/out": LABELS,
    "init ROOT/out --from IN": LABELS,
    "finetune IN --data FACES --schema SCHEMA --out ROOT/out": (*MODEL, *CHECKPOINT),
    "evaluate IN --data FACES --schema SCHEMA": (*MODEL, *CHECKPOINT, ".json"),
    "evaluate MODEL --data IN": LABELS,
    "compare IN IN": (".json", ".csv"),
    "info IN": (*MODEL, *CHECKPOINT),
    "export IN --out ROOT/out.onnx": (*MODEL, *CHECKPOINT),
    "export MODEL --to onnx-int8 --out ROOT/out.onnx --calibrate IN": LABELS,
    f"train demo64-plain --data IN {TRAINING}": LABELS,
    f"train demo64-plain --data FACES --start IN {TRAINING}": CHECKPOINT,
    f"distill --recipe demo64 --data IN {TRAINING}": LABELS,
    f"distill --recipe demo64 --data FACES --extra IN {TRAINING}": LABELS,
    f"distill --recipe demo64 --data FACES --tough IN --tolerant IN {TRAINING}": CHECKPOINT,
    "confidence IN --data FACES --schema SCHEMA --out ROOT/out.safetensors": CHECKPOINT,
    f"train-detector --data IN --background FACES {TRAINING}": LABELS,
    f"train-detector --data FACES --background IN --background FACES {TRAINING}": (".folder",),
    "serve --port 0 --page IN": (".html",),
    "serve --port 0 --api --model IN": (*MODEL, *CHECKPOINT),
}


def missing(folder: Path, suffix: str) -> str:
    """A name of nothing."""
    return str(folder / f"nothing{suffix}")


def empty(folder: Path, suffix: str) -> str:
    """A file without a byte."""
    path = folder / f"empty{suffix}"
    path.touch()
    return str(path)


def noise(folder: Path, suffix: str) -> str:
    """A file of bytes that mean nothing, text neither."""
    path = folder / f"noise{suffix}"
    path.write_bytes(bytes(range(128, 256)) * 20)
    return str(path)


def empty_folder(folder: Path, suffix: str) -> str:
    """A folder, called as a file would be, with nothing in it."""
    path = folder / f"folder{suffix}"
    path.mkdir()
    return str(path)


def stray_folder(folder: Path, suffix: str) -> str:
    """A folder that holds noise of that suffix."""
    path = folder / "strays"
    path.mkdir()
    noise(path, suffix)
    return str(path)


def web_address(_folder: Path, suffix: str) -> str:
    """What only a browser fetches."""
    return f"https://localhost:1/nothing{suffix}"


BAD = (missing, empty, noise, empty_folder, stray_folder, web_address)
CASES = [(place, suffix) for place, suffixes in PLACES.items() for suffix in suffixes]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize(("place", "suffix"), CASES)
def test_a_bad_input_is_one_line(world, place: str, suffix: str, bad: Callable[[Path, str], str]) -> None:
    """Status 1 or 2, the name of what is wrong, no traceback, and nothing of a temporary name."""
    (world.root / "bad").mkdir()
    value = bad(world.root / "bad", suffix)
    if ("--page" in place or suffix == ".folder") and bad in (noise, empty):
        pytest.skip("a folder is meant")
    words = [value if word == "IN" else word for word in world.words(place)]
    result = CliRunner().invoke(main, words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in (1, 2), result.output
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert any(name in line for line in lines for name in (Path(value).name, "strays", "noise")), lines
    assert len(lines) <= 6, lines
    assert not any(".lightmark-" in line or "Traceback" in line for line in lines)
