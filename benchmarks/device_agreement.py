"""How far crops that a device makes in batches are from the CPU's: the warp, every change of pixels, and all together.

    python benchmarks/device_agreement.py                  # --device cuda on a machine that has one

Painted faces and, every third, noise, at several sizes; each change on every crop, then what the default augmentation
draws. Differences are in grey levels. Writes benchmarks/results/device-agreement.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from lightmark.data.augment import NO_AUGMENTATION, Augmentation, PixelChanges, apply_changes, draw_changes
from lightmark.data.cutout import collate_cutouts
from lightmark.data.dataset import CropDataset, Key
from lightmark.data.device.changes import change_batch
from lightmark.data.device.crops import crops_of, move
from lightmark.data.device.grouped import group_changes
from lightmark.data.device.warp import weigh
from lightmark.data.sample import Sample
from lightmark.data.synthetic import synthetic_samples
from lightmark.evaluate.provenance import git_commit, versions
from lightmark.files import replacing
from lightmark.image import Picture
from lightmark.runtime.machine import processor
from lightmark.spec import ModelSpec

SEED, PIXELS = 0, 640
EFFECTS = ("colour", "grey", "occlusion", "low_resolution", "blur", "noise", "jpeg")
SIZES = (64, 112, 128, 160, 224)
RESULT = Path(__file__).parent / "results" / "device-agreement.json"
Levels = NDArray[np.int64]
Row = Mapping[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--faces", type=int, default=48)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    commit = git_commit()
    faces = synthetic_samples(options.faces, SEED, PIXELS)
    found = {f"{size} px": agreement(faces, size, options.device) for size in SIZES}
    result = {
        "command": ["python", *sys.argv],
        "commit": commit,
        "seed": SEED,
        "faces": options.faces,
        "versions": {**versions(), "torch": torch.__version__, "opencv": cv2.__version__},
        "cpu": processor(),
        "device": options.device if options.device == "cpu" else torch.cuda.get_device_name(options.device),
        "worst": {name: _worst([rows[name] for rows in found.values()]) for name in next(iter(found.values()))},
        **found,
    }
    with replacing(options.out) as path:
        path.write_text(json.dumps(result, indent=1, ensure_ascii=False), encoding="utf-8")
    print(json.dumps(result["worst"], indent=1))


def agreement(faces: Sequence[Sample], size: int, device: str) -> Mapping[str, Row]:
    """Differences by what is done to the crops, at one size."""
    crops = [_crop(face, size, number) for number, face in enumerate(faces)]
    rows = dict(_whole(faces, size, device))
    for effect in EFFECTS:
        augmentation = replace(NO_AUGMENTATION, **{effect: 1.0})
        generators = (np.random.default_rng((SEED, number)) for number in range(len(crops)))
        changes = [draw_changes((size, size), augmentation, rng) for rng in generators]
        found = _changed(crops, changes, device)
        rows[effect] = _row(found)
        if effect == "blur":
            rows["blur, Gaussian alone"] = _row(found[[isinstance(change.blur, float) for change in changes]])
    return rows


def _crop(face: Sample, size: int, number: int) -> Picture:
    if number % 3 == 0:
        return np.random.default_rng((SEED, number)).integers(0, 256, (size, size, 3), dtype=np.uint8)
    picture = cv2.resize(face.image, (size, size), interpolation=cv2.INTER_AREA)  # type: ignore[arg-type]  # painted, so in memory
    return np.asarray(picture, dtype=np.uint8)


def _changed(crops: Sequence[Picture], changes: Sequence[PixelChanges], device: str) -> Levels:
    cpu = np.stack([apply_changes(crop, change) for crop, change in zip(crops, changes, strict=True)])
    batch = move(torch.from_numpy(np.stack(crops)), device)
    made = change_batch(batch, move(group_changes(changes, len(crops[0])), device)).cpu().numpy()
    return np.asarray(np.abs(cpu.astype(np.int64) - made))


def _whole(faces: Sequence[Sample], size: int, device: str) -> Iterator[tuple[str, Row]]:
    """The warp before rounding and after it, and all that the default augmentation does, over four passes."""
    keys = [Key(turn, face) for turn in range(4) for face in range(len(faces))]
    plain = replace(Augmentation(), **dict.fromkeys(("colour", "grey", "blur", "jpeg"), 0.0))
    plain = replace(plain, low_resolution=0.0, noise=0.0, occlusion=0.0)
    for name, augmentation in (("warp", plain), ("all", Augmentation())):
        spec = ModelSpec(faces[0].schema, size)
        dataset = CropDataset(faces, [face.points for face in faces], spec, augmentation, SEED)
        cpu = torch.stack([dataset[key].crops for key in keys])
        cutouts = collate_cutouts([dataset.cutout(key) for key in keys])
        if name == "warp":
            exact = weigh(move(cutouts.view, device)).cpu().permute(0, 3, 1, 2) / 1024
            yield "warp, before rounding", _row((exact - cpu).abs().numpy())
        yield name, _row(np.abs(crops_of(cutouts, device).crops.cpu().numpy().astype(np.int64) - cpu.numpy()))


def _row(difference: NDArray[np.generic]) -> Row:
    levels = np.asarray(difference, dtype=np.float64)
    return {"mean": float(levels.mean()), "largest": float(levels.max()), "differing": float((levels > 0).mean())}


def _worst(rows: Sequence[Row]) -> Row:
    return {name: max(row[name] for row in rows) for name in rows[0]}


if __name__ == "__main__":
    main()
