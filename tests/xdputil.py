"""An xdputil that is not AMD's: it takes the documented words and answers in them.

Tests put it onto a board of the lab, where it stands for the program of a Vitis AI image. Its ".xmodel" is the ONNX
file that the real compiler would be given; onnxruntime computes it, in int8 at the edges as a DPU does, and its rate is
onnxruntime's. It proves how edgekit talks to such a program, and nothing about a DPU.
"""

import json
import os
import sys
import time
from pathlib import Path

FINGERPRINT = "0x101000056010407"
QUERY = {
    "DPU IP Spec": {"DPU Core Count": 1},
    "VAI Version": {"libvart-runner.so": "vart-runner Version: 3.0.0-x", "target_factory": "target-factory.3.0.0 x"},
    "kernels": [{"DPU Arch": "DPUCZDX8G_ISA1_B4096", "fingerprint": FINGERPRINT, "cu_idx": 0}],
}  # fmt: skip


def put(folder: Path, mood: str = "well") -> Path:
    """Makes `folder`/xdputil that program; the words of each start are lines of `folder`/log."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "xdputil"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).resolve()} {mood} {folder}/log "$@"\n')
    program.chmod(0o755)
    return program


def main(mood: str, log_path: str, what: str, *words: str) -> int:
    """Does what xdputil would; its exit status is 0 whatever comes of a benchmark, as the real one's is."""
    with Path(log_path).open("a") as file:
        file.write(" ".join((f"{os.environ.get('SLEEP_MS', '-')}", what, *words)) + "\n")
    if what == "query":
        print(json.dumps(QUERY))
        return 0
    if mood == "unmatched":
        other = "0x101000056010406"
        print(
            f"CHECK fingerprint fail! model_fingerprint {other} is un-matched with actual dpu_fingerprint {FINGERPRINT}"
        )
        return 1
    model = Model(Path(words[0]))
    if what == "xmodel":
        ends = {f"{end}_tensor": [edge] for end, edge in (("input", model.takes), ("output", model.gives))}
        parts = [{"index": 0, "device": "USER"}, {"index": 1, "device": "DPU", "fingerprint": FINGERPRINT, **ends}]
        print(json.dumps({"subgraphs": parts}, indent=4))
    elif what == "run":
        print("fillin x_fix")
        made = model.call(Path(words[1]).read_bytes())
        Path("0.y_fix.bin").write_bytes(made)
        print("dump output to  0.y_fix.bin")
    else:
        benchmark(model, float(os.environ.get("SLEEP_MS", "60000")) / 1000, mood)
    return 0


def benchmark(model: "Model", seconds: float, mood: str) -> None:
    """Calls the model for so long, and says so as performance_test.hpp does."""
    raw = bytes(model.size)
    frames, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        model.call(raw)
        frames += 1
    took = time.perf_counter() - began
    rate = "nan" if mood == "nan" else f"{frames / took:.6g}"
    line = f"FPS= {rate} number_of_frames= {frames:.6g} time= {took:.6g} seconds."
    print(f"I1124 10:01:00.000000  1234 performance_test.hpp:94] {line}", file=sys.stderr)
    print("Test PASS.")


class Model:
    """What lies at a path, in onnxruntime; its edges are int8 with the scales of the first and the last node."""

    def __init__(self, path: Path) -> None:
        import onnx
        import onnxruntime as ort
        from onnx import numpy_helper

        graph = onnx.load_model_from_string(path.read_bytes()).graph
        constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        first = next(node for node in graph.node if node.op_type == "QuantizeLinear")
        last = next(node for node in reversed(graph.node) if node.op_type == "DequantizeLinear")
        self._run = ort.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        given, made = self._run.get_inputs()[0], self._run.get_outputs()[0]
        self._name, self._shape = given.name, tuple(given.shape)
        self.takes = edge("x_fix", last_channels(self._shape), constants[first.input[1]])
        self.gives = edge("y_fix", last_channels(tuple(made.shape)), constants[last.input[1]])
        self.size = 1
        for count in self._shape:
            self.size *= count

    def call(self, raw: bytes) -> bytes:
        """Int8 in and out, channels last."""
        import numpy as np

        last = np.frombuffer(raw, np.int8).reshape(last_channels(self._shape)).astype(np.float32)
        first = np.moveaxis(last, -1, 1) if last.ndim > 2 else last
        [made] = self._run.run(None, {self._name: np.ascontiguousarray(first) * 2.0 ** -self.takes["fixpos"]})
        out = np.moveaxis(made, 1, -1) if made.ndim > 2 else made
        return np.rint(out * 2.0 ** self.gives["fixpos"]).astype(np.int8).tobytes()


def last_channels(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape with the channels last."""
    return (shape[0], *shape[2:], shape[1]) if len(shape) > 2 else shape


def edge(name: str, shape: tuple[int, ...], scale: object) -> dict:
    """As `xdputil xmodel -l` lists one."""
    import math

    return {"index": 0, "name": name, "shape": shape, "fixpos": -round(math.log2(float(scale)))}


if __name__ == "__main__":
    sys.path.remove(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    sys.exit(main(*sys.argv[1:]))
