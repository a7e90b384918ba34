"""The folder of a run: its files' names, its result, and whether it is the run that is asked for."""

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
    """Whether the run in `out` has ended with this fingerprint; raises `ConfigError` where it ended with another."""
    if not (out / RESULT).exists():
        return False
    require_same(read_result(out).get("fingerprint"), fingerprint, f"{out}: holds a finished run")
    return True


def require_same(kept: Fingerprint | None, fingerprint: Fingerprint, what: str) -> None:
    """Raise `ConfigError`, which begins with `what` and names the difference, unless the kept fingerprint is this one.

    None is that of a run which an older Lightmark began, before fingerprints covered the data.
    """
    if kept is None:
        raise ConfigError(f"{what} of an older Lightmark, which did not record its data; {NEXT}")
    if found := differences(kept, fingerprint):
        raise ConfigError(f"{what} of another recipe, seed or data set: {found}; {NEXT}")


def read_result(out: Path) -> dict[str, Any]:
    """result.json of a finished run; raises `CheckpointError` where there is none or it is not one."""
    path = out / RESULT
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        result["recipe"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not the result of a finished training run ({error})") from error
    return result


def write_result(out: Path, fingerprint: Fingerprint, result: Mapping[str, object]) -> None:
    """Write result.json, whose presence says that the run has ended."""
    text = json.dumps({"fingerprint": fingerprint, **result}, indent=1)
    with replacing(out / RESULT) as temporary:
        temporary.write_text(text, encoding="utf-8")
