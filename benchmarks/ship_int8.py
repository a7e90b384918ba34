"""Add the int8 file of a shipped student to the package: export, measure, register it.

    python benchmarks/ship_int8.py fast --name fast-int8 --data 300w --summary "…"

Ranges are measured on training faces of --data (256, seed 0). Its test faces are measured once, in the crops of the
labels' boxes; the numbers go into the ModelSpec, the report to benchmarks/results/shipped/NAME.report.json. Nothing is
chosen by them here.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from lightmark.cli.training import training_samples
from lightmark.evaluate.run import evaluate_model
from lightmark.export.exporter import export_formats
from lightmark.export.graph import read_graph, write_model
from lightmark.files import replacing
from lightmark.outputs import require_free
from lightmark.provenance import git_commit
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.runtime.shipped import FOLDER, model_path
from lightmark.spec import METADATA_KEY, spec_to_json
from ship_model import SUBSETS, register


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="the shipped float32 student")
    parser.add_argument("--name", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--summary", required=True)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/shipped"))
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    report = options.results / f"{options.name}.report.json"
    require_free([FOLDER / f"{options.name}.onnx", report], [model_path(options.model)], options.force)
    with tempfile.TemporaryDirectory() as scratch:
        exported = Path(scratch) / f"{options.name}.onnx"
        faces = training_samples([options.data])
        (made,) = export_formats(model_path(options.model), {"onnx-int8": exported}, faces, uint8_input=True)
        assert made.parity is not None  # onnxruntime runs it
        nme = measure(exported, options.data, options.results / f"{options.name}.report.json", Path(scratch))
        file = FOLDER / exported.name
        describe(exported, file, nme)
    register(options.name, file, options.summary)
    print(f"{file}: {file.stat().st_size / 1e6:.2f} MB, {made.parity.mean:.3f} px off on average; NME {nme}")


def measure(model: Path, data: Path, out: Path, scratch: Path) -> dict[str, float]:
    """NME by subset on the test faces; the report goes to `out`, without the path of the scratch folder."""
    report = evaluate_model(model, data, None, scratch / "report", command=["python", *sys.argv])
    with replacing(out) as path:
        text = (scratch / "report" / "report.json").read_text(encoding="utf-8")
        path.write_text(text.replace(f"{scratch}/", ""), encoding="utf-8")
    return {subset: round(report.summaries[subset].nme.value, 6) for subset in SUBSETS}


def describe(exported: Path, out: Path, nme: dict[str, float]) -> None:
    """The file again, its errors in the ModelSpec's provenance."""
    spec = OnnxModel(exported, threads=1).spec
    spec = replace(spec, provenance={**spec.provenance, "nme": nme, "commit": git_commit()})
    with replacing(out) as path:
        write_model(read_graph(exported), {METADATA_KEY: spec_to_json(spec)}, path)


if __name__ == "__main__":
    main()
