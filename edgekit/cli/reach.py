"""Whether each device of the inventory answers, and can measure; all are asked at once."""

from concurrent.futures import ThreadPoolExecutor

from edgekit.cli.checks import Check
from edgekit.cli.enrolment import Probed, probe
from edgekit.core.device import Device
from edgekit.devices.inventory import devices
from edgekit.devices.runtimes import RUNTIMES, installed
from edgekit.errors import EdgekitError, HostKeyError, LoginError, UnreachableError

AT_ONCE = 16


def device_checks() -> tuple[Check, ...]:
    """One check a device: a machine that is off is `missing`, one that cannot be trusted or used is `bad`."""
    try:
        known = devices()
    except EdgekitError as error:
        return (Check(what="devices", state="bad", found=str(error), fix="mend or remove the file"),)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return tuple(pool.map(_check, known))


def _check(device: Device) -> Check:
    what = f"device {device.name}"
    try:
        return _judge(what, probe(device))
    except HostKeyError as error:
        fix = f"if it was set up anew: edgekit devices remove {device.name}, then add it again"
        return Check(what=what, state="bad", found=str(error), fix=fix)
    except LoginError as error:
        return Check(
            what=what, state="bad", found=str(error), fix="see the message; `devices add --identity` names a key"
        )
    except UnreachableError as error:
        fix = f"check its power and network: edgekit devices probe {device.name}"
        return Check(what=what, state="missing", found=str(error), fix=fix)
    except EdgekitError as error:
        return Check(what=what, state="bad", found=str(error), fix="see the message")


def _judge(what: str, probed: Probed) -> Check:
    facts, name = probed.facts, probed.device.name
    runtimes = [package for runtime in RUNTIMES for package in installed(facts, runtime)]
    system = probed.device.firmware or f"{facts.os_id} {facts.os_version}".strip() or "an unknown system"
    if facts.python is None:
        return Check(what=what, state="bad", found=f"{system}, no Python", fix="install python3 3.8 or newer there")
    if not runtimes:
        fix = f"edgekit devices prepare {name}"
        return Check(what=what, state="missing", found=f"{system}, no runtime that measures", fix=fix)
    if not probed.device.targets:
        return Check(what=what, state="bad", found=f"{facts.arch}: no target fits", fix="write a file for targets/")
    return Check(what=what, state="ok", found=f"{system}, {', '.join(runtimes)}, for {' '.join(probed.device.targets)}")
