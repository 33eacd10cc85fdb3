"""Every back end keeps one contract."""

from nets import ONNX_X86, TFLITE_X86

from edgekit.catalog.targets import get_target
from edgekit.testing.formats import FormatContract


class TestOnnx(FormatContract):
    target = ONNX_X86


class TestTflite(FormatContract):
    target = TFLITE_X86


class TestTensorRt(FormatContract):
    target = get_target("tensorrt-jetson-orin-8.5")


class TestVitisAi(FormatContract):
    target = get_target("vitis_ai-dpuczdx8g-b4096")
