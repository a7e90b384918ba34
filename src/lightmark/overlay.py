"""Overlay: faces drawn on a picture in styles, readable on bright and dark skin and on small faces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from lightmark.anonymise import Part, anonymised, require_part
from lightmark.draw import FAR, SHIFT, Colour
from lightmark.errors import ConfigError
from lightmark.face import Face
from lightmark.geometry import Array, Floats, box_centre, crop_matrix, finite, rotation_matrix, tight_box, transform
from lightmark.image import Picture, require_image, warp
from lightmark.pose import knows_pose
from lightmark.schema import Schema

Style = Literal["box", "filled", "mesh", "lines", "points", "axes", "eyes"]
DEFAULT_STYLES: tuple[Style, ...] = ("box", "lines", "points")

# The page draws with the same colours and widths (web/src/page/drawing.ts).
BOX_COLOUR: Colour = (255, 255, 255)
PLAIN: Colour = (74, 222, 128)
COLOURS: dict[str, Colour] = {
    "jaw": (94, 234, 212),
    "brows": (253, 224, 71),
    "nose": (134, 239, 172),
    "eyes": (125, 211, 252),
    "mouth": (253, 164, 175),
}
MESH: Colour = (219, 234, 254)
AXES: tuple[Colour, ...] = ((248, 113, 113), (74, 222, 128), (96, 165, 250))
OPEN_EYE, CLOSED_EYE = PLAIN, AXES[0]
HALO: Colour = (0, 0, 0)
HALO_ALPHA = 0.45
THINNEST, THICKEST = 0.7, 50.0  # pixels of a stroke: still visible; also for outlier points very far apart
SIZE = 768  # pixels a side of the drawn picture: enlarges a face of 80 px enough to judge each point
MARGIN = 1.8  # side of the drawn square relative to the box of all faces


def draw_faces(image: Picture, faces: Sequence[Face], styles: Sequence[Style] = DEFAULT_STYLES) -> Picture:
    """Square crop of `image` around all `faces` (at least one), drawn in `styles`."""
    everything = np.concatenate([np.concatenate([face.points, face.box.reshape(2, 2)]) for face in faces])
    matrix = crop_matrix(tight_box(everything), SIZE, MARGIN)
    canvas = warp(image, matrix, SIZE)
    for face in faces:
        box = transform(matrix, face.box.reshape(2, 2)).ravel()
        draw_face(canvas, Face(transform(matrix, face.points), box, face.schema), styles)
    return canvas


def draw_faces_in_place(image: Picture, faces: Sequence[Face], styles: Sequence[Style] = DEFAULT_STYLES) -> Picture:
    """Copy of the full `image` with `faces` drawn in `styles`; unchanged without faces."""
    canvas = require_image(image).copy()
    for face in faces:
        draw_face(canvas, face, styles)
    return canvas


def overlaid(
    image: Picture, faces: Sequence[Face], styles: Sequence[Style] | None = None, part: Part | None = None
) -> Picture:
    """Copy of `image` with `part` of the `faces` blurred, then the faces drawn in `styles`.

    `styles` are those of `styles_shown`.
    """
    shown = styles_shown(styles, part)
    return draw_faces_in_place(image if part is None else anonymised(image, faces, part), faces, shown)


def styles_shown(styles: Sequence[Style] | None, part: Part | None) -> Sequence[Style]:
    """`styles`; if None `DEFAULT_STYLES`, and none where `part` is blurred: landmarks are a person's own."""
    if styles is None:
        return DEFAULT_STYLES if part is None else ()
    return styles


def draw_face(canvas: Picture, face: Face, styles: Sequence[Style], colour: Colour | None = None) -> None:
    """Draw `face` on `canvas` itself; `colour` replaces those of the groups of points.

    Strokes scale with the face. Points that are not finite are skipped, with their lines.
    """
    extent = tight_box(np.concatenate([face.points[finite(face.points)], face.box.reshape(2, 2)]))
    pen = _open_pen(canvas.shape[:2], extent)
    if pen is None:
        return
    for style, draw in STYLES.items():
        if style in styles:
            draw(pen, face, colour)
    pen.lay(canvas)


def require_drawable(schema: Schema, styles: Sequence[Style] | None = None, part: Part | None = None) -> None:
    """Raise `ConfigError` for a style, or a part of the face to blur, that points of `schema` do not show."""
    require_part(part, schema)
    for style in {"axes", "eyes"} & set(styles or ()):
        if not knows_pose(schema):
            raise ConfigError(
                f"style {style}: needs the head's pose, which {schema.name} does not give; ibug68 and wflw98 do"
            )


@dataclass(frozen=True, eq=False)
class _Pen:
    """Transparent layer over the part of a picture around one face, `zoom` times as fine, for strokes below a pixel.

    `layer` (H, W, 4) is RGBA with colours multiplied by coverage: it shrinks by averaging, and antialiasing towards a
    colour multiplied by its alpha is right. What is drawn later replaces what is below it. `corner` is the picture's
    pixel at its top left, `stroke` the width of a line in pixels of the picture.
    """

    layer: NDArray[np.uint8]
    corner: Array
    zoom: int
    stroke: float

    def line(self, paths: Sequence[Floats], colour: Colour, width: float) -> None:
        """Draw the `paths`, each (K, 2), `width` strokes wide in `colour` on a darker edge."""
        fixed = [self._fixed(path) for path in paths if len(path) > 1]
        for tone, alpha, edge in ((HALO, HALO_ALPHA, 1.0), (colour, 1.0, 0.0)):
            thickness = max(1, round(self.stroke * (width + edge) * self.zoom))
            cv2.polylines(self.layer, fixed, False, _rgba(tone, alpha), thickness, cv2.LINE_AA, SHIFT)

    def discs(self, points: Floats, colours: Sequence[Colour], radius: float) -> None:
        """Draw a disc of `radius` strokes at each of `points` (K, 2) on a darker edge."""
        centres = self._fixed(points).tolist()
        for edge, tones in ((0.4, [HALO] * len(centres)), (0.0, colours)):
            size = round(self.stroke * (radius + edge) * self.zoom * 2**SHIFT)
            for centre, tone in zip(centres, tones, strict=True):
                rgba = _rgba(tone, HALO_ALPHA if edge else 1.0)
                cv2.circle(self.layer, centre, size, rgba, cv2.FILLED, cv2.LINE_AA, SHIFT)

    def fill(self, outlines: Sequence[Floats], colour: Colour, alpha: float) -> None:
        """Fill the closed `outlines`, each (K, 2); what lies in two of them stays free, as the mouth within lips."""
        fixed = [self._fixed(outline) for outline in outlines if len(outline) > 2]
        cv2.fillPoly(self.layer, fixed, _rgba(colour, alpha), cv2.LINE_AA, SHIFT)

    def lay(self, canvas: Picture) -> None:
        """Blend the layer into `canvas`."""
        height, width = (side // self.zoom for side in self.layer.shape[:2])
        small = np.asarray(cv2.resize(self.layer, (width, height), interpolation=cv2.INTER_AREA))
        x, y = self.corner.astype(int)
        part, drawn = canvas[y : y + height, x : x + width], small[..., 3] > 0
        over = small[drawn].astype(np.float32)
        part[drawn] = np.rint(part[drawn] * (1 - over[:, 3:] / 255) + over[:, :3]).astype(np.uint8)

    def _fixed(self, points: Floats) -> NDArray[np.int32]:
        """Fixed-point pixels of the layer: pixel centres are at integers in both."""
        places = (np.clip(points, -FAR, FAR) - self.corner + 0.5) * self.zoom - 0.5
        fixed: NDArray[np.int32] = np.rint(places * 2**SHIFT).astype(np.int32)
        return fixed


def _open_pen(shape: Sequence[int], extent: Array) -> _Pen | None:
    """Pen over `extent` (4,), the box of a face, in a picture of `shape`; None where it lies outside."""
    size = float(min(max(extent[2:] - extent[:2]), FAR))
    # A face of 160 px gets lines of 1 px.
    stroke = min(max(THINNEST, size / 160), THICKEST)
    zoom = 4 if size < 150 else 2 if size < 500 else 1
    limit = np.array(shape[1::-1])
    low = np.clip(np.floor(extent[:2] - 4 * stroke - 2), 0, limit).astype(int)
    high = np.clip(np.ceil(extent[2:] + 4 * stroke + 3), 0, limit).astype(int)
    if (high <= low).any():
        return None
    width, height = ((high - low) * zoom).tolist()
    return _Pen(np.zeros((height, width, 4), np.uint8), low.astype(np.float64), zoom, stroke)


def _rgba(colour: Colour, alpha: float) -> tuple[float, float, float, float]:
    red, green, blue = colour
    return red * alpha, green * alpha, blue * alpha, 255 * alpha


def point_colours(schema: Schema) -> list[Colour]:
    """Colour of each point, by its group."""
    colours = [PLAIN] * schema.size
    for group, members in schema.groups.items():
        for index in members:
            colours[index] = COLOURS.get(group, PLAIN)
    return colours


def chains(schema: Schema) -> list[list[int]]:
    """Edges of `schema` joined to lines of point indices; a closed line ends with its first point.

    >>> chains(Schema("three", mirror=(1, 0, 2), normaliser=(0, 1), edges=((0, 1), (1, 2), (2, 0))))
    [[0, 1, 2, 0]]
    """
    lines: list[list[int]] = []
    for start, end in schema.edges:
        if lines and lines[-1][-1] == start and lines[-1][0] != start:
            lines[-1].append(end)
        else:
            lines.append([start, end])
    return lines


def _draw_box(pen: _Pen, face: Face, colour: Colour | None) -> None:
    """Corners of the box: its sides would cross the face's own lines."""
    x0, y0, x1, y1 = face.box
    arm = min(x1 - x0, y1 - y0) / 5
    corners = [(x0, y0, 1, 1), (x1, y0, -1, 1), (x1, y1, -1, -1), (x0, y1, 1, -1)]
    paths = [np.array([[x + dx * arm, y], [x, y], [x, y + dy * arm]]) for x, y, dx, dy in corners]
    pen.line(paths, colour or BOX_COLOUR, 1.2)


def _draw_filled(pen: _Pen, face: Face, colour: Colour | None) -> None:
    """The whole face, then brows, nose, eyes and lips, each in a translucent colour."""
    points, schema = face.points, face.schema
    known = finite(points)
    pen.fill([_hull(points[known])], colour or COLOURS["jaw"], 0.16)
    lines = [line for line in chains(schema) if known[line].all()]
    for group, members in schema.groups.items():
        own = [line for line in lines if line[0] in members]
        outlines = [points[line] for line in own if line[0] == line[-1]]
        if not outlines and group != "jaw":
            open_lines = own if group == "brows" else [list(members)]
            outlines = [_hull(points[line]) for line in open_lines if known[line].all()]
        pen.fill(outlines, colour or COLOURS.get(group, PLAIN), 0.55)


def _hull(points: Floats) -> Array:
    """Convex hull (K, 2) of `points` (N, 2)."""
    if len(points) < 3:
        return np.asarray(points, dtype=np.float64)
    return np.asarray(cv2.convexHull(points.astype(np.float32)), dtype=np.float64).reshape(-1, 2)


def _draw_mesh(pen: _Pen, face: Face, colour: Colour | None) -> None:
    """Delaunay triangles between the points."""
    points = face.points[finite(face.points)].astype(np.float32)
    low, high = np.floor(points.min(axis=0)) - 1, np.ceil(points.max(axis=0)) + 2
    if len(points) < 3 or (high - low).max() > FAR:
        return
    mesh = cv2.Subdiv2D((*map(int, low), *map(int, high - low)))
    for point in points.tolist():
        mesh.insert(point)
    ends: NDArray[Any] = np.asarray(mesh.getEdgeList()).reshape(-1, 2, 2)
    real = ((ends >= low) & (ends < high)).all(axis=(1, 2))  # the triangulation has three corners far outside
    pen.line(list(ends[real]), colour or MESH, 0.4)


def _draw_lines(pen: _Pen, face: Face, colour: Colour | None) -> None:
    colours, known = point_colours(face.schema), finite(face.points)
    for line in chains(face.schema):
        edges = [face.points[list(edge)] for edge in pairwise(line) if known[list(edge)].all()]
        paths = [face.points[line]] if len(edges) == len(line) - 1 else edges
        pen.line(paths, colour or colours[line[0]], 0.8)


def _draw_points(pen: _Pen, face: Face, colour: Colour | None) -> None:
    known = np.flatnonzero(finite(face.points))
    colours = [colour] * face.schema.size if colour else point_colours(face.schema)
    pen.discs(face.points[known], [colours[index] for index in known], 1.25)


def _draw_axes(pen: _Pen, face: Face, _colour: Colour | None) -> None:
    """Axes from the middle of the face: to the person's left, upwards, and where it looks."""
    if face.pose is None:
        return
    extent = tight_box(face.points)
    middle, length = box_centre(extent), 0.45 * float(max(extent[2:] - extent[:2]))
    axes = rotation_matrix(face.pose.yaw, face.pose.pitch, face.pose.roll) * [1, -1, 1]
    for index in np.argsort(axes[2]):  # what points at the viewer comes last
        end = middle + length * axes[:2, index]
        pen.line([np.stack([middle, end])], AXES[index], 1.8)
        pen.discs(end[None], [AXES[index]], 2.0)


def _draw_eyes(pen: _Pen, face: Face, colour: Colour | None) -> None:
    """Eyelids in the colour of open or closed, and below each eye a bar as long as it is open."""
    if face.eye_openness is None or face.eyes_closed is None:
        return
    lids = [line for line in chains(face.schema) if line[0] in face.schema.groups["eyes"] and line[0] == line[-1]]
    # The schemas begin with the eye on the picture's left, the person's right, and each eye at its corner on the left.
    state = (face.eyes_closed.right, face.eyes_closed.left), (face.eye_openness.right, face.eye_openness.left)
    for line, closed, openness in zip(lids, *state, strict=True):
        tone, eye = CLOSED_EYE if closed else OPEN_EYE, face.points[line[:-1]]
        pen.fill([eye], tone, 0.35)
        pen.line([face.points[line]], tone, 0.8)
        across = eye[len(eye) // 2] - eye[0]
        start = eye.mean(axis=0) - across / 2 + 0.55 * np.array([-across[1], across[0]])
        pen.line([np.stack([start, start + across])], HALO, 2.0)
        pen.line([np.stack([start, start + openness * across])], tone, 2.0)


Draw: TypeAlias = Callable[[_Pen, Face, "Colour | None"], None]
STYLES: dict[Style, Draw] = {  # from the bottom to the top
    "box": _draw_box,
    "filled": _draw_filled,
    "mesh": _draw_mesh,
    "lines": _draw_lines,
    "points": _draw_points,
    "axes": _draw_axes,
    "eyes": _draw_eyes,
}
