"""Runs a model file here: `python _format_run.py FORMAT FILE INPUTS OUTPUTS FEED`, in a process of its own.

INPUTS is an .npz with in_0, …, samples first, as the net takes them. OUTPUTS gets out_0, … as floats; FEED the inputs
as the file wants them, in its order: a tool may have made int8 of them, or taken them in another order.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.formats.base import get_format
from edgekit.formats.child import run_model

Arrays = tuple[np.ndarray, ...]


def read(path: str, stem: str) -> Arrays:
    """`stem`_0, … of an .npz."""
    with np.load(path) as archive:
        return tuple(archive[f"{stem}_{i}"] for i in range(len(archive.files)))


def in_order(arrays: Arrays, wanted: Sequence[tuple[tuple[int, ...], str]]) -> Arrays:
    """The inputs in a file's order, by the (shape of a sample, kind of number) that it wants."""
    left, found = list(arrays), []
    for shape, kind in wanted:
        fits = (a for a in left if a.shape[1:] == shape and (a.dtype.kind == kind or kind == "q"))
        found.append(next(fits, None))
        if found[-1] is None:
            raise SystemExit(f"the file wants an input of shape {shape}, which the net has not")
        left = [a for a in left if a is not found[-1]]
    return tuple(found)  # type: ignore[arg-type]


def run_tflite(path: Path, inputs: Arrays) -> tuple[Arrays, Arrays]:
    """(outputs, feed) by LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    model = Interpreter(model_path=str(path), num_threads=1)
    model.allocate_tensors()
    takes, gives = model.get_input_details(), model.get_output_details()
    kinds = ["q" if d["quantization"][0] else np.dtype(d["dtype"]).kind for d in takes]
    shapes = [tuple(map(int, d["shape"][1:])) for d in takes]
    fed = in_order(inputs, list(zip(shapes, kinds, strict=True)))
    feed = tuple(_quantized(array, detail) for array, detail in zip(fed, takes, strict=True))
    found = []
    for i in range(len(feed[0])):
        for array, detail in zip(feed, takes, strict=True):
            model.set_tensor(detail["index"], array[i : i + 1])
        model.invoke()
        found.append([_float(model.get_tensor(detail["index"]), detail) for detail in gives])
    return tuple(np.concatenate(column) for column in zip(*found, strict=True)), feed


def _quantized(array: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    scale, zero = detail["quantization"]
    if not scale:
        return array.astype(detail["dtype"])
    ends = np.iinfo(detail["dtype"])
    steps: np.ndarray = np.clip(np.rint(array / scale) + zero, ends.min, ends.max).astype(detail["dtype"])
    return steps


def _float(array: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    scale, zero = detail["quantization"]
    made: np.ndarray = ((array.astype(np.float32) - zero) * scale if scale else array).astype(np.float32)
    return made


def run_other(format_name: str, path: Path, inputs: Arrays) -> tuple[Arrays, Arrays]:
    """(outputs, feed) by edgekit's back end: onnxruntime, and the evaluator for Core ML."""
    wanted = [(spec.shape[1:], np.dtype(spec.dtype).kind) for spec in get_format(format_name).inputs(path)]
    feed = in_order(inputs, wanted)
    return run_model(format_name, path, feed), feed


def main() -> None:
    format_name, path, inputs, outputs, feed = sys.argv[1:]
    given = read(inputs, "in")
    ran = run_tflite(Path(path), given) if format_name == "tflite" else run_other(format_name, Path(path), given)
    np.savez(outputs, **{f"out_{i}": array for i, array in enumerate(ran[0])})  # type: ignore[arg-type]
    np.savez(feed, **{f"in_{i}": array for i, array in enumerate(ran[1])})  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
