"""`.pts` files, one per face: 300W, 300-VW, HELEN, 300W-LP, SCUT-FBP5500 and your own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lightmark.data.left_out import LeftOut, leaving_out
from lightmark.data.missing import UNLABELLED, is_unlabelled, missing_as_nan
from lightmark.data.pictures import pictures_beside
from lightmark.data.sample import Sample
from lightmark.data.schema_choice import schema_for
from lightmark.data.subsets import photo_of, subsets_of
from lightmark.data.video_frame import VideoFrame, videos_among
from lightmark.errors import DataError, reader
from lightmark.geometry import Array, Floats, labelled, tight_box
from lightmark.schema import Schema


@reader("a .pts file")
def read_pts(path: str | Path) -> Array:
    """Read the points (N, 2) of a `.pts` file, in pixels from 0; the file counts pixels from 1.

    The header (`version:`, `n_points:`, braces) may be missing, since both kinds of files circulate. A line `-1 -1`,
    `0 0` or `nan nan` is a missing point, returned as NaN. Raises `DataError` naming the line for anything else, and if
    n_points is not the number of points.
    """
    points: list[tuple[float, float]] = []
    declared: tuple[int, int] | None = None
    for number, line in enumerate(_read_lines(Path(path)), start=1):
        text = line.strip()
        if text.startswith("n_points"):
            declared = number, _declared_count(path, number, text)
        elif text and text not in "{}" and not text.startswith("version"):
            points.append(_point(path, number, text))
    if not points:
        raise DataError(f"{path}: no points; expected a line `x y` a point; is the file cut or empty?")
    if declared and declared[1] != len(points):
        raise DataError(
            f"{path}: line {declared[0]}: n_points is {declared[1]}, but {len(points)} points follow; "
            "the file is cut or was edited: fetch it again or correct the line"
        )
    return missing_as_nan(np.array(points, dtype=np.float64)) - 1


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a .pts text file: {error}") from error


def _declared_count(path: str | Path, number: int, text: str) -> int:
    try:
        return int(text.partition(":")[2])
    except ValueError:
        raise DataError(f"{path}: line {number}: got {text!r}, expected `n_points: 68` with a whole number") from None


def _point(path: str | Path, number: int, text: str) -> tuple[float, float]:
    try:
        x, y = (float(field) for field in text.split())
    except ValueError:
        raise DataError(
            f"{path}: line {number}: got {text!r}, expected two numbers `x y` with decimal points and a space between; "
            "correct the line or take the file out of the folder"
        ) from None
    return x, y


def format_pts(points: Floats) -> str:
    """Text of a `.pts` file for `points` (N, 2) in pixels from 0, rounded to a millionth of a pixel.

    A missing point is written `-1 -1`.

    >>> print(format_pts(np.zeros((1, 2))), end="")
    version: 1
    n_points: 1
    {
    1.000000 1.000000
    }
    """
    mask = labelled(points)
    numbers = np.round(points + 1, 6)
    numbers[~mask] = UNLABELLED[0]
    numbers[mask & is_unlabelled(numbers), 0] += 1e-6  # a labelled point at -1 -1 must not be read as a missing one
    lines = "".join(f"{x:.6f} {y:.6f}\n" for x, y in numbers)
    return f"version: 1\nn_points: {len(points)}\n{{\n{lines}}}\n"


def read_pts_tree(root: str | Path, schema: Schema | None = None, left_out: LeftOut | None = None) -> list[Sample]:
    """Read the faces of all `.pts` files in `root` and below, sorted by path, each with its picture.

    That is the picture beside it, or the one in a folder of pictures (`pictures_beside`). For 300-VW, whose labels are
    annot/000001.pts …, it is the frame of that number, from 1, of the video beside annot/.

    The default `schema` depends on the number of points of each file: IBUG68, WFLW98 and COFW29 for 68, 98 and 29,
    otherwise a plain schema. A face without a picture is returned too, so that `check` can count it; loading its
    picture raises an error. Raises `DataError` if there is no `.pts` file, and for a file that cannot be read or does
    not fit `schema`; with `left_out` the message is added there instead.
    """
    samples, videos = [], _Videos()
    for file, picture in pictures_beside(_pts_files(Path(root))).items():
        with leaving_out(left_out):
            samples.append(_sample(file, picture, schema, videos.frame_of(file, picture)))
    return samples


class _Videos:
    """Videos beside the folders annot/ of 300-VW, each folder listed once."""

    def __init__(self) -> None:
        self._videos: dict[Path, list[Path]] = {}

    def frame_of(self, file: Path, picture: Path) -> VideoFrame | None:
        """Frame that a label file in annot/ is for; None elsewhere, and where `picture` exists."""
        if file.parent.name.lower() != "annot" or not file.stem.isdigit() or picture.is_file():
            return None
        folder = file.parents[1]
        if folder not in self._videos:
            self._videos[folder] = videos_among(folder.iterdir())
        videos = self._videos[folder]
        return VideoFrame(videos[0], int(file.stem) - 1) if len(videos) == 1 else None


def _pts_files(root: Path) -> list[Path]:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected one with .pts files in it or below")
    # Files that macOS adds to archives begin with a dot and are no labels.
    files = sorted(file for file in root.rglob("*") if file.suffix.lower() == ".pts" and not file.name.startswith("."))
    if not files:
        raise DataError(f"{root}: no .pts file in this folder or below; was the archive unpacked here?")
    return files


def _sample(file: Path, picture: Path, schema: Schema | None, frame: VideoFrame | None) -> Sample:
    points = read_pts(file)
    # All frames of a video are one photograph, called as the folder of the video: they show one person.
    place = (file.parent if frame is not None else picture if picture.is_file() else file).resolve()
    return Sample(
        path=picture if frame is None else frame.path,
        points=points,
        box=tight_box(points),
        schema=schema_for(len(points), schema, file),
        photo=photo_of(place) if frame is None else f"{place.parents[1].name}/{place.parent.name}",
        subsets=subsets_of(place),
        member=frame,
    )
