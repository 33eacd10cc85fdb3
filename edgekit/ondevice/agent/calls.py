"""Jobs that call whole forms: rounds, memory, vectors."""

import gc
import time

from .forms import load, samples
from .kernel import state, throttled
from .lines import say
from .warmup import last_change


def read_form(form, job):
    """One form, loaded fresh and alone, called until enough calls follow the last change point of their times.

    The calls before that point are its warm-up. If there is none in time, the last calls count, and `steady` is false.
    """
    data = samples(form)
    began = time.perf_counter()
    model = load(form, job)
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


def do_rounds(job):
    for index, order in job["orders"]:
        began, before = time.monotonic(), state(job)
        readings = [read_form(job["forms"][i], job) for i in order]
        before["throttled"] = before["throttled"] or throttled(job)
        say(round=dict(before, index=index, at_s=began, readings=readings))


def do_memory(job):
    """Peak resident memory with one model loaded and called three times; the interpreter itself is in it."""
    form = job["forms"][0]
    data = samples(form)
    model = load(form, job)
    for i in range(3):
        model.run(data[i % len(data)])
    peak = None
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                peak = int(line.split()[1]) * 1024
    say(memory=peak)


def do_vectors(job):
    """The largest difference of each output from what the host computed, over all test vectors."""
    import numpy

    form = job["forms"][0]
    model = load(form, job)
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
