"""Heat and low voltage: temperatures, and what slows a device against them."""

import re

ZONE = "zone"
"""What a thermal zone without a type is called."""

FIRMWARE_BITS = {0: "low voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
"""The bits of `vcgencmd get_throttled` (Raspberry Pi documentation, vcgencmd); 16 higher: it has been, since boot."""

SLOWS = re.compile(r"cpufreq|devfreq|processor", re.IGNORECASE)
"""Types of cooling devices that lower a clock; the others are fans."""

TRIPS = ("passive", "hot", "critical")
"""Kinds of trip points at which a device slows or stops; at an active one a fan starts."""

_MILLIDEGREES = re.compile(r"-?[0-9]{1,7}")


def parse_temperatures(text: str) -> tuple[tuple[str, float], ...]:
    """(zone, degrees Celsius), from "file:line" of the type and temp files of thermal zones; senseless ones left out.

    >>> parse_temperatures("thermal_zone0/type:cpu-thermal\\nthermal_zone0/temp:46500\\nthermal_zone1/temp:-274000")
    (('cpu-thermal', 46.5),)
    """
    found: dict[str, float] = {}
    for number, zone in _files(text, "thermal_zone").items():
        if (celsius := _celsius(zone.get("temp", ""))) is not None:
            name = zone.get("type") or ZONE
            found[name if name not in found else f"{name} {number}"] = celsius
    return tuple(found.items())


def parse_throttled(firmware: str, kernel: str, temperatures: str) -> tuple[str, ...] | None:
    """What slows the device, or has since it started, in words; None if nothing tells.

    `firmware` is what `vcgencmd get_throttled` says; the others are "file:line" of the kernel's cooling devices and
    trip points, and of its thermal zones.

    >>> parse_throttled("throttled=0x50005\\n", "", "")
    ('low voltage', 'throttled', 'low voltage before', 'throttled before')
    >>> parse_throttled("", "cooling_device0/type:cpufreq-cpu0\\ncooling_device0/cur_state:2\\n", "")
    ('cpufreq-cpu0 slowed (step 2)',)
    >>> parse_throttled("", "cooling_device0/type:cpufreq-cpu0\\ncooling_device0/cur_state:0\\n", "")
    ()
    """
    told = (_by_firmware(firmware), _by_cooling(kernel), _by_trips(kernel, temperatures))
    if all(words is None for words in told):
        return None
    return tuple(word for words in told for word in words or ())


def _by_firmware(text: str) -> list[str] | None:
    found = re.search(r"^throttled=0x([0-9a-fA-F]{1,8})\s*$", text, re.MULTILINE)
    if found is None:
        return None
    bits = int(found[1], 16)
    now = [word for bit, word in FIRMWARE_BITS.items() if bits >> bit & 1]
    return now + [f"{word} before" for bit, word in FIRMWARE_BITS.items() if bits >> (bit + 16) & 1]


def _by_cooling(text: str) -> list[str] | None:
    slowing = [device for device in _files(text, "cooling_device").values() if SLOWS.search(device.get("type", ""))]
    states = [(d["type"], int(d["cur_state"])) for d in slowing if re.fullmatch("[0-9]{1,6}", d.get("cur_state", ""))]
    return [f"{kind} slowed (step {state})" for kind, state in states if state] if states else None


def _by_trips(text: str, temperatures: str) -> list[str] | None:
    """The trip points that a zone has reached; a disabled one is at 0 or below."""
    zones, compared, reached = _files(temperatures, "thermal_zone"), 0, []
    for number, files in _files(text, "thermal_zone").items():
        zone = zones.get(number, {})
        celsius = _celsius(zone.get("temp", ""))
        for file in [file for file, kind in files.items() if file.endswith("_type") and kind in TRIPS]:
            limit = _celsius(files.get(file.replace("_type", "_temp"), ""))
            if celsius is None or limit is None or limit <= 0:
                continue
            compared += 1
            if celsius >= limit:
                reached.append(f"{zone.get('type') or ZONE} at its {files[file]} trip point of {limit:g} °C")
    return reached if compared else None


def _files(text: str, folder: str) -> dict[int, dict[str, str]]:
    """The files of each numbered folder of that name, by number, from "folder/file:line" lines."""
    found: dict[int, dict[str, str]] = {}
    for number, file, line in re.findall(rf"^{folder}([0-9]{{1,4}})/([a-z0-9_]{{1,40}}):(.*)", text, re.MULTILINE):
        found.setdefault(int(number), {})[file] = line.strip()[:40]
    return dict(sorted(found.items()))


def _celsius(millidegrees: str) -> float | None:
    if not _MILLIDEGREES.fullmatch(millidegrees):
        return None
    celsius = int(millidegrees) / 1000
    return celsius if -60 <= celsius <= 200 else None
