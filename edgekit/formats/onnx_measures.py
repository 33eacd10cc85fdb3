"""How torch's exporter writes a quantize at run time: it has no words for one itself."""

from collections.abc import Callable
from typing import Any

from edgekit.models.extras import require


def translations() -> dict[Any, Callable[..., Any]]:
    """What `torch.onnx.export` takes as its custom translation table."""
    op = require("onnxscript", extra="onnx").opset18

    from edgekit.compress.dynamic import CHOOSES, DEQUANTIZES_BY, QUANTIZES_BY

    def chooses(value: Any, low: int, high: int, epsilon: float, dtype: int) -> Any:
        return op.DynamicQuantizeLinear(value)[1:]

    def quantizes(value: Any, scale: Any, zero: Any, low: int, high: int, dtype: int) -> Any:
        return op.QuantizeLinear(value, scale, zero)

    def dequantizes(
        value: Any,
        scale: Any,
        zero: Any,
        low: int,
        high: int,
        dtype: int,
        out_dtype: int = -1,
    ) -> Any:
        return op.DequantizeLinear(value, scale, zero)

    return {CHOOSES: chooses, QUANTIZES_BY: quantizes, DEQUANTIZES_BY: dequantizes}
