"""Files of the net `residual` with one thing wrong in the middle, as a wrong lowering would make them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import msgspec
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import numpy_helper

from edgekit.core.artifact import Artifact, content_id
from edgekit.core.noun import to_json
from edgekit.store.artifacts import DESCRIPTION
from edgekit.store.files import sha256_of

LSB_OFF = 6
"""How many LSB of its layer's output a broken bias is off."""


def forged(artifact: Artifact, folder: Path, content: bytes) -> Artifact:
    """`artifact` with another model file and all hashes right, written into `folder`."""
    (folder / artifact.model_file).write_bytes(content)
    sha256, size = sha256_of(folder / artifact.model_file), len(content)
    files = tuple(
        msgspec.structs.replace(f, sha256=sha256, size_bytes=size) if f.path == artifact.model_file else f
        for f in artifact.files
    )
    made = msgspec.structs.replace(artifact, files=files, id=content_id(files))
    (folder / DESCRIPTION).write_bytes(to_json(made))
    return made


class OnnxFile:
    """An ONNX file to break: a layer is found by the name of its weight."""

    def __init__(self, content: bytes) -> None:
        self.model = onnx.load_from_string(content)
        self.weights = {i.name: i for i in self.model.graph.initializer}
        self.makers = {name: node for node in self.model.graph.node for name in node.output}

    def content(self) -> bytes:
        return bytes(self.model.SerializeToString())

    def zero_a_channel(self, layer: str) -> None:
        self._change(f"{layer}.weight_int8", lambda w: _with_row(w, 3, 0))

    def change_a_bias(self, layer: str) -> None:
        step = numpy_helper.to_array(self.weights[self._quantize(layer).input[1]])
        self._change(self._layer(layer).input[2], lambda b: _with_row(b, 5, b[5] + LSB_OFF * step))

    def change_a_scale(self, layer: str) -> None:
        old = self._quantize(layer).input[1]
        made = numpy_helper.from_array(numpy_helper.to_array(self.weights[old]) * np.float32(1.25), "another_scale")
        self.model.graph.initializer.append(made)
        self._quantize(layer).input[1] = "another_scale"

    def _layer(self, layer: str) -> Any:
        dequantize = next(n for n in self.model.graph.node if n.input[0] == f"{layer}.weight_int8")
        return next(n for n in self.model.graph.node if dequantize.output[0] in n.input)

    def _quantize(self, layer: str) -> Any:
        node = self._layer(layer)
        while node.op_type != "QuantizeLinear":
            node = next(n for n in self.model.graph.node if node.output[0] in n.input)
        return node

    def _change(self, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
        old = self.weights[name]
        old.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(old)), name))


class TfliteFile:
    """A .tflite file to break: a layer is found by the names of its modules."""

    def __init__(self, content: bytes) -> None:
        self.model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
        self.graph = self.model.subgraphs[0]

    def content(self) -> bytes:
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def zero_a_channel(self, layer: str) -> None:
        self._change(self._layer(layer).inputs[1], np.int8, lambda w: _with_row(w, 3, 0))

    def change_a_bias(self, layer: str) -> None:
        op = self._layer(layer)
        step = self.graph.tensors[op.outputs[0]].quantization.scale[0]
        scales = self.graph.tensors[op.inputs[2]].quantization.scale
        grid = scales[5 if len(scales) > 1 else 0]
        self._change(op.inputs[2], np.int32, lambda b: _with_row(b, 5, b[5] + round(LSB_OFF * step / grid)))

    def change_a_scale(self, layer: str) -> None:
        grid = self.graph.tensors[self._layer(layer).outputs[0]].quantization
        grid.scale = grid.scale * np.float32(1.25)

    def _layer(self, layer: str) -> Any:
        first, second = layer.split(".")
        return next(
            op
            for op in self.graph.operators
            if len(op.inputs) == 3
            and f"Sequential_{first}/torch.nn.modules.conv.Conv2d_{second};"
            in self.graph.tensors[op.outputs[0]].name.decode()
        )

    def _change(self, tensor: int, dtype: type, change: Callable[[np.ndarray], np.ndarray]) -> None:
        shape = self.graph.tensors[tensor].shape
        buffer = self.model.buffers[self.graph.tensors[tensor].buffer]
        old = np.frombuffer(np.asarray(buffer.data, np.uint8).tobytes(), dtype).reshape(shape)
        buffer.data = np.frombuffer(change(old).tobytes(), np.uint8)


def _with_row(array: np.ndarray, row: int, value: Any) -> np.ndarray:
    changed = array.copy()
    changed[row] = value
    return changed


FILES = {"onnx": OnnxFile, "tflite": TfliteFile}
