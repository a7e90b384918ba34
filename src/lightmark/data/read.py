"""Reader of labelled data in any supported format, chosen by the path and the file's contents."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from lightmark.data.formats.coco import read_coco
from lightmark.data.formats.cofw import read_cofw
from lightmark.data.formats.cvat import cvat_samples
from lightmark.data.formats.dlib_xml import dlib_samples
from lightmark.data.formats.documents import read_json, read_xml
from lightmark.data.formats.label_studio import is_label_studio, read_label_studio
from lightmark.data.formats.labelme import is_labelme, labelme_samples
from lightmark.data.formats.numbered_txt import is_numbered, read_numbered
from lightmark.data.formats.pixels_csv import is_pixels_csv, read_pixels_csv
from lightmark.data.formats.pts import read_pts_tree
from lightmark.data.formats.via import CSV_COLUMNS, is_via, read_via
from lightmark.data.formats.w300_lp import is_lp_label, read_300w_lp_file
from lightmark.data.formats.wflw import is_wflw_line, is_wflw_list, read_wflw_list, repeated_lists
from lightmark.data.formats.wide_csv import read_csv
from lightmark.data.formats.yolo_pose import is_yolo, read_yolo
from lightmark.data.left_out import LeftOut, leaving_out
from lightmark.data.sample import Sample
from lightmark.data.schema_choice import schema_for
from lightmark.data.shards.read import MANIFEST, is_shard, read_shard, read_shards
from lightmark.errors import DataError, NoLabelsError, describe_error
from lightmark.schema import Schema

LOGGER = logging.getLogger(__name__)
_FORMATS = (
    ".pts files (300W, 300-VW and the like), WFLW's lists, COFW_*_color.mat, 300W-LP's .mat files, COCO keypoints, "
    "labelme, VIA or Label Studio .json, CVAT or dlib .xml, YOLO-pose or JD-landmark .txt, a .csv with columns of "
    "points, or .tar shards of `lightmark data pack`"
)
_HEAD = 2**16  # bytes that hold the first line of a text file


def read_samples(
    path: str | Path, schema: Schema | None = None, subset: str | None = None, left_out: LeftOut | None = None
) -> list[Sample]:
    """Labelled faces of a file, of a data set's folder, or of a folder tree that mixes several.

    `schema` is for formats without an official set of points (all but WFLW, COFW, 300W-LP and shards); its names, if it
    has some, must be those of the points where labels name them. `subset` keeps the faces of one official subset, such
    as "train", "common" or "pose". In a folder a table or JSON of something else is passed over and named by a
    warning in the log, and so is what is broken in packed shards (see `read_shards`); any other broken label file is an
    error, or with `left_out` a sentence there, and so is what is broken in shards. Raises `DataError` where nothing of
    a known format exists, all of it is broken or no point is labelled, and for an unknown subset.
    """
    path = Path(path)
    samples = _read_folder(path, schema, left_out) if path.is_dir() else _read_file(path, schema, left_out)
    if not samples and left_out:
        raise DataError(f"{path}: none of its labels can be used; {left_out[0]} ({len(left_out)} such)")
    if not samples:
        raise NoLabelsError(f"{path}: no labelled point; are its labels boxes or polygons only?")
    return samples if subset is None else keep_subset(samples, subset, path)


def keep_subset(samples: Sequence[Sample], subset: str, where: str | Path) -> list[Sample]:
    """Samples of `subset`; raises `DataError` naming `where` and the existing subsets if there are none."""
    chosen = [sample for sample in samples if subset in sample.subsets]
    if not chosen:
        counts = Counter(name for sample in samples for name in sample.subsets)
        present = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items())) or "none"
        raise DataError(f"{where}: no face of subset {subset!r}; subsets here: {present}")
    return chosen


def _read_folder(folder: Path, schema: Schema | None, left_out: LeftOut | None) -> list[Sample]:
    files = sorted(file for file in folder.rglob("*") if not file.name.startswith(".") and file.is_file())
    labelled_by_pts = any(file.suffix.lower() == ".pts" for file in files)
    samples = read_pts_tree(folder, schema, left_out) if labelled_by_pts else []
    labelme: dict[Path, Any] = {}  # read together, since a point may be labelled in some of the files only
    repeated = repeated_lists(files)
    strays: list[NoLabelsError] = []
    for file in files:
        if _is_table(file) and file not in repeated:
            try:
                with leaving_out(left_out):
                    samples += _read_file(file, schema, left_out, labelme)
            except NoLabelsError as error:  # settings, a table of results: no labels are lost with it
                strays.append(error)
    samples += labelme_samples(labelme, schema, left_out)
    shards = [file for file in files if is_shard(file)]
    if shards:
        report = LOGGER.warning if left_out is None else left_out.append
        samples += _of_schema(read_shards(shards, report), schema, folder)
    if not samples and strays:
        raise strays[0]
    for stray in strays:
        LOGGER.warning("%s; passed over", stray)
    if not samples and not left_out:
        raise DataError(f"{folder}: no labelled faces in this folder or below; looked for {_FORMATS}")
    return samples


def _is_table(file: Path) -> bool:
    """Whether `file` of a folder is a label file; the `.mat` files of 300W-LP's own code, for example, are not."""
    suffix = file.suffix.lower()
    if suffix == ".mat":
        return is_lp_label(file) or _is_hdf5(file)
    if suffix == ".txt":
        return is_wflw_list(file) or _text_reader(file) is not None
    return suffix in (".csv", ".json", ".xml") and file.name != MANIFEST


def _read_file(
    file: Path, schema: Schema | None, left_out: LeftOut | None, labelme: dict[Path, Any] | None = None
) -> list[Sample]:
    """Faces of a file; a file of labelme is only added to `labelme`, if that is given."""
    if not file.is_file():
        raise DataError(f"{file}: no such file or folder; expected {_FORMATS}")
    suffix = file.suffix.lower()
    if suffix == ".json":
        return _read_json_labels(file, schema, left_out, labelme)
    if suffix == ".xml":
        root = read_xml(file)
        return (dlib_samples if root.tag == "dataset" else cvat_samples)(file, root, schema, left_out)
    if suffix == ".csv":
        line = _first_line(file)
        read = read_via if all(column in line for column in CSV_COLUMNS) else read_csv
        return read_pixels_csv(file, schema, left_out) if is_pixels_csv(line) else read(file, schema, left_out)
    if suffix == ".txt" and not is_wflw_list(file) and (read_text := _text_reader(file)):
        return read_text(file, schema, left_out)
    return _of_schema(_read_fixed(file, left_out), schema, file)


def _read_json_labels(
    file: Path, schema: Schema | None, left_out: LeftOut | None, labelme: dict[Path, Any] | None
) -> list[Sample]:
    document = read_json(file)
    if is_labelme(document):
        if labelme is None:
            return labelme_samples({file: document}, schema, left_out)
        labelme[file] = document
        return []
    if is_label_studio(document):
        return read_label_studio(file, schema, left_out, document)
    if is_via(document):
        return read_via(file, schema, left_out, document)
    return read_coco(file, None, schema, left_out, document)


TextReader: TypeAlias = Callable[[Path, Schema | None, LeftOut | None], list[Sample]]


def _text_reader(file: Path) -> TextReader | None:
    """Reader of a `.txt` file by its first line; None for one of something else."""
    line = _first_line(file)
    if is_yolo(line):
        return read_yolo
    if is_wflw_line(line):
        return lambda path, schema, left_out: _of_schema(read_wflw_list(path, left_out), schema, path)
    return (lambda path, schema, _: [read_numbered(path, schema)]) if is_numbered(line) else None


def _first_line(file: Path) -> str:
    """First line that is not empty, as far as `_HEAD` bytes hold it."""
    try:
        with file.open("rb") as stream:
            lines = stream.read(_HEAD).decode("utf-8-sig", "replace").splitlines()
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {describe_error(error)}") from error
    return next((line for line in lines if line.strip()), "")


def _of_schema(samples: list[Sample], schema: Schema | None, where: Path) -> list[Sample]:
    """`samples` of a format with a fixed schema; raises `DataError` where the requested `schema` has another size."""
    for sample in samples[:1]:
        schema_for(sample.schema.size, schema, where)
    return samples


def _read_fixed(file: Path, left_out: LeftOut | None) -> list[Sample]:
    """Faces of a file whose format has a fixed schema."""
    if is_shard(file):
        return read_shard(file, LOGGER.warning if left_out is None else left_out.append)
    if file.suffix.lower() == ".mat":
        return read_cofw(file) if _is_hdf5(file) else [read_300w_lp_file(file)]
    if is_wflw_list(file):
        return read_wflw_list(file, left_out)
    raise DataError(f"{file}: not a format read here; expected {_FORMATS}")


def _is_hdf5(file: Path) -> bool:
    """Whether a `.mat` file is MATLAB v7.3, which is HDF5 behind MATLAB's 512 bytes of text."""
    with file.open("rb") as stream:
        return stream.read(10).startswith((b"MATLAB 7.3", b"\x89HDF"))
