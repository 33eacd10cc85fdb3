"""The zoo of hard cases in every format, float and int8: does each convert, and is each proved right?

`python benchmarks/zoo.py [--quick] [--json] [--resume]`: the nets of tests/zoo, every installed back end by one target
of its own, each net and format in a process of its own. A float cell holds if every output is within 1e-4 of its range;
an int8 cell if its end is within the net's own band (edgekit/formats/verify.py), every layer within its bound
(edgekit/formats/apart.py) and every layer meant to be int8 is int8 in the graph that onnxruntime compiles or that the
TFLite file holds. Writes docs/zoo.md, not with --quick, which takes three nets. --resume goes on with a run that was
cut off. A cell leaves the count only for an op that the vendor's own table lacks.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from _figures import KEPT, Figures, machine, say

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
CELLS, PAGE = KEPT / "zoo", ROOT / "docs" / "zoo.md"
QUICK = ("audio", "gru", "encoder")
TARGETS = {
    "onnx": "onnx-x86_64", "tflite": "tflite-x86_64", "tensorrt": "tensorrt-jetson-orin",
    "coreml": "coreml-apple-silicon", "vitis_ai": "vitis_ai-dpuczdx8g-b4096",
}  # fmt: skip
PRECISIONS = ("float", "int8")
FLOAT_ERROR = 1e-4
DEADLINE_S = 2400
LACKS = re.compile(r"TensorRT \S+ has no |no TensorRT has ")
"""What a back end says of an op that its vendor's own table lacks."""
WEIGHT = {"QLinearConv": 3, "QGemm": 3, "QLinearMatMul": 3, "MatMulIntegerToFloat": 1}
"""The input that is the weight, of each op of onnxruntime's with an int8 kernel for a layer."""
TOOLS = ("torch", "torchao", "onnx", "onnxruntime", "litert-torch", "ai-edge-litert", "coremltools")


def one(net: str, format_name: str) -> list[dict[str, Any]]:
    """In the child: both cells of a net in a format."""
    import torch
    from zoo import hard, hard_samples  # type: ignore[attr-defined]

    from edgekit.catalog.targets import get_target
    from edgekit.compress.quantize import quantize
    from edgekit.core.recipe import Quantize
    from edgekit.errors import EdgekitError
    from edgekit.models.program import export

    torch.set_num_threads(1)
    target, model, cells = get_target(TARGETS[format_name]), hard(net), []
    for precision in PRECISIONS:
        start = time.monotonic()
        cell = {"net": net, "format": format_name, "precision": precision, "why": [], "left_out": False}
        try:
            calibration = hard_samples(net, 16)
            program = (
                export(model)
                if precision == "float"
                else quantize(model, Quantize(), target.numerics, calibration, features=None)
            )
            with tempfile.TemporaryDirectory() as folder:
                cell |= proved(program, target, Path(folder), hard_samples(net, 2, seed=1).inputs)
        except EdgekitError as error:
            cell |= {"why": [f"{type(error).__name__}: {error}"], "left_out": bool(LACKS.search(str(error)))}
        cells.append(cell | {"seconds": round(time.monotonic() - start, 1)})
    return cells


def proved(program: Any, target: Any, folder: Path, inputs: Any) -> dict[str, Any]:
    """What is known of a program lowered for `target`; "why" lists each thing that does not hold."""
    from edgekit.formats.apart import layer_errors
    from edgekit.formats.base import get_format
    from edgekit.formats.pack import package
    from edgekit.formats.verify import verify

    path = get_format(target.format).lower(program, target, folder / "made")
    artifact = package(program, target, path, folder=folder / "artifact", key="zoo", name=program.spec.name)
    verdict = verify(artifact, folder / "artifact")
    if not program.int8:
        why = [f"output {i} is off by {e:.2g} of its range" for i, e in enumerate(verdict.worst) if e > FLOAT_ERROR]
        return {"why": why, "worst": max(verdict.worst), "bytes": path.stat().st_size}
    wanted, found = int8_layers(program), compiled_int8(path, target.format)
    why = (
        [f"{wanted} layers are int8, and {found} in the compiled graph"] if found is not None and found < wanted else []
    )
    layers = layer_errors(program, target, inputs, folder / "apart")
    why += [str(layer) for layer in layers if not layer.within]
    exact, near = ([e for e in layers if e.in_steps and e.exact is kind] for kind in (True, False))
    return {
        "why": why, "bytes": path.stat().st_size, "end": verdict.rms[0], "layers": wanted, "compiled": found,
        "parts": len(layers),
        **{
            key: {
                "values": sum(e.values for e in some),
                "differing": sum(e.differing * e.values for e in some),
                "worst": max((e.worst for e in some), default=0.0),
            }
            for key, some in (("exact", exact), ("near", near))
        },
    }  # fmt: skip


def int8_layers(program: Any) -> int:
    from edgekit.compress.relax import parameter_of, quantized_layers

    return len(quantized_layers(program.exported.graph, parameter_of(program.exported)))


def compiled_int8(path: Path, format_name: str) -> int | None:
    """The int8 layers in the graph that the runtime compiles; None if it is compiled elsewhere."""
    if format_name == "tflite":
        from edgekit.formats.tflite_ops import INT8, layer_ops

        return sum(op.takes[:2] == (INT8, INT8) and op.name != "BATCH_MATMUL" for op in layer_ops(path.read_bytes()))
    if format_name != "onnx":
        return None
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path.with_name("compiled.onnx"))
    options.log_severity_level = 3
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    graph = onnx.load(path.with_name("compiled.onnx")).graph
    constants = {tensor.name for tensor in graph.initializer}
    return sum(node.op_type in WEIGHT and node.input[WEIGHT[node.op_type]] in constants for node in graph.node)


def cells_of(net: str, format_name: str, *, resume: bool) -> list[dict[str, Any]]:
    """Both cells of a net in a format, made in a child that may crash or take too long."""
    kept = CELLS / f"{net}-{format_name}.json"
    if resume and kept.is_file():
        found: list[dict[str, Any]] = json.loads(kept.read_text())
        return found
    command = (sys.executable, str(Path(__file__).resolve()), "--one", net, format_name)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=DEADLINE_S, check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        said = done.stdout.strip().splitlines()
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        made = json.loads(said[-1]) if done.returncode == 0 and said else _failed(net, format_name, last[:300])
    except subprocess.TimeoutExpired:
        made = _failed(net, format_name, f"no result after {DEADLINE_S} s")
    CELLS.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(made))
    for cell in made:
        say(f"{net} {format_name} {cell['precision']}: {shown(cell)}, {cell['seconds']:g} s")
    return list(made)


def _failed(net: str, format_name: str, why: str) -> list[dict[str, Any]]:
    cell = {"net": net, "format": format_name, "why": [why], "left_out": False, "seconds": 0.0}
    return [cell | {"precision": precision} for precision in PRECISIONS]


def shown(cell: dict[str, Any]) -> str:
    """A cell in the table."""
    if cell["left_out"]:
        return "left out"
    if cell["why"]:
        return "**no**"
    if cell["precision"] == "float":
        return f"{cell['worst']:.0e}"
    exact = cell["exact"]
    share = 100 * (1 - exact["differing"] / max(exact["values"], 1))
    return f"{cell['layers']} layers, {share:.4g} %, {exact['worst']:g} LSB; end {cell['end']:.2f} LSB"


def page(cells: list[dict[str, Any]], names: tuple[str, ...], formats: tuple[str, ...]) -> str:
    """docs/zoo.md."""
    by = {(c["net"], c["format"], c["precision"]): c for c in cells}
    counted = [c for c in cells if not c["left_out"]]
    held = sum(not c["why"] for c in counted)
    columns = [(f, p) for f in formats for p in PRECISIONS]
    lines = [
        "# The zoo: twelve hard cases in every format\n",
        "Generated by `python benchmarks/zoo.py`; do not edit.\n",
        f"{held} of {len(counted)} cells convert and are proved right; {len(cells) - len(counted)} are left out for an "
        "op that the vendor's own table lacks.\n",
        "A float cell gives the largest error as a share of the output's range (wanted: 1e-4). An int8 cell gives the "
        "number of int8 layers, all of them int8 in the compiled graph where that is made on the host; the share of "
        "values that equal the reference, and the largest difference, over all layers of exact arithmetic, each given "
        "the reference's input (wanted: 99.9 % and 1 LSB for each layer alone); and the RMS at the end of the net, "
        "where two right ways of summing differ too. Layers with softmax, GELU, LayerNorm, products of two computed "
        "values and the like are held to 2 LSB in 2 %. The TensorRT form is an ONNX file, run by onnxruntime here: no "
        "TensorRT kernel ran. Weights are random, so accuracy is not what this shows.\n",
        f"Machine: {machine()}. {', '.join(_versions())}.\n",
        "| net | " + " | ".join(f"{f} {p}" for f, p in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    lines += [f"| {n} | " + " | ".join(shown(by[n, f, p]) for f, p in columns) + " |" for n in names]
    if failures := [c for c in cells if c["why"]]:
        lines += ["\n## What does not hold, and what is left out\n"]
        lines += [f"- {c['net']}, {c['format']} {c['precision']}: {'; '.join(c['why'][:6])}" for c in failures]
    return "\n".join(lines) + "\n"


def _versions() -> list[str]:
    found = []
    for tool in TOOLS:
        try:
            found.append(f"{tool} {version(tool)}")
        except PackageNotFoundError:
            continue
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three nets; writes no page")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--resume", action="store_true", help="take the cells of a run that was cut off")
    parser.add_argument("--one", nargs=2, metavar=("NET", "FORMAT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(*args.one)))
        return 0
    from zoo import HARD  # type: ignore[attr-defined]

    from edgekit.formats.names import format_names

    names = QUICK if args.quick else tuple(HARD)
    formats = tuple(name for name in format_names() if name in TARGETS)
    cells = [c for net in names for f in formats for c in cells_of(net, f, resume=args.resume)]
    if not args.quick:
        PAGE.write_text(page(cells, names, formats))
    figures = Figures("zoo", f"{len(names)} nets, {', '.join(formats)}; float and int8")
    counted = [c for c in cells if not c["left_out"]]
    for name in formats:
        some = [c for c in counted if c["format"] == name]
        figures.add(f"{name}: cells of {len(some)} that hold", 100 * sum(not c["why"] for c in some) / len(some), None)
    share = 100 * sum(not c["why"] for c in counted) / len(counted)
    figures.add(f"all {len(counted)} cells: convert and verify", share, 95.0, larger_is_better=True)
    figures.notes += [
        f"{c['net']} {c['format']} {c['precision']}: {'; '.join(c['why'][:3])}" for c in cells if c["why"]
    ]
    return figures.end(as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
