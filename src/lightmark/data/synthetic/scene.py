"""Random description of a synthetic picture: person, expression, pose, light, camera, cover and backdrop."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, TypeAlias, TypeVar, get_args

import numpy as np

from lightmark.data.synthetic.head import Expression, Identity, make_head
from lightmark.data.synthetic.paint import Tone, mixed, tinted
from lightmark.data.synthetic.view import Pose, view_head
from lightmark.geometry import tight_box

Rng: TypeAlias = np.random.Generator
Choice = TypeVar("Choice")
Hair = Literal["bald", "buzz", "short", "fringe", "long", "bob", "curly", "bun", "beanie", "veil"]
Beard = Literal["none", "stubble", "full", "moustache"]
Glasses = Literal["none", "clear", "dark"]
CoverKind = Literal["hand", "scarf", "board", "patch", "mask"]
Backdrop = Literal["gradient", "stripes", "shapes", "noise", "room", "faces"]

YAW, PITCH, ROLL = 45.0, 25.0, 30.0  # largest angles, degrees

SKINS: tuple[Tone, ...] = (
    (252, 224, 203), (244, 205, 176), (233, 185, 148), (214, 160, 120), (184, 128, 92), (146, 98, 68), (108, 70, 48),
    (88, 58, 44),
)
HAIRS: tuple[Tone, ...] = (
    (22, 20, 24), (46, 32, 24), (84, 54, 34), (128, 84, 48), (190, 148, 88), (226, 198, 138), (150, 66, 34),
    (140, 140, 144), (214, 214, 214),
)
IRISES: tuple[Tone, ...] = ((70, 42, 22), (96, 62, 30), (62, 104, 150), (88, 138, 96), (104, 118, 126))
LIPS: tuple[Tone, ...] = ((196, 92, 92), (168, 60, 72), (206, 124, 112), (136, 40, 70))


@dataclass(frozen=True)
class Looks:
    """Colours, hair and clothes of a person; `gaze` is the offset of the irises in head units."""

    skin: Tone
    hair: Tone
    brow: Tone
    lips: Tone
    iris: Tone
    cloth: Tone
    brow_thickness: float
    hair_style: Hair
    beard: Beard
    glasses: Glasses
    gaze: tuple[float, float]
    freckles: bool


@dataclass(frozen=True)
class Cover:
    """Object in front of the face, centred at `place` in head units, rotated by `angle` degrees."""

    kind: CoverKind
    place: tuple[float, float]
    size: float
    angle: float
    tone: Tone
    stripe: Tone


@dataclass(frozen=True)
class Photo:
    """Light (direction to the lamp in camera axes) and camera: gain per channel, gamma, blur, noise, JPEG quality."""

    lamp: tuple[float, float, float]
    ambient: float
    gain: Tone
    gamma: float
    blur: float
    noise: float
    quality: int
    grey: bool


@dataclass(frozen=True)
class Scene:
    """Complete description of a picture; the same scene gives the same pixels. `grain` is the seed of textures."""

    size: int
    identity: Identity
    expression: Expression
    pose: Pose
    looks: Looks
    photo: Photo
    backdrop: Backdrop
    cover: Cover | None
    grain: int


def random_scene(rng: Rng, size: int) -> Scene:
    """Random scene for a `size`×`size` picture."""
    identity, expression = random_identity(rng), random_expression(rng)
    looks = random_looks(rng)
    return Scene(
        size=size,
        identity=identity,
        expression=expression,
        pose=random_pose(rng, size, identity, expression),
        looks=looks,
        photo=random_photo(rng),
        backdrop=_pick(rng, get_args(Backdrop)),
        cover=random_cover(rng, looks) if rng.random() < 0.3 else None,
        grain=int(rng.integers(2**32)),
    )


def random_identity(rng: Rng) -> Identity:
    """Random person; every trait is uniform within plausible limits."""
    return Identity(**{trait.name: rng.uniform(*trait.metadata["limits"]) for trait in fields(Identity)})


def random_expression(rng: Rng) -> Expression:
    """Random expression; half of the mouths are closed, most eyes are open."""
    lids = rng.uniform(-0.25, 0.35)
    winks = rng.random(2) < 0.08
    shut = rng.random() < 0.07
    left, right = (1.0 if shut or wink else lids + rng.normal(0, 0.03) for wink in winks)
    brows = rng.uniform(-0.4, 1.0)
    return Expression(
        jaw_drop=float(rng.beta(1.2, 2.0)) if rng.random() < 0.5 else 0.0,
        smile=rng.uniform(-0.6, 1.0),
        pucker=rng.uniform(0.2, 1.0) if rng.random() < 0.12 else 0.0,
        mouth_shift=rng.normal(0, 0.4),
        eyes_closed=(left, right),
        brows_raised=(brows + rng.normal(0, 0.15), brows + rng.normal(0, 0.15)),
        frown=rng.uniform(0, 1) if rng.random() < 0.3 else 0.0,
    )


def random_pose(rng: Rng, size: int, identity: Identity, expression: Expression) -> Pose:
    """Random pose; the landmarks are inside the picture and fill 35 to 75 % of its side."""
    rotated = Pose(
        yaw=YAW * (2 * rng.beta(2, 2) - 1),
        pitch=PITCH * (2 * rng.beta(2, 2) - 1),
        roll=ROLL * (2 * rng.beta(2, 2) - 1),
        centre=(0.0, 0.0),
        scale=1.0,
        distance=rng.uniform(6, 20),
    )
    x0, y0, x1, y1 = tight_box(view_head(make_head(identity, expression), rotated).points)
    scale = size * rng.uniform(0.35, 0.75) / max(x1 - x0, y1 - y0)
    # The box is anywhere in the picture except in a margin of a twentieth on each side.
    free_x, free_y = (size * 0.9 - (x1 - x0) * scale), (size * 0.9 - (y1 - y0) * scale)
    left = size * 0.05 + free_x * rng.beta(2, 2)
    top = size * 0.05 + free_y * rng.beta(2, 2)
    centre = (left - x0 * scale, top - y0 * scale)
    return Pose(rotated.yaw, rotated.pitch, rotated.roll, centre, scale, rotated.distance)


def random_looks(rng: Rng) -> Looks:
    """Random colours, hair and clothes."""
    position = rng.uniform(0, len(SKINS) - 1)
    skin = mixed(SKINS[int(position)], SKINS[int(position) + 1], position % 1)
    hair = tinted(_pick(rng, HAIRS), rng.uniform(0.8, 1.2))
    return Looks(
        skin=skin,
        hair=hair,
        brow=mixed(tinted(hair, 0.75), tinted(skin, 0.5), rng.uniform(0, 0.5)),
        lips=mixed(tinted(skin, 0.85), _pick(rng, LIPS), rng.uniform(0.25, 0.9)),
        iris=tinted(_pick(rng, IRISES), rng.uniform(0.8, 1.2)),
        cloth=random_tone(rng),
        brow_thickness=rng.uniform(0.05, 0.13),
        hair_style=_pick(rng, get_args(Hair)),
        beard=_pick(rng, get_args(Beard)) if rng.random() < 0.35 else "none",
        glasses=_pick(rng, ("clear", "clear", "dark")) if rng.random() < 0.22 else "none",
        gaze=(rng.uniform(-0.06, 0.06), rng.uniform(-0.02, 0.03)),
        freckles=bool(rng.random() < 0.1),
    )


def random_cover(rng: Rng, looks: Looks) -> Cover:
    """Random cover; hands have the colour of the face, other covers any colour."""
    kind: CoverKind = _pick(rng, get_args(CoverKind))
    return Cover(
        kind=kind,
        place=(rng.uniform(-0.9, 0.9), rng.uniform(-0.3, 1.4)),
        size=rng.uniform(0.5, 1.0),
        angle=rng.uniform(-180, 180),
        tone=tinted(looks.skin, rng.uniform(0.85, 1.05)) if kind == "hand" else random_tone(rng),
        stripe=random_tone(rng),
    )


def random_photo(rng: Rng) -> Photo:
    """Random light and camera; one picture in twelve is grey."""
    lamp = np.array([rng.uniform(-1, 1), rng.uniform(-1.0, 0.4), rng.uniform(0.3, 1.0)])
    x, y, z = (lamp / np.linalg.norm(lamp)).tolist()
    red, green, blue = (rng.uniform(0.85, 1.25) * rng.uniform(0.9, 1.1, 3)).tolist()
    return Photo(
        lamp=(x, y, z),
        ambient=rng.uniform(0.45, 0.9),
        gain=(red, green, blue),
        gamma=rng.uniform(0.7, 1.2),
        blur=rng.uniform(0.4, 1.6) if rng.random() < 0.35 else 0.0,
        noise=rng.uniform(0.5, 6),
        quality=int(rng.integers(35, 96)),
        grey=bool(rng.random() < 1 / 12),
    )


def random_tone(rng: Rng) -> Tone:
    """Random colour of moderate saturation: halfway between a uniform colour and its grey."""
    colour = rng.uniform(20, 240, 3)
    red, green, blue = ((colour + colour.mean()) / 2).tolist()
    return (red, green, blue)


def _pick(rng: Rng, choices: tuple[Choice, ...]) -> Choice:
    return choices[int(rng.integers(len(choices)))]
