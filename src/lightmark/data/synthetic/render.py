"""Rendering of a scene to a labelled picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightmark.data.synthetic.backdrop import paint_backdrop
from lightmark.data.synthetic.cover import paint_cover, paint_glasses
from lightmark.data.synthetic.hair import paint_hair_before
from lightmark.data.synthetic.head import make_head
from lightmark.data.synthetic.paint import blank, finish
from lightmark.data.synthetic.photo import covered, develop, lay, light_on
from lightmark.data.synthetic.portrait import paint_portrait
from lightmark.data.synthetic.scene import Scene
from lightmark.data.synthetic.view import View, view_head
from lightmark.geometry import Array
from lightmark.image import Picture


@dataclass(frozen=True, eq=False)
class Rendering:
    """A picture, its points (68, 2) and the mask (68,) of occluded points."""

    image: Picture
    points: Array
    occluded: NDArray[np.bool_]


def render_scene(scene: Scene) -> Rendering:
    """Render a scene; `scene.grain` is the only seed, with one random stream per part of the picture."""
    streams = [np.random.default_rng([scene.grain, part]) for part in range(4)]
    view = view_scene(scene)
    face, cover = blank(scene.size, scene.size), blank(scene.size, scene.size)
    paint_portrait(face, view, scene.looks, scene.photo, streams[0])
    paint_hair_before(cover, view, scene.looks, streams[1])
    paint_glasses(cover, view, scene.looks)
    if scene.cover is not None:
        paint_cover(cover, view, scene.cover)
    plane = paint_backdrop(scene.backdrop, scene.size, streams[2])
    light, cover_layer = light_on(view, scene.photo, scene.size), finish(cover)
    plane = lay(cover_layer, light, lay(finish(face), light, plane))
    return Rendering(develop(plane, scene.photo, streams[3]), view.points, covered(cover_layer, view.points))


def view_scene(scene: Scene) -> View:
    """Projected head of a scene."""
    return view_head(make_head(scene.identity, scene.expression), scene.pose)
