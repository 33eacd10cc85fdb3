"""The zoo of hard cases in every format, float and int8: does each convert, and is each proved right?

`python benchmarks/zoo.py [--quick] [--json] [--resume]`: the nets of tests/zoo, every installed back end by one target
of its own, each cell in a process of its own. A float cell holds if every output is within 1e-4 of its range; an int8
cell if its end is within the net's own band (edgekit/formats/verify.py), every layer within its bound
(edgekit/formats/apart.py) and every layer and every product meant to be int8 is int8 in the graph that onnxruntime
compiles, or in the file where that is compiled elsewhere. Writes docs/zoo.md, not with --quick, which takes three nets.
--resume goes on with a run that was cut off, with the cells that the code as it stands now made. A cell leaves the
count only for an op that the vendor's own table lacks.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
from functools import cache
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
PRECISIONS = {"vitis_ai": ("int8",)}
"""Where a format has not both: a DPU computes nothing in float."""
DEADLINE_S = 3600
LACKS = re.compile(r"TensorRT \S+ has no |no TensorRT has |: op [^:]+, a DPU has no engine for it")
"""What a back end says of an op that its vendor's own table lacks."""
TOOLS = ("torch", "torchao", "onnx", "onnxruntime", "litert-torch", "ai-edge-litert", "coremltools")
MADE_BY = ("compress", "core", "formats", "graph", "models")
"""The packages whose code a cell is made by."""

Column = tuple[str, str]


def columns(formats: tuple[str, ...]) -> tuple[Column, ...]:
    """(format, precision) of each cell of a net."""
    return tuple((name, p) for name in formats for p in PRECISIONS.get(name, ("float", "int8")))


def cell_of(net: str, column: Column, *, resume: bool) -> dict[str, Any]:
    """A cell, made in a child that may crash or take too long; with `resume` the one that is kept, if there is one."""
    kept = CELLS / f"{net}-{'-'.join(column)}-{code()}.json"
    if resume and kept.is_file():
        found: dict[str, Any] = json.loads(kept.read_text())
        return found
    cell = _made(net, *column)
    cell["left_out"] = bool(cell["why"] and LACKS.search(cell["why"][0]))
    CELLS.mkdir(parents=True, exist_ok=True)
    for old in CELLS.glob(f"{net}-{'-'.join(column)}-*.json"):
        old.unlink()
    kept.write_text(json.dumps(cell))
    say(f"{net} {' '.join(column)}: {shown(cell)}, {cell['seconds']:g} s")
    return cell


def _made(net: str, format_name: str, precision: str) -> dict[str, Any]:
    command = (sys.executable, str(Path(__file__).resolve()), "--one", net, TARGETS[format_name], precision)
    cell: dict[str, Any] = {"net": net, "format": format_name, "precision": precision, "seconds": 0.0}
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False, env=env)
    except subprocess.TimeoutExpired:
        return cell | {"why": [f"no result after {DEADLINE_S} s"]}
    said = done.stdout.strip().splitlines()
    if done.returncode or not said:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        return cell | {"why": [last[:300]]}
    return cell | dict(json.loads(said[-1]))


@cache
def code() -> str:
    """What tells the code that makes a cell from that of another day."""
    files = [*(ROOT / "tests" / "zoo").glob("*.py"), ROOT / "benchmarks" / "_zoo_cells.py"]
    files += [path for name in MADE_BY for path in (ROOT / "edgekit" / name).rglob("*.py")]
    files += [ROOT / "targets" / f"{name}.toml" for name in TARGETS.values()]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()[:12]


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
    return f"{cell['found']}, {share:.5g} %, {exact['worst']:g} LSB; end {cell['end']:.2f} ({cell['own']:.2f})"


def page(cells: dict[tuple[str, str, str], dict[str, Any]], names: tuple[str, ...], formats: tuple[str, ...]) -> str:
    """docs/zoo.md."""
    counted = [c for c in cells.values() if not c["left_out"]]
    held = sum(not c["why"] for c in counted)
    lines = [
        "# The zoo: twelve hard cases in every format\n",
        "Generated by `python benchmarks/zoo.py`; do not edit.\n",
        f"{held} of {len(counted)} cells convert and are proved right ({100 * held / len(counted):.1f} %, wanted: "
        f"95 %); {len(cells) - len(counted)} are left out for an op that the vendor's own table lacks.\n",
        "A float cell gives the largest error as a share of the output's range (wanted: 1e-4). An int8 cell gives\n",
        "- how many layers and products of two int8 values are int8: in the graph that onnxruntime compiles, else in "
        "the file; all that are meant to be, or the cell does not hold;\n"
        "- of all layers whose arithmetic is exact, each given the reference's input: the share of values that equal "
        "the reference's, and the largest difference (wanted of each layer alone: 99.9 % and 1 LSB). Layers with "
        "softmax, GELU, LayerNorm and the like are held to 2 LSB in 2 %;\n"
        "- the RMS error at the end of the net, in LSB (a float output: in 255ths of its range), and in brackets how "
        "far summing in float32 instead of float64 moves the reference there. An end may be off by twice that and "
        "0.3; with several outputs it is the one that is farthest beyond its own.\n",
        "The TensorRT form is an ONNX file, run by onnxruntime here: no TensorRT kernel ran. Core ML's program is run "
        "by edgekit's evaluator, a DPU's by onnxruntime. XINT8 has no float form. A net with an op that a DPU has no "
        "engine for, between ops that it has, is left out; one that is refused for anything else, a limit of a DPU's "
        "sizes too, counts as one that does not hold. Weights are random: accuracy is not what this shows.\n",
        f"Machine: {machine()}. {', '.join(_versions())}.\n",
        "| format | convert and verify | left out |\n|---|---|---|",
    ]
    for name in formats:
        some = [c for c in cells.values() if c["format"] == name]
        kept = [c for c in some if not c["left_out"]]
        lines.append(f"| {name} | {sum(not c['why'] for c in kept)} of {len(kept)} | {len(some) - len(kept)} |")
    for precision in ("float", "int8"):
        own = [f for f, p in columns(formats) if p == precision]
        lines += [f"\n## {precision}\n", "| net | " + " | ".join(own) + " |", "|---" * (len(own) + 1) + "|"]
        lines += [f"| {n} | " + " | ".join(shown(cells[n, f, precision]) for f in own) + " |" for n in names]
    for title, left_out in (("What does not hold", False), ("What is left out", True)):
        some = [c for c in cells.values() if c["why"] and c["left_out"] is left_out]
        if some:
            lines += [f"\n## {title}\n"]
            lines += [f"- {c['net']}, {c['format']} {c['precision']}: {'; '.join(c['why'][:6])}" for c in some]
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
    parser.add_argument("--one", nargs=3, metavar=("NET", "TARGET", "PRECISION"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        import _zoo_cells

        print(json.dumps(_zoo_cells.cell_of(*args.one)))
        return 0
    from zoo import HARD  # type: ignore[attr-defined]

    from edgekit.formats.names import format_names

    names = QUICK if args.quick else tuple(HARD)
    formats = tuple(name for name in format_names() if name in TARGETS)
    cells = {(n, *column): cell_of(n, column, resume=args.resume) for n in names for column in columns(formats)}
    if not args.quick:
        PAGE.write_text(page(cells, names, formats))
    figures = Figures("zoo", f"{len(names)} nets, {', '.join(formats)}; float and int8")
    counted = [c for c in cells.values() if not c["left_out"]]
    for name in formats:
        some = [c for c in counted if c["format"] == name]
        held = sum(not c["why"] for c in some)
        figures.add(f"{name}: cells of {len(some)} that hold", 100 * held / max(len(some), 1), None)
    share = 100 * sum(not c["why"] for c in counted) / len(counted)
    figures.add(f"all {len(counted)} cells: convert and verify", share, 95.0, larger_is_better=True)
    figures.notes += [
        f"{c['net']} {c['format']} {c['precision']}: {'; '.join(c['why'][:3])}" for c in cells.values() if c["why"]
    ]
    return figures.end(as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
