"""OpenVINO files: the ONNX graph as OpenVINO's own, its ModelSpec among its runtime information."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lightmark.export.graph import copy_of, import_onnx, replace_nodes, write_model
from lightmark.spec import METADATA_KEY, ModelSpec, spec_to_json


def write_openvino(graph: Any, spec: ModelSpec, out: Path) -> None:
    """Write a ModelProto as `out`, ending in .xml, and the .bin beside it, any batch size, float32."""
    import openvino

    separate = copy_of(graph)
    _keep_sums_apart(separate)
    with TemporaryDirectory() as scratch:
        source = Path(scratch) / "model.onnx"
        write_model(separate, {}, source)
        # The reader, not openvino.convert_model, which sends events about its use.
        model = openvino.Core().read_model(str(source))
        model.set_rt_info(spec_to_json(spec), METADATA_KEY)
        openvino.save_model(model, str(out), compress_to_fp16=False)


def _keep_sums_apart(model: Any) -> None:
    """Put a Squeeze between each sum and what comes after it.

    OpenVINO adds what follows a sum within the sum, and does so wrongly in batches of more than one
    (openvinotoolkit/openvino#23616): the expected errors would be off by pixels.
    """
    onnx = import_onnx()
    nodes = []
    for node in model.graph.node:
        kept = {one.name: one for one in node.attribute}.get("keepdims")
        nodes.append(node)
        if node.op_type == "ReduceSum" and kept is not None and not kept.i:
            kept.i, out = 1, node.output[0]
            node.output[0] = f"{out}_kept"
            taken = [node.output[0], node.input[1]]
            nodes.append(onnx.helper.make_node("Squeeze", taken, [out], f"{node.name}_squeeze"))
    replace_nodes(model.graph, nodes)
