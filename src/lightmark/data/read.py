"""Reader of labelled data in any supported format, chosen by the path and the file's contents."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lightmark.data.formats.coco import read_coco
from lightmark.data.formats.cofw import read_cofw
from lightmark.data.formats.pts import read_pts_tree
from lightmark.data.formats.w300_lp import is_lp_label, read_300w_lp_file
from lightmark.data.formats.wflw import is_wflw_list, read_wflw_list
from lightmark.data.formats.wide_csv import read_csv
from lightmark.data.left_out import LeftOut, leaving_out
from lightmark.data.sample import Sample
from lightmark.data.schema_choice import schema_for
from lightmark.data.shards.read import MANIFEST, is_shard, read_shard, read_shards
from lightmark.errors import DataError, NoLabelsError
from lightmark.schema import Schema

LOGGER = logging.getLogger(__name__)
_FORMATS = (
    ".pts files with pictures beside them (300W and the like), WFLW_annotations/ with list_98pt_rect_attr_*.txt, "
    "COFW_*_color.mat, 300W-LP's .mat files, a wide .csv, COCO keypoints .json, or .tar shards of `lightmark data pack`"
)


def read_samples(
    path: str | Path, schema: Schema | None = None, subset: str | None = None, left_out: LeftOut | None = None
) -> list[Sample]:
    """Labelled faces of a file, of a data set's folder, or of a folder tree that mixes several.

    `schema` is for `.pts`, CSV and COCO files; the rest have theirs. `subset` keeps the faces of one official subset,
    such as "train", "common" or "pose". In a folder a table or JSON of something else is passed over and named by a
    warning in the log, and so is what is broken in packed shards (see `read_shards`); any other broken label file is an
    error, or with `left_out` a sentence there, and so is what is broken in shards. Raises `DataError` where nothing of
    a known format exists or all of it is broken, and for an unknown subset.
    """
    path = Path(path)
    samples = _read_folder(path, schema, left_out) if path.is_dir() else _read_file(path, schema, left_out)
    if not samples and left_out:
        raise DataError(f"{path}: none of its labels can be used; {left_out[0]} ({len(left_out)} such)")
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
    strays: list[NoLabelsError] = []
    for file in files:
        if _is_table(file):
            try:
                with leaving_out(left_out):
                    samples += _read_file(file, schema, left_out)
            except NoLabelsError as error:  # settings, a table of results: no labels are lost with it
                strays.append(error)
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
    if file.suffix.lower() == ".mat":
        return is_lp_label(file) or _is_hdf5(file)
    return (file.suffix.lower() in (".csv", ".json") and file.name != MANIFEST) or is_wflw_list(file)


def _read_file(file: Path, schema: Schema | None, left_out: LeftOut | None) -> list[Sample]:
    if not file.is_file():
        raise DataError(f"{file}: no such file or folder; expected {_FORMATS}")
    if file.suffix.lower() == ".csv":
        return read_csv(file, schema, left_out)
    if file.suffix.lower() == ".json":
        return read_coco(file, schema=schema, left_out=left_out)
    return _of_schema(_read_fixed(file, left_out), schema, file)


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
