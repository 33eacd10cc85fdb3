"""Whether each device of the inventory answers, and can measure; all are asked at once."""

from concurrent.futures import ThreadPoolExecutor

from edgekit.catalog import get_target
from edgekit.cli.checks import Check
from edgekit.cli.enrolment import Probed, probe
from edgekit.core.device import Device
from edgekit.devices.connect import connect
from edgekit.devices.inventory import devices
from edgekit.devices.prepare import check_measures
from edgekit.devices.runtimes import RUNTIMES, TOOLS, installed
from edgekit.errors import DeviceError, EdgekitError, HostKeyError, LoginError, UnreachableError

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
    tools, lacking = _tools(probed)
    runtimes += tools
    if facts.python is None and not runtimes:
        fix = "install python3 3.8 or newer there" + (f"; or {lacking}" if lacking else "")
        return Check(what=what, state="missing" if lacking else "bad", found=f"{system}, no Python", fix=fix)
    if not runtimes:
        fix = f"edgekit devices prepare {name}"
        return Check(what=what, state="missing", found=f"{system}, no runtime that measures", fix=fix)
    if not probed.device.targets:
        return Check(what=what, state="bad", found=f"{facts.arch}: no target fits", fix="write a file for targets/")
    return Check(what=what, state="ok", found=f"{system}, {', '.join(runtimes)}, for {' '.join(probed.device.targets)}")


def _tools(probed: Probed) -> tuple[list[str], str]:
    """The vendors' programs for a device's targets that are there; and how to get the first that is not."""
    wanted = dict.fromkeys(get_target(name).runtime for name in probed.device.targets)
    found, lacking = [], ""
    for runtime in (runtime for runtime in wanted if runtime in TOOLS):
        try:
            with connect(probed.device) as transport:
                check_measures(transport, probed.device, probed.facts, runtime)
            found.append(runtime)
        except DeviceError:
            lacking = lacking or TOOLS[runtime].get.format(name=probed.device.name)
    return found, lacking
