"""Folder of a training run: file names, result.json and the comparison of fingerprints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightmark.errors import CheckpointError, ConfigError
from lightmark.files import replacing
from lightmark.train.fingerprint import Fingerprint, differences

STATE, MODEL, RESULT, LOG, CURVES = "state.safetensors", "model.safetensors", "result.json", "log.csv", "curves.png"
RUN_FILES = (STATE, MODEL, RESULT, LOG, CURVES)

NEXT = "give another --out, or delete it"


def is_finished(out: Path, fingerprint: Fingerprint) -> bool:
    """Whether a run with this fingerprint has finished in `out`; raises `ConfigError` for one with another."""
    if not (out / RESULT).exists():
        return False
    require_same(read_result(out).get("fingerprint"), fingerprint, f"{out}: holds a finished run")
    return True


def require_same(saved: Fingerprint | None, fingerprint: Fingerprint, what: str) -> None:
    """Raise `ConfigError`, which begins with `what` and names the difference, unless both fingerprints are equal.

    `saved` is None for a run of an older Lightmark, whose fingerprint did not cover the data.
    """
    if saved is None:
        raise ConfigError(f"{what} of an older Lightmark, which did not record its data; {NEXT}")
    if changes := differences(saved, fingerprint):
        raise ConfigError(f"{what} of another recipe, seed or data set: {changes}; {NEXT}")


def read_result(out: Path) -> dict[str, Any]:
    """Contents of result.json of a finished run; raises `CheckpointError` where it is missing or broken."""
    path = out / RESULT
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        result["recipe"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not the result of a finished training run ({error})") from error
    return result


def write_result(out: Path, fingerprint: Fingerprint, result: Mapping[str, object]) -> None:
    """Write result.json, the file that marks the run as finished."""
    text = json.dumps({"fingerprint": fingerprint, **result}, indent=1)
    with replacing(out / RESULT) as temporary:
        temporary.write_text(text, encoding="utf-8")
