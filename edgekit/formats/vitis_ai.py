"""Vitis AI: the QDQ ONNX file of which AMD's compiler makes an .xmodel. Never run on a DPU here.

All scales are powers of two and all zero points 0, biases int8 as weights are: what a DPU computes by shifting. On the
host onnxruntime runs the same file.
"""

from edgekit.formats.onnx import OnnxFormat


class VitisAiFormat(OnnxFormat):
    """See `edgekit.formats.base.Format`."""

    name = "vitis_ai"
    extra = "vitis"


FORMAT = VitisAiFormat()
