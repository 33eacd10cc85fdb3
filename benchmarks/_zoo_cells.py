"""One net of the zoo in one format, float and int8: what does not hold, and the figures. Runs in a child of zoo.py."""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from zoo import hard, hard_samples  # type: ignore[attr-defined]

from edgekit.catalog.targets import get_target
from edgekit.compress.quantize import quantize
from edgekit.compress.relax import DEQUANTIZES, parameter_of, quantized_layers
from edgekit.core.artifact import Artifact
from edgekit.core.recipe import Quantize
from edgekit.core.target import Target
from edgekit.errors import EdgekitError
from edgekit.formats.apart import LayerError, layer_errors
from edgekit.formats.base import get_format
from edgekit.formats.child import call_in_child
from edgekit.formats.pack import package
from edgekit.formats.vectors import LEVELS, read_vectors
from edgekit.formats.verify import job_of, judged
from edgekit.models.program import Program, export

FLOAT_ERROR = 1e-4
APART = 2
"""Samples whose values are given to every layer by itself."""
PRODUCTS = (torch.ops.aten.matmul.default, torch.ops.aten.bmm.default)
COMPILED = frozenset(("QLinearConv", "QGemm", "QLinearMatMul", "MatMulIntegerToFloat"))
"""onnxruntime's ops with an int8 kernel for a layer, or for a product of two computed values."""


def cell_of(net: str, target: str, precision: str) -> dict[str, Any]:
    """What is known of a net for a target; "why" lists each thing that does not hold, and is empty if all does."""
    torch.set_num_threads(1)
    model, aim, start = hard(net), get_target(target), time.monotonic()
    cell: dict[str, Any] = {"net": net, "format": aim.format, "precision": precision, "why": []}
    try:
        program = (
            export(model)
            if precision == "float"
            else quantize(model, Quantize(), aim.numerics, hard_samples(net, 16), features=None)
        )
        with tempfile.TemporaryDirectory() as folder:
            cell |= _proved(program, aim, Path(folder), hard_samples(net, APART, seed=1).inputs)
    except EdgekitError as error:
        cell["why"] = [f"{type(error).__name__}: {error}"]
    return cell | {"seconds": round(time.monotonic() - start, 1)}


def _proved(program: Program, target: Target, folder: Path, inputs: tuple[np.ndarray, ...]) -> dict[str, Any]:
    path = get_format(target.format).lower(program, target, folder / "made")
    artifact = package(program, target, path, folder=folder / "artifact", key="zoo", name=program.spec.name)
    why, end = _end(artifact, folder / "artifact")
    if not program.int8:
        worst = max(end["worst"])
        why += [f"output {i} is off by {e:.2g} of its range" for i, e in enumerate(end["worst"]) if e > FLOAT_ERROR]
        return {"why": why, "worst": worst, "bytes": path.stat().st_size}
    found = _layers(program, target, inputs, path, folder / "apart")
    return {"why": why + found.pop("why"), "bytes": path.stat().st_size, **end, **found}


def _end(artifact: Artifact, folder: Path) -> tuple[list[str], dict[str, Any]]:
    """As `edgekit.formats.verify.verify`, but that the layers are looked at whatever it says."""
    answer = call_in_child("edgekit.formats.verify:compare", job_of(artifact, folder), what=artifact.name).value
    verdict, wrong = judged(artifact.name, answer)
    assert artifact.vectors is not None
    own = read_vectors(folder / artifact.vectors).rounding
    end = [rms * (1 if steps else LEVELS) for rms, steps in zip(verdict.rms, verdict.in_steps, strict=True)]
    last = max(range(len(own)), key=lambda i: end[i] - own[i])
    return list(wrong), {"worst": verdict.worst, "end": end[last], "own": own[last]}


def _layers(
    program: Program, target: Target, inputs: tuple[np.ndarray, ...], path: Path, folder: Path
) -> dict[str, Any]:
    """Each layer by itself, and how many are int8 where they are compiled: in the whole file and set apart."""
    layers = layer_errors(program, target, inputs, folder)
    why = [str(layer) for layer in layers if not layer.within]
    wanted, count = meant_int8(program), COUNTS[target.format]
    found, apart = count(path), count(next(folder.glob("model.*")))
    for where, number in (("the compiled graph", found), ("that of the layers by themselves", apart)):
        if number < wanted:
            why.append(f"{wanted} layers and products are int8, and {number} in {where}")
    return {
        "why": why, "wanted": wanted, "found": found, "parts": len(layers),
        "exact": _shares([e for e in layers if e.in_steps and e.exact]),
        "near": _shares([e for e in layers if e.in_steps and not e.exact]),
    }  # fmt: skip


def _shares(some: Sequence[LayerError]) -> dict[str, float]:
    return {
        "values": sum(e.values for e in some),
        "differing": sum(e.differing * e.values for e in some),
        "worst": max((e.worst for e in some), default=0.0),
    }


def meant_int8(program: Program) -> int:
    """The layers of a program that are int8, and its products of two int8 values."""
    graph = program.exported.graph
    products = [n for n in graph.nodes if n.target in PRODUCTS and all(a.target in DEQUANTIZES for a in n.args)]
    return len(quantized_layers(graph, parameter_of(program.exported))) + len(products)


def _compiled_by_onnxruntime(path: Path) -> int:
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path.with_name("compiled.onnx"))
    options.log_severity_level = 3
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return sum(node.op_type in COMPILED for node in onnx.load(path.with_name("compiled.onnx")).graph.node)


def _between_dequantizes(path: Path) -> int:
    """In an ONNX file that is compiled elsewhere: what takes int8 on both sides there, a weight's transpose apart."""
    import onnx

    dequantized, found = set[str](), 0
    for node in onnx.load(path).graph.node:
        if node.op_type == "DequantizeLinear" or (node.op_type == "Transpose" and node.input[0] in dequantized):
            dequantized.add(node.output[0])
        elif node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            found += set(node.input[:2]) <= dequantized
    return found


def _in_tflite(path: Path) -> int:
    from edgekit.formats.tflite_ops import INT8, layer_ops

    return sum(op.takes[:2] == (INT8, INT8) for op in layer_ops(path.read_bytes()))


def _in_coreml(path: Path) -> int:
    from edgekit.formats.coreml import read
    from edgekit.formats.coreml_convert import int8_layers

    made = read(path)
    dequantized = {v.name for op in made.ops if op.kind == "dequantize" for v in op.gives}
    products = (op for op in made.ops if op.kind == "matmul")
    both = sum({op.takes["x"][0], op.takes["y"][0]} <= dequantized for op in products)
    return len(int8_layers(made)) + both


COUNTS: dict[str, Callable[[Path], int]] = {
    "onnx": _compiled_by_onnxruntime, "tensorrt": _between_dequantizes, "vitis_ai": _between_dequantizes,
    "tflite": _in_tflite, "coreml": _in_coreml,
}  # fmt: skip
