"""Store the teachers of a run in fp16 beside the package, for other distillations.

    python benchmarks/ship_teachers.py runs/standard224 --name standard224 --out teachers

    lightmark distill --recipe standard224 --tough teachers/standard224-tough.safetensors \\
        --tolerant teachers/standard224-tolerant.safetensors --data … --out …
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from lightmark.files import sha256_of
from lightmark.nets.checkpoint import load_checkpoint, save_checkpoint
from lightmark.nets.network import architecture_from_dict
from lightmark.outputs import require_free
from lightmark.train.folder import MODEL


def main() -> None:
    """Write one file a teacher."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished distillation")
    parser.add_argument("--name", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    stages = ("tough", "tolerant")
    require_free(
        [options.out / f"{options.name}-{stage}.safetensors" for stage in stages],
        [options.run / stage / MODEL for stage in stages],
        options.force,
    )
    for stage in stages:
        source, path = options.run / stage / MODEL, options.out / f"{options.name}-{stage}.safetensors"
        network, spec = load_checkpoint(source)
        architecture = architecture_from_dict(dict(spec.architecture), str(source))
        provenance = {**spec.provenance, "checkpoint_sha256": sha256_of(source)}
        save_checkpoint(path, network, architecture, replace(spec, provenance=provenance), torch.float16)
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, sha256 {sha256_of(path)}")


if __name__ == "__main__":
    main()
