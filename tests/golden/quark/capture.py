"""Writes captured_xint8.json: what AMD Quark makes of a small net of seeded weights. Run where amd-quark is installed.

    pip install amd-quark==0.13 onnx==1.22.0 onnxruntime==1.32.0 'numpy<2.4' torch==2.13.0
    python capture.py

The tests build the same net of the same numbers, and read edgekit's own file by the same `powers`.
"""

import json
import math
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

GOLDEN = Path(__file__).with_name("captured_xint8.json")
SHOWN = 16
"""Samples whose outputs are kept."""


class Net(nn.Module):
    """A residual branch, a depthwise convolution, two poolings and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.depth = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.point = nn.Conv2d(16, 16, 1)
        self.down = nn.Conv2d(16, 32, 3, 2, 1)
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = x + self.point(torch.relu(self.depth(x)))
        x = nn.functional.max_pool2d(torch.relu(self.down(x)), 2)
        return self.head(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


def net(seed: int = 0) -> Net:
    """The net, its weights drawn by numpy: they are the same with every torch."""
    draw, made = np.random.default_rng(seed), Net()
    with torch.no_grad():
        for values in made.parameters():
            spread = 1 / math.sqrt(values[0].numel()) if values.dim() > 1 else 0.2
            values.copy_(torch.from_numpy(draw.normal(0, spread, values.shape).astype(np.float32)))
    return made.eval()


def images(count: int, seed: int) -> np.ndarray:
    """Seeded images of 3×16×16."""
    return np.random.default_rng(seed).standard_normal((count, 3, 16, 16)).astype(np.float32)


def powers(path: Path) -> list[dict[str, object]]:
    """The exponent of two of every scale of a QDQ file: of each layer, addition and pooling, in order."""
    import onnx

    graph = onnx.load(path).graph
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    held |= {n.output[0]: onnx.numpy_helper.to_array(n.attribute[0].t) for n in graph.node if n.op_type == "Constant"}
    made = {output: node for node in graph.node for output in node.output}

    def power(node: onnx.NodeProto | None) -> int | None:
        if node is None or node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            return None
        mantissa, exponent = math.frexp(float(held[node.input[1]].reshape(())))
        assert mantissa == 0.5, f"{node.name}: no power of two"
        assert not held[node.input[2]].any(), f"{node.name}: a zero point"
        return exponent - 1

    def behind(value: str) -> int | None:
        for node in graph.node:
            if value in node.input:
                return behind(node.output[0]) if node.op_type in ("Relu", "Clip") else power(node)
        return None

    kinds = ("Conv", "Gemm", "Add", "MaxPool", "GlobalAveragePool", "AveragePool", "Mul")
    return [
        {
            "op": node.op_type,
            "inputs": [power(made.get(value)) for value in node.input],
            "output": behind(node.output[0]),
        }
        for node in graph.node
        if node.op_type in kinds
    ]


class _Reader:
    def __init__(self, samples: np.ndarray) -> None:
        self._samples, self._next = samples, 0

    def __len__(self) -> int:
        return len(self._samples)

    def get_next(self) -> dict[str, np.ndarray] | None:
        if self._next == len(self._samples):
            return None
        self._next += 1
        return {"x": self._samples[self._next - 1 : self._next]}


def main() -> None:
    from importlib.metadata import version

    import onnxruntime
    from quark.onnx import ModelQuantizer
    from quark.onnx.quantization.config.custom_config import XINT8_QCONFIG

    with tempfile.TemporaryDirectory() as folder:
        plain, quantized = Path(folder) / "float.onnx", Path(folder) / "xint8.onnx"
        torch.onnx.export(
            net(), (torch.zeros(1, 3, 16, 16),), plain, input_names=["x"], output_names=["y"], opset_version=17,
            dynamo=False,
        )  # fmt: skip
        ModelQuantizer(XINT8_QCONFIG).quantize_model(str(plain), str(quantized), _Reader(images(64, seed=1)))
        session = onnxruntime.InferenceSession(quantized, providers=["CPUExecutionProvider"])
        outputs = np.concatenate([session.run(None, {"x": image[None]})[0] for image in images(SHOWN, seed=2)])
        golden = {
            "made_by": {name: version(name) for name in ("amd-quark", "onnx", "onnxruntime", "numpy", "torch")},
            "powers": powers(quantized),
            "outputs": outputs.tolist(),
        }
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
