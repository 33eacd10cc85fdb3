"""TensorRT: the ONNX file of which trtexec builds an engine, on the device that will run it. Never run here.

Its int8 is symmetric: the parser of every version refuses another zero point. On the host onnxruntime runs the same
file, which proves what it computes, and nothing of TensorRT's kernels.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.target import Target
from edgekit.errors import ArtifactError, ConvertError, TargetError
from edgekit.formats.onnx import OnnxFormat
from edgekit.formats.tensorrt_ops import lacks
from edgekit.formats.tensorrt_parser import parser_words
from edgekit.models.extras import require

if TYPE_CHECKING:
    import onnx_ir

    from edgekit.models.program import Program


IN_FLOAT32 = "bfloat16 was computed in float32 here, of values rounded to it: onnxruntime has none"


class TensorRtFormat(OnnxFormat):
    """See `edgekit.formats.base.Format`."""

    name = "tensorrt"
    proof = "verified on this computer but for what the device builds of it, which was not run here"

    def check(self, model: "onnx_ir.Model", program: "Program", int8: frozenset[str], target: Target) -> None:
        """Raises: ConvertError naming an op that the target's TensorRT does not have; TargetError if it names none."""
        from edgekit.graph.written import written_at

        version = dict(target.requires).get("tensorrt")
        if version is None:
            raise TargetError(f"target {target.name}: [requires] wants tensorrt, the version that builds the engine")
        for node in model.graph:
            if (why := lacks(node.op_type, version)) is not None:
                where = f"model {program.spec.name}, {written_at(node)}op {node.op_type}"
                raise ConvertError(f"{where}: {why}: write it with other torch calls")

    def readable(self, path: Path) -> Path | bytes:
        """The file for onnxruntime, which has no bfloat16: the same values, computed in float32."""
        from edgekit.graph.bfloat16 import has_bfloat16, in_float32

        model = _read(path)
        if not has_bfloat16(model):
            return path
        content: bytes = require("onnx_ir", extra=self.extra).to_proto(in_float32(model)).SerializeToString()
        return content

    def remarks(self, path: Path) -> tuple[str, ...]:
        """As `edgekit.formats.base.Remarks`: what NVIDIA's own parser says, and that no engine was built here."""
        from edgekit.graph.bfloat16 import has_bfloat16

        rounded = (IN_FLOAT32,) if has_bfloat16(_read(path)) else ()
        return (*rounded, parser_words(path))


FORMAT = TensorRtFormat()


def precisions(path: Path) -> tuple[str, ...]:
    """What a weakly typed builder must be allowed besides fp32 to build an engine of an ONNX file: int8, fp16.

    Raises: ArtifactError if the file cannot be read; MissingExtraError.
    """
    model = _read(path)
    ir = require("onnx_ir", extra=FORMAT.extra)
    values = (*model.graph.inputs, *model.graph.initializers.values())
    casts = (node.attributes["to"].value for node in model.graph if node.op_type == "Cast")
    types = {value.dtype for value in values} | {ir.DataType(to) for to in casts}
    quantized = any(_is_int8(node) for node in model.graph)
    found = {"int8": quantized, "fp16": ir.DataType.FLOAT16 in types}
    return tuple(precision for precision, there in found.items() if there)


def _is_int8(node: Any) -> bool:
    """Whether a node quantizes or dequantizes, and not 4-bit weights."""
    ir = require("onnx_ir", extra=FORMAT.extra)
    taken = node.inputs[0].dtype if node.inputs else None
    return node.op_type in ("QuantizeLinear", "DequantizeLinear") and taken != ir.DataType.INT4


def ends(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of an ONNX file's inputs and outputs, in its order. Raises: as `precisions`."""
    graph = _read(path).graph
    inputs, outputs = ([str(value.name) for value in values] for values in (graph.inputs, graph.outputs))
    return tuple(inputs), tuple(outputs)


def _read(path: Path) -> Any:
    ir = require("onnx_ir", extra=FORMAT.extra)
    try:
        return ir.load(path)
    except Exception as error:
        raise ArtifactError(f"{path.name}: it cannot be read as ONNX ({type(error).__name__})") from error
