"""The job that times single ops, each in a file of its own."""

import gc

from .compiled import clock_for, compile_form
from .forms import samples, scratch, write
from .lines import reason, say
from .runtimes import Onnxruntime


def do_farm(job):
    """Seconds of files of single ops, with the op once and nine times, round by round, few files loaded at once."""
    for farm in job["farms"]:
        with scratch(farm["form"]) as folder:
            compile_form(farm["form"], folder, job["threads"], False)
            capture = Onnxruntime(write(folder, "capture.onnx", farm["capture"]), job["threads"], unoptimized)
            inputs = samples(farm["form"])[0]
            values = dict(zip(capture.names, inputs))
            values.update(zip([o.name for o in capture.session.get_outputs()], capture.run(inputs)))
            del capture
            gc.collect()
            ops = farm["ops"]
            for start in range(0, len(ops), job["together"]):
                time_ops(job, folder, values, list(enumerate(ops))[start : start + job["together"]], farm["form"])


def time_ops(job, folder, values, ops, form):
    """Times a few ops against each other in turn, and says what each took."""
    loaded = []
    for index, op in ops:
        try:
            pair = [
                Onnxruntime(write(folder, "op.onnx", op[key]), job["threads"], unoptimized).session
                for key in ("once", "often")
            ]
            feed = {name: values[name] for name in op["inputs"]}
            for session in pair:
                session.run(None, feed)
                session.run(None, feed)
            loaded.append((index, pair, feed, []))
        except Exception as error:
            say(farmed={"id": form["id"], "index": index, "error": reason(error)})
    clock = clock_for(job["threads"])
    for _ in range(job["rounds"]):
        for _, pair, feed, found in loaded:
            once, often = [least_of(clock, session, feed) for session in pair]
            found.append((once, often))
    for index, _, _, found in loaded:
        say(farmed={"id": form["id"], "index": index, "once": [o for o, _ in found], "often": [o for _, o in found]})


def least_of(clock, session, feed):
    """The least of three calls' seconds, after one to bring the op's data back into the cache."""
    session.run(None, feed)
    found = []
    for _ in range(3):
        began = clock()
        session.run(None, feed)
        found.append(clock() - began)
    return min(found)


def unoptimized(options):
    """Session options that run a graph as it is: it is compiled already."""
    import onnxruntime

    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
