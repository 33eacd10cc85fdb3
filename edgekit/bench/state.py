"""The state of a device between two processes, by what its kernel tells without Python."""

import re

from edgekit.core.measurement import Round
from edgekit.devices import parsers
from edgekit.devices.facts import ask_all
from edgekit.devices.questions import QUESTIONS, Question
from edgekit.devices.transport import Transport

_ASKED = ("governors", "temperatures", "throttling", "vcgencmd")


CLOCKS = Question(name="clocks", words=("sh", "-c", "cat /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq"))


def state_of(transport: Transport, index: int) -> Round:
    """The state of the device now, as a round without readings; what it does not tell is None.

    The frequency is that of the fastest core.

    Raises: as `Transport.run`.
    """
    wanted = [q for q in QUESTIONS if q.name in _ASKED]
    more = (Question(name=name, words=("cat", f"/proc/{name}")) for name in ("uptime", "loadavg"))
    told = ask_all(transport, (*wanted, *more, CLOCKS))
    zones = [celsius for _, celsius in parsers.parse_temperatures(told.get("temperatures", ""))]
    slowed = parsers.parse_throttled(told.get("vcgencmd", ""), told.get("throttling", ""), told.get("temperatures", ""))
    clocks = [int(text) for text in re.findall(r"^\d{1,12}$", told.get("clocks", ""), re.MULTILINE)]
    governors = parsers.parse_governors(told.get("governors", ""))
    return Round(
        index=index, readings=(), at_s=_first(told.get("uptime", "")), temperature_c=max(zones, default=None),
        frequency_khz=max(clocks, default=None), load_average=_first(told.get("loadavg", "")),
        governor=" ".join(governors) or None,
        throttled=None if slowed is None else any(not word.endswith(" before") for word in slowed),
    )  # fmt: skip


def _first(text: str) -> float | None:
    found = re.match(r"\s*(\d{1,12}(?:\.\d{1,6})?)\b", text)
    return float(found[1]) if found else None
