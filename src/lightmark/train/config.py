"""Recipes: frozen settings of a training run; the same recipe, seed and data give the same weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from lightmark.data.crops.augment import Augmentation
from lightmark.errors import ConfigError
from lightmark.nets.face_detector import MULTIPLE
from lightmark.nets.network import Architecture
from lightmark.train.detector.mosaic import MosaicRules
from lightmark.train.objectives import OBJECTIVES

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Execution:
    """Settings of a training that do not affect its result.

    `device` is torch's; `workers` is the number of data-loading processes, 0 for none; `quiet` hides progress bars;
    `tensorboard` also writes the log for TensorBoard.
    """

    device: str = "cpu"
    workers: int = 0
    quiet: bool = False
    tensorboard: bool = False


EXECUTION = Execution()

@dataclass(frozen=True)
class Recipe:
    """Settings of one landmark network's training.

    `steps` batches of `batch` faces. `schedule`: "cosine", a linear warm-up of `warmup` steps and a cosine decay to 0,
    or "inverse", 1 / (1 + 1e-4 · step) as in the authors' code. The first `early_share` of the steps use crops reduced
    to `early_size` pixels (progressive resizing, Tan and Le 2021), None for none. `soft_variance` makes Soft-landmarks
    the target, with that share of the shapes' variance. `copies` is the number of fixed augmented geometries a face,
    which cached teacher points need; None samples a new one in every epoch. `validation` is the share of the source
    photographs held out to select the best weights. `ema` is the decay of the weights' moving average. `patience` is
    the number of validations without a better one after which the run ends early, None for never. `head_rate`
    multiplies the learning rate of the layers with an output a point. Without `batch_statistics` batch norms keep the
    means and variances of the initial weights, which few faces do not replace. `split_seed` chooses the photographs
    held out, None for `seed`; runs of several seeds are compared, and averaged, on the same validation faces.
    """

    name: str
    architecture: Architecture
    size: int
    objective: str
    steps: int
    batch: int = 32
    crop_scale: float = 1.25
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: int = 200
    schedule: Literal["cosine", "inverse"] = "cosine"
    ema: float = 0.998
    early_size: int | None = None
    early_share: float = 0.0
    precision: Precision = "fp32"
    augmentation: Augmentation = field(default_factory=Augmentation)
    copies: int | None = None
    soft_variance: float | None = None
    soft_align: Literal["none", "procrustes"] = "none"
    validation: float = 0.06
    validate_every: int = 500
    log_every: int = 50
    patience: int | None = None
    head_rate: float = 1.0
    batch_statistics: bool = True
    seed: int = 0
    split_seed: int | None = None

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise ConfigError(f"recipe {self.name}: no objective {self.objective!r}; known: {', '.join(OBJECTIVES)}")
        if min(self.steps, self.batch, self.validate_every, self.log_every) < 1:
            raise ConfigError(f"recipe {self.name}: steps, batch, validate_every and log_every must be at least 1")
        if self.batch == 1:
            raise ConfigError(f"recipe {self.name}: a batch of 1; layers are normalised over a batch, give 2 or more")
        if not 0 < self.validation < 1:
            raise ConfigError(f"recipe {self.name}: validation {self.validation}; needs a share between 0 and 1")


@dataclass(frozen=True)
class Distillation:
    """Recipes of both teachers, the distilled student and the plain student, its baseline.

    `tolerant_starts_from_tough` initialises the Tolerant-Teacher with the Tough-Teacher's weights, which saves most of
    its time. The plain student has the student's data, order, augmentation, batch and steps, but no teacher.
    """

    name: str
    tough: Recipe
    tolerant: Recipe
    student: Recipe
    plain: Recipe
    tolerant_starts_from_tough: bool = False


@dataclass(frozen=True)
class DetectorRecipe:
    """Settings of the face detector's training: `steps` batches of `batch` mosaics sampled by `rules`.

    `validation` is the share of the source photographs, and of the pictures without faces, held out. The learning rate
    has a linear warm-up of `warmup` steps and a cosine decay to 0. The saved weights are the EMA of decay `ema`.
    """

    name: str = "face-detector"
    steps: int = 12_000
    batch: int = 16
    rules: MosaicRules = field(default_factory=MosaicRules)
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    warmup: int = 300
    schedule: str = "cosine"
    ema: float = 0.999
    validation: float = 0.12
    validation_mosaics: int = 200
    validate_every: int = 500
    log_every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rules.size % MULTIPLE:
            raise ConfigError(f"recipe {self.name}: mosaics of {self.rules.size} px; needs a multiple of {MULTIPLE}")


# Boxes as a detector would give them, with more occlusion than in the network's own training: large errors, which the
# head has to predict, are rare on the crops that the network was trained on.
CONFIDENCE_AUGMENTATION = Augmentation(
    rotation=25.0, scale=0.1, shift=0.04, box=0.06, mirror=0.5, colour=0.6, grey=0.1, blur=0.2, jpeg=0.2,
    low_resolution=0.25, noise=0.2, occlusion=0.6,
)  # fmt: skip


@dataclass(frozen=True)
class ConfidenceRecipe:
    """Settings of a ConfidenceHead's training.

    `copies` augmented crops a face and as many negative crops; `steps` of AdamW on batches of `batch` crops.
    """

    copies: int = 8
    steps: int = 2000
    batch: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    augmentation: Augmentation = CONFIDENCE_AUGMENTATION
    seed: int = 0
