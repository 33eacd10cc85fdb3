"""A Python with a coremltools that is not Apple's: it answers to the names and the order of coremltools 9.0 on a Mac.

Tests put it onto a board of the lab, where it stands for the Python of a Mac. What a model computes is edgekit's own
evaluator's; its times are made up. It proves how edgekit asks coremltools, and nothing about Core ML.
"""

import json
import sys
from pathlib import Path

MODELS = """
import json, os, subprocess, sys
import numpy
class Kind:
    class ArrayDataType:
        @staticmethod
        def Name(number): return number.upper()
    def __init__(self, shape, dtype): self.shape, self.dataType = shape, dtype
class Feature:
    def __init__(self, name, shape, dtype):
        self.name = name
        self.type = type("Type", (), {"multiArrayType": Kind(shape, dtype)})
class MLModel:
    def __init__(self, model, compute_units=None, skip_model_load=False):
        if not os.path.isfile(os.path.join(model, "Manifest.json")):
            raise FileNotFoundError(model)
        with open(os.environ["MAC_LOG"], "a") as log:
            log.write(compute_units.name + "\\n")
        self.path, self.compute_unit, self.spec = model, compute_units, None
    def _ask(self, *words):
        clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        clean["PYTHONPATH"] = os.environ["MAC_CLEAN"]
        done = subprocess.run([sys.executable, os.environ["MAC_ASKED"], self.path, *words], env=clean, check=True,
            stdout=subprocess.PIPE)
        return json.loads(done.stdout.splitlines()[-1])
    def get_spec(self):
        if self.spec is None:
            told = self._ask()
            ends = {end: [Feature(*each) for each in told[end]] for end in ("input", "output")}
            self.spec = type("Spec", (), {"description": type("Description", (), ends)})
        return self.spec
    def predict(self, given):
        numpy.savez(self.path + ".npz", **{"in_%d" % i: array for i, array in enumerate(given.values())})
        names = [feature.name for feature in self.get_spec().description.output]
        made = self._ask(self.path + ".npz")["made"]
        return {name: numpy.load(path) for name, path in zip(names, made)}
    def get_compiled_model_path(self):
        return self.path + "c"
"""
PERF_UTILS = """
import os
class MLModelBenchmarker:
    class Measurement:
        def __init__(self, samples):
            self.samples = samples
    def __init__(self, model, device=None):
        weights = [os.path.getsize(os.path.join(at, f)) for at, _, files in os.walk(model.path) for f in files]
        self.ms = 0.5 + sum(weights) / 1e5
    async def benchmark_load(self, iterations=1):
        return self.Measurement([250.0] * iterations)
    async def benchmark_predict(self, inputs=None, iterations=1, warmup=False):
        return self.Measurement([self.ms * (1 + 0.01 * (i % 3)) for i in range(iterations)])
"""
PLAN = """
class MLCPUComputeDevice: pass
class MLNeuralEngineComputeDevice: pass
class MLComputePlan:
    def __init__(self):
        block = type("Block", (), {"operations": ("const", "conv", "conv", "softmax")})
        functions = {"main": type("Function", (), {"block": block})}
        self.model_structure = type("Structure", (), {"program": type("Program", (), {"functions": functions})})
    @classmethod
    def load_from_path(cls, path, compute_units=None):
        return cls()
    def get_compute_device_usage_for_mlprogram_operation(self, operation):
        if operation == "const":
            return None
        device = MLNeuralEngineComputeDevice() if operation == "conv" else MLCPUComputeDevice()
        return type("Usage", (), {"preferred_compute_device": device})
"""
INIT = """
import enum
__version__ = "9.0"
class ComputeUnit(enum.Enum):
    ALL, CPU_AND_GPU, CPU_ONLY, CPU_AND_NE = range(1, 5)
from . import models
"""


def put(folder: Path) -> Path:
    """Makes `folder`/python that Python; the units that each model was allowed are lines of `folder`/log."""
    top = folder / "coremltools"
    (top / "models" / "ml_program" / "experimental").mkdir(parents=True)
    (top / "__init__.py").write_text(INIT)
    (top / "models" / "__init__.py").write_text(MODELS)
    (top / "models" / "compute_plan.py").write_text(PLAN)
    for package in (top / "models" / "ml_program", top / "models" / "ml_program" / "experimental"):
        (package / "__init__.py").touch()
    (top / "models" / "ml_program" / "experimental" / "perf_utils.py").write_text(PERF_UTILS)
    (told := folder / "coremltools-9.0.dist-info").mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: coremltools\nVersion: 9.0\n")
    settings = {"PYTHONPATH": folder, "MAC_LOG": folder / "log", "MAC_ASKED": Path(__file__).resolve()}
    settings["MAC_CLEAN"] = Path(__file__).parents[1]
    words = " ".join(f"{key}={value}" for key, value in settings.items())
    (program := folder / "python").write_text(f'#!/bin/sh\nexec env {words} {sys.executable} "$@"\n')
    program.chmod(0o755)
    return program


def main(package: str, inputs: str = "") -> None:
    """In a process with the real coremltools: what a package takes and gives, and what it computes for these inputs."""
    import numpy as np

    from edgekit.formats.coreml import FORMAT, read

    program = read(Path(package))
    made = []
    told = {"input": [(v.name, list(v.type.shape or ()), v.type.numpy) for v in program.inputs]}
    if inputs:
        with np.load(inputs) as archive:
            given = tuple(archive[name] for name in archive.files)
        for i, array in enumerate(FORMAT.run(Path(package), given)):
            np.save(path := f"{inputs}.{i}.npy", array)
            made.append(path)
    told["output"] = [(name, [], "float32") for name in program.outputs]
    print(json.dumps(told | {"made": made}))


if __name__ == "__main__":
    main(*sys.argv[1:])
