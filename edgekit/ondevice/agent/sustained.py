"""A form called without a pause for a minute or more: what is left of its speed when the device is warm."""

import time

from .energy import Meter
from .forms import load, samples
from .kernel import state
from .lines import say


WINDOW_S = 1.0


def do_sustained(job):
    """Calls the first form for `for_s` seconds; a line for each second of it, and what energy that took."""
    form = job["forms"][0]
    data = samples(form)
    model = load(form, job)
    meter = Meter(job.get("system", "/sys"))
    began = last = time.perf_counter()
    count = 0
    while last - began < job["for_s"]:
        times = []
        while not times or time.perf_counter() - last < WINDOW_S:
            t0 = time.perf_counter()
            model.run(data[(count + len(times)) % len(data)])
            times.append(time.perf_counter() - t0)
        count += len(times)
        now = time.perf_counter()
        meter.sample(now - last)
        last = now
        seen = state(job)
        seen.pop("governor")
        times.sort()
        p50, p99 = times[len(times) // 2], times[-1 - len(times) // 100]
        say(window=dict(seen, at_s=now - began, p50_s=p50, p99_s=p99, calls=len(times)))
    known = meter.sensor is not None
    say(energy={"joules": meter.joules if known else None, "sensor": meter.sensor, "calls": count})
