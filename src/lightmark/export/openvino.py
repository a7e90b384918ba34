"""OpenVINO files (any batch size, float32), with the ModelSpec in their runtime information."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lightmark.export.graph import copy_of, import_onnx, replace_nodes, write_model
from lightmark.spec import METADATA_KEY, ModelSpec, spec_to_json


def write_openvino(graph: Any, spec: ModelSpec, out: Path) -> None:
    """Write a ModelProto as `out`, ending in .xml, and its weights as the .bin beside it."""
    import openvino

    changed = copy_of(graph)
    _prevent_sum_fusion(changed)
    with TemporaryDirectory() as scratch:
        source = Path(scratch) / "model.onnx"
        write_model(changed, {}, source)
        # Not openvino.convert_model, which sends telemetry.
        model = openvino.Core().read_model(str(source))
        model.set_rt_info(spec_to_json(spec), METADATA_KEY)
        openvino.save_model(model, str(out), compress_to_fp16=False)


def _prevent_sum_fusion(model: Any) -> None:
    """Insert a Squeeze after each ReduceSum, which prevents its fusion with the Add that follows.

    OpenVINO's fused operation is wrong in batches of more than one (openvinotoolkit/openvino#23616): the expected
    errors would be off by pixels.
    """
    onnx = import_onnx()
    nodes = []
    for node in model.graph.node:
        keepdims = {one.name: one for one in node.attribute}.get("keepdims")
        nodes.append(node)
        if node.op_type == "ReduceSum" and keepdims is not None and not keepdims.i:
            keepdims.i, out = 1, node.output[0]
            node.output[0] = f"{out}_unsqueezed"
            inputs = [node.output[0], node.input[1]]
            nodes.append(onnx.helper.make_node("Squeeze", inputs, [out], f"{node.name}_squeeze"))
    replace_nodes(model.graph, nodes)
