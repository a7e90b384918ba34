"""Columns of a wide CSV table of landmarks, identified by its header.

A header may have, in any order and case:

- the file name of the picture: a column called file, filename, image …, otherwise the first column;
- points numbered from 0 or 1: x0, y0, x1, y1 … or x0, x1 …, y0, y1 …, also x_0, 0_x, p0_x;
- named points: left_eye_x, left_eye_y …, in the order of their first columns;
- column numbers 0, 1, 2 … (YouTube Faces keypoints) or no header: file name, then x and y of each point;
- a box: four columns called box_x0 …, x_min …, left, top, right, bottom, or left, top, width, height;
- other columns that `lightmark detect` writes (face, confidence, expected errors), which are ignored.

A header with any other column is refused, since a table of something else may look like landmarks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lightmark.errors import DataError, NoLabelsError

NAMES = ("file", "filename", "file_name", "image", "image_name", "image_path", "img", "name", "path", "picture")
IGNORED = re.compile(r"face|score|confidence|uncertainty|detector_score|expected_error_?\d*")
# Names of a box's columns, and whether they are two corners or one corner and the size.
BOXES: tuple[tuple[tuple[str, str, str, str], bool], ...] = (
    (("box_x0", "box_y0", "box_x1", "box_y1"), True),
    (("x_min", "y_min", "x_max", "y_max"), True),
    (("xmin", "ymin", "xmax", "ymax"), True),
    (("left", "top", "right", "bottom"), True),
    (("left", "top", "width", "height"), False),
    (("box_x", "box_y", "box_w", "box_h"), False),
    (("bbox_x", "bbox_y", "bbox_w", "bbox_h"), False),
    (("x", "y", "w", "h"), False),
    (("x", "y", "width", "height"), False),
)
_NUMBERED = re.compile(
    r"(?:p|pt|point|lm|landmark)?_?(?:(?P<axis>[xy])_?(?P<key>\d{1,4})|(?P<key_before>\d{1,4})_?(?P<axis_behind>[xy]))"
)
_NAMED = re.compile(r"(?P<key_before>.+)_(?P<axis_behind>[xy])|(?P<axis>[xy])_(?P<key>.+)")
_MOST_LISTED = 5  # columns in an error message


@dataclass(frozen=True)
class Columns:
    """Indices of the columns of a table: `count` columns, the file name's, and x and y of each point.

    `box` is the columns of a box: its `corners`, or one corner and the size. `point_names` is empty if the points are
    numbered.
    """

    count: int
    name: int
    points: tuple[tuple[int, int], ...]
    box: tuple[int, int, int, int] | None = None
    corners: bool = True
    point_names: tuple[str, ...] = ()


def read_header(where: str, cells: Sequence[str]) -> Columns | None:
    """Columns of a table whose first row is `cells`; None if that row is a face instead of a header.

    Raises `DataError` naming the unknown columns.
    """
    words = [re.sub(r"[\s.\-\[\]()]+", "_", cell.strip().lower()).strip("_") for cell in cells]
    numbers = [cell.strip() for cell in cells[1:]]
    if _all_numbers(numbers):
        header = _is_count(numbers) and "." not in cells[0]  # a picture's file name has a suffix
        return columns_in_turn(where, len(cells)) if header else None
    rest = dict(enumerate(words))
    name = next((i for i, word in rest.items() if word in NAMES), 0)
    del rest[name]
    point_names, points = _points(where, rest)
    for column in [column for point in points for column in point]:
        del rest[column]
    box, corners = _take_box(rest)
    unknown = [cells[i] for i, word in rest.items() if not IGNORED.fullmatch(word)]
    if unknown or not points:
        more = f" and {len(unknown) - _MOST_LISTED} more" if len(unknown) > _MOST_LISTED else ""
        listed = ", ".join(map(repr, unknown[:_MOST_LISTED])) + more
        fault = f"columns not understood: {listed}" if unknown else "no columns of points"
        raise NoLabelsError(
            f"{where}: {fault}; expected a file name and "
            "x0, y0, x1, y1 … (or x0, x1 …, y0, y1 …), a box if there is one; is this a table of landmarks?"
        )
    return Columns(len(cells), name, points, box, corners, point_names)


def columns_in_turn(where: str, count: int) -> Columns:
    """Columns of a table without names: file name, then x and y of each point; raises `DataError` for an odd count."""
    if count < 3 or count % 2 == 0:
        raise NoLabelsError(
            f"{where}: got {count} columns, expected a file name and x, y of each point, so an odd number from 3 on; "
            "is this a table of landmarks?"
        )
    return Columns(count, 0, tuple((i, i + 1) for i in range(1, count, 2)))


def _all_numbers(cells: Sequence[str]) -> bool:
    try:
        return bool([float(cell or "nan") for cell in cells])
    except ValueError:
        return False


def _is_count(words: Sequence[str]) -> bool:
    """Whether `words` are 0, 1, 2 … or 1, 2, 3 …"""
    return list(words) in [[str(i + first) for i in range(len(words))] for first in (0, 1)]


def _points(where: str, words: dict[int, str]) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...]]:
    """Names, and columns of x and y, of each point: numbered points by number and without names, or in their order."""
    axes_of: dict[str, dict[str, int]] = {}
    numbered = {i: match for i, word in words.items() if (match := _NUMBERED.fullmatch(word))}
    in_box = {i for names, _ in BOXES for i, word in words.items() if word in names}
    named = {i: match for i, word in words.items() if i not in in_box and (match := _NAMED.fullmatch(word))}
    for i, match in (numbered or named).items():
        axis, key = match["axis"] or match["axis_behind"], match["key"] or match["key_before"]
        key = str(int(key)) if numbered else key
        if axis in axes_of.setdefault(key, {}):
            raise DataError(f"{where}: two columns are {axis} of point {key}; take one out")
        axes_of[key][axis] = i
    incomplete = [key for key, axes in axes_of.items() if len(axes) < 2]
    if incomplete:
        axis = next(iter(axes_of[incomplete[0]]))
        raise DataError(f"{where}: point {incomplete[0]} has {axis} alone; expected x and y of each point")
    keys = sorted(axes_of, key=int) if numbered else list(axes_of)
    if numbered and [int(key) for key in keys] not in [[i + first for i in range(len(keys))] for first in (0, 1)]:
        first = ", ".join(keys[:3])
        raise DataError(f"{where}: points are numbered {first} … {keys[-1]}; expected 0, 1, 2 … or 1, 2, 3 …")
    return () if numbered else tuple(keys), tuple((axes_of[key]["x"], axes_of[key]["y"]) for key in keys)


def _take_box(rest: dict[int, str]) -> tuple[tuple[int, int, int, int] | None, bool]:
    """Columns of a box, which are removed from `rest`, and whether they are its corners."""
    by_name = {word: i for i, word in rest.items()}
    for names, corners in BOXES:
        if all(name in by_name for name in names):
            x0, y0, x1, y1 = (by_name[name] for name in names)
            for i in (x0, y0, x1, y1):
                del rest[i]
            return (x0, y0, x1, y1), corners
    return None, True
