"""Forms: the files that one model is exported to, each checked against its float32 original before it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmark.data.sample import Sample, load_image
from lightmark.errors import ConfigError, DataError, ExportError, GeometryError, LightmarkError, WriteError
from lightmark.evaluate.face_boxes import with_face_boxes
from lightmark.evaluate.predict import to_schema
from lightmark.export.formats import FORMATS, PRECISIONS, Form, require_format
from lightmark.export.fp16 import halve
from lightmark.export.graph import arithmetic_of, copy_of, read_graph, take_bytes, write_model
from lightmark.export.int8 import quantise, quantise_full_range
from lightmark.export.int8_first_layer import group_pixels
from lightmark.export.parity import CROPS, Parity, measure_parity, random_crops, require_like, require_same
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
    """A file that was written: its form, and how far its points are from the model's that it came from.

    `parity` is None where no runtime here runs the form.
    """

    form: Form
    path: Path
    parity: Parity | None


def export_forms(
    source: Path,
    outs: Mapping[Form, Path],
    faces: Sequence[Sample] = (),
    uint8_input: bool = False,
    seed: int = 0,
) -> list[Exported]:
    """Write the model of `source`, a checkpoint or a float32 ONNX file, to the files `outs`, in the forms' order.

    int8 takes its ranges from `CALIBRATION` of the `faces`, drawn by `seed`, which must be faces that one may train on.
    With `uint8_input` the files take crops as they are, uint8 (B, S, S, 3), else planes normalised as the spec says.
    Each file is whole or not there, and holds the ModelSpec or has it beside it (`FORMATS`), its provenance telling the
    precision, the source's sha256, the faces calibrated on, the limit that keeps int8 sums from overflowing and whether
    it was verified. Raises `ConfigError` for int8 without faces or a form that takes no bytes, `MissingExtraError` for
    one that is not installed, `CheckpointError` or `SpecError` for a source that cannot be used, `ExportError` for one
    that is not float32 or a written file whose points are not the model's, `WriteError` where there is no room.
    """
    _require_possible(outs, faces, uint8_input)
    with _temporary_files(source), TemporaryDirectory() as scratch:
        base, parity = _single_precision(source, Path(scratch) / "fp32.onnx")
        original = OnnxModel(base)
        require_face_box(original.spec, str(source))
        crops = calibration_crops(faces, original.spec, CALIBRATION + CROPS, seed) if faces else None
        plan = _Plan(read_graph(base), original, sha256_of(base), crops, uint8_input, seed)
        wanted = [form for form in FORMATS if form in outs]
        return [Exported(form, outs[form], _write(plan, form, outs[form], parity)) for form in wanted]


@contextmanager
def _temporary_files(source: Path) -> Iterator[None]:
    """What the system refuses of the files that lie in its temporary folder meanwhile, as `WriteError`."""
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"{source}: its export needs temporary files, which cannot be written: {error.strerror or error}; name a "
            "folder with room left in the environment variable TMPDIR"
        ) from error


def _require_possible(forms: Mapping[Form, Path], faces: Sequence[Sample], uint8_input: bool) -> None:
    """Raise what can be told before anything is written."""
    if not forms:
        raise ConfigError(f"no form to export to; known: {', '.join(FORMATS)}")
    for form in forms:
        if FORMATS[form].calibrated and not faces:
            raise ConfigError("int8 needs faces to measure ranges on: give --calibrate with labelled training faces")
        if uint8_input and not FORMATS[form].bytes_in:
            raise ConfigError(f"{form}: takes planes of floats only; export it without --uint8-input")
        require_format(form)


@dataclass(frozen=True, eq=False)
class _Plan:
    """The float32 `graph` that `original` runs and its sha256, and how its other forms are to be made."""

    graph: Any
    original: OnnxModel
    sha256: str
    crops: NDArray[np.uint8] | None
    uint8_input: bool
    seed: int

    @property
    def measured_on(self) -> NDArray[np.uint8]:
        """Crops for the parity: faces that no range is measured on, where enough were given."""
        if self.crops is None:
            return random_crops(self.original.spec.size, CROPS, np.random.default_rng(self.seed))
        return self.crops[-CROPS:]

    @property
    def calibrated_on(self) -> NDArray[np.uint8]:
        """Crops that ranges are measured on."""
        assert self.crops is not None
        return self.crops[:-CROPS] if len(self.crops) > 2 * CROPS else self.crops


def calibration_crops(faces: Sequence[Sample], spec: ModelSpec, most: int, seed: int) -> NDArray[np.uint8]:
    """Upright crops (B, S, S, 3) around the labels of up to `most` of `faces`, drawn by `seed`.

    Raises `SchemaError` for faces that do not fit the spec, `DataError` naming a face whose labels span no box.
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


def _single_precision(source: Path, scratch: Path) -> tuple[Path, Parity | None]:
    """A float32 ONNX file of `source`, and its parity with torch where it was a checkpoint."""
    if source.suffix == ".safetensors":
        from lightmark.export.onnx import export_onnx

        return scratch, export_onnx(source, scratch)
    if source.suffix != ".onnx":
        raise ConfigError(f"{source}: a model to export ends in .safetensors or .onnx")
    found = arithmetic_of(read_graph(source))
    if found != "fp32":
        raise ExportError(f"{source}: is {found} already; give the checkpoint or the float32 file that it came from")
    return source, None


def _write(plan: _Plan, form: Form, out: Path, with_torch: Parity | None) -> Parity | None:
    spec = _told(plan, form)
    with replacing_together(out) as temporary:
        _convert(plan, form, spec, temporary, out)
        if FORMATS[form].sidecar:
            write_sidecar(temporary, spec)
        if not FORMATS[form].verified:
            return None
        parity = measure_parity(open_exported(temporary), plan.original, plan.measured_on)
        if FORMATS[form].precision == "fp32":
            require_same(parity, "the original", out)
        else:
            require_like(parity, plan.original.spec.size, out)
    return with_torch if with_torch is not None and form == "onnx" else parity


def _convert(plan: _Plan, form: Form, spec: ModelSpec, temporary: Path, out: Path) -> None:
    """Write a form; raises `ExportError` where its converter fails, `WriteError` where it finds no room."""
    try:
        WRITERS[form](plan, _graph(plan, form), spec, temporary)
    except LightmarkError:
        raise
    except OSError as error:
        raise WriteError(
            f"{out}: cannot be written: {error.strerror or error}; is there room left, there and for temporary files "
            f"in {gettempdir()}?"
        ) from error
    except Exception as error:  # the converters' errors share no base class but Exception
        raise ExportError(
            f"{out}: the converter to {form} fails, so no file was left: {type(error).__name__}: {error}; another "
            "release of it may know this network"
        ) from error


def _graph(plan: _Plan, form: Form) -> Any:
    """The ModelProto that a form is written from."""
    if form in QUANTISERS:
        model = QUANTISERS[form](plan.graph, plan.original, plan.calibrated_on)
    else:
        model = halve(plan.graph) if form == "onnx-fp16" else copy_of(plan.graph)
    if plan.uint8_input:
        take_bytes(model, plan.original.spec)
        if form in QUANTISERS:
            group_pixels(model)
    return model


def _write_onnx(_plan: _Plan, graph: Any, spec: ModelSpec, out: Path) -> None:
    write_model(graph, {METADATA_KEY: spec_to_json(spec)}, out)


def _write_openvino(_plan: _Plan, graph: Any, spec: ModelSpec, out: Path) -> None:
    from lightmark.export.openvino import write_openvino

    write_openvino(graph, spec, out)


def _write_litert(_plan: _Plan, graph: Any, spec: ModelSpec, out: Path) -> None:
    from lightmark.export.litert import write_litert

    write_litert(graph, spec, out)


def _write_litert_int8(plan: _Plan, graph: Any, spec: ModelSpec, out: Path) -> None:
    from lightmark.export.litert import write_litert_int8

    write_litert_int8(graph, spec, out, plan.calibrated_on)


def _write_coreml(_plan: _Plan, graph: Any, spec: ModelSpec, out: Path) -> None:
    from lightmark.export.coreml import write_coreml

    write_coreml(graph, spec, out)


def _write_ncnn(_plan: _Plan, graph: Any, spec: ModelSpec, out: Path) -> None:
    from lightmark.export.ncnn import write_ncnn

    write_ncnn(graph, spec, out)


def _write_executorch(_plan: _Plan, graph: Any, spec: ModelSpec, out: Path) -> None:
    from lightmark.export.executorch import write_executorch

    write_executorch(graph, spec, out)


QUANTISERS: Mapping[Form, Callable[[Any, OnnxModel, NDArray[np.uint8]], Any]] = {
    "onnx-int8": quantise,
    "onnx-int8-vnni": quantise_full_range,
}
WRITERS: Mapping[Form, Callable[[_Plan, Any, ModelSpec, Path], None]] = {
    **dict.fromkeys(PRECISIONS, _write_onnx),
    "openvino": _write_openvino,
    "litert": _write_litert,
    "litert-int8": _write_litert_int8,
    "coreml": _write_coreml,
    "ncnn": _write_ncnn,
    "executorch": _write_executorch,
}


def _told(plan: _Plan, form: Form) -> ModelSpec:
    """The spec with what is to be known of the form; errors measured on its original are not its own."""
    known = {**plan.original.spec.provenance, "precision": FORMATS[form].precision}
    if form != "onnx":
        known.pop("nme", None)
        known["source_sha256"] = plan.sha256
    if not FORMATS[form].verified:
        known["parity"] = "not verified"
    if FORMATS[form].calibrated:
        known["calibration"] = {"faces": len(plan.calibrated_on), "seed": plan.seed}
    if form == "onnx-int8":
        known[PAIR_LIMIT_KEY] = PAIR_LIMIT
    return replace(plan.original.spec, provenance=known)
