"""Every back end keeps one contract."""

from collections.abc import Sequence

import flatbuffers
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from nets import ONNX_X86, TFLITE_X86

from edgekit.catalog.targets import get_target
from edgekit.testing.damage import DAMAGES, Damage
from edgekit.testing.formats import FormatContract

HUGE = 2**31 - 1


def huge_onnx(content: bytes, draw: np.random.Generator) -> bytes:
    """A weight, or the input, with a size that no memory holds."""
    model = onnx.load_from_string(content)
    weights = [w for w in model.graph.initializer if w.dims]
    if draw.integers(2):
        weights[draw.integers(len(weights))].dims[0] = HUGE
    else:
        model.graph.input[0].type.tensor_type.shape.dim[int(draw.integers(4))].dim_value = HUGE
    return bytes(model.SerializeToString())


def huge_tflite(content: bytes, draw: np.random.Generator) -> bytes:
    """A tensor with a size that no memory holds."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    tensors = [t for t in model.subgraphs[0].tensors if t.shape is not None and len(t.shape)]
    tensor = tensors[draw.integers(len(tensors))]
    tensor.shape = np.array(tensor.shape)
    tensor.shape[draw.integers(len(tensor.shape))] = HUGE
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class _Onnx:
    def damages(self) -> Sequence[Damage]:
        return (*DAMAGES, huge_onnx)


class _Tflite:
    def damages(self) -> Sequence[Damage]:
        return (*DAMAGES, huge_tflite)


class TestOnnx(_Onnx, FormatContract):
    target = ONNX_X86


class TestTflite(_Tflite, FormatContract):
    target = TFLITE_X86


class TestTensorRt(_Onnx, FormatContract):
    target = get_target("tensorrt-jetson-orin-8.5")


class TestCoreMl(FormatContract):
    target = get_target("coreml-apple-silicon")


class TestVitisAi(_Onnx, FormatContract):
    target = get_target("vitis_ai-dpuczdx8g-b4096")
