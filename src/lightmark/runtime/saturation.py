"""Saturation of int8 products: detection in a model file and on the CPU.

x86 before VNNI multiplies unsigned by signed bytes with `pmaddubsw`, which adds two products in 16 bits and clips what
does not fit. Activations reach 255, so the sum fits where no two weights of one sign sum to more than 128.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from lightmark.spec import ModelSpec

PAIR_LIMIT = 32767 // 255
PAIR_LIMIT_KEY = "pair_limit"  # in a ModelSpec's provenance: the most that two weights of one sign sum to
# onnxruntime's setting by which such processors add the products in 32 bits; it changes nothing on others.
EXACT_INT8 = {"session.x64quantprecision": "1"}

# An ONNX model of one MatMulInteger, uint8 (2, 2) times int8 (2, 1); its test builds it with the package onnx.
_PAIR_SUM = (
    b'\x08\x08:\\\n\x18\n\x01a\n\x01b\x12\x01y"\rMatMulInteger\x12\x01gZ\x13\n\x01a\x12\x0e\n\x0c\x08\x02\x12\x08\n'
    b"\x02\x08\x02\n\x02\x08\x02Z\x13\n\x01b\x12\x0e\n\x0c\x08\x03\x12\x08\n\x02\x08\x02\n\x02\x08\x01b\x13\n\x01y"
    b"\x12\x0e\n\x0c\x08\x06\x12\x08\n\x02\x08\x02\n\x02\x08\x01B\x04\n\x00\x10\r"
)


def may_saturate(spec: ModelSpec) -> bool:
    """Whether an ONNX file of this ModelSpec is int8 and not known to keep within `PAIR_LIMIT`."""
    precision = str(spec.provenance.get("precision", ""))
    limit = spec.provenance.get(PAIR_LIMIT_KEY)
    return precision.startswith("int8") and not (isinstance(limit, int) and limit <= PAIR_LIMIT)


@lru_cache(maxsize=1)
def saturates(onnxruntime: Any) -> bool:
    """Whether the module `onnxruntime` clips sums of two int8 products on this processor, by trying one.

    A trial holds on every system and processor; lists of processor flags are there on Linux alone.
    """
    session = onnxruntime.InferenceSession(_PAIR_SUM, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"a": np.full((2, 2), 255, np.uint8), "b": np.full((2, 1), 127, np.int8)})
    return bool((found != 2 * 255 * 127).any())
