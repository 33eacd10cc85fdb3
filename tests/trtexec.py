"""A trtexec that is not NVIDIA's: it says what tests/golden has of a version, and runs ONNX files on this computer.

Tests put it onto a board of the lab, where it stands for the program that is on a Jetson. It takes the options of its
version alone; its "engine" is a header in the documented form and the ONNX file; onnxruntime gives its outputs; its
times are made up. It proves how edgekit talks to such a program, and nothing about TensorRT.
"""

import json
import os
import random
import sys
import tempfile
import time
import tomllib
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"
HEADER = 28
REFUSED = ("Unique", "BitShift", "Det")


def put(folder: Path, version: str) -> Path:
    """Makes `folder`/trtexec that program, of this TensorRT; what it did is in `folder`/log."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "trtexec"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).resolve()} {version} {folder}/log "$@"\n')
    program.chmod(0o755)
    return program


def log(folder: Path) -> list[str]:
    """A word for each time that it was started: build, time, outputs, profile, help."""
    path = folder / "log"
    return path.read_text().split() if path.exists() else []


def golden(kind: str, version: str) -> str:
    """The documented output of a version, without its last line."""
    minor = "_".join(version.split(".")[:2])
    name = {"build": f"trtexec/synthetic_build_{minor}.toml", "time": f"runners/synthetic_trtexec_{minor}.toml"}[kind]
    return tomllib.loads((GOLDEN / name).read_text())["said"].strip()


def main(version: str, log_path: str, *words: str) -> int:
    """Does what trtexec would; its exit status."""
    from edgekit.bench.runners.trtexec_options import options_of

    options = dict(word.partition("=")[::2] for word in words)
    banner = golden("time", version).splitlines()[0].partition(" # ")[0] + f" # trtexec {' '.join(words)}"
    if unknown := sorted(set(options) - options_of(version)):
        print(banner)
        print(f"[11/24/2026-10:00:00] [E] Unknown option: {unknown[0]}")
        print(banner.replace("RUNNING", "FAILED"))
        return 1
    kinds = {"--onnx": "build", "--exportTimes": "time", "--exportOutput": "outputs", "--exportProfile": "profile"}
    kind = next((word for option, word in kinds.items() if option in options), "help")
    with Path(log_path).open("a") as file:
        file.write(f"{kind}\n")
    print(banner)
    lines = [] if kind == "help" else golden("build" if kind == "build" else "time", version).splitlines()[1:-1]
    if kind == "build":
        lines, failed = build(options, version, lines)
        if failed:
            print("\n".join([*lines, banner.replace("RUNNING", "FAILED")]))
            return 1
    elif kind != "help":
        engine = Path(options["--loadEngine"]).read_bytes()
        if engine[24:27] != bytes(map(int, version.split("."))):
            print("[11/24/2026-10:00:00] [E] Engine deserialization failed")
            print(banner.replace("RUNNING", "FAILED"))
            return 1
        run(kind, options, engine[HEADER:], version)
    print("\n".join([*lines, banner.replace("RUNNING", "PASSED")]))
    return 0


def build(options: dict[str, str], version: str, lines: list[str]) -> tuple[list[str], bool]:
    """What it says of a build, and whether it failed; the engine and the cache are written."""
    raw = Path(options["--onnx"]).read_bytes()
    if refused := next((op for op in REFUSED if op.encode() in raw), None):
        said = tomllib.loads((GOLDEN / "trtexec" / "synthetic_build_10_3_no_plugin.toml").read_text())["said"]
        return [line.replace("BitShift", refused) for line in said.strip().splitlines()[1:-1]], True
    if (said := unbounded(raw, options)) is not None:
        return [*lines, f"[11/24/2026-10:00:00] [E] {said}"], True
    header = b"ftrt" + bytes(20) + bytes([*map(int, version.split(".")), 30])
    Path(options["--saveEngine"]).write_bytes(header + raw)
    cache = Path(options["--timingCacheFile"])
    cache.write_text((cache.read_text() if cache.exists() else "") + "timed\n")
    return lines, False


def unbounded(raw: bytes, options: dict[str, str]) -> str | None:
    """Which input with free sizes was not given all three shapes, in words of ours; None if all were."""
    import onnx

    for value in onnx.load_from_string(raw).graph.input:
        rank = len(value.type.tensor_type.shape.dim)
        given = [shapes_of(options.get(f"--{word}Shapes", "")).get(value.name) for word in ("min", "opt", "max")]
        free = any(not dim.dim_value for dim in value.type.tensor_type.shape.dim)
        if free and not all(shape is not None and len(shape) == rank for shape in given):
            return f"input {value.name} has free sizes and no shapes"
        if free and not all(a <= b <= c for a, b, c in zip(*given, strict=True)):
            return f"input {value.name}: its shapes are not in order"
    return None


def shapes_of(text: str) -> dict[str, tuple[int, ...]]:
    """The shapes by name of an option such as --shapes."""
    pairs = (pair.split(":") for pair in text.split(",") if pair)
    return {name: tuple(map(int, shape.split("x"))) for name, shape in pairs}


def run(kind: str, options: dict[str, str], raw: bytes, version: str) -> None:
    """Writes what was asked for, in the documented shapes: outputs of the file, made-up times."""
    ms = 0.2 + len(raw) / 1e6
    if kind == "outputs":
        Path(options["--exportOutput"]).write_text(outputs(raw, options["--loadInputs"], options.get("--shapes", "")))
    elif kind == "profile":
        rows = "".join(f', {{ "name" : "layer {i}", "timeMs" : 3, "averageMs" : {ms * i:g} }}\n' for i in (1, 2))
        Path(options["--exportProfile"]).write_text(f'[\n  {{ "count" : 30 }}\n{rows}]\n')
        told = [{"Format/Datatype": "Row major Int8 format"}]
        layers = [{"Name": f"layer {i}", "LayerType": "gemm", "Outputs": told} for i in (1, 2)]
        Path(options["--exportLayerInfo"]).write_text(json.dumps({"Layers": layers, "Bindings": []}))
    else:
        late = int(options["--warmUp"]) if tuple(map(int, version.split("."))) < (8, 5) else 0
        noise = random.Random(time.monotonic_ns())
        rows = [{"startComputeMs": late + i, "latencyMs": ms * (1 + 0.01 * noise.random())} for i in range(30)]
        Path(options["--exportTimes"]).write_text(json.dumps(rows))


def outputs(raw: bytes, inputs: str, shapes: str) -> str:
    """What onnxruntime gives for the inputs in these files."""
    import numpy as np
    import onnxruntime as ort

    from edgekit.formats.onnx import FORMAT

    with tempfile.TemporaryDirectory() as folder:
        (path := Path(folder) / "m.onnx").write_bytes(raw)
        session = ort.InferenceSession(path)
        kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(bool)": np.bool_}
        files, told = dict(pair.split(":") for pair in inputs.split(",")), shapes_of(shapes)
        given = tuple(
            np.fromfile(files[i.name], kinds[i.type]).reshape(told.get(i.name, i.shape)) for i in session.get_inputs()
        )
        made = FORMAT.run(path, given, rows=[len(array) for array in given])
        names = [output.name for output in session.get_outputs()]
    rows = [
        f'{{ "name" : "{name}", "dimensions" : "{"x".join(map(str, array.shape))}", '
        f'"values" : [ {", ".join(f"{value:.6g}" for value in array.ravel())} ] }}'
        for name, array in zip(names, made, strict=True)
    ]
    return "[ " + "\n, ".join(rows) + "\n]\n"


if __name__ == "__main__":
    sys.path.remove(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    sys.exit(main(*sys.argv[1:]))
