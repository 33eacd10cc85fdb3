"""One network as its authors ship it in three formats: do edgekit's ways of running a file agree on it?

`python benchmarks/basic_pitch.py [--quick] [--json] [--prepare]`: the wheel of basic-pitch (PyPI) holds a network that
finds notes in sound as ONNX, TFLite and Core ML. Each file is run as any other is: onnxruntime, LiteRT, edgekit's own
evaluator, each in a child process, on the same seeded input. `--prepare` only fetches the wheel, into .bench/.
"""

import argparse
import subprocess
import sys
import zipfile
from itertools import combinations
from pathlib import Path

import numpy as np
from _figures import KEPT, Figures, say

from edgekit.formats.child import run_model

WHEEL = "basic-pitch==0.4.0"
FILES = {"onnx": "nmp.onnx", "tflite": "nmp.tflite", "coreml": "nmp.mlpackage"}
OUTPUTS = {"onnx": (2, 1, 0), "tflite": (2, 1, 0), "coreml": (0, 1, 2)}
"""Where each file has the outputs that its authors number 0, 1, 2 in their names: contours, notes, onsets."""
SAMPLES = 43_844
TARGET = 1e-4


def fetched() -> Path | None:
    """The folder with the authors' three files; None where the wheel cannot be had."""
    place = KEPT / "basic-pitch"
    if not (files := sorted(place.rglob(FILES["onnx"]))):
        place.mkdir(parents=True, exist_ok=True)
        command = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(place), WHEEL)
        if subprocess.run(command, check=False).returncode != 0:
            return None
        for wheel in place.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(place)
        files = sorted(place.rglob(FILES["onnx"]))
    return files[0].parent if files else None


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for option in ("--quick", "--json", "--prepare"):
        parser.add_argument(option, action="store_true")
    options = parser.parse_args()
    folder = fetched()
    if folder is None:
        say(f"skipped: pip cannot download {WHEEL}")
        return 0
    if options.prepare:
        return 0
    count = 4 if options.quick else 16
    sound = 0.3 * np.random.default_rng(0).standard_normal((count, SAMPLES, 1)).astype(np.float32)
    found = {}
    for kind, name in FILES.items():
        outputs = run_model(kind, folder / name, (sound,))
        found[kind] = [outputs[i] for i in OUTPUTS[kind]]
        say(f"{kind}: {', '.join('×'.join(map(str, a.shape)) for a in found[kind])}")
    figures = Figures("basic_pitch", f"{WHEEL}, {count} stretches of seeded noise")
    for one, other in combinations(FILES, 2):
        apart = max(float(np.abs(a - b).max()) for a, b in zip(found[one], found[other], strict=True))
        figures.add(f"{one} and {other}: largest difference", apart * 1e6, TARGET * 1e6, unit="ppm")
    largest = max(float(np.abs(a).max()) for outputs in found.values() for a in outputs)
    figures.notes.append(f"1 ppm is 1e-6; the largest output is {largest:.2f}. Core ML: edgekit's evaluator, no Mac.")
    return figures.end(as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
