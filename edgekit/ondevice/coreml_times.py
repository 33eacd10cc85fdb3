"""Runs a Core ML model on a Mac by coremltools. Answers in one line; times are Core ML's own, in milliseconds.

coreml_times.py time MODEL UNITS WARM_S RUN_S CALLS   one load, the first call, and those after a warm-up
coreml_times.py call MODEL UNITS OUTPUT INPUT...      one call with these raw numbers; those of the outputs go to OUTPUT
coreml_times.py plan MODEL UNITS                      how many ops Core ML would rather run on which unit
"""

import asyncio
import json
import os
import resource
import sys
import tempfile
import time
import zipfile

MOST_CALLS = 10000


def opened(path, folder):
    """The package that a zip holds, unpacked below folder; path itself if it is no zip."""
    if not zipfile.is_zipfile(path):
        return path
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)  # which keeps all that is in it below folder
    packages = [name for name in os.listdir(folder) if name.endswith(".mlpackage")]
    if len(packages) != 1:
        raise ValueError("%s: want one .mlpackage in the zip, got %d" % (path, len(packages)))
    return os.path.join(folder, packages[0])


def loaded(path, units, **more):
    """The model, kept to these units of the chip."""
    import coremltools

    return coremltools.models.MLModel(path, compute_units=getattr(coremltools.ComputeUnit, units), **more)


def peak_bytes():
    """The most memory that this process ever had: in bytes on a Mac, in KiB elsewhere."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


async def do_time(path, units, warm_s, run_s, least):
    """What the benchmarker says of the model."""
    import coremltools
    from coremltools.models.ml_program.experimental.perf_utils import MLModelBenchmarker

    tool = MLModelBenchmarker(loaded(path, units, skip_model_load=True))
    load = await tool.benchmark_load()
    first = await tool.benchmark_predict()
    began = time.monotonic()
    last = first
    while time.monotonic() - began < float(warm_s):
        last = await tool.benchmark_predict()
    calls = int(float(run_s) * 1000 / max(last.samples[0], 1e-3))
    calls = min(max(calls, int(least)), MOST_CALLS)
    others = await tool.benchmark_predict(iterations=calls, warmup=True)
    return {
        "version": coremltools.__version__,
        "load_ms": load.samples[0],
        "first_ms": first.samples[0],
        "calls_ms": others.samples,
        "peak_bytes": peak_bytes(),
    }


async def do_call(path, units, target, *sources):
    """Writes what the model gives, output by output."""
    import numpy

    model = loaded(path, units)
    ends = model.get_spec().description
    given = {}
    for feature, source in zip(ends.input, sources):
        kind = feature.type.multiArrayType
        name = kind.ArrayDataType.Name(kind.dataType).lower().replace("double", "float64")
        given[feature.name] = numpy.fromfile(source, name).reshape(tuple(kind.shape))
    made = model.predict(given)
    with open(target, "wb") as file:
        for feature in ends.output:
            array = numpy.asarray(made[feature.name])
            wide = numpy.float32 if array.dtype.kind == "f" else numpy.int32
            file.write(numpy.ascontiguousarray(array.astype(wide)).tobytes())
    return {"outputs": len(made)}


async def do_plan(path, units):
    """Counts the ops of the main function by the kind of device that Core ML prefers for each."""
    from coremltools.models.compute_plan import MLComputePlan

    model = loaded(path, units)
    plan = MLComputePlan.load_from_path(model.get_compiled_model_path(), compute_units=model.compute_unit)
    found = {}
    for operation in plan.model_structure.program.functions["main"].block.operations:
        usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
        if usage is not None:
            kind = type(usage.preferred_compute_device).__name__
            unit = kind.replace("ML", "", 1).replace("ComputeDevice", "")
            found[unit] = found.get(unit, 0) + 1
    return {"plan": found}


JOBS = {"time": do_time, "call": do_call, "plan": do_plan}

if __name__ == "__main__":
    try:
        with tempfile.TemporaryDirectory() as scratch:
            package = opened(sys.argv[2], scratch)
            answer = asyncio.run(JOBS[sys.argv[1]](package, *sys.argv[3:]))
    except Exception as error:
        answer = {"error": "%s: %s" % (type(error).__name__, str(error)[:300])}
    print("@coreml " + json.dumps(answer))
