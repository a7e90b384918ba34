"""What an ONNX file must not hold is refused before any library opens it."""

import struct

import numpy as np
import pytest
from onnx import TensorProto, external_data_helper, helper, load, numpy_helper, save

from lightmark.detectors.face_detector import FaceDetector
from lightmark.detectors.yunet import YuNetDetector
from lightmark.errors import CheckpointError
from lightmark.export.graph import read_graph
from lightmark.runtime import onnx_file
from lightmark.runtime.onnx_file import read_onnx
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.schema import plain_schema
from lightmark.spec import ModelSpec, spec_to_json

SPEC = spec_to_json(ModelSpec(plain_schema(3), size=16))
OPENERS = (OnnxModel, FaceDetector, YuNetDetector, read_graph)


def write(path, nodes, initializers=(), functions=(), outputs=("y",)):
    """An ONNX landmark model of `nodes`, from "x" (b, 3, 16, 16) to `outputs`."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 3, 16, 16])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        list(initializers),
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=list(functions))
    helper.set_model_props(model, {"lightmark": SPEC})
    save(model, path)
    return path


def endless_loop():
    """A Loop node that doubles "x" 2^63 times."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["go"]), helper.make_node("Add", ["v", "v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, None),
        ],
    )
    times = [numpy_helper.from_array(np.array(2**63 - 1), "n"), numpy_helper.from_array(np.array(True), "t")]
    return [helper.make_node("Loop", ["n", "t", "x"], ["y"], body=body)], times


def external(values, name="w"):
    """A tensor whose values lie in ../secret.bin."""
    tensor = numpy_helper.from_array(np.asarray(values, np.float32), name)
    external_data_helper.set_external_data(tensor, "../secret.bin")
    tensor.ClearField("raw_data")
    return tensor


@pytest.mark.parametrize("open_model", OPENERS)
def test_graph_inside_a_node_is_refused(tmp_path, open_model):
    """A loop would run for ever when the model is opened, whoever opens it."""
    path = write(tmp_path / "loop.onnx", *endless_loop())
    with pytest.raises(CheckpointError, match=r"loop\.onnx: holds a graph inside a node \(Loop, If, Scan\)"):
        open_model(path)


@pytest.mark.parametrize("open_model", OPENERS)
def test_weights_in_another_file_are_refused(tmp_path, open_model):
    """No byte outside the model's own file is read, not even of a file that is there."""
    (tmp_path / "secret.bin").write_bytes(bytes(12))
    (tmp_path / "models").mkdir()
    path = write(tmp_path / "models" / "m.onnx", [helper.make_node("Add", ["x", "w"], ["y"])], [external([1, 2, 3])])
    with pytest.raises(CheckpointError, match=r"m\.onnx: keeps weights in another file"):
        open_model(path)


@pytest.mark.parametrize("place", ["constant", "sparse", "list"])
def test_weights_in_another_file_are_found_wherever_tensors_may_be(tmp_path, place):
    """Tensors are attributes, too, alone and in lists, and parts of sparse ones."""
    indices = numpy_helper.from_array(np.array([0, 2]), "indices")
    node = {
        "constant": lambda: helper.make_node("Constant", [], ["y"], value=external([1, 2])),
        "sparse": lambda: helper.make_node(
            "Constant", [], ["y"], sparse_value=helper.make_sparse_tensor(external([1, 2]), indices, [3])
        ),
        "list": lambda: helper.make_node("Own", ["x"], ["y"], domain="own", all=[external([1]), external([2])]),
    }[place]()
    with pytest.raises(CheckpointError, match="keeps weights in another file"):
        read_onnx(write(tmp_path / "m.onnx", [node]))


def test_location_alone_counts_as_another_file(tmp_path):
    """A tensor that says its data are elsewhere, and not where."""
    path = write(tmp_path / "m.onnx", [helper.make_node("Add", ["x", "w"], ["y"])])
    model = load(path)
    model.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "w"))
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    path.write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match="keeps weights in another file"):
        read_onnx(path)


def test_functions_are_refused(tmp_path):
    """Where each calls the one before it twice, a few of them unfold to more nodes than memory holds."""
    twice = helper.make_function(
        "own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 13)]
    )
    path = write(tmp_path / "m.onnx", [helper.make_node("Twice", ["x"], ["y"], domain="own")], functions=[twice])
    with pytest.raises(CheckpointError, match=r"m\.onnx: holds functions of its own; let the exporter inline them"):
        read_onnx(path)


def test_compiled_code_in_another_file_is_refused(tmp_path):
    """EPContext nodes name a file for an execution provider."""
    node = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="../code.bin")
    with pytest.raises(CheckpointError, match="holds an EPContext node, which names another file"):
        read_onnx(write(tmp_path / "m.onnx", [node]))


def test_straight_graph_comes_back_byte_by_byte(tmp_path):
    """What is refused is not looked for in bytes of weights, and what is read is what is there."""
    weights = numpy_helper.from_array(np.frombuffer(b"external_data Loop body " * 8, np.float32), "w")
    path = write(tmp_path / "m.onnx", [helper.make_node("Mul", ["x", "w"], ["y"])], [weights])
    assert read_onnx(path) == path.read_bytes()
    assert load(path).graph.initializer[0].raw_data == weights.raw_data


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff" * 20, "a number that does not end"),
        (b"\x3a\xff\xff\xff\xff\x0f", "field 7 of 4294967295 bytes, 0 are left"),
        (b"\x3b\x00", "wire type 3"),
        (b"\x00\x01", "field 0"),
        (b"\x09\x00\x00", "field 1 of 8 bytes, 2 are left"),
    ],
)
def test_what_is_no_message_is_named(tmp_path, content, reason):
    """Cut files, foreign files, and the groups that ONNX never had."""
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"m\.onnx: no ONNX model; cut or foreign\? .*{reason}"):
        read_onnx(tmp_path / "m.onnx")


def test_message_of_endless_fields_is_refused(tmp_path, monkeypatch):
    """Two bytes a field would keep the walk busy for minutes."""
    monkeypatch.setattr(onnx_file, "MOST_FIELDS", 100)
    (tmp_path / "m.onnx").write_bytes(struct.pack("BB", 8, 8) * 101)
    with pytest.raises(CheckpointError, match="more than 100 fields"):
        read_onnx(tmp_path / "m.onnx")


def test_missing_file_is_named(tmp_path):
    """The error of a wrong path differs from that of a broken file."""
    with pytest.raises(CheckpointError, match=r"none\.onnx: no such model file"):
        read_onnx(tmp_path / "none.onnx")
