"""Join two students into one whose points are the mean of both: one of MobileNetV2, and a slim one as its companion.

    python benchmarks/join_students.py runs/standard192.safetensors runs/slim.safetensors --out runs/pair.safetensors

The companion was trained on crops of two thirds of the other's side. Its stem becomes one of stride 3 that does what a
bilinear resize and the old one do, so that both see the same crop.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from lightmark.errors import ConfigError
from lightmark.files import sha256_of
from lightmark.nets.checkpoint import load_checkpoint, save_checkpoint
from lightmark.nets.mobilenet import stem_for_thirds
from lightmark.nets.network import LandmarkNet, architecture_from_dict
from lightmark.outputs import require_free

STEM = "backbone.fine.0.0.weight"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", type=Path)
    parser.add_argument("companion", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([options.out], [options.student, options.companion], options.force)
    (network, spec), (companion, other) = load_checkpoint(options.student), load_checkpoint(options.companion)
    if 3 * other.size != 2 * spec.size or other.schema != spec.schema or other.crop_scale != spec.crop_scale:
        raise ConfigError(
            f"{options.companion}: crops of {other.size} px; needs two thirds of {spec.size} and the same points"
        )
    architecture = replace(
        architecture_from_dict(dict(spec.architecture), str(options.student)), companion="mobilenetv2-slim-thirds"
    )
    network.confidence = companion.confidence = None
    theirs = companion.state_dict()
    theirs[STEM] = stem_for_thirds(theirs[STEM])
    pair = LandmarkNet(architecture, spec.schema.size)
    pair.load_state_dict({**network.state_dict()} | {f"companion.{name}": tensor for name, tensor in theirs.items()})
    files = {"student_sha256": sha256_of(options.student), "companion_sha256": sha256_of(options.companion)}
    # The rest of the provenance tells the confidence's training which faces were held out: the same for both.
    provenance = {name: value for name, value in spec.provenance.items() if name != "validation_nme"}
    spec = replace(spec, provenance={**provenance, "joined": files})
    save_checkpoint(options.out, pair.eval(), architecture, spec)


if __name__ == "__main__":
    main()
