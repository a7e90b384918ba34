"""Training the face detector on mosaics, in a folder; killed at any moment, it goes on to the same weights."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightmark import __version__
from lightmark.data.check.inspection import require_trainable
from lightmark.data.sample import Sample
from lightmark.detectors.face_detector import DETECTOR_KEY, choose_boxes
from lightmark.errors import ConfigError, TrainingError
from lightmark.evaluate.detection import HIT, NEITHER, match_boxes
from lightmark.files import make_folder
from lightmark.geometry import labelled
from lightmark.metrics import average_precision
from lightmark.nets.checkpoint import load_weights, read_tensors, write_tensors
from lightmark.nets.face_detector import FaceDetectorNet
from lightmark.nets.network import parameter_count
from lightmark.train.config import DetectorRecipe
from lightmark.train.detector.loss import Cells, assign, cells_of, detection_loss
from lightmark.train.detector.mosaic import MosaicRules, Sources, draw_mosaic
from lightmark.train.distributed.collectives import require_alone
from lightmark.train.faces import carve_share
from lightmark.train.fingerprint import detector_fingerprint
from lightmark.train.folder import LOG, MODEL, STATE, is_finished, write_result
from lightmark.train.loader import batches_from
from lightmark.train.progress import progress_bar
from lightmark.train.state import Row, Standing, load_state, save_state, write_log
from lightmark.train.step import Trainee, learn_from, make_trainee, prepare_step

TRAINING, VALIDATION = 0, 1  # streams of random numbers


class MosaicBatch(NamedTuple):
    """Mosaics uint8 (B, 3, S, S), which box each cell answers (B, C), and that box (B, C, 4)."""

    images: Tensor
    targets: Tensor
    wanted: Tensor


class MosaicDataset(Dataset[MosaicBatch]):
    """Mosaic number i, a function of (seed, stream, i) alone."""

    def __init__(self, sources: Sources, rules: MosaicRules, seed: int, stream: int) -> None:
        self.sources, self.rules, self.seed, self.stream = sources, rules, seed, stream
        self.cells: Cells = cells_of(rules.size, rules.size)

    def __getitem__(self, number: int) -> MosaicBatch:
        mosaic = draw_mosaic(self.sources, self.rules, np.random.default_rng((self.seed, self.stream, number)))
        boxes = torch.from_numpy(mosaic.boxes).float()
        targets = assign(boxes, torch.from_numpy(mosaic.counts), self.cells)
        wanted = boxes[targets.clamp(min=0)] if len(boxes) else torch.zeros(len(targets), 4)
        return MosaicBatch(torch.from_numpy(mosaic.image.transpose(2, 0, 1)), targets, wanted)


def train_face_detector(
    recipe: DetectorRecipe,
    samples: Sequence[Sample],
    backgrounds: Sequence[Path],
    out: Path,
    start: Path | None = None,
    device: str = "cpu",
    workers: int = 0,
    quiet: bool = False,
) -> Path:
    """Train the detector in the folder `out` and return the path of its weights; a finished run is not repeated.

    `start` names the weights of another run, which this one begins at.

    `samples` are faces labelled with 68 points, no test face among them; those with missing points are left out, since
    their box is not known. `backgrounds` are pictures without any face. The folder holds model.safetensors (the average
    of the last weights), log.csv, result.json once the run has ended, and until then the state that it resumes from.
    Raises `ConfigError` for test faces or too few pictures, `TrainingError` where the loss is no longer finite.
    """
    require_alone("the training of the face detector")
    if len(backgrounds) < 2:
        raise ConfigError(f"{len(backgrounds)} pictures without faces; needs at least 2, to train on and to check with")
    split = carve_share(_whole_faces(samples), recipe.validation, recipe.seed)
    known, unknown = split_backgrounds(backgrounds, recipe.validation)
    require_trainable([*split.train, *split.validation])
    fingerprint = detector_fingerprint(recipe, split, known, unknown, start)
    if is_finished(out, fingerprint):
        return out / MODEL
    make_folder(out)
    trainee = make_detector_trainee(recipe, start, device)
    standing = load_state(out / STATE, fingerprint, trainee) if (out / STATE).exists() else Standing()
    batches = _batches(Sources(split.train, known), recipe, standing.step, workers)
    checked = MosaicDataset(Sources(split.validation, unknown), recipe.rules, recipe.seed, VALIDATION)
    if standing.step == 0:  # a disk without room is noticed now
        save_state(out / STATE, fingerprint, trainee, standing)
    with progress_bar(recipe.name, recipe.steps, standing.step, quiet) as bar:
        began = time.monotonic() - standing.seconds
        while standing.step < recipe.steps:
            parts = take_detector_step(trainee, next(batches), standing.step, recipe)
            standing.count(parts)
            bar.advance(bar.task_ids[0])
            due = standing.step % recipe.validate_every == 0 or standing.step == recipe.steps
            if due or standing.step % recipe.log_every == 0:
                standing.rows.append(_log_row(standing, recipe, out))
            if due:
                standing.rows[-1]["validation_ap"] = validate(trainee, checked, recipe.validation_mosaics)
                standing.seconds = time.monotonic() - began
                save_state(out / STATE, fingerprint, trainee, standing)
                write_log(out / LOG, standing.rows)
                bar.console.print(
                    f"{recipe.name} {standing.step}/{recipe.steps} steps, {standing.seconds:.0f} s, "
                    f"average precision {standing.rows[-1]['validation_ap']:.4f}"
                )
    result = {
        "recipe": asdict(recipe),
        "train_faces": len(split.train),
        "validation_faces": len(split.validation),
        "backgrounds": len(known),
        "parameters": parameter_count(trainee.network),
        "seconds": round(standing.seconds, 1),
        "validation_ap": standing.rows[-1]["validation_ap"],
        "torch": torch.__version__,
        "device": device,
        "threads": torch.get_num_threads(),
        "lightmark": __version__,
    }
    write_tensors(out / MODEL, trainee.average.state_dict(), {DETECTOR_KEY: json.dumps(result)})
    write_result(out, fingerprint, result)
    (out / STATE).unlink()
    return out / MODEL


def split_backgrounds(backgrounds: Sequence[Path], share: float) -> tuple[list[Path], list[Path]]:
    """Pictures to train on and pictures to check with: about `share` of them, evenly taken, and at least one."""
    every = max(2, round(1 / share))
    return [p for i, p in enumerate(backgrounds) if i % every], list(backgrounds[::every])


def make_detector_trainee(recipe: DetectorRecipe, start: Path | None, device: str) -> Trainee[FaceDetectorNet]:
    """A detector on `device` with the weights in `start`, or untrained ones fixed by the recipe's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = FaceDetectorNet()
    if start is not None:
        load_weights(network, read_tensors(start)[0], str(start))
    return make_trainee(network, recipe.learning_rate, recipe.weight_decay, device)


def take_detector_step(
    trainee: Trainee[FaceDetectorNet], batch: MosaicBatch, step: int, recipe: DetectorRecipe
) -> dict[str, Tensor]:
    """Step number `step`, counted from 0: forward, backward, weights and average moved; gives the named losses."""
    prepare_step(trainee, step, recipe)
    images, targets, wanted = (tensor.to(trainee.device) for tensor in batch)
    logits, boxes = trainee.network(images.to(memory_format=torch.channels_last).float() / 255)
    parts = detection_loss(logits, boxes, targets, wanted)
    learn_from(trainee, parts["loss"], step, recipe)
    return {name: value.detach() for name, value in parts.items()}


def validate(trainee: Trainee[FaceDetectorNet], mosaics: MosaicDataset, count: int) -> float:
    """Average precision at an IoU of 0.5 of the averaged weights over `count` mosaics."""
    scores, hits, faces = [], [], 0
    for number in range(count):
        rng = np.random.default_rng((mosaics.seed, mosaics.stream, number))
        mosaic = draw_mosaic(mosaics.sources, mosaics.rules, rng)
        planes = torch.from_numpy(mosaic.image).to(trainee.device).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            logits, boxes = trainee.average(planes)
        found, certain = choose_boxes(boxes[0].double().cpu().numpy(), logits[0].sigmoid().cpu().numpy(), 0.05)
        scores.append(certain)
        hits.append(match_boxes(found, mosaic.boxes, mosaic.counts))
        faces += int(mosaic.counts.sum())
    judged = np.concatenate(hits) != NEITHER
    return average_precision(np.concatenate(scores)[judged], np.concatenate(hits)[judged] == HIT, faces)


def _batches(sources: Sources, recipe: DetectorRecipe, step: int, workers: int) -> Iterator[MosaicBatch]:
    dataset = MosaicDataset(sources, recipe.rules, recipe.seed, TRAINING)
    numbers = range(step * recipe.batch, recipe.steps * recipe.batch)
    loader = DataLoader(dataset, recipe.batch, sampler=numbers, num_workers=workers, collate_fn=_collate)
    return batches_from(loader)


def _collate(mosaics: list[MosaicBatch]) -> MosaicBatch:
    return MosaicBatch(*(torch.stack(tensors) for tensors in zip(*mosaics, strict=True)))


def _whole_faces(samples: Sequence[Sample]) -> list[Sample]:
    """The faces with all their points, whose tight box is a face's."""
    whole = [sample for sample in samples if labelled(sample.points).all()]
    if not whole:
        raise ConfigError(f"none of {len(samples)} faces has all points labelled; a detector learns from whole faces")
    return whole


def _log_row(standing: Standing, recipe: DetectorRecipe, out: Path) -> Row:
    means = standing.take_means()
    if not math.isfinite(means["loss"]):
        raise TrainingError(
            f"{recipe.name}: the loss is not finite at step {standing.step}; lower the learning rate; what was saved "
            f"before stays in {out}"
        )
    return {"step": standing.step, **means}
