"""The folder of a run: its files' names, and the mark that tells one run from another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightmark.errors import CheckpointError, ConfigError, DataError
from lightmark.files import replacing, sha256_of
from lightmark.train.config import Recipe, fingerprint
from lightmark.train.faces import Split

STATE, MODEL, RESULT, LOG, CURVES = "state.safetensors", "model.safetensors", "result.json", "log.csv", "curves.png"
RUN_FILES = (STATE, MODEL, RESULT, LOG, CURVES)


def run_mark(recipe: Recipe, split: Split, start: Path | None) -> str:
    """Mark of a run: changes with the recipe, the seed, the faces (names, in order) and the weights it begins at."""
    names = [sample.name.rsplit("/", 2)[-1] for sample in split.train]
    return fingerprint(asdict(recipe), *names, "" if start is None else start_mark(start))


def start_mark(start: Path) -> str:
    """The mark of the run that made the checkpoint `start`; of one that lies alone, its sha256."""
    if start.name == MODEL and (start.parent / RESULT).exists():
        return str(read_result(start.parent)["mark"])
    try:
        return sha256_of(start)
    except DataError as error:
        raise CheckpointError(str(error)) from error


def is_finished(out: Path, mark: str) -> bool:
    """Whether the run in `out` has ended with these settings; raises `ConfigError` where it ended with others."""
    if not (out / RESULT).exists():
        return False
    if read_result(out)["mark"] != mark:
        raise ConfigError(
            f"{out}: holds a finished run of another recipe, seed or data set; give another --out, or delete it"
        )
    return True


def read_result(out: Path) -> dict[str, Any]:
    """result.json of a finished run; raises `CheckpointError` where there is none or it is not one."""
    path = out / RESULT
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        result["mark"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not the result of a finished training run ({error})") from error
    return result


def write_result(out: Path, mark: str, result: Mapping[str, object]) -> None:
    """Write result.json, whose presence says that the run has ended."""
    with replacing(out / RESULT) as temporary:
        temporary.write_text(json.dumps({"mark": mark, **result}, indent=1), encoding="utf-8")
