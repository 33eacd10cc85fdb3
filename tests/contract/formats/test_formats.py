"""Every back end keeps one contract."""

from nets import ONNX_X86, TFLITE_X86

from edgekit.testing.formats import FormatContract


class TestOnnx(FormatContract):
    target = ONNX_X86


class TestTflite(FormatContract):
    target = TFLITE_X86
