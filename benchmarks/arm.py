"""Points of models on one machine, for comparison with another: run by `arm.sh` on both.

    python benchmarks/arm.py points MODEL... --data 300w --machine NAME --out NAME.npz
    python benchmarks/arm.py compare x86.npz arm.npz... --out result.json

The faces are LFPW's test faces, every sixth unless noted (38), in the crops of their labels' boxes.
`compare` takes the first file as the reference and fails where a model's NME is more than 1 % off it, relatively.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lightmark.bench.machine import processor_kind
from lightmark.data.read import read_samples
from lightmark.evaluate.predict import predict
from lightmark.files import replacing, sha256_of
from lightmark.metrics import interocular, nme
from lightmark.outputs import require_free
from lightmark.provenance import git_commit, versions
from lightmark.runtime.model_file import open_exported

FACES = Path("lfpw/testset")
RELATIVE = 0.01  # of the NME, as for int8 against float32 on x86


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(dest="task", required=True)
    points = tasks.add_parser("points")
    points.add_argument("models", type=Path, nargs="+")
    points.add_argument("--data", type=Path, required=True, help="300W")
    points.add_argument("--every", type=int, default=6, help="of LFPW's 224 test faces, take one in so many")
    points.add_argument("--machine", required=True, help="what to call it in the table")
    points.add_argument("--out", type=Path, required=True)
    compare = tasks.add_parser("compare")
    compare.add_argument("files", type=Path, nargs="+", help="of `points`, the reference first")
    compare.add_argument("--out", type=Path, required=True)
    for task in (points, compare):
        task.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([options.out], options.models if options.task == "points" else options.files, options.force)
    if options.task == "points":
        save_points(options.models, options.data, options.every, options.machine, options.out)
    else:
        sys.exit(compare_points(options.files, options.out))


def save_points(models: list[Path], data: Path, every: int, machine: str, out: Path) -> None:
    """Points (F, N, 2) of each model, in pixels of the pictures, and where they come from."""
    faces = read_samples(data / FACES)[::every]
    truth = np.stack([face.points for face in faces])
    arrays: dict[str, Any] = {"landmarks": truth}
    for path in models:
        model = open_exported(path, 1)
        arrays[path.name] = predict(model, faces, batch=1)
        arrays["normaliser"] = interocular(truth, model.spec.schema)
        print(f"{machine}: {path.name} {error_of(arrays, path.name):.4f} %", flush=True)
    host = platform.machine() == "x86_64"  # emulated processors show the host's /proc/cpuinfo
    origin = {
        "faces": f"{FACES}, one in {every}: {len(faces)}",
        "machine": {"name": machine, "architecture": platform.machine()} | (processor_kind() if host else {}),
        "versions": versions(),
        "models": {path.name: sha256_of(path) for path in models},
    }
    with replacing(out) as temporary, temporary.open("wb") as file:
        np.savez(file, origin=np.array(json.dumps(origin)), **arrays)


def compare_points(files: list[Path], out: Path) -> int:
    """Write each model's NME on each machine, and how far its points are from the first machine's; 1 where too far."""
    runs = [dict(np.load(path)) for path in files]
    origins = [json.loads(str(run["origin"])) for run in runs]
    rows = {name: [describe(run, runs[0], name) for run in runs if name in run] for name in origins[0]["models"]}
    result = {
        "command": ["benchmarks/arm.sh"],
        "commit": git_commit(),
        "runs": origins,
        "models": {
            name: {origin["machine"]["name"]: row for origin, row in zip(origins, rows[name], strict=False)}
            for name in rows
        },
    }
    with replacing(out) as path:
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    machines = [origin["machine"]["name"] for origin in origins]
    print("| file | " + " | ".join(machines) + " | largest difference |\n|---|" + "---:|" * (len(machines) + 1))
    for name, row in rows.items():
        errors = " | ".join(f"{one['nme']:.4f}" for one in row)
        print(f"| `{name}` | {errors} | {max(one['largest_difference'] for one in row):.4f} |")
    close = all(abs(one["nme"] / row[0]["nme"] - 1) <= RELATIVE for row in rows.values() for one in row)
    return 0 if close and all(len(row) == len(runs) for row in rows.values()) else 1


def describe(run: Mapping[str, Any], reference: Mapping[str, Any], name: str) -> dict[str, float]:
    """NME of a model, and the largest and mean distance from the reference's points; all % of the inter-ocular one."""
    distances = np.linalg.norm(run[name] - reference[name], axis=-1) / reference["normaliser"][:, None]
    return {
        "nme": error_of(run, name),
        "largest_difference": float(100 * distances.max()),
        "mean_difference": float(100 * distances.mean()),
    }


def error_of(run: Mapping[str, Any], name: str) -> float:
    """NME of the faces, in %."""
    return float(100 * nme(run[name], run["landmarks"], run["normaliser"]).mean())


if __name__ == "__main__":
    main()
