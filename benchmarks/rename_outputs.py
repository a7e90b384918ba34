"""Rename the outputs and weights of the shipped ONNX files as `lightmark export` names them; nothing computed changes.

    python benchmarks/rename_outputs.py --force

For files exported before the outputs were called normalized_points, expected_error and confidence, whose checkpoints
are not at hand. Each renamed file must compute the same bits; the registry keeps the sha256 of the old one, since the
published numbers were measured with it.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lightmark.errors import ExportError
from lightmark.export.graph import read_graph, write_model
from lightmark.export.parity import CROPS, random_crops
from lightmark.files import replacing, sha256_of
from lightmark.outputs import require_free
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.runtime.shipped import FOLDER, REGISTRY
from lightmark.spec import METADATA_KEY, spec_to_json

RENAMES = (  # int8 files also have values such as unit_points_products
    (r"^unit_points", "normalized_points"),
    (r"^errors$", "expected_error"),
    (r"^presence$", "confidence"),
    (r"\.confidence\.presence\.", ".confidence.logit."),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--force", action="store_true", help="write over the shipped files")
    options = parser.parse_args()
    entries = json.loads((FOLDER / REGISTRY).read_text(encoding="utf-8"))
    require_free([FOLDER / entry["file"] for entry in entries.values()], force=options.force)
    renamed: dict[str, str] = {}
    for name, entry in sorted(entries.items()):  # float32 files before the int8 files that name their sha256
        old, path = entry["sha256"], FOLDER / entry["file"]
        if not rename_file(path, renamed):
            continue
        entry["sha256"] = renamed[old] = sha256_of(path)
        entry["earlier_sha256"] = [*entry.get("earlier_sha256", []), old]
        print(f"{name}: {old[:12]} is now {entry['sha256'][:12]}")
    with replacing(FOLDER / REGISTRY) as path:
        path.write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def rename_file(path: Path, sources: Mapping[str, str]) -> bool:
    """Rename the values of the ONNX file `path` in place; False where all have their names already.

    `sources` maps the former sha256 of files to the present one, for the provenance. Raises `ExportError` where two
    values would have one name, or where the renamed file does not compute the same bits.
    """
    model, before = read_graph(path), OnnxModel(path, threads=1)
    if not rename_values(model.graph, str(path)):
        return False
    provenance = dict(before.spec.provenance)
    if provenance.get("source_sha256") in sources:
        provenance["source_sha256"] = sources[provenance["source_sha256"]]
    if "presence_auc" in (head := dict(provenance.get("confidence", {}))):
        provenance["confidence"] = {"auc" if key == "presence_auc" else key: value for key, value in head.items()}
    with replacing(path) as temporary:
        write_model(model, {METADATA_KEY: spec_to_json(replace(before.spec, provenance=provenance))}, temporary)
        require_same_bits(before, OnnxModel(temporary, threads=1), path)
    return True


def rename_values(graph: Any, where: str) -> bool:
    """Apply `RENAMES` to a GraphProto; whether that changed a name. Raises `ExportError` for a name that is taken."""
    names = {name: renamed(name) for values in _values(graph) for name in values}
    if len(set(names.values())) < len(names):
        raise ExportError(f"{where}: has a value called as one of {', '.join(name for _, name in RENAMES)} already")
    for node in graph.node:
        node.input[:], node.output[:] = ([names[name] for name in side] for side in (node.input, node.output))
    for one in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        one.name = names[one.name]
    return any(old != new for old, new in names.items())


def _values(graph: Any) -> Iterator[list[str]]:
    yield [one.name for one in (*graph.input, *graph.output, *graph.value_info, *graph.initializer)]
    for node in graph.node:
        yield [*node.input, *node.output]


def renamed(name: str) -> str:
    """The present name of a value."""
    for pattern, new in RENAMES:
        name = re.sub(pattern, new, name)
    return name


def require_same_bits(before: OnnxModel, after: OnnxModel, path: Path) -> None:
    """Raise `ExportError` unless both models compute the same bits for `CROPS` random crops."""
    crops = random_crops(before.spec.size, CROPS, np.random.default_rng(0))
    pairs = zip(before.run(before.feed(crops)), after.run(after.feed(crops)), strict=True)
    if not all(np.array_equal(old, new) for old, new in pairs):
        raise ExportError(f"{path}: computes other numbers under its new names; nothing was written")


if __name__ == "__main__":
    main()
