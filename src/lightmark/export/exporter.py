"""Export of a landmark model to files of several formats, each verified against the float32 original."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lightmark.data.sample import Sample, load_image
from lightmark.errors import ConfigError, DataError, ExportError, GeometryError, LightmarkError, WriteError
from lightmark.evaluate.face_boxes import with_face_boxes
from lightmark.evaluate.predict import to_schema
from lightmark.export.formats import FORMATS, PRECISIONS, FileFormat, require_format
from lightmark.export.fp16 import to_fp16
from lightmark.export.graph import copy_of, precision_of, read_graph, take_bytes, write_model
from lightmark.export.int8 import quantise, quantise_full_range
from lightmark.export.int8_first_layer import group_pixels
from lightmark.export.parity import CROPS, Parity, measure_parity, random_crops, require_close, require_same
from lightmark.files import replacing_together, sha256_of
from lightmark.image import warp
from lightmark.runtime.exported_model import write_sidecar
from lightmark.runtime.model_file import open_exported
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.runtime.saturation import PAIR_LIMIT, PAIR_LIMIT_KEY
from lightmark.spec import METADATA_KEY, ModelSpec, require_face_box, spec_crop_matrix, spec_to_json

CALIBRATION = 256  # faces; 32 to 512 make int8 files of the same accuracy (lab notes, 2026-11-21)


@dataclass(frozen=True)
class Exported:
    """An exported file: its format, path and parity with the original (None if no installed runtime can run it)."""

    file_format: FileFormat
    path: Path
    parity: Parity | None


def export_formats(
    source: Path,
    outs: Mapping[FileFormat, Path],
    faces: Sequence[Sample] = (),
    uint8_input: bool = False,
    seed: int = 0,
) -> list[Exported]:
    """Export the model of `source`, a checkpoint or a float32 ONNX file, to the files `outs`, one per format.

    int8 is calibrated on `CALIBRATION` of the `faces`, sampled with `seed`; they must be training faces. With
    `uint8_input` the input is crops uint8 (B, S, S, 3), otherwise planes normalised by the spec. Files are written
    atomically and hold the ModelSpec, or have it in a file beside them (`FORMATS`). Its provenance records the
    precision, the sha256 of the source, the calibration, the pair limit of int8 weights, and whether the file was
    verified. Raises `ConfigError` for int8 without faces or uint8 input of a format without it, `MissingExtraError` for
    a converter that is not installed, `CheckpointError` or `SpecError` for an unusable source, `ExportError` for a
    source that is not float32 and for a file whose points differ from the original's, `WriteError` for a full disk.
    """
    _require_valid(outs, faces, uint8_input)
    with _temporary_files(source), TemporaryDirectory() as scratch:
        base, parity = _float32_onnx(source, Path(scratch) / "fp32.onnx")
        original = OnnxModel(base)
        require_face_box(original.spec, str(source))
        crops = calibration_crops(faces, original.spec, CALIBRATION + CROPS, seed) if faces else None
        plan = _Plan(read_graph(base), original, sha256_of(base), crops, uint8_input, seed)
        ordered = [file_format for file_format in FORMATS if file_format in outs]
        return [Exported(one, outs[one], _write(plan, one, outs[one], parity)) for one in ordered]


@contextmanager
def _temporary_files(source: Path) -> Iterator[None]:
    """Context that raises `WriteError` if temporary files of the export cannot be written."""
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"{source}: its export needs temporary files, which cannot be written: {error.strerror or error}; name a "
            "folder with room left in the environment variable TMPDIR"
        ) from error


def _require_valid(formats: Mapping[FileFormat, Path], faces: Sequence[Sample], uint8_input: bool) -> None:
    """Raise the errors of `export_formats` that are known before anything is written."""
    if not formats:
        raise ConfigError(f"no format to export to; known: {', '.join(FORMATS)}")
    for file_format in formats:
        if FORMATS[file_format].calibrated and not faces:
            raise ConfigError("int8 needs faces to measure ranges on: give --calibrate with labelled training faces")
        if uint8_input and not FORMATS[file_format].uint8_input:
            raise ConfigError(f"{file_format}: takes planes of floats only; export it without --uint8-input")
        require_format(file_format)


@dataclass(frozen=True, eq=False)
class _Plan:
    """Inputs of all conversions: the float32 `graph`, which `original` runs, its sha256 and the settings."""

    graph: Any
    original: OnnxModel
    sha256: str
    crops: NDArray[np.uint8] | None
    uint8_input: bool
    seed: int

    @property
    def measured_on(self) -> NDArray[np.uint8]:
        """Crops for the parity: random ones without faces, otherwise faces held out from the calibration."""
        if self.crops is None:
            return random_crops(self.original.spec.size, CROPS, np.random.default_rng(self.seed))
        return self.crops[-CROPS:]

    @property
    def calibrated_on(self) -> NDArray[np.uint8]:
        """Crops for the calibration: all, if there are too few to hold `CROPS` of them out."""
        assert self.crops is not None
        return self.crops[:-CROPS] if len(self.crops) > 2 * CROPS else self.crops


def calibration_crops(faces: Sequence[Sample], spec: ModelSpec, most: int, seed: int) -> NDArray[np.uint8]:
    """Upright crops (B, S, S, 3) of up to `most` of `faces`, sampled with `seed`, by the boxes of their labels.

    Raises `SchemaError` for faces of another schema, `DataError` naming a face whose labels span no box.
    """
    order = np.random.default_rng(seed).permutation(len(faces))[:most]
    chosen = with_face_boxes(to_schema([faces[index] for index in order], spec.schema), spec)
    return np.stack([_crop(face, spec) for face in chosen])


def _crop(face: Sample, spec: ModelSpec) -> NDArray[np.uint8]:
    try:
        matrix = spec_crop_matrix(spec, face.box)
    except GeometryError as error:
        raise DataError(f"{face.name}: the labelled points span no box: {error}") from error
    return warp(load_image(face), matrix, spec.size)


def _float32_onnx(source: Path, scratch: Path) -> tuple[Path, Parity | None]:
    """Path of a float32 ONNX file of `source`, and its parity with torch if `source` is a checkpoint."""
    if source.suffix == ".safetensors":
        from lightmark.export.onnx import export_onnx

        return scratch, export_onnx(source, scratch)
    if source.suffix != ".onnx":
        raise ConfigError(f"{source}: a model to export ends in .safetensors or .onnx")
    precision = precision_of(read_graph(source))
    if precision != "fp32":
        raise ExportError(
            f"{source}: is {precision} already; give the checkpoint or the float32 file that it came from"
        )
    return source, None


def _write(plan: _Plan, file_format: FileFormat, out: Path, with_torch: Parity | None) -> Parity | None:
    """Write the file `out` and verify it; returns its parity, for float32 ONNX the one `with_torch`."""
    spec = _spec_for(plan, file_format)
    with replacing_together(out) as temporary:
        _convert(plan, file_format, spec, temporary, out)
        if FORMATS[file_format].sidecar:
            write_sidecar(temporary, spec)
        if not FORMATS[file_format].verified:
            return None
        parity = measure_parity(open_exported(temporary), plan.original, plan.measured_on)
        if FORMATS[file_format].precision == "fp32":
            require_same(parity, "the original", out)
        else:
            require_close(parity, plan.original.spec.size, out)
    return with_torch if with_torch is not None and file_format == "onnx" else parity


def _convert(plan: _Plan, file_format: FileFormat, spec: ModelSpec, temporary: Path, out: Path) -> None:
    """Write one file; raises `ExportError` if its converter fails, `WriteError` if the disk is full."""
    try:
        WRITERS[file_format](plan, _graph(plan, file_format), spec, temporary)
    except LightmarkError:
        raise
    except OSError as error:
        raise WriteError(
            f"{out}: cannot be written: {error.strerror or error}; is there room left, there and for temporary files "
            f"in {gettempdir()}?"
        ) from error
    except Exception as error:  # the converters' errors have no common base class
        raise ExportError(
            f"{out}: the converter to {file_format} fails, so no file was left: {type(error).__name__}: {error}; "
            "another release of it may know this network"
        ) from error


def _graph(plan: _Plan, file_format: FileFormat) -> Any:
    """ModelProto from which a format is written: quantised, in fp16 or unchanged, with the requested input."""
    if file_format in QUANTISERS:
        model = QUANTISERS[file_format](plan.graph, plan.original, plan.calibrated_on)
    else:
        model = to_fp16(plan.graph) if file_format == "onnx-fp16" else copy_of(plan.graph)
    if plan.uint8_input:
        take_bytes(model, plan.original.spec)
        if file_format in QUANTISERS:
            group_pixels(model)
    return model


# Conversion settings, ModelProto, ModelSpec and output file.
Writer: TypeAlias = Callable[[_Plan, Any, ModelSpec, Path], None]


def _write_onnx(_plan: _Plan, graph: Any, spec: ModelSpec, out: Path) -> None:
    write_model(graph, {METADATA_KEY: spec_to_json(spec)}, out)


def _write_litert_int8(plan: _Plan, graph: Any, spec: ModelSpec, out: Path) -> None:
    from lightmark.export.litert import write_litert_int8

    write_litert_int8(graph, spec, out, plan.calibrated_on)


def _writer(name: str) -> Writer:
    """Writer that calls `lightmark.export.NAME.write_NAME`, which needs the packages of that format only."""

    def write(_plan: _Plan, graph: Any, spec: ModelSpec, out: Path) -> None:
        getattr(import_module(f"lightmark.export.{name}"), f"write_{name}")(graph, spec, out)

    return write


QUANTISERS: Mapping[FileFormat, Callable[[Any, OnnxModel, NDArray[np.uint8]], Any]] = {
    "onnx-int8": quantise,
    "onnx-int8-vnni": quantise_full_range,
}
WRITERS: Mapping[FileFormat, Writer] = {
    **dict.fromkeys(PRECISIONS, _write_onnx),
    "litert-int8": _write_litert_int8,
    "openvino": _writer("openvino"),
    "litert": _writer("litert"),
    "coreml": _writer("coreml"),
    "ncnn": _writer("ncnn"),
    "executorch": _writer("executorch"),
}


def _spec_for(plan: _Plan, file_format: FileFormat) -> ModelSpec:
    """ModelSpec of a format, with its provenance; the NME of the original is dropped, since the file's may differ."""
    provenance = {**plan.original.spec.provenance, "precision": FORMATS[file_format].precision}
    if file_format != "onnx":
        provenance.pop("nme", None)
        provenance["source_sha256"] = plan.sha256
    if not FORMATS[file_format].verified:
        provenance["parity"] = "not verified"
    if FORMATS[file_format].calibrated:
        provenance["calibration"] = {"faces": len(plan.calibrated_on), "seed": plan.seed}
    if file_format == "onnx-int8":
        provenance[PAIR_LIMIT_KEY] = PAIR_LIMIT
    return replace(plan.original.spec, provenance=provenance)
