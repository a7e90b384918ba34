"""Shipped models and detectors by name, verified by their sha256."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightmark.errors import CheckpointError, DataError
from lightmark.files import sha256_of

if TYPE_CHECKING:
    from rich.table import Table

FOLDER = Path(__file__).parent.parent / "models"
SUBSETS = ("common", "challenging", "full")  # of 300W, in the order of tables
DEFAULT_MODEL = "fast"  # on 300W as accurate as `standard` at two thirds of the work
DETECTORS = "detectors.json"  # the same for face detectors
REGISTRY = "models.json"  # in the folder: {name: {file, sha256, licence, summary}}, earlier_sha256 if any


@dataclass(frozen=True)
class ShippedModel:
    """A model in the package: `name` as users type it, `licence` of the weights, which differs from the code's.

    `earlier_sha256` are those of files with other names inside that computed the same bits.
    """

    name: str
    path: Path
    sha256: str
    licence: str
    summary: str
    earlier_sha256: Sequence[str] = ()


def shipped_models(folder: Path = FOLDER, registry: str = REGISTRY) -> dict[str, ShippedModel]:
    """The shipped models by name; raises `CheckpointError` where the package's own list is broken."""
    try:
        entries = json.loads((folder / registry).read_text(encoding="utf-8"))
        return {
            name: ShippedModel(name, folder / e.pop("file"), **e)
            for name, e in entries.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{folder / registry}: the list of shipped models cannot be read ({error}); install lightmark again"
        ) from error


def shipped_hashes(*names: str) -> dict[str, str]:
    """sha256 of shipped models and detectors by name, as the package lists them: which files a number is about."""
    known = {**shipped_models(), **shipped_models(registry=DETECTORS)}
    return {name: known[name].sha256 for name in names if name in known}


def list_models(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """Sizes, costs and NME (fractions) of each shipped model, as `lightmark models` prints them."""
    from lightmark.runtime.onnx_model import OnnxModel

    listed = []
    for model in shipped_models(folder).values():
        spec = OnnxModel(model_path(model.name, folder)).spec
        listed.append(
            {
                "name": model.name,
                "summary": model.summary,
                "licence": model.licence,
                "schema": spec.schema.name,
                "size": spec.size,
                "bytes": model.path.stat().st_size,
                "sha256": model.sha256,
                **{key: spec.provenance[key] for key in ("parameters", "multiply_adds", "nme")},
            }
        )
    return listed


def models_table(listed: Sequence[Mapping[str, Any]]) -> Table:
    """`list_models` as a table; NME in per cent of the inter-ocular distance."""
    from rich.box import SIMPLE_HEAD  # here, since finding landmarks needs no tables
    from rich.table import Table

    subsets = list(dict.fromkeys(subset for entry in listed for subset in (*SUBSETS, *entry["nme"])))
    title = "NME in % of the inter-ocular distance, crops by the labels' boxes"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("name", "points", "crop", "MB", "MAdds M", *subsets):
        # A name that is cut cannot be typed.
        table.add_column(column, justify="left" if column == "name" else "right", no_wrap=True, overflow="ignore")
    for entry in listed:
        nme = [f"{100 * entry['nme'][subset]:.2f}" if subset in entry["nme"] else "–" for subset in subsets]
        costs = [f"{entry['bytes'] / 1e6:.1f}", f"{entry['multiply_adds'] / 1e6:.0f}"]
        table.add_row(entry["name"], entry["schema"], f"{entry['size']} px", *costs, *nme)
    return table


def model_path(model: str | Path, folder: Path = FOLDER, registry: str = REGISTRY) -> Path:
    """The file of `model`: a shipped name ("fast"), checked against its sha256, or else a path, taken as it is.

    A file of that name in the working directory must be written as a path ("./fast"). Raises `CheckpointError` for a
    shipped file that is missing or changed, and, listing the names, for what looks like a name but is none.
    """
    shipped = shipped_models(folder, registry)
    if isinstance(model, Path) or model not in shipped:
        if not Path(model).suffix and not Path(model).exists():
            names = ", ".join(shipped) or "there is none"
            raise CheckpointError(f"{model}: no model file and no shipped model ({names}); a file ends in .onnx")
        return Path(model)
    known = shipped[model]
    try:
        found = sha256_of(known.path)
    except DataError as error:
        raise CheckpointError(f"{model}: its file is missing ({error}); install lightmark again") from error
    if found != known.sha256:
        raise CheckpointError(
            f"{known.path}: sha256 {found[:12]}…, shipped was {known.sha256[:12]}…; it was changed or cut: install "
            "lightmark again"
        )
    return known.path


def portable_model(model: str | Path, folder: Path = FOLDER, registry: str = REGISTRY) -> str | Path:
    """`model` as another process can open it: a shipped name as it is, a path from the root."""
    if isinstance(model, str) and model in shipped_models(folder, registry):
        return model
    return Path(model).absolute()


def shipped_name(path: Path, folder: Path = FOLDER) -> str | None:
    """Name of the shipped model that lies at `path`, None for any other file."""
    found = (model.name for model in shipped_models(folder).values() if model.path.resolve() == path.resolve())
    return next(found, None)
