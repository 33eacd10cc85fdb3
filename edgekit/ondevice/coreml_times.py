"""Times a Core ML model on a Mac by coremltools' MLModelBenchmarker: coreml_times.py MODEL CALLS; answers in one line.

Times are Core ML's own, in milliseconds, of one load, of the first call and of those after a warm-up.
"""

import asyncio
import json
import os
import sys
import tempfile
import zipfile


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


async def times(path, calls):
    """What the benchmarker says of the model."""
    import coremltools
    from coremltools.models.ml_program.experimental.perf_utils import MLModelBenchmarker

    tool = MLModelBenchmarker(coremltools.models.MLModel(path, skip_model_load=True))
    load = await tool.benchmark_load()
    first = await tool.benchmark_predict()
    others = await tool.benchmark_predict(iterations=calls, warmup=True)
    return {
        "version": coremltools.__version__,
        "load_ms": load.samples[0],
        "first_ms": first.samples[0],
        "calls_ms": others.samples,
    }


if __name__ == "__main__":
    try:
        with tempfile.TemporaryDirectory() as scratch:
            answer = asyncio.run(times(opened(sys.argv[1], scratch), int(sys.argv[2])))
    except Exception as error:
        answer = {"error": "%s: %s" % (type(error).__name__, str(error)[:300])}
    print("@coreml " + json.dumps(answer))
