"""What measures on a device: one JSON job on stdin, JSON lines on stdout. Python 3.8, standard library, one runtime.

Jobs ("job" key): version, rounds, memory, compile, farm, vectors. Each line out has one key that says what it is; the
last one is {"done": true}. A failure is {"error": "..."} and exit status 1. Files are written by compile and farm
alone, in a temporary folder beside the form, gone afterwards.
"""

import base64
import gc
import glob
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import zlib

SCHEMA = 1


def say(**line):
    """One line to the host, at once."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def read_text(path):
    """The first line of a small file of the kernel; None if it cannot be read."""
    try:
        with open(path) as file:
            return file.readline().strip()
    except OSError:
        return None


def number(text, scale=1.0):
    """`text` as a number times `scale`; None if it is none."""
    try:
        return float(text) * scale
    except (TypeError, ValueError):
        return None


def temperatures(folder):
    """Degrees Celsius of every sensor in the folder of the kernel's thermal zones."""
    zones = [number(read_text(p), 1e-3) for p in sorted(glob.glob(os.path.join(folder, "thermal_zone*/temp")))]
    return [z for z in zones if z is not None]


def throttled(system):
    """Whether the processor is being slowed against heat or low voltage; None if nothing tells."""
    try:
        done = subprocess.run(["vcgencmd", "get_throttled"], check=False, stdout=subprocess.PIPE, timeout=5)
        return bool(int(done.stdout.decode().strip().rpartition("=")[2], 16) & 0x7)
    except (OSError, ValueError, subprocess.SubprocessError):
        pass
    found = None
    for folder in glob.glob(os.path.join(system, "class/thermal/cooling_device*")):
        kind = (read_text(os.path.join(folder, "type")) or "").lower()
        level = number(read_text(os.path.join(folder, "cur_state")))
        if level is not None and ("cpufreq" in kind or "processor" in kind):
            found = bool(found) or level > 0
    return found


def state(job):
    """The state of the device now: what cannot be read is None."""
    system = job.get("system", "/sys")
    zones = temperatures(job.get("thermal") or os.path.join(system, "class/thermal"))
    cpu = os.path.join(system, "devices/system/cpu/cpu%d/cpufreq" % min(fast_cores(system) or [0]))
    frequency = number(read_text(os.path.join(cpu, "scaling_cur_freq")))
    try:
        load = os.getloadavg()[0]
    except OSError:
        load = None
    return {
        "temperature_c": max(zones) if zones else None,
        "frequency_khz": None if frequency is None else int(frequency),
        "load_average": load,
        "throttled": throttled(system),
        "governor": read_text(os.path.join(cpu, "scaling_governor")),
    }


def fast_cores(system="/sys"):
    """The cores with the highest clock limit, where a device has unlike ones; None where they are alike or unknown."""
    limits = {}
    for path in glob.glob(os.path.join(system, "devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq")):
        limit = number(read_text(path))
        if limit is not None:
            limits[int(path.split(os.sep)[-3][3:])] = limit
    best = [core for core, limit in limits.items() if limit == max(limits.values())]
    return sorted(best) if len(best) < len(limits) else None


def stay_on_fast_cores(threads):
    """Keeps this process off the slow cores of a device with two kinds, if there are fast ones for all threads."""
    cores = fast_cores()
    if cores and len(cores) >= threads and hasattr(os, "sched_setaffinity"):
        try:
            os.sched_setaffinity(0, cores)
        except OSError:
            pass


class Onnxruntime:
    """A model file in onnxruntime, on the CPU; `changes` is called with the session's options before it is loaded."""

    def __init__(self, path, threads, changes=None):
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        if changes is not None:
            changes(settings)
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
        self.names = [i.name for i in self.session.get_inputs()]

    def run(self, inputs):
        return self.session.run(None, dict(zip(self.names, inputs)))

    @staticmethod
    def version():
        import onnxruntime

        return onnxruntime.__version__


class Litert:
    """A model file in LiteRT (or its predecessor), XNNPACK on."""

    def __init__(self, path, threads):
        self.interpreter = Litert.module().Interpreter(model_path=path, num_threads=threads)
        self.interpreter.allocate_tensors()
        self.inputs = [d["index"] for d in self.interpreter.get_input_details()]
        self.outputs = [d["index"] for d in self.interpreter.get_output_details()]

    def run(self, inputs):
        for index, value in zip(self.inputs, inputs):
            self.interpreter.set_tensor(index, value)
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(index) for index in self.outputs]

    @staticmethod
    def module():
        try:
            from ai_edge_litert import interpreter
        except ImportError:
            from tflite_runtime import interpreter
        return interpreter

    @staticmethod
    def version():
        Litert.module()
        for name in ("ai_edge_litert", "tflite_runtime"):
            if name in sys.modules:
                return str(getattr(sys.modules[name], "__version__", "unknown"))
        return "unknown"


RUNTIMES = {"onnxruntime": Onnxruntime, "litert": Litert}


def samples(form):
    """A list of inputs, each a list of arrays with one batch, from the form's .npz."""
    import numpy

    with numpy.load(form["inputs"], allow_pickle=False) as archive:
        names = sorted((k for k in archive.files if k.startswith("in_")), key=lambda k: int(k[3:]))
        arrays = [archive[name] for name in names]
    batch = int(form.get("batch", 1))
    count = max(1, len(arrays[0]) // batch)
    return [[numpy.ascontiguousarray(a[i * batch : (i + 1) * batch]) for a in arrays] for i in range(count)]


def last_change(times):
    """The index at which a series is level from on: past its last change point of more than 2 %.

    Change points by Pettitt's test on ranks (1979) at 5 %, each the start of the next search. It sees none in fewer
    than 12 values, so values at the start that stand out from the rest are passed by as well.
    """
    start = 0
    while len(times) - start >= 8:
        tail = times[start:]
        n = len(tail)
        order = sorted(range(n), key=lambda i: tail[i])
        ranks = [0.0] * n
        for rank, i in enumerate(order):
            ranks[i] = rank + 1.0
        total, best, at = 0.0, 0.0, 0
        for i in range(n - 1):
            total += 2 * ranks[i] - (n + 1)
            if abs(total) > best:
                best, at = abs(total), i + 1
        if 2 * math.exp(-6 * best * best / (n**3 + n**2)) > 0.05:
            break
        if abs(middle(tail[:at]) / middle(tail[at:]) - 1) <= 0.02:
            break
        start += at
    tail = times[start:]
    usual = middle(tail) if tail else 0.0
    spread = middle([abs(t - usual) for t in tail]) if tail else 0.0
    while start < len(times) // 2 and times[start] > usual + 5 * spread + 0.02 * usual:
        start += 1
    return start


def middle(values):
    """The median."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def read_form(form, job):
    """One form, loaded fresh and alone, called until enough calls follow the last change point of their times.

    The calls before that point are its warm-up. If there is none in time, the last calls count, and `steady` is false.
    """
    data = samples(form)
    began = time.perf_counter()
    model = RUNTIMES[job["runtime"]](form["path"], job["threads"])
    loaded = time.perf_counter()
    model.run(data[0])
    first = time.perf_counter()
    wall, cpu, start, steady, look = [], [], 0, False, 0
    while len(wall) < job["calls_most"]:
        inputs = data[len(wall) % len(data)]
        c0, t0 = time.process_time(), time.perf_counter()
        model.run(inputs)
        t1, c1 = time.perf_counter(), time.process_time()
        wall.append(t1 - t0)
        cpu.append(c1 - c0)
        if len(wall) < look:
            continue
        start = last_change(cpu)
        kept = wall[start:]
        late = t1 - first > job["warmup_s"]
        steady = len(kept) >= job["calls_least"] and (late or len(wall) >= 12)
        if (steady and sum(kept) >= job["seconds"]) or (late and len(wall) >= job["calls_least"]):
            break
        look = len(wall) + max(4, len(wall) // 4)
    if not steady:
        start = max(0, len(wall) - job["calls_least"])
    del model
    gc.collect()
    return {
        "artifact": form["id"],
        "wall_s": wall[start:],
        "cpu_s": cpu[start:],
        "load_s": loaded - began,
        "first_call_s": first - loaded,
        "warmup_calls": start,
        "steady": steady,
    }


def do_version(job):
    say(version=RUNTIMES[job["runtime"]].version(), python=sys.version.split()[0], state=state(job))


def do_rounds(job):
    for index, order in job["orders"]:
        before = state(job)
        readings = [read_form(job["forms"][i], job) for i in order]
        before.pop("governor")
        say(round=dict(before, index=index, readings=readings))


def do_memory(job):
    """Peak resident memory with one model loaded and called three times; the interpreter itself is in it."""
    form = job["forms"][0]
    data = samples(form)
    model = RUNTIMES[job["runtime"]](form["path"], job["threads"])
    for i in range(3):
        model.run(data[i % len(data)])
    peak = None
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                peak = int(line.split()[1]) * 1024
    say(memory=peak)


def scratch(form):
    """A folder of this process's own beside the form, removed when it is left."""
    return tempfile.TemporaryDirectory(prefix=".edgekit-", dir=os.path.dirname(os.path.abspath(form["path"])))


GRAPH, WEIGHTS = "graph.onnx", "weights.bin"


def compile_form(form, folder, threads, profile):
    """The model, its optimized graph saved in `folder` with the weights in a file beside it."""

    def changes(options):
        entry = options.add_session_config_entry
        options.optimized_model_filepath = os.path.join(folder, GRAPH)
        entry("session.optimized_model_external_initializers_file_name", WEIGHTS)
        entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
        options.enable_profiling = profile
        options.profile_file_prefix = os.path.join(folder, "profile")

    return Onnxruntime(form["path"], threads, changes)


def nodes_of(events, skipped):
    """Each node's microseconds, call by call but the first `skipped`, and what it wrote, from a profile's events."""
    nodes, call = {}, 0
    for event in events:
        name = event.get("name", "")
        if event.get("cat") == "Session" and name == "model_run":
            call += 1
        if event.get("cat") == "Node" and name.endswith("_kernel_time"):
            entry = nodes.setdefault(name[: -len("_kernel_time")], {"args": event["args"], "us": []})
            if call >= skipped:
                entry["us"].append(event["dur"])
    return nodes


def within(values):
    """The mean of the middle half: as steady as a median, and finer than the whole microseconds it is made of."""
    ordered = sorted(values)
    cut = len(ordered) // 4
    kept = ordered[cut : len(ordered) - cut]
    return sum(kept) / len(kept)


def do_compile(job):
    """For each form the graph that the runtime made of it, and each node's time and outputs.

    Times are the least of `loads` loads of `calls` calls each, since one load alone is often slow; the forms take
    turns, so that a slow moment meets all of them.
    """
    graphs, nodes, wholes = {}, {}, {}
    for load in range(job["loads"]):
        for form in job["forms"]:
            data = samples(form)
            graphs[form["id"]], found = profile(form, job, data)
            for name, entry in found.items():
                node = nodes.setdefault(form["id"], {}).setdefault(name, dict(entry))
                node["us"] = min(node["us"], entry["us"])
            if job["whole"]:
                wholes.setdefault(form["id"], []).append(whole_call(form, job, data))
            if load == job["loads"] - 1:
                say(
                    compiled={
                        "id": form["id"],
                        "graph": packed(graphs.pop(form["id"])),
                        "nodes": list(nodes.pop(form["id"], {}).values()),
                        "whole_us": min(wholes.pop(form["id"])) if job["whole"] else None,
                    }
                )


def profile(form, job, data):
    """One load: the optimized graph's bytes, and by name what its nodes took and wrote."""
    with scratch(form) as folder:
        model = compile_form(form, folder, job["threads"], True)
        for i in range(job["calls"]):
            model.run(data[i % len(data)])
        with open(model.session.end_profiling()) as file:
            found = nodes_of(json.load(file), min(3, job["calls"] - 1))
        with open(os.path.join(folder, GRAPH), "rb") as file:
            graph = file.read()
    del model
    gc.collect()
    nodes = {}
    for name, entry in found.items():
        args = entry["args"]
        node = {"name": name, "op": args.get("op_name"), "outputs": args.get("output_type_shape", [])}
        nodes[name] = dict(node, us=within(entry["us"]))
    return graph, nodes


def whole_call(form, job, data):
    """Microseconds of a call of the form without profiling, by the clock that other programs do not disturb."""
    model = Onnxruntime(form["path"], job["threads"])
    clock = clock_for(job["threads"])
    found = []
    for i in range(job["calls"] + 3):
        began = clock()
        model.run(data[i % len(data)])
        found.append((clock() - began) * 1e6)
    del model
    gc.collect()
    return within(found[3:])


def clock_for(threads):
    """The process's own CPU clock on one thread; with more, it runs faster than time, and wall it is."""
    return time.process_time if threads == 1 else time.perf_counter


def packed(data):
    """Bytes as text for a JSON line."""
    return base64.b64encode(zlib.compress(data)).decode()


def write(folder, name, text):
    """The path of a file in `folder` with what `packed` made `text` of."""
    path = os.path.join(folder, name)
    with open(path, "wb") as file:
        file.write(zlib.decompress(base64.b64decode(text)))
    return path


def unoptimized(options):
    """Session options that run a graph as it is: it is compiled already."""
    import onnxruntime

    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL


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


def do_vectors(job):
    """The largest difference of each output from what the host computed, over all test vectors."""
    import numpy

    form = job["forms"][0]
    model = RUNTIMES[job["runtime"]](form["path"], job["threads"])
    with numpy.load(form["inputs"], allow_pickle=False) as archive:
        wanted = [
            archive[k] for k in sorted((k for k in archive.files if k.startswith("out_")), key=lambda k: int(k[4:]))
        ]
    batch = int(form.get("batch", 1))
    worst = [0.0] * len(wanted)
    for i, inputs in enumerate(samples(form)):
        for o, got in enumerate(model.run(inputs)):
            want = wanted[o][i * batch : (i + 1) * batch]
            worst[o] = max(worst[o], float(numpy.max(numpy.abs(got.astype("float64") - want.astype("float64")))))
    say(vectors=worst)


def reason(error):
    """An error in one line."""
    return "%s: %s" % (type(error).__name__, " ".join(str(error).split())[:500])


JOBS = {
    "version": do_version,
    "rounds": do_rounds,
    "memory": do_memory,
    "compile": do_compile,
    "farm": do_farm,
    "vectors": do_vectors,
}


def main():
    """Does the job on stdin."""
    try:
        job = json.loads(sys.stdin.read())
        if job.get("schema") != SCHEMA or job.get("job") not in JOBS:
            raise ValueError("this agent does not know the job: it is older or newer than the host's edgekit")
        stay_on_fast_cores(job["threads"])
        JOBS[job["job"]](job)
        say(done=True)
    except Exception as error:
        say(error=reason(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
