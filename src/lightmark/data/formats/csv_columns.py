"""What the columns of a wide CSV table mean: by its header, which is refused where it is not understood.

Understood are, in any order and case:

- the picture's file name: a column called so (file, filename, image …), or else the first;
- points numbered from 0 or 1, x and y together or apart: x0, y0, x1, y1 … or x0, x1 …, y0, y1 …, also x_0, 0_x, p0_x;
- named points: left_eye_x, left_eye_y …, in the order in which they come first;
- the numbers of the columns, 0, 1, 2 … (YouTube Faces keypoints), and no header at all: x, y of each point in turn;
- a box: four columns called box_x0 …, x_min …, left, top, right, bottom, or left, top, width, height;
- what `lightmark detect` writes besides: face, confidence and expected errors, which are no labels and passed over.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lightmark.errors import DataError, NoLabelsError

NAMES = ("file", "filename", "file_name", "image", "image_name", "image_path", "img", "name", "path", "picture")
PASSED_OVER = re.compile(r"face|score|confidence|uncertainty|detector_score|expected_error_?\d*")
# Corners, or a corner and the extent.
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
_SHOWN = 5  # columns that an error lists


@dataclass(frozen=True)
class Columns:
    """Where a table of `count` columns has its parts: `points` holds the columns of x and y of each point.

    `box` holds the four columns of a box, its corners or, without `corners`, a corner and the extent.
    """

    count: int
    name: int
    points: tuple[tuple[int, int], ...]
    box: tuple[int, int, int, int] | None = None
    corners: bool = True


def read_header(where: str, cells: Sequence[str]) -> Columns | None:
    """The columns of a table whose first row is `cells`; None where that row is no header but a face.

    Raises `DataError` naming the columns that are not understood.
    """
    words = [re.sub(r"[\s.\-\[\]()]+", "_", cell.strip().lower()).strip("_") for cell in cells]
    numbers = [cell.strip() for cell in cells[1:]]
    if _all_numbers(numbers):
        header = _is_count(numbers) and "." not in cells[0]  # a file's name has a point
        return columns_in_turn(where, len(cells)) if header else None
    rest = dict(enumerate(words))
    name = next((i for i, word in rest.items() if word in NAMES), 0)
    del rest[name]
    points = _points(where, rest)
    for column in [column for point in points for column in point]:
        del rest[column]
    box, corners = _take_box(rest)
    left = [cells[i] for i, word in rest.items() if not PASSED_OVER.fullmatch(word)]
    if left or not points:
        shown = ", ".join(map(repr, left[:_SHOWN])) + (f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else "")
        wrong = f"columns not understood: {shown}" if left else "no columns of points"
        raise NoLabelsError(
            f"{where}: {wrong}; wanted a file name and "
            "x0, y0, x1, y1 … (or x0, x1 …, y0, y1 …), a box if there is one; is this a table of landmarks?"
        )
    return Columns(len(cells), name, points, box, corners)


def columns_in_turn(where: str, count: int) -> Columns:
    """Columns of a table without names: the file's, then x and y of each point; raises `DataError` for an odd one."""
    if count < 3 or count % 2 == 0:
        raise NoLabelsError(
            f"{where}: got {count} columns, wanted a file name and x, y of each point, so an odd number from 3 on; is "
            "this a table of landmarks?"
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


def _points(where: str, words: dict[int, str]) -> tuple[tuple[int, int], ...]:
    """The columns of x and y of each point, numbered ones by their number, or named ones as they come."""
    found: dict[str, dict[str, int]] = {}
    numbered = {i: match for i, word in words.items() if (match := _NUMBERED.fullmatch(word))}
    in_box = {i for names, _ in BOXES for i, word in words.items() if word in names}
    named = {i: match for i, word in words.items() if i not in in_box and (match := _NAMED.fullmatch(word))}
    for i, match in (numbered or named).items():
        axis, key = match["axis"] or match["axis_behind"], match["key"] or match["key_before"]
        key = str(int(key)) if numbered else key
        if axis in found.setdefault(key, {}):
            raise DataError(f"{where}: two columns are {axis} of point {key}; take one out")
        found[key][axis] = i
    lone = [key for key, axes in found.items() if len(axes) < 2]
    if lone:
        axis = next(iter(found[lone[0]]))
        raise DataError(f"{where}: point {lone[0]} has {axis} alone; wanted x and y of each point")
    keys = sorted(found, key=int) if numbered else list(found)
    if numbered and [int(key) for key in keys] not in [[i + first for i in range(len(keys))] for first in (0, 1)]:
        first = ", ".join(keys[:3])
        raise DataError(f"{where}: points are numbered {first} … {keys[-1]}; wanted 0, 1, 2 … or 1, 2, 3 …")
    return tuple((found[key]["x"], found[key]["y"]) for key in keys)


def _take_box(rest: dict[int, str]) -> tuple[tuple[int, int, int, int] | None, bool]:
    """The columns of a box, taken out of `rest`, and whether they are its corners."""
    by_name = {word: i for i, word in rest.items()}
    for names, corners in BOXES:
        if all(name in by_name for name in names):
            x0, y0, x1, y1 = (by_name[name] for name in names)
            for i in (x0, y0, x1, y1):
                del rest[i]
            return (x0, y0, x1, y1), corners
    return None, True
