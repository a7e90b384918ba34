"""Training of the face detector on mosaics; a killed run resumes and ends with the same weights."""

from __future__ import annotations

import json
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
from lightmark.detectors.face_detector import DETECTOR_KEY, merge_cells
from lightmark.errors import ConfigError, SchemaError
from lightmark.evaluate.detection import IGNORED, TRUE_POSITIVE, match_boxes
from lightmark.evaluate.predict import same_points
from lightmark.files import make_folder
from lightmark.geometry import labelled
from lightmark.nets.checkpoint import load_weights, read_tensors, write_tensors
from lightmark.nets.face_detector import FaceDetectorNet
from lightmark.nets.network import parameter_count
from lightmark.schema import IBUG68
from lightmark.scores import average_precision
from lightmark.train.config import EXECUTION, DetectorRecipe, Execution
from lightmark.train.detector.loss import Cells, assign, cells_of, detection_loss
from lightmark.train.detector.mosaic import MosaicRules, Sources, draw_mosaic
from lightmark.train.distributed.collectives import require_single_process
from lightmark.train.faces import split_by_share
from lightmark.train.fingerprint import detector_fingerprint
from lightmark.train.folder import MODEL, STATE, is_finished, write_result
from lightmark.train.loader import batches_from
from lightmark.train.run import Validation, resume, run_steps
from lightmark.train.step import Trainee, make_trainee, optimise, prepare_step

TRAINING, VALIDATION = 0, 1  # streams of random numbers


class MosaicBatch(NamedTuple):
    """Mosaics uint8 (B, 3, S, S), targets (B, C) of their cells as `assign` gives them, boxes (B, C, 4) and keypoints.

    Keypoints are (B, C, 5, 2). Cells that are not positive have any box and keypoints.
    """

    images: Tensor
    targets: Tensor
    target_boxes: Tensor
    target_keypoints: Tensor


class MosaicDataset(Dataset[MosaicBatch]):
    """Mosaics with targets; number i is a function of (seed, stream, i) alone."""

    def __init__(self, sources: Sources, rules: MosaicRules, seed: int, stream: int) -> None:
        self.sources, self.rules, self.seed, self.stream = sources, rules, seed, stream
        self.cells: Cells = cells_of(rules.size, rules.size)

    def __getitem__(self, number: int) -> MosaicBatch:
        mosaic = draw_mosaic(self.sources, self.rules, np.random.default_rng((self.seed, self.stream, number)))
        labels = [torch.from_numpy(values).float() for values in (mosaic.boxes, mosaic.keypoints)]
        targets = assign(labels[0], torch.from_numpy(mosaic.counts), self.cells)
        of_cells = [_of_cells(values, targets) for values in labels]
        return MosaicBatch(torch.from_numpy(mosaic.image.transpose(2, 0, 1)), targets, *of_cells)


def train_face_detector(
    recipe: DetectorRecipe,
    samples: Sequence[Sample],
    backgrounds: Sequence[Path],
    out: Path,
    start: Path | None = None,
    execution: Execution = EXECUTION,
) -> Path:
    """Train the detector in the folder `out` and return the path of its weights; a finished run is not repeated.

    `samples` are faces labelled with 68 points, without test faces; faces with missing points are dropped, since their
    tight box is unknown. `backgrounds` are pictures without faces. `start` is a checkpoint with the initial weights.
    `out` gets model.safetensors (the EMA weights), log.csv and, at the end, result.json; until then the training state.
    Raises `SchemaError` for faces with other points, `ConfigError` for test faces or too few pictures, `TrainingError`
    where the loss is no longer finite.
    """
    require_single_process("the training of the face detector")
    if len(backgrounds) < 2:
        raise ConfigError(f"{len(backgrounds)} pictures without faces; needs at least 2, to train on and to check with")
    require_ibug68(samples)
    split = split_by_share(_complete_faces(samples), recipe.validation, recipe.seed)
    known, unknown = split_backgrounds(backgrounds, recipe.validation)
    require_trainable([*split.train, *split.validation])
    fingerprint = detector_fingerprint(recipe, split, known, unknown, start)
    if is_finished(out, fingerprint):
        return out / MODEL
    make_folder(out)
    trainee = make_detector_trainee(recipe, start, execution.device)
    state = resume(out, fingerprint, trainee)
    batches = _batches(Sources(split.train, known), recipe, state.step, execution.workers)
    checked = MosaicDataset(Sources(split.validation, unknown), recipe.rules, recipe.seed, VALIDATION)

    def next_step() -> dict[str, Tensor]:
        return take_detector_step(trainee, next(batches), state.step, recipe)

    def validation() -> Validation:
        precision = validate(trainee, checked, recipe.validation_mosaics)
        return Validation("validation_ap", precision, f"average precision {precision:.4f}")

    run_steps(recipe, trainee, state, out, fingerprint, next_step, validation, execution.quiet)
    result = {
        "recipe": asdict(recipe),
        "train_faces": len(split.train),
        "validation_faces": len(split.validation),
        "backgrounds": len(known),
        "parameters": parameter_count(trainee.network),
        "seconds": round(state.seconds, 1),
        "validation_ap": state.rows[-1]["validation_ap"],
        "torch": torch.__version__,
        "device": execution.device,
        "threads": torch.get_num_threads(),
        "lightmark": __version__,
    }
    write_tensors(out / MODEL, trainee.ema.state_dict(), {DETECTOR_KEY: json.dumps(result)})
    write_result(out, fingerprint, result)
    (out / STATE).unlink()
    return out / MODEL


def split_backgrounds(backgrounds: Sequence[Path], share: float) -> tuple[list[Path], list[Path]]:
    """Training and validation pictures: about `share`, at least one, in validation, taken at even intervals."""
    every = max(2, round(1 / share))
    return [p for i, p in enumerate(backgrounds) if i % every], list(backgrounds[::every])


def make_detector_trainee(recipe: DetectorRecipe, start: Path | None, device: str) -> Trainee[FaceDetectorNet]:
    """Trainee on `device` with the weights of `start`, or untrained ones that depend on the recipe's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = FaceDetectorNet()
    if start is not None:
        load_weights(network, read_tensors(start)[0], str(start))
    return make_trainee(network, recipe.learning_rate, recipe.weight_decay, device)


def take_detector_step(
    trainee: Trainee[FaceDetectorNet], batch: MosaicBatch, step: int, recipe: DetectorRecipe
) -> dict[str, Tensor]:
    """Run step number `step`, counted from 0, update weights and EMA, and return the named losses."""
    prepare_step(trainee, step, recipe)
    images, *targets = (tensor.to(trainee.device) for tensor in batch)
    outputs = trainee.network(images.to(memory_format=torch.channels_last).float())
    parts = detection_loss(outputs, *targets)
    optimise(trainee, parts["loss"], step, recipe)
    return {name: value.detach() for name, value in parts.items()}


def validate(trainee: Trainee[FaceDetectorNet], mosaics: MosaicDataset, count: int) -> float:
    """Average precision of the EMA weights at an IoU of 0.5 over `count` mosaics."""
    scores, matches, faces = [], [], 0
    for number in range(count):
        rng = np.random.default_rng((mosaics.seed, mosaics.stream, number))
        mosaic = draw_mosaic(mosaics.sources, mosaics.rules, rng)
        planes = torch.from_numpy(mosaic.image).to(trainee.device).permute(2, 0, 1)[None].float()
        with torch.inference_mode():
            logits, boxes, _ = trainee.ema(planes)
        every_box, every_score = boxes[0].double().cpu().numpy(), logits[0].sigmoid().cpu().numpy()
        cells, merged = merge_cells(every_box, every_score, 0.05)
        scores.append(every_score[cells])
        matches.append(match_boxes(merged, mosaic.boxes, mosaic.counts))
        faces += int(mosaic.counts.sum())
    counted = np.concatenate(matches) != IGNORED
    return average_precision(np.concatenate(scores)[counted], np.concatenate(matches)[counted] == TRUE_POSITIVE, faces)


def _batches(sources: Sources, recipe: DetectorRecipe, step: int, workers: int) -> Iterator[MosaicBatch]:
    dataset = MosaicDataset(sources, recipe.rules, recipe.seed, TRAINING)
    numbers = range(step * recipe.batch, recipe.steps * recipe.batch)
    loader = DataLoader(dataset, recipe.batch, sampler=numbers, num_workers=workers)
    return batches_from(loader)


def _of_cells(values: Tensor, targets: Tensor) -> Tensor:
    """Row of `values` (F, ...) of each cell's face (C, ...), by the cells' `targets` (C,); zeros where F is 0."""
    return values[targets.clamp(min=0)] if len(values) else values.new_zeros(len(targets), *values.shape[1:])


def require_ibug68(samples: Sequence[Sample]) -> None:
    """Raise `SchemaError` naming the first of `samples` that is not labelled with the 68 points, and what to do."""
    for sample in samples:
        if not same_points(sample.schema, IBUG68):
            raise SchemaError(
                f"{sample.name}: labelled with {sample.schema.name} ({sample.schema.size} points); the face detector's "
                f"boxes and keypoints are made of the 68 points of {IBUG68.name}: leave this data out, or train the "
                f"detector on a set with them (300W) and only the landmark model on yours"
            )


def _complete_faces(samples: Sequence[Sample]) -> list[Sample]:
    """Faces with all points labelled: only their tight box is that of the face."""
    complete = [sample for sample in samples if labelled(sample.points).all()]
    if not complete:
        raise ConfigError(f"none of {len(samples)} faces has all points labelled; a detector needs complete ones")
    return complete
