"""Confidence: a finished network learns how far off its points may be and whether a crop holds a face.

The network is frozen: its points stay what they were, and what its head saw (`LandmarkNet.read`) is computed once.
Expected errors are learnt by likelihood: an error of length r is taken to be drawn with density ∝ exp(−2r / e) / e²
over the plane, whose mean length is e (the two-dimensional Laplace form of Kendall and Gal 2017, arXiv 1703.04977).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.progress import track
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from lightmark.data.check.inspection import require_trainable
from lightmark.data.crops.augment import Augmentation, change_pixels
from lightmark.data.crops.dataset import CropDataset, Key
from lightmark.data.crops.negatives import faceless_matrix, tempting_matrix, wrong_matrix
from lightmark.data.crops.picture_cache import PictureCache, cache_limit
from lightmark.data.fingerprint import fingerprint_of_faces, fingerprint_of_pictures
from lightmark.data.sample import Sample
from lightmark.data.split import split_by_photo
from lightmark.detectors.face_detector import FaceDetector
from lightmark.errors import CheckpointError, ConfigError, DataError, TrainingError
from lightmark.evaluate.face_boxes import with_face_boxes
from lightmark.geometry import Array
from lightmark.image import Picture, warp
from lightmark.metrics import likelihood_gain, mean_spearman, roc_auc
from lightmark.nets.checkpoint import crops_at_once, load_checkpoint, save_checkpoint
from lightmark.nets.heads import ConfidenceHead, pooled_features
from lightmark.nets.network import LandmarkNet, architecture_from_dict
from lightmark.source import to_picture
from lightmark.spec import ModelSpec
from lightmark.train.config import Recipe
from lightmark.train.detector.train import split_backgrounds
from lightmark.train.distributed.collectives import require_alone
from lightmark.train.faces import Split, carve_share, require_no_tests
from lightmark.train.fingerprint import Fingerprint, differences, plain, weights_hash
from lightmark.train.step import planes_of

# Faces as a detector would frame them, more of them covered than in training: where errors grow is to be learnt here.
AUGMENTATION = Augmentation(
    rotation=25.0,
    scale=0.1,
    shift=0.04,
    box=0.06,
    mirror=0.5,
    colour=0.6,
    grey=0.1,
    blur=0.2,
    jpeg=0.2,
    low_resolution=0.25,
    noise=0.2,
    occlusion=0.6,
)
WRONG_STREAM, STEP_STREAM = 10, 11
TEMPTING = 0.2  # a score below that from which the detector asks the presence, which few pictures reach
LOOKS = (224, 320, 480, 640, 960)  # pixels that a picture's longer side is brought to, for more such finds
TEMPTED, FACELESS = 0.5, 0.1  # shares of the wrong crops: such finds, anything in pictures without faces
HELD_OUT = 0.12  # as of the face detector's training faces: what neither has seen can check both


@dataclass(frozen=True)
class ConfidenceRecipe:
    """`copies` augmented crops a face and as many wrong ones; `steps` of `batch` crops of Adam at `learning_rate`."""

    copies: int = 8
    steps: int = 2000
    batch: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    augmentation: Augmentation = AUGMENTATION
    seed: int = 0


class Read(NamedTuple):
    """What a network read in M crops: (M, N, seen), (M, C32), and the errors (M, N) of its points in unit lengths.

    An error is NaN where the point's label is missing.
    """

    seen: Tensor
    coarse: Tensor
    errors: Tensor


class Measured(NamedTuple):
    """How good the confidence is on validation faces; see `train_confidence`."""

    scale: float
    nll_gain: float
    spearman: float
    presence_auc: float
    present_auc: float | None = None


def train_confidence(
    checkpoint: Path,
    samples: Sequence[Sample],
    out: Path,
    backgrounds: Sequence[Path] = (),
    present: Sequence[Sample] = (),
    recipe: ConfidenceRecipe | None = None,
    device: str = "cpu",
    quiet: bool = False,
) -> Measured:
    """Write the network of `checkpoint` with a trained ConfidenceHead to `out` and say how good that is.

    `samples` are the faces that it was trained on; they are split as they were then. `backgrounds` are pictures without
    faces, from which crops are cut beside the misplaced crops of the faces' own pictures, most of them where the face
    detector is tempted to see a face; `HELD_OUT` of them are kept for validation, as the detector's training keeps
    them.
    `present` are faces of the same schema that only the presence learns from: turned ones, say, which the network finds
    no exact points for, but which are faces; `HELD_OUT` of their photographs are kept for validation.
    Expected errors are scaled to fit the validation faces, since a network errs less on faces that it was trained on.
    Measured there: that `scale`; how much better the log-likelihood of an error is, in nats a point, than with one
    constant a point; Spearman's correlation of expected and true error, mean over the points; the area under the
    presence's ROC curve, and the same with the held-out faces among `present`. Raises `ConfigError` where the schemas
    differ or test faces are among the samples, `DataError` or `ImageError` naming a face that cannot be trained on,
    `TrainingError` where the loss is no longer finite. The checkpoint holds `confidence_fingerprint`.
    """
    require_alone("the training of the confidence")
    recipe = recipe or ConfidenceRecipe()
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
    network.to(device, memory_format=torch.channels_last).requires_grad_(False)  # type: ignore[call-overload]  # no stub
    known, unknown = split_backgrounds(backgrounds, HELD_OUT) if len(backgrounds) > 1 else (backgrounds, backgrounds)
    more = split_by_photo(present, HELD_OUT, recipe.seed) if present else ([], [])
    faces = _read_faces(network, spec, split.train, recipe, recipe.copies, quiet)
    turned = _read_faces(network, spec, more[0], recipe, recipe.copies, quiet) if present else None
    wrong = _read_wrong(network, spec, split.train, known, recipe, recipe.copies, quiet)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)  # first weights, and what dropout drops
        network.add_confidence()
        head = network.confidence
        assert head is not None
        head.to(device)
        _fit(head, faces, [faces] if turned is None else [faces, turned], wrong, recipe)
    held_out = replace(recipe, seed=recipe.seed + 1)
    checked = _read_faces(network, spec, split.validation, held_out, recipe.copies, quiet)
    checked_wrong = _read_wrong(network, spec, split.validation, unknown, held_out, recipe.copies, quiet)
    measured = _scale_and_measure(head, checked, checked_wrong)
    if present:
        checked_turned = _read_faces(network, spec, more[1], held_out, recipe.copies, quiet)
        measured = measured._replace(present_auc=_presence_auc(head, checked_turned, checked_wrong))
    told = {name: value for name, value in measured._asdict().items() if value is not None}
    settings = {"seed": recipe.seed, "copies": recipe.copies, "steps": recipe.steps}
    found = {"confidence": {**told, **settings, "fingerprint": fingerprint}}
    spec = replace(spec, provenance={**spec.provenance, **found})
    save_checkpoint(out, network, architecture_from_dict(dict(spec.architecture), str(checkpoint)), spec)
    return measured


def _split_as_trained(checkpoint: Path, samples: Sequence[Sample], trained: Mapping[str, Any]) -> Split:
    share, seed = trained.get("validation", Recipe.validation), trained.get("seed", Recipe.seed)
    try:
        return carve_share(samples, share, seed)
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
    """Everything that decides what `train_confidence` writes: weights, faces, pictures and settings."""
    return plain(
        {
            "recipe": asdict(recipe or ConfidenceRecipe()),
            "weights": weights_hash(checkpoint),
            "faces": fingerprint_of_faces(samples),
            "backgrounds": fingerprint_of_pictures(backgrounds),
            "present": fingerprint_of_faces(present),
        }
    )


def kept_confidence(out: Path) -> Mapping[str, Any] | None:
    """What the checkpoint `out` says of its confidence; None where no checkpoint with one is there."""
    try:
        kept = load_checkpoint(out)[1].provenance.get("confidence")
    except CheckpointError:
        return None
    return kept if isinstance(kept, dict) else None


def finished_confidence(out: Path, fingerprint: Fingerprint) -> Measured | None:
    """What `train_confidence` measured when it wrote `out`; None where no checkpoint with confidence is there.

    Raises `ConfigError` naming the difference where `out` was made from something else.
    """
    kept = kept_confidence(out)
    if kept is None:
        return None
    changed = "an older Lightmark, which did not record its data"
    if "fingerprint" in kept:
        changed = differences(kept["fingerprint"], fingerprint)
    if changed:
        raise ConfigError(
            f"{out}: holds a confidence made from other inputs: {changed}; give another --out, or --force"
        )
    return Measured(**{name: kept[name] for name in Measured._fields if name in kept})


def _read_faces(
    network: LandmarkNet, spec: ModelSpec, samples: Sequence[Sample], recipe: ConfidenceRecipe, copies: int, quiet: bool
) -> Read:
    targets = [sample.points for sample in samples]
    dataset = CropDataset(samples, targets, spec, recipe.augmentation, recipe.seed)

    def crop(key: Key) -> tuple[Picture, Tensor]:
        batch = dataset[key]
        return batch.crops.permute(1, 2, 0).numpy(), batch.points

    return _read(network, spec, crop, len(samples), copies, "faces", quiet)


def _read_wrong(
    network: LandmarkNet,
    spec: ModelSpec,
    samples: Sequence[Sample],
    backgrounds: Sequence[Path],
    recipe: ConfidenceRecipe,
    copies: int,
    quiet: bool,
) -> Read:
    pictures = PictureCache(cache_limit(1))
    tempting = _tempting_boxes(backgrounds)
    nowhere = torch.zeros(spec.schema.size, 2)

    def crop(key: Key) -> tuple[Picture, Tensor]:
        rng = np.random.default_rng((recipe.seed, WRONG_STREAM, *key))
        kind = rng.random()
        if tempting and kind < TEMPTED:
            path, box = tempting[int(rng.integers(len(tempting)))]
            picture = pictures.of_file(path)
            matrix = tempting_matrix(box, spec, rng)
        elif backgrounds and kind < TEMPTED + FACELESS:
            picture = pictures.of_file(backgrounds[int(rng.integers(len(backgrounds)))])
            matrix = faceless_matrix(picture, spec, rng)
        else:
            picture = pictures.of_sample(samples[key.face])
            matrix = wrong_matrix(samples[key.face].box, picture.shape[:2], spec, rng)
        return change_pixels(warp(picture, matrix, spec.size), recipe.augmentation, rng), nowhere

    return _read(network, spec, crop, len(samples), copies, "other crops", quiet)


def _tempting_boxes(paths: Sequence[Path]) -> list[tuple[Path, Array]]:
    """Each box (4,) that the shipped face detector scores `TEMPTING` or more, with its picture's path; a box a look."""
    detectors = [FaceDetector(input_size=longest) for longest in LOOKS] if paths else []
    return [
        (path, box)
        for path in paths
        for picture in [to_picture(path)]  # one at a time: thousands of them decoded would not fit into memory
        for detector in detectors
        for box in detector.scored(picture, TEMPTING)[0]
    ]


def _read(
    network: LandmarkNet,
    spec: ModelSpec,
    crop: Callable[[Key], tuple[Picture, Tensor]],
    count: int,
    copies: int,
    what: str,
    quiet: bool,
) -> Read:
    keys = [Key(copy, face) for copy in range(copies) for face in range(count)]
    device = next(network.parameters()).device
    batch = crops_at_once(device)
    firsts = range(0, len(keys), batch)
    parts = []
    for first in firsts if quiet else track(firsts, f"reading {what}"):
        crops, points = zip(*(crop(key) for key in keys[first : first + batch]), strict=True)
        planes = planes_of(torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).to(device), spec, spec.size)
        with torch.inference_mode():
            found, seen, coarse = network.eval().read(planes)
        errors = (found.cpu() - torch.stack(points)).norm(dim=-1)  # NaN where the label is missing
        parts.append(Read(seen.half().cpu(), coarse.cpu(), errors))
    return Read(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def laplace_nll(log_errors: Tensor, errors: Tensor) -> Tensor:
    """Negative log-likelihood, up to a constant, of `errors` (..., N) ≥ 0 where exp(`log_errors`) are expected."""
    return 2 * log_errors + 2 * errors * torch.exp(-log_errors)


def _fit(head: ConfidenceHead, faces: Read, shown: Sequence[Read], wrong: Read, recipe: ConfidenceRecipe) -> None:
    """Train the head on standardised features, and fold the standardisation into its first layers afterwards.

    Errors are learnt from `faces`; that a face is there from `shown`, that none is from `wrong`.
    """
    device = head.bias.device
    seen_norm = _Standard(faces.seen.float().flatten(0, 1))
    pooled = torch.cat([_pooled(read) for read in (*shown, wrong)])
    pooled_norm = _Standard(pooled)
    known = _pooled(faces)
    head.train()
    is_face = torch.zeros(len(pooled))
    is_face[: -len(wrong.coarse)] = 1
    with torch.no_grad():
        means = faces.errors.nanmean(0)
        means = torch.where(means.isnan(), faces.errors.nanmean(), means)  # of a point that no face has
        head.bias.copy_(means.clamp_min(1e-6).log())
    optimiser = torch.optim.AdamW(head.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.steps)
    rng = np.random.default_rng((recipe.seed, STEP_STREAM))
    for step in range(recipe.steps):
        rows = torch.from_numpy(rng.integers(0, len(faces.seen), recipe.batch))
        any_rows = torch.from_numpy(rng.integers(0, len(pooled), recipe.batch))
        read = seen_norm(faces.seen[rows].float()), pooled_norm(known[rows])
        log_errors = head.log_errors(*(features.to(device) for features in read))
        nll = _mean_nll(log_errors, faces.errors[rows].to(device))
        logits = head.presence(pooled_norm(pooled[any_rows]).to(device))[:, 0]
        loss = nll + binary_cross_entropy_with_logits(logits, is_face[any_rows].to(device))
        if not torch.isfinite(loss):
            raise TrainingError(f"confidence: the loss is not finite at step {step}; lower the learning rate")
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    head.eval()
    seen_norm.fold_into(head.describe)
    for first in (head.presence[0], head.face[1]):
        assert isinstance(first, torch.nn.Linear)
        pooled_norm.fold_into(first)


def _mean_nll(log_errors: Tensor, errors: Tensor) -> Tensor:
    """Mean `laplace_nll` of the labelled points; without missing ones the plain mean, bit for bit."""
    there = ~errors.isnan()
    # Zeros before the loss, too: a NaN behind `where` would still reach the gradient.
    values = torch.where(there, laplace_nll(log_errors, torch.where(there, errors, 0.0)), 0.0)
    return values.mean() * (there.numel() / there.sum())


def _pooled(read: Read) -> Tensor:
    return pooled_features(read.seen.float(), read.coarse)


class _Standard:
    """Mean 0 and variance 1 of features (M, C)."""

    def __init__(self, features: Tensor) -> None:
        self.mean, self.std = features.mean(0), features.std(0).clamp_min(1e-5)

    def __call__(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.std

    def fold_into(self, layer: torch.nn.Linear) -> None:
        """Make `layer`, trained on standardised features, take them as they are."""
        with torch.no_grad():
            mean, std = self.mean.to(layer.weight.device), self.std.to(layer.weight.device)
            layer.weight.div_(std)
            layer.bias.sub_(layer.weight @ mean)


def _scale_and_measure(head: ConfidenceHead, checked: Read, wrong: Read) -> Measured:
    log_errors, _ = _judge(head, checked)
    scale = float((checked.errors * torch.exp(-log_errors)).nanmean())  # where the likelihood of the scaled is largest
    with torch.no_grad():
        head.bias.add_(float(np.log(scale)))
    log_errors = log_errors + float(np.log(scale))
    expected, errors = log_errors.exp().numpy(), checked.errors.numpy()
    gain = float(likelihood_gain(expected, errors).mean())
    return Measured(scale, gain, mean_spearman(expected, errors), _presence_auc(head, checked, wrong))


def _presence_auc(head: ConfidenceHead, faces: Read, wrong: Read) -> float:
    return roc_auc(_judge(head, faces)[1].numpy(), _judge(head, wrong)[1].numpy())


def _judge(head: ConfidenceHead, read: Read, batch: int = 512) -> tuple[Tensor, Tensor]:
    """log of the expected errors (M, N) and logits (M,) of what was read, on the CPU."""
    device = head.bias.device
    with torch.inference_mode():
        parts = [
            head(read.seen[i : i + batch].float().to(device), read.coarse[i : i + batch].to(device))
            for i in range(0, len(read.seen), batch)
        ]
    log_errors, logits = (torch.cat(tensors).cpu().clone() for tensors in zip(*parts, strict=True))
    return log_errors, logits
