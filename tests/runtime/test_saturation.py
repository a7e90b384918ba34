"""int8 files that may overflow are known by their spec, and processors that overflow by a trial."""

from __future__ import annotations

import logging
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from lightmark.bench import machine
from lightmark.export.graph import read_graph, write_model
from lightmark.runtime import onnx_model, saturation
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.runtime.saturation import EXACT_INT8, PAIR_LIMIT, may_saturate, saturates
from lightmark.runtime.shipped import model_path
from lightmark.schema import IBUG68
from lightmark.spec import METADATA_KEY, ModelSpec, spec_to_json

SPEC = ModelSpec(IBUG68, 64)


def module(pair_sum: int) -> Any:
    """An onnxruntime whose sums of two products are `pair_sum`."""
    made: Any = ModuleType("onnxruntime")
    session = SimpleNamespace(run=lambda *_: [np.full((2, 1), pair_sum, np.int32)])
    made.InferenceSession = lambda *_, **__: session
    return made


def test_the_limit_fits_sixteen_bits() -> None:
    """Pairs of weights up to the limit never exceed 16 bits, and one more does."""
    assert 255 * PAIR_LIMIT <= np.iinfo(np.int16).max < 255 * (PAIR_LIMIT + 1)


@pytest.mark.parametrize(
    ("provenance", "expected"),
    [
        ({}, False),
        ({"precision": "fp32"}, False),
        ({"precision": "fp16"}, False),
        ({"precision": "int8-vnni"}, True),
        ({"precision": "int8"}, True),  # of files from before the limit
        ({"precision": "int8", "pair_limit": 254}, True),
        ({"precision": "int8", "pair_limit": "128"}, True),
        ({"precision": "int8", "pair_limit": 128}, False),
    ],
)
def test_the_pair_limit_in_the_spec_decides_whether_a_file_may_saturate(provenance, expected) -> None:
    """Only int8 files whose weights keep within the limit are safe."""
    assert may_saturate(replace(SPEC, provenance=provenance)) is expected


def test_the_trial_detects_clipped_sums() -> None:
    """255 · 127 twice is 64770; 16 bits hold 32767."""
    assert saturates(module(32767))
    assert not saturates(module(64770))


def test_the_trial_is_one_product_of_bytes() -> None:
    """Its bytes are those that the package onnx writes."""
    from onnx import TensorProto, helper

    make = helper.make_tensor_value_info
    inputs = [make("a", TensorProto.UINT8, [2, 2]), make("b", TensorProto.INT8, [2, 1])]
    node = helper.make_node("MatMulInteger", ["a", "b"], ["y"])
    graph = helper.make_graph([node], "g", inputs, [make("y", TensorProto.INT32, [2, 1])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    assert model.SerializeToString() == saturation._PAIR_SUM


def test_the_trial_agrees_with_the_processor_s_flags() -> None:
    """Processors with VNNI do not saturate."""
    if not machine.has_vnni():
        pytest.skip("a processor that is not known to have VNNI")
    assert not saturates(onnxruntime)


@pytest.fixture
def opened(monkeypatch, tmp_path, caplog) -> Any:
    """A function that opens the shipped int8 student as a file of another provenance, on a processor that saturates
    or not: the settings of the sessions opened, and the logged lines.
    """
    original = read_graph(model_path("fast-int8"))
    spec = OnnxModel(model_path("fast-int8"), 1).spec
    settings: list[dict[str, str]] = []
    real = onnx_model.open_session

    def open_session(path, threads, providers, requested=None) -> Any:
        settings.append(dict(requested or {}))
        return real(path, threads, providers, requested or {})

    def run(changed: dict[str, Any], here: bool) -> tuple[list[dict[str, str]], list[str]]:
        monkeypatch.setattr(onnx_model, "saturates", lambda _: here)
        monkeypatch.setattr(onnx_model, "open_session", open_session)
        path = tmp_path / "model.onnx"
        write_model(original, {METADATA_KEY: spec_to_json(replace(spec, provenance=changed))}, path)
        with caplog.at_level(logging.WARNING):
            OnnxModel(path, threads=1)
        return settings, [record.getMessage() for record in caplog.records]

    return run


def test_full_range_is_run_exactly_with_a_warning(opened) -> None:
    """Where the processor saturates; the line names the file and the way out."""
    settings, lines = opened({"precision": "int8-vnni"}, here=True)
    assert settings == [{}, EXACT_INT8]
    (line,) = lines
    assert line.endswith("`lightmark export --to onnx-int8` makes a file for every processor")
    assert "model.onnx: int8 weights that overflow on this processor" in line


@pytest.mark.parametrize(
    ("provenance", "here"),
    [({"precision": "int8-vnni"}, False), ({"precision": "int8", "pair_limit": 128}, True), ({}, True)],
    ids=["VNNI", "safe file", "float32"],
)
def test_others_run_as_they_are(opened, provenance, here) -> None:
    """Without a word and without slower products."""
    assert opened(provenance, here) == ([{}], [])
