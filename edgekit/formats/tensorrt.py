"""TensorRT: the ONNX file of which trtexec builds an engine, on the device that will run it. Never run here.

Its int8 is symmetric: the parser of every version refuses another zero point. On the host onnxruntime runs the same
file, which proves what it computes, and nothing of TensorRT's kernels.
"""

from typing import TYPE_CHECKING

from edgekit.core.target import Target
from edgekit.errors import ConvertError, TargetError
from edgekit.formats.onnx import OnnxFormat
from edgekit.formats.tensorrt_ops import lacks

if TYPE_CHECKING:
    import onnx_ir

    from edgekit.models.program import Program


class TensorRtFormat(OnnxFormat):
    """See `edgekit.formats.base.Format`."""

    name = "tensorrt"
    proof = "verified on this computer but for what the device builds of it, which was not run here"

    def check(self, model: "onnx_ir.Model", program: "Program", target: Target) -> None:
        """Raises: ConvertError naming an op that the target's TensorRT does not have; TargetError if it names none."""
        version = dict(target.requires).get("tensorrt")
        if version is None:
            raise TargetError(f"target {target.name}: [requires] wants tensorrt, the version that builds the engine")
        for node in model.graph:
            if (why := lacks(node.op_type, version)) is not None:
                where = f"model {program.spec.name}, node {node.name}"
                raise ConvertError(f"{where}: {why}: write it with other torch calls")


FORMAT = TensorRtFormat()
