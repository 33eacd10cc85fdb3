"""The runtime that measures, brought to a device that has none: wheels from the host, in a folder of edgekit's own."""

import re
import shlex
import sys

from edgekit.core.device import Device, Facts
from edgekit.core.firmware import Bootstrap, FirmwareProfile
from edgekit.devices.connect import python_of
from edgekit.devices.runtimes import RUNTIMES, TOOLS, installed, order
from edgekit.devices.said import readable
from edgekit.devices.scripts import ask, transfer_s
from edgekit.devices.send import check_free, free_bytes
from edgekit.devices.tools import find_program
from edgekit.devices.transport import OnBytes, Transport
from edgekit.devices.wheels import fetch_site, platform_tags, python_tag
from edgekit.errors import DeviceError, UsageError
from edgekit.store.files import sha256_of

Environment = tuple[tuple[str, str], ...]

OLDEST = (3, 8)
IMPORT_S = 120.0
FILE_BYTES = 8 << 20
"""Room left for what many small files take beyond their bytes."""

IMPORT = """
import importlib, sys, numpy
wrong = []
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
        break
    except ImportError as error:
        wrong.append(error)
else:
    raise next((e for e in wrong if not isinstance(e, ModuleNotFoundError)), wrong[0])
"""
"""Imports numpy and the first of the modules that it can; else says what is wrong, first of one that is there."""

EXTRAS = {"onnxruntime": "onnx", "litert": "tflite"}


def runtime_environment(transport: Transport, device: Device) -> Environment:
    """The environment in which the device's Python finds what `prepare` brought; empty if nothing was.

    Raises: as `Transport.run`.
    """
    script = 'cd "$1/site" 2>/dev/null || exit 0; for d in */; do [ -f "$d.id" ] && echo "@site $(pwd)/${d%/}"; done; :'
    done = transport.run(("sh", "-c", script, "sh", device.root), timeout_s=60)
    found = re.findall(r"^@site (/.*)$", done.stdout.decode(errors="replace"), re.MULTILINE)
    return (("PYTHONPATH", ":".join(found)),) if found else ()


def prepare(
    transport: Transport,
    device: Device,
    facts: Facts,
    profile: FirmwareProfile | None,
    runtime: str,
    *,
    on_bytes: OnBytes | None = None,
) -> Environment:
    """Sees to it that the device's Python can import `runtime`; the environment that it needs for that.

    What is there is used. Otherwise wheels for the device are fetched by the host, sent, and tried there.

    Raises: DeviceError in words: no Python, too old a one, no wheels and what has some, or what it says when it
    imports them; StorageError if there is no room; UsageError for a runtime that edgekit does not know; as
    `Transport.run`.
    """
    if runtime not in RUNTIMES:
        raise UsageError(f"runtime {runtime!r}: edgekit can bring {', '.join(RUNTIMES)}")
    python = _usable_python(facts, device)
    environment = runtime_environment(transport, device)
    wrong = import_failure(transport, device, runtime, environment)
    if wrong is None:
        return environment
    if python_of(device) == sys.executable and device.transport == "local":
        raise DeviceError(
            f"{device.name}: this Python has no {runtime} ({wrong}): pip install 'edgekit[{EXTRAS[runtime]}]'"
        )
    _send_site(transport, device, facts, profile, runtime, python, on_bytes)
    environment = runtime_environment(transport, device)
    wrong = import_failure(transport, device, runtime, environment)
    if wrong is not None:
        raise DeviceError(f"{device.name}: {runtime} was brought there and does not start: {wrong}")
    return environment


def check_measures(transport: Transport, device: Device, facts: Facts, runtime: str) -> None:
    """Return if the device can measure with `runtime`: a Python that the agent runs on, and the runtime in it.

    A vendor's program needs no Python.

    Raises: DeviceError with what is missing and how to get it; as `Transport.run`.
    """
    if runtime in TOOLS:
        _check_tool(transport, device, facts, runtime)
        return
    _usable_python(facts, device)
    if runtime not in RUNTIMES or installed(facts, runtime):
        return
    wrong = import_failure(transport, device, runtime, runtime_environment(transport, device))
    if wrong is not None:
        way = f"edgekit devices prepare {device.name} --runtime {runtime}"
        raise DeviceError(f"{device.name}: no {runtime} that starts there ({wrong}): `{way}` brings it")


def _check_tool(transport: Transport, device: Device, facts: Facts, name: str) -> None:
    """Return if a vendor's program is there, as far as a device tells without running it. Raises: DeviceError."""
    tool = TOOLS[name]
    if tool.fact is not None:
        if getattr(facts, tool.fact) is None:
            raise DeviceError(f"{device.name}: no {tool.fact} there, so no {name}: {tool.get.format(name=device.name)}")
    elif tool.package is None:
        find_program(transport, device, facts, name)
    elif tool.package not in dict(facts.runtimes):
        python = f"its Python ({python_of(device)})" if facts.python else "no Python"
        raise DeviceError(f"{device.name}: no {name} there, {python}: {tool.get.format(name=device.name)}")


def import_failure(transport: Transport, device: Device, runtime: str, environment: Environment) -> str | None:
    """What the device's Python says when it cannot import `runtime`; None if it can. Raises: as `Transport.run`."""
    settings = tuple(f"{key}={value}" for key, value in environment)
    modules = [package.module for package in RUNTIMES[runtime]]
    words = ("env", *settings, python_of(device), "-c", IMPORT, *modules)
    done = transport.run(words, timeout_s=IMPORT_S)
    return None if done.status == 0 else readable(done.stderr.splitlines()[-1] if done.stderr.strip() else b"no reason")


def _usable_python(facts: Facts, device: Device) -> str:
    wanted = ".".join(map(str, OLDEST))
    if facts.python is None:
        raise DeviceError(
            f"{device.name}: no Python ({python_of(device)} does not run): install python3 {wanted} or newer"
        )
    if tuple(int(part) for part in re.findall(r"\d+", facts.python)[:2]) < OLDEST:
        raise DeviceError(f"{device.name}: Python {facts.python} is too old: {wanted} or newer is needed")
    return python_tag(facts.python)


def _send_site(
    transport: Transport,
    device: Device,
    facts: Facts,
    profile: FirmwareProfile | None,
    runtime: str,
    python: str,
    on_bytes: OnBytes | None,
) -> None:
    bootstrap = profile.bootstrap if profile is not None and profile.arch == facts.arch else Bootstrap()
    wanted = order(facts, bootstrap, runtime, device.name)
    platforms = bootstrap.platforms or platform_tags(facts.arch, facts.libc)
    if not platforms:
        pip = f"{python_of(device)} -m pip install {shlex.join(wanted.requirements)}"
        raise DeviceError(f"{device.name}: its C library is not known ({facts.libc or 'no answer'}): `{pip}` there")
    what = f"{device.name}: {runtime} for {facts.arch}, Python {python}"
    archive, size = fetch_site(wanted.requirements, platforms, python, dependencies=wanted.dependencies, what=what)
    packed = archive.stat().st_size
    check_free(transport, device, size + packed + FILE_BYTES, free_bytes(transport, device))
    with archive.open("rb") as file:
        ask(
            transport, "unpack", (device.root, runtime, sha256_of(archive)), doing=f"bringing {runtime}",
            stdin=file, timeout_s=transfer_s(size), on_bytes=on_bytes,
        )  # fmt: skip
