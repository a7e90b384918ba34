"""dlib reader: the XML files of imglab with a box and named parts for each face.

Format (davisking/dlib, data_io/image_dataset_metadata.h, load_image_dataset.h): dataset/images/image with file, and box
with top, left, width, height and part elements with name, x, y. dlib counts pixels from 0, centres at integers. It
orders parts by their names as text; so do we, but numbers by number, which differs for names without leading zeros.
Boxes with ignore="1" and without parts are skipped, parts that a box lacks are missing points.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element

from lightmark.data.formats.documents import read_xml
from lightmark.data.formats.named_points import NamedFace, named_samples
from lightmark.data.left_out import LeftOut, leaving_out
from lightmark.data.pictures import named_picture
from lightmark.data.sample import Sample
from lightmark.errors import DataError, NoLabelsError, describe_error, reader
from lightmark.schema import Schema


@reader("dlib XML")
def read_dlib(path: str | Path, schema: Schema | None = None, left_out: LeftOut | None = None) -> list[Sample]:
    """Read the faces of a file of dlib's imglab; `DataError` names a broken box, or is added to `left_out`."""
    path = Path(path)
    return dlib_samples(path, read_xml(path), schema, left_out)


def dlib_samples(
    path: Path, root: Element, schema: Schema | None = None, left_out: LeftOut | None = None
) -> list[Sample]:
    """Faces of dlib's XML with the element `root`; raises as `read_dlib` does, `NoLabelsError` for another root."""
    if root.tag != "dataset":
        raise NoLabelsError(f"{path}: root element {root.tag!r}; expected dlib's dataset")
    faces = []
    for image in root.iter("image"):
        for number, box in enumerate(image.findall("box")):
            if box.get("ignore") == "1" or box.find("part") is None:
                continue
            with leaving_out(left_out):
                faces.append(_face(path, image, number, box))
    names = sorted({name for face in faces for name in face.points})
    return named_samples(faces, schema, left_out, names)


def _face(path: Path, image: Element, number: int, box: Element) -> NamedFace:
    where = f"{path}: {image.get('file')}: box {number}"
    try:
        parts = {part.attrib["name"]: (float(part.attrib["x"]), float(part.attrib["y"])) for part in box.iter("part")}
        left, top, width, height = (float(box.attrib[key]) for key in ("left", "top", "width", "height"))
        picture = named_picture(path, image.attrib["file"])
    except (KeyError, ValueError) as error:
        raise DataError(
            f"{where}: {describe_error(error)}; expected left, top, width, height, and parts with name, x, y"
        ) from error
    return NamedFace(where, picture, parts, rect=(left, top, left + width, top + height))
