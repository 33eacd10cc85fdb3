"""What each precision costs and gains in onnxruntime, whole nets in one precision each.

`python benchmarks/precisions.py [--quick] [--json]`: DeiT-Tiny, ResNet-18 and MobileNetV2 of tests/zoo go through every
precision of this computer's ONNX target. Told are the signal-to-noise ratio of the outputs against float's, the size of
the file, and its speed beside the float file in rounds, one thread, by the process's CPU time. Weights are random, so
the ratios compare precisions and are no accuracies. A transformer is what dynamic int8 is for: it must keep more of the
signal than static int8 keeps, and be faster than float.
"""

import argparse
import platform
import sys
from pathlib import Path

import numpy as np
from _figures import Figures, bench_here, say
from _rounds import measure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from zoo import hard, hard_samples  # type: ignore[attr-defined]

from edgekit.bench.check import sqnr_db
from edgekit.bench.session import Bench
from edgekit.catalog.targets import get_target
from edgekit.compress.quantize import quantize
from edgekit.core.recipe import Quantize
from edgekit.core.target import Target
from edgekit.formats.base import get_format
from edgekit.models.model import Model
from edgekit.models.program import export

NETS = {"deit_tiny": "DeiT-Tiny", "resnet18": "ResNet-18", "mobilenet_v2": "MobileNetV2"}
FLOAT, TRANSFORMER, STATIC, DYNAMIC = "float", "deit_tiny", "int8", "int8-dynamic"
LEAST_DB = 30.0
"""What dynamic int8 must keep of the transformer's signal."""


def files_of(net: str, model: Model, target: Target, folder: Path) -> dict[str, Path]:
    """The net's file in float and in each precision that the target has."""
    back_end = get_format(target.format)
    found = {FLOAT: back_end.lower(export(model), target, folder / FLOAT)}
    for precision in target.numerics.precisions:
        if precision != "fp32":
            say(f"{NETS[net]}: {precision}")
            program = quantize(model, Quantize(default=precision), target.numerics, hard_samples(net, 16))
            found[precision] = back_end.lower(program, target, folder / precision)
    return found


def of_net(net: str, figures: Figures, bench: Bench, folder: Path, rounds: int) -> None:
    target, model, inputs = get_target(f"onnx-{platform.machine()}"), hard(net), hard_samples(net, 8, seed=1).inputs
    files = files_of(net, model, target, folder)
    outputs = {key: get_format(target.format).run(path, inputs)[0] for key, path in files.items()}
    kept = {key: sqnr_db(outputs[FLOAT], got) or np.inf for key, got in outputs.items()}
    np.savez(folder / "feed.npz", in_0=inputs[0])
    against = measure(bench, {key: (path, folder / "feed.npz") for key, path in files.items()}, rounds)
    for key in list(files)[1:]:
        checked = net == TRANSFORMER and key == DYNAMIC
        name, speed = f"{NETS[net]}, {key}", against(FLOAT, key)
        figures.add(
            f"{name}: signal kept", kept[key], max(LEAST_DB, kept[STATIC]) if checked else None,
            larger_is_better=True, unit="dB",
        )  # fmt: skip
        figures.add(
            f"{name}: times as fast as float", speed.value, 1.0 if checked else None, low=speed.low, high=speed.high,
            larger_is_better=True, unit="x",
        )  # fmt: skip
        size = files[FLOAT].stat().st_size / files[key].stat().st_size
        figures.add(f"{name}: times as small as float", size, None, larger_is_better=True, unit="x")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="DeiT-Tiny alone")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    figures = Figures("precisions", "onnxruntime, 1 thread, process CPU time")
    with bench_here() as (bench, folder):
        for net in (TRANSFORMER,) if args.quick else NETS:
            (place := folder / net).mkdir()
            of_net(net, figures, bench, place, 10 if args.quick else 20)
    return figures.end(as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
