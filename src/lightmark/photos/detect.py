"""Detection in many pictures, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from lightmark.errors import LightmarkError, WriteError
from lightmark.face import Face
from lightmark.image import Picture
from lightmark.landmarker import Landmarker
from lightmark.photos.inputs import Input
from lightmark.source import to_picture

if TYPE_CHECKING:
    from lightmark.anonymise import Part
    from lightmark.overlay import Style


@dataclass(frozen=True, eq=False)
class Detection:
    """Detected `faces` of the picture of `source`, which has `width`×`height` pixels when upright."""

    source: Input
    width: int
    height: int
    faces: list[Face]

    def to_dict(self, measures: bool = False) -> dict[str, Any]:
        """Plain values for JSON: file, width, height, and the faces as `Face.to_dict` gives them."""
        faces = [face.to_dict((self.width, self.height) if measures else None) for face in self.faces]
        return {"file": self.source.name, "width": self.width, "height": self.height, "faces": faces}


AddPicture: TypeAlias = Callable[[Picture, Detection], None]


def detect_inputs(
    landmarker: Landmarker,
    inputs: Iterable[Input],
    add: Callable[[Detection], None],
    *,
    read_standard_input: Callable[[], bytes],
    max_pixels: int,
    overlays: Sequence[Path] = (),
    styles: Sequence[Style] | None = None,
    anonymise: Part | None = None,
    add_crops: AddPicture | None = None,
) -> list[str]:
    """Detect the faces of each of `inputs` and call `add` with each result; returns a message for each failed input.

    One picture is in memory at a time. `overlays`, none or one per input, are PNG files for the picture with its faces
    drawn in `styles`, and blurred first as `anonymise` says; see `lightmark.overlay.overlaid`. `add_crops` is called
    before `add`, with the picture besides.
    """
    failures = []
    for index, one in enumerate(inputs):
        try:
            picture = _read(one, read_standard_input, max_pixels)
            detection = Detection(one, picture.shape[1], picture.shape[0], landmarker.detect(picture))
            if add_crops is not None:
                add_crops(picture, detection)
            add(detection)
        except WriteError:  # not the fault of this picture: the next result could not be written either
            raise
        except LightmarkError as error:
            failures.append(" ".join(str(error).split()))
            continue
        if overlays:
            from lightmark.draw import write_png
            from lightmark.overlay import overlaid

            write_png(overlaid(picture, detection.faces, styles, anonymise), overlays[index])
    return failures


def _read(one: Input, read_standard_input: Callable[[], bytes], max_pixels: int) -> Picture:
    if one.path is None:
        return to_picture(read_standard_input(), max_pixels, "standard input")
    return to_picture(one.path, max_pixels)
