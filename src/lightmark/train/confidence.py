"""Training of a ConfidenceHead on a finished, frozen network: expected errors and face confidence.

The points do not change, so the features (`LandmarkNet.forward_features`) are computed once, before the training. Its
steps then take seconds, so that it has a short loop of its own and nothing to resume, unlike `train.run`.
Expected errors maximise a likelihood: an error of length r is taken to be drawn with density ∝ exp(−2r / e) / e²
over the plane, whose mean length is e (the two-dimensional Laplace form of Kendall and Gal 2017, arXiv 1703.04977).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from lightmark.data.check.inspection import require_trainable
from lightmark.data.fingerprint import fingerprint_of_faces, fingerprint_of_pictures
from lightmark.data.sample import Sample
from lightmark.data.split import split_by_photo
from lightmark.errors import CheckpointError, ConfigError, DataError, TrainingError
from lightmark.evaluate.face_boxes import with_face_boxes
from lightmark.nets.checkpoint import load_checkpoint, save_checkpoint
from lightmark.nets.heads import ConfidenceHead, pooled_features
from lightmark.nets.network import architecture_from_dict
from lightmark.scores import likelihood_gain, mean_spearman, roc_auc
from lightmark.train.confidence_features import Features, face_features, negative_features
from lightmark.train.config import EXECUTION, ConfidenceRecipe, Execution, Recipe
from lightmark.train.detector.train import split_backgrounds
from lightmark.train.distributed.collectives import require_single_process
from lightmark.train.faces import Split, require_no_tests, split_by_share
from lightmark.train.fingerprint import Fingerprint, differences, plain, weights_hash

STEP_STREAM = 11  # of random numbers; `confidence_features` has NEGATIVE_STREAM
# The share that the face detector's training holds out too (DetectorRecipe.validation): these pictures are unseen by
# both, so they can evaluate both.
HELD_OUT = 0.12


class ConfidenceMetrics(NamedTuple):
    """Metrics of a ConfidenceHead on validation faces, as `train_confidence` describes them."""

    scale: float
    nll_gain: float
    spearman: float
    auc: float
    present_auc: float | None = None


def train_confidence(
    checkpoint: Path,
    samples: Sequence[Sample],
    out: Path,
    backgrounds: Sequence[Path] = (),
    present: Sequence[Sample] = (),
    recipe: ConfidenceRecipe | None = None,
    execution: Execution = EXECUTION,
) -> ConfidenceMetrics:
    """Train a ConfidenceHead on the network of `checkpoint`, write both to `out` and return the metrics.

    `samples` are the faces that the network was trained on; they are split as in that training. `backgrounds` are
    pictures without faces. Negative crops are hard negatives (false positives of the face detector in `backgrounds`),
    other crops of `backgrounds`, and misplaced crops of the faces' own pictures. `HELD_OUT` of `backgrounds` are the
    validation pictures, the same as in the detector's training. `present` are faces of the same schema from which only
    the confidence of a face learns, such as profiles whose points the network misses; `HELD_OUT` of their photographs
    are held out for validation. Expected errors are multiplied by `scale`, fitted on validation faces, since a network
    errs less on its training faces. The other metrics: `nll_gain`, the gain in log-likelihood over one constant error a
    point, in nats a point; `spearman`, the rank correlation of expected and true error, mean over the points;
    `auc`, the area under the ROC curve of face against negative crops; `present_auc`, the same for the
    held-out faces of `present`. Raises `ConfigError` where the schemas differ or test faces are among the samples,
    `DataError` or `ImageError` naming a face that cannot be trained on, `TrainingError` where the loss is no longer
    finite. The checkpoint holds `confidence_fingerprint`.
    """
    require_single_process("the training of the confidence")
    recipe, quiet = recipe or ConfidenceRecipe(), execution.quiet
    network, spec = load_checkpoint(checkpoint)
    trained = spec.provenance
    fingerprint = confidence_fingerprint(checkpoint, samples, backgrounds, present, recipe)
    require_no_tests(present)
    if other := [face.schema.name for face in (*samples, *present) if face.schema != spec.schema]:
        raise ConfigError(f"{checkpoint}: gives {spec.schema.name}, faces are labelled with {other[0]}")
    # After the check: another schema's points have no place in the spec's template.
    samples, present = with_face_boxes(samples, spec), with_face_boxes(present, spec)
    split = _split_as_trained(checkpoint, samples, trained)
    if len(split.train) * recipe.copies < 2:
        raise ConfigError("one crop of one face has no spread to learn from; give more faces, or more --copies")
    require_trainable([*split.train, *split.validation, *present])
    network.to(execution.device, memory_format=torch.channels_last).requires_grad_(False)  # type: ignore[call-overload]  # no stub
    known, unknown = split_backgrounds(backgrounds, HELD_OUT) if len(backgrounds) > 1 else (backgrounds, backgrounds)
    extra_split = split_by_photo(present, HELD_OUT, recipe.seed) if present else ([], [])
    faces = face_features(network, spec, split.train, recipe, quiet)
    extra = face_features(network, spec, extra_split[0], recipe, quiet) if present else None
    negatives = negative_features(network, spec, split.train, known, recipe, quiet)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)  # for the initial weights and dropout
        network.add_confidence()
        head = network.confidence
        assert head is not None
        head.to(execution.device)
        _fit(head, faces, [faces] if extra is None else [faces, extra], negatives, recipe)
    held_out = replace(recipe, seed=recipe.seed + 1)  # augmentations that the training did not draw
    validation = face_features(network, spec, split.validation, held_out, quiet)
    validation_negatives = negative_features(network, spec, split.validation, unknown, held_out, quiet)
    metrics = _calibrate(head, validation, validation_negatives)
    if present:
        validation_extra = face_features(network, spec, extra_split[1], held_out, quiet)
        metrics = metrics._replace(present_auc=_confidence_auc(head, validation_extra, validation_negatives))
    measured = {name: value for name, value in metrics._asdict().items() if value is not None}
    settings = {"seed": recipe.seed, "copies": recipe.copies, "steps": recipe.steps}
    record = {**measured, **settings, "fingerprint": fingerprint}
    spec = replace(spec, provenance={**spec.provenance, "confidence": record})
    save_checkpoint(out, network, architecture_from_dict(dict(spec.architecture), str(checkpoint)), spec)
    return metrics


def _split_as_trained(checkpoint: Path, samples: Sequence[Sample], trained: Mapping[str, Any]) -> Split:
    share, seed = trained.get("validation", Recipe.validation), trained.get("seed", Recipe.seed)
    seed = trained.get("split_seed", seed)
    try:
        return split_by_share(samples, share, seed)
    except DataError as error:
        raise DataError(
            f"{checkpoint}: was trained with seed {seed} and the share {share} of photographs for validation, which "
            f"leaves one side of these {len(samples)} faces empty; give all the faces that it was trained on"
        ) from error


def confidence_fingerprint(
    checkpoint: Path,
    samples: Sequence[Sample],
    backgrounds: Sequence[Path] = (),
    present: Sequence[Sample] = (),
    recipe: ConfidenceRecipe | None = None,
) -> Fingerprint:
    """Fingerprint of a confidence training: weights, faces, pictures and settings."""
    return plain(
        {
            "recipe": asdict(recipe or ConfidenceRecipe()),
            "weights": weights_hash(checkpoint),
            "faces": fingerprint_of_faces(samples),
            "backgrounds": fingerprint_of_pictures(backgrounds),
            "present": fingerprint_of_faces(present),
        }
    )


def saved_confidence(out: Path) -> Mapping[str, Any] | None:
    """Confidence record in the provenance of the checkpoint `out`; None without a checkpoint or a record."""
    try:
        record = load_checkpoint(out)[1].provenance.get("confidence")
    except CheckpointError:
        return None
    return record if isinstance(record, dict) else None


def finished_confidence(out: Path, fingerprint: Fingerprint) -> ConfidenceMetrics | None:
    """Metrics that `train_confidence` recorded in `out`; None without a checkpoint that has confidence.

    Raises `ConfigError` naming the difference where `out` was made from something else.
    """
    record = saved_confidence(out)
    if record is None:
        return None
    changed = "an older Lightmark, which did not record its data"
    if "fingerprint" in record:
        changed = differences(record["fingerprint"], fingerprint)
    if changed:
        raise ConfigError(
            f"{out}: holds a confidence made from other inputs: {changed}; give another --out, or --force"
        )
    return ConfidenceMetrics(**{name: record[name] for name in ConfidenceMetrics._fields if name in record})


def laplace_nll(log_errors: Tensor, errors: Tensor) -> Tensor:
    """Negative log-likelihood of `errors` (..., N) ≥ 0 under expected errors exp(`log_errors`), up to a constant."""
    return 2 * log_errors + 2 * errors * torch.exp(-log_errors)


def _fit(
    head: ConfidenceHead,
    faces: Features,
    positives: Sequence[Features],
    negatives: Features,
    recipe: ConfidenceRecipe,
) -> None:
    """Train the head on standardised features, then fold the standardisation into its first layers.

    Expected errors learn from `faces`; the confidence of a face from `positives` against `negatives`.
    """
    device = head.bias.device
    point_norm = _Standardiser(faces.by_point.float().flatten(0, 1))
    pooled = torch.cat([_pooled(features) for features in (*positives, negatives)])
    pooled_norm = _Standardiser(pooled)
    pooled_faces = _pooled(faces)
    head.train()
    is_face = torch.zeros(len(pooled))
    is_face[: -len(negatives.coarse)] = 1
    with torch.no_grad():  # begin at each point's mean error, so that training only has to learn the deviations
        means = faces.errors.nanmean(0)
        means = torch.where(means.isnan(), faces.errors.nanmean(), means)  # of a point that no face has
        head.bias.copy_(means.clamp_min(1e-6).log())
    optimiser = torch.optim.AdamW(head.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.steps)
    rng = np.random.default_rng((recipe.seed, STEP_STREAM))
    for step in range(recipe.steps):
        rows = torch.from_numpy(rng.integers(0, len(faces.by_point), recipe.batch))
        any_rows = torch.from_numpy(rng.integers(0, len(pooled), recipe.batch))
        inputs = point_norm(faces.by_point[rows].float()), pooled_norm(pooled_faces[rows])
        log_errors = head.log_errors(*(features.to(device) for features in inputs))
        nll = _mean_nll(log_errors, faces.errors[rows].to(device))
        logits = head.logit(pooled_norm(pooled[any_rows]).to(device))[:, 0]
        loss = nll + binary_cross_entropy_with_logits(logits, is_face[any_rows].to(device))
        if not torch.isfinite(loss):
            raise TrainingError(f"confidence: the loss is not finite at step {step}; lower the learning rate")
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    head.eval()
    point_norm.fold_into(head.describe)
    for first in (head.logit[0], head.face[1]):
        assert isinstance(first, torch.nn.Linear)
        pooled_norm.fold_into(first)


def _mean_nll(log_errors: Tensor, errors: Tensor) -> Tensor:
    """Mean `laplace_nll` of the labelled points; without missing ones the plain mean, bit for bit."""
    there = ~errors.isnan()
    # Zeros before the loss, too: a NaN behind `where` would still reach the gradient.
    values = torch.where(there, laplace_nll(log_errors, torch.where(there, errors, 0.0)), 0.0)
    return values.mean() * (there.numel() / there.sum())


def _pooled(features: Features) -> Tensor:
    return pooled_features(features.by_point.float(), features.coarse)


class _Standardiser:
    """Shift and scale of features (M, C) to mean 0 and variance 1 in each channel."""

    def __init__(self, features: Tensor) -> None:
        self.mean, self.std = features.mean(0), features.std(0).clamp_min(1e-5)

    def __call__(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.std

    def fold_into(self, layer: torch.nn.Linear) -> None:
        """Change the weights of `layer`, trained on standardised features, so that it takes raw ones."""
        with torch.no_grad():
            mean, std = self.mean.to(layer.weight.device), self.std.to(layer.weight.device)
            layer.weight.div_(std)
            layer.bias.sub_(layer.weight @ mean)


def _calibrate(head: ConfidenceHead, validation: Features, negatives: Features) -> ConfidenceMetrics:
    """Fit the scale of the expected errors on validation faces, apply it to the head and return the metrics."""
    log_errors, _ = _predict(head, validation)
    scale = float((validation.errors * torch.exp(-log_errors)).nanmean())  # the maximum-likelihood scale
    with torch.no_grad():
        head.bias.add_(float(np.log(scale)))
    log_errors = log_errors + float(np.log(scale))
    expected, errors = log_errors.exp().numpy(), validation.errors.numpy()
    gain = float(likelihood_gain(expected, errors).mean())
    return ConfidenceMetrics(scale, gain, mean_spearman(expected, errors), _confidence_auc(head, validation, negatives))


def _confidence_auc(head: ConfidenceHead, faces: Features, negatives: Features) -> float:
    return roc_auc(_predict(head, faces)[1].numpy(), _predict(head, negatives)[1].numpy())


def _predict(head: ConfidenceHead, features: Features, batch: int = 512) -> tuple[Tensor, Tensor]:
    """Log of the expected errors (M, N) and face logits (M,), on the CPU."""
    device = head.bias.device
    with torch.inference_mode():
        parts = [
            head(features.by_point[i : i + batch].float().to(device), features.coarse[i : i + batch].to(device))
            for i in range(0, len(features.by_point), batch)
        ]
    log_errors, logits = (torch.cat(tensors).cpu().clone() for tensors in zip(*parts, strict=True))
    return log_errors, logits
