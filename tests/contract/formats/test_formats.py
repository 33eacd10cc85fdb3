"""Every back end keeps one contract."""

from collections.abc import Sequence

import flatbuffers
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from nets import ONNX_X86, TFLITE_X86

from edgekit.catalog.targets import get_target
from edgekit.compress.quantize import quantize
from edgekit.core.recipe import Precision, Quantize
from edgekit.models.program import Program
from edgekit.testing.damage import DAMAGES, Damage
from edgekit.testing.formats import BadFiles, FormatContract, images, small_model

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


class TestCoreMlWeights(BadFiles):
    """Weights in 4 bits, in 8, in a palette, and without their zeros."""

    target = get_target("coreml-iphone-ios18")

    @pytest.fixture(scope="class")
    def program(self) -> Program:
        layers: tuple[tuple[str, Precision], ...] = (
            ("stem", "int4-weights"),
            ("depth", "int8"),
            ("head", "int8-weights"),
        )
        model = small_model()
        few, thin = (model.module.get_submodule(name).weight.data for name in ("point", "down"))
        few.copy_((few * 8).round() / 8)
        thin[thin.abs() < thin.abs().median()] = 0
        step = Quantize(default="fp32", layers=layers)
        return quantize(model, step, self.target.numerics, images(32, seed=0))


class TestCoreMlNetwork(BadFiles):
    target = get_target("coreml-iphone-ios13")

    @pytest.fixture(scope="class")
    def program(self) -> Program:
        step = Quantize(default="int8-weights", layers=(("depth", "fp16"), ("head", "fp32")))
        return quantize(small_model(), step, self.target.numerics, images(32, seed=0))


class TestVitisAi(_Onnx, FormatContract):
    target = get_target("vitis_ai-dpuczdx8g-b4096")
