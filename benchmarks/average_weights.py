"""Average the weights of two students: of one before and after fine-tuning, or fine-tuned twice from one start.

    python benchmarks/average_weights.py runs/fast-second/start.safetensors runs/fast-second/model.safetensors \\
        --share 0.75 --out runs/fast-second/average.safetensors

Between both, a student keeps some of what it knew of faces unlike those of the last training, and is often no worse on
these (Wortsman et al. 2022, WiSE-FT). --share is that of the fine-tuned weights; choose it on validation faces.
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("start", type=Path)
    parser.add_argument("tuned", type=Path)
    parser.add_argument("--share", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([options.out], [options.start, options.tuned], options.force)
    start, (network, spec) = load_checkpoint(options.start)[0].state_dict(), load_checkpoint(options.tuned)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                tensor.lerp_(start[name], 1 - options.share)
    files = {"start_sha256": sha256_of(options.start), "tuned_sha256": sha256_of(options.tuned)}
    provenance = {name: value for name, value in spec.provenance.items() if name != "validation_nme"}
    spec = replace(spec, provenance={**provenance, "average": {**files, "share": options.share}})
    save_checkpoint(options.out, network, architecture_from_dict(dict(spec.architecture), str(options.tuned)), spec)


if __name__ == "__main__":
    main()
