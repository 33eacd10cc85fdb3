"""What measures on a device: one JSON job on stdin, JSON lines on stdout. Python 3.8, standard library, one runtime.

Jobs ("job" key): version, rounds, memory, trace, vectors. Each line out has one key that says what it is; the last one
is {"done": true}. A failure is {"error": "..."} and exit status 1. Nothing is written but what a job names.
"""

import gc
import glob
import json
import os
import sys
import time

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


def state():
    """The state of the device now: what cannot be read is None."""
    zones = [number(read_text(p), 1e-3) for p in sorted(glob.glob("/sys/class/thermal/thermal_zone*/temp"))]
    zones = [z for z in zones if z is not None]
    frequency = number(read_text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"))
    try:
        load = os.getloadavg()[0]
    except OSError:
        load = None
    return {
        "temperature_c": max(zones) if zones else None,
        "frequency_khz": None if frequency is None else int(frequency),
        "load_average": load,
        "governor": read_text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
    }


class Onnxruntime:
    """A model file in onnxruntime, on the CPU, all optimizations on."""

    def __init__(self, path, threads, options=None):
        import onnxruntime

        settings = options or onnxruntime.SessionOptions()
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

    def __init__(self, path, threads, options=None):
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


def settled(times):
    """Whether the last five calls are level with the five before them: the change has passed."""
    if len(times) < 10:
        return False
    new, old = sorted(times[-5:]), sorted(times[-10:-5])
    return abs(new[2] - old[2]) <= 0.03 * old[2] and new[0] >= 0.9 * old[0]


def read_form(form, job):
    """One form, loaded fresh and alone: load, first call, warm-up until it settles, then timed calls on two clocks."""
    data = samples(form)
    began = time.perf_counter()
    model = RUNTIMES[job["runtime"]](form["path"], job["threads"])
    loaded = time.perf_counter()
    model.run(data[0])
    first = time.perf_counter()
    warm, steady = [], False
    while len(warm) < 200 and time.perf_counter() - first < job["warmup_s"]:
        start = time.perf_counter()
        model.run(data[len(warm) % len(data)])
        warm.append(time.perf_counter() - start)
        if settled(warm):
            steady = True
            break
    wall, cpu = [], []
    begin = time.perf_counter()
    while len(wall) < job["calls_most"] and (
        len(wall) < job["calls_least"] or time.perf_counter() - begin < job["seconds"]
    ):
        inputs = data[len(wall) % len(data)]
        c0, t0 = time.process_time(), time.perf_counter()
        model.run(inputs)
        t1, c1 = time.perf_counter(), time.process_time()
        wall.append(t1 - t0)
        cpu.append(c1 - c0)
    del model
    gc.collect()
    return {
        "artifact": form["id"],
        "wall_s": wall,
        "cpu_s": cpu,
        "load_s": loaded - began,
        "first_call_s": first - loaded,
        "warmup_calls": len(warm),
        "steady": steady,
    }


def do_version(job):
    say(version=RUNTIMES[job["runtime"]].version(), python=sys.version.split()[0], state=state())


def do_rounds(job):
    for index, order in job["orders"]:
        before = state()
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


def do_trace(job):
    """Seconds of each node of the compiled graph, and that graph: onnxruntime only; the others have no trace."""
    import onnxruntime

    form = job["forms"][0]
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = job["prefix"]
    graph, weights = job["prefix"] + ".graph.onnx", os.path.basename(job["prefix"]) + ".weights"
    options.optimized_model_filepath = graph
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", weights)
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "64")
    data = samples(form)
    model = Onnxruntime(form["path"], job["threads"], options)
    for i in range(job["calls"]):
        model.run(data[i % len(data)])
    profile = model.session.end_profiling()
    with open(profile) as file:
        events = json.load(file)
    nodes = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            entry = nodes.setdefault(event["name"][: -len("_kernel_time")], {"args": event["args"], "us": []})
            entry["us"].append(event["dur"])
    for name, entry in nodes.items():
        args = entry["args"]
        us = sorted(entry["us"])
        say(node={
            "name": name, "op": args.get("op_name"), "us": us[len(us) // 2],
            "inputs": args.get("input_type_shape", []), "outputs": args.get("output_type_shape", []),
        })  # fmt: skip
    for path in (profile, os.path.join(os.path.dirname(graph), weights)):
        if os.path.exists(path):
            os.remove(path)
    say(graph=graph)


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


JOBS = {"version": do_version, "rounds": do_rounds, "memory": do_memory, "trace": do_trace, "vectors": do_vectors}


def main():
    """Does the job on stdin."""
    try:
        job = json.loads(sys.stdin.readline())
        if job.get("schema") != SCHEMA or job.get("job") not in JOBS:
            raise ValueError("this agent does not know the job: it is older or newer than the host's edgekit")
        JOBS[job["job"]](job)
        say(done=True)
    except Exception as error:
        say(error="%s: %s" % (type(error).__name__, " ".join(str(error).split())[:500]))
        sys.exit(1)


if __name__ == "__main__":
    main()
