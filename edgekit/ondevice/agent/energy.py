"""The energy that the device itself measures: Intel's RAPL counters, or power sensors that the kernel shows.

Without a sensor there is no figure: nothing is estimated. What is measured is the whole package or board, idling too.
"""

import glob
import os

from .kernel import number, read_text


INPUT_RAILS = ("VDD_IN", "POM_5V_IN", "POM_5V_VDD_IN")
"""What the whole of a Jetson takes; its other rails are parts of that."""


class Meter:
    """Joules since it was made; `sensor` names what tells, and is None where nothing does."""

    def __init__(self, system="/sys"):
        self.counters = rapl(system)
        self.sensors = [] if self.counters else rails(system)
        self.sensor = "rapl" if self.counters else ("hwmon" if self.sensors else None)
        self.joules = 0.0
        self.last = [microjoules(folder) for folder in self.counters]

    def sample(self, seconds):
        """Counts what was used since the last sample, `seconds` ago: power sensors are read now, for all of that."""
        for i, folder in enumerate(self.counters):
            now = microjoules(folder)
            if now is None or self.last[i] is None:
                self.sensor = None
                return
            used = now - self.last[i]
            if used < 0:  # the counter went round
                used += number(read_text(os.path.join(folder, "max_energy_range_uj"))) or 0.0
            self.joules += used * 1e-6
            self.last[i] = now
        watts = [power() for power in self.sensors]
        if any(w is None for w in watts):
            self.sensor = None
            return
        self.joules += sum(watts) * seconds


def rapl(system):
    """The folders of the processor packages' counters, those that may be read."""
    found = sorted(glob.glob(os.path.join(system, "class/powercap/intel-rapl:[0-9]*")))
    packages = [f for f in found if (read_text(os.path.join(f, "name")) or "").startswith("package")]
    return [f for f in packages if microjoules(f) is not None]


def microjoules(folder):
    """A counter's value."""
    return number(read_text(os.path.join(folder, "energy_uj")))


def rails(system):
    """Functions that give watts: of the whole board's rail where one is named so, else of each power sensor."""
    found = []
    for folder in sorted(glob.glob(os.path.join(system, "class/hwmon/hwmon*"))):
        for path in sorted(glob.glob(os.path.join(folder, "power[0-9]*_input"))):
            found.append((read_text(path.replace("_input", "_label")), product(path, scale=1e-6)))
        if found:
            continue
        for volts in sorted(glob.glob(os.path.join(folder, "in[0-9]*_input"))):
            amperes = os.path.join(folder, os.path.basename(volts).replace("in", "curr", 1))
            if os.path.exists(amperes):
                label = read_text(volts.replace("_input", "_label"))
                found.append((label, product(volts, amperes, scale=1e-6)))
    whole = [power for label, power in found if label in INPUT_RAILS]
    return whole or [power for _, power in found]


def product(*paths, scale):
    """A function that gives the product of what these files say, times `scale`; None if one says nothing."""

    def power():
        value = scale
        for path in paths:
            factor = number(read_text(path))
            if factor is None:
                return None
            value *= factor
        return value

    return power
