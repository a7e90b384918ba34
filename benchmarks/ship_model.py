"""Add a trained student to the package: evaluate it, export it with its results, register its sha256.

    python benchmarks/ship_model.py runs/cpu128/student/confident.safetensors --name fast --data 300w \\
        --summary "MobileNetV2 for video and small boards."

The test faces of --data are measured once, with the crops of the labels' boxes; the numbers go into the ModelSpec, the
report to benchmarks/results/shipped/NAME.report.json. Nothing is chosen by them here.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from lightmark.evaluate.run import evaluate_model
from lightmark.export.onnx import export_onnx
from lightmark.files import replacing, sha256_of
from lightmark.nets.checkpoint import load_checkpoint, save_checkpoint
from lightmark.nets.network import architecture_from_dict, multiply_adds, parameter_count
from lightmark.outputs import require_free
from lightmark.provenance import git_commit
from lightmark.runtime.shipped import FOLDER, REGISTRY

LICENCE = "research use only, as its training pictures (300W)."
SUBSETS = ("common", "challenging", "full")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--summary", required=True)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/shipped"))
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    report = options.results / f"{options.name}.report.json"
    require_free([FOLDER / f"{options.name}.onnx", report], [options.checkpoint], options.force)
    with tempfile.TemporaryDirectory() as scratch:
        report = evaluate_model(options.checkpoint, options.data, None, Path(scratch), command=["python", *sys.argv])
        options.results.mkdir(parents=True, exist_ok=True)
        with replacing(options.results / f"{options.name}.report.json") as path:
            path.write_bytes((Path(scratch) / "report.json").read_bytes())
        nme = {subset: round(report.summaries[subset].nme.value, 6) for subset in SUBSETS}
        described = Path(scratch) / "described.safetensors"
        describe(options.checkpoint, described, nme)
        file = FOLDER / f"{options.name}.onnx"
        parity = export_onnx(described, file)
    register(options.name, file, options.summary)
    print(f"{file}: {file.stat().st_size / 1e6:.1f} MB, at most {parity.largest:.5f} px from torch; NME {nme}")


def describe(checkpoint: Path, out: Path, nme: dict[str, float]) -> None:
    """The checkpoint again, its costs and errors in the ModelSpec's provenance."""
    network, spec = load_checkpoint(checkpoint)
    found = {
        "parameters": parameter_count(network),
        "multiply_adds": multiply_adds(network, spec.size),
        "nme": nme,
        "checkpoint_sha256": sha256_of(checkpoint),
        "commit": git_commit(),
    }
    architecture = architecture_from_dict(dict(spec.architecture), str(checkpoint))
    save_checkpoint(out, network, architecture, replace(spec, provenance={**spec.provenance, **found}))


def register(name: str, file: Path, summary: str) -> None:
    """Enter the file into the package's list."""
    entries = json.loads((FOLDER / REGISTRY).read_text(encoding="utf-8"))
    entries[name] = {"file": file.name, "sha256": sha256_of(file), "licence": LICENCE, "summary": summary}
    with replacing(FOLDER / REGISTRY) as path:
        path.write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
