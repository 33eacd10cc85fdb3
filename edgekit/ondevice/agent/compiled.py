"""The job that tells what the runtime makes of a form, and how long each op of that takes."""

import gc
import json
import os
import time

from .forms import samples, scratch
from .lines import packed, say
from .runtimes import Onnxruntime


GRAPH, WEIGHTS = "graph.onnx", "weights.bin"


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


def within(values):
    """The mean of the middle half: as steady as a median, and finer than the whole microseconds it is made of."""
    ordered = sorted(values)
    cut = len(ordered) // 4
    kept = ordered[cut : len(ordered) - cut]
    return sum(kept) / len(kept)
