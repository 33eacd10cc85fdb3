"""What the kernel tells of the device: its temperature, its clocks, its load. What cannot be read is None."""

import glob
import os
import subprocess


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


def throttled(job):
    """Whether the processor is being slowed against heat or low voltage; None if nothing tells."""
    try:
        done = subprocess.run(["vcgencmd", "get_throttled"], check=False, stdout=subprocess.PIPE, timeout=5)
        return bool(int(done.stdout.decode().strip().rpartition("=")[2], 16) & 0x7)
    except (OSError, ValueError, subprocess.SubprocessError):
        pass
    found = None
    for folder in glob.glob(os.path.join(job.get("system", "/sys"), "class/thermal/cooling_device*")):
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
        "throttled": throttled(job),
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


def own_cores():
    """The cores that this process may run on, where these are not all; None otherwise."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    own = sorted(os.sched_getaffinity(0))
    return own if len(own) < (os.cpu_count() or 0) else None
