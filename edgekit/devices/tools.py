"""Vendors' programs that measure, on a device: which of them it has, where, for which processor, on which cores.

Where a program is looked for: the path that the user gave the device (`devices add --tool`), what was brought there
(`devices prepare --from`), the path that its firmware's profile names ([paths]), and the device's own PATH.
"""

import re
from pathlib import Path

from edgekit.catalog import firmware_of
from edgekit.core.device import Device, Facts
from edgekit.core.noun import Noun
from edgekit.devices.parcel import parcel
from edgekit.devices.runtimes import TOOLS
from edgekit.devices.scripts import ask
from edgekit.devices.send import bring
from edgekit.devices.transport import OnBytes, Transport
from edgekit.errors import DeviceError, UsageError

HEADER_BYTES = 20
_ELF = b"\x7fELF"
_MACHINES = {3: "i686", 8: "mips", 40: "armv7l", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
"""e_machine of an ELF file, and `uname -m`."""
_ALSO_RUNS = {"aarch64": ("armv7l",), "x86_64": ("i686",)}
_CORE = re.compile(r"^(\d{1,4})/cpufreq/cpuinfo_max_freq (\d{1,12})$", re.MULTILINE)


class Program(Noun, frozen=True, kw_only=True):
    """A program on a device: its path, what its file's sha256 begins with, and the cores that it is kept on, if any."""

    path: str
    build: str
    cores: tuple[int, ...] | None = None


def find_program(transport: Transport, device: Device, facts: Facts, name: str, *, threads: int = 1) -> Program:
    """The program called `name` on a device, for so many threads.

    Raises: DeviceError if it is not there, or is for another processor, with how to get it; as `Transport.run`.
    """
    found = ask(
        transport, "tool", (device.root, name, "", *candidates(device, facts, name)), doing=f"looking for {name}"
    )
    if "path" not in found:
        if given := dict(device.tools).get(name):
            again = "put it there, or remove the device and add it without --tool"
            raise DeviceError(f"{transport.name}: no {given} there, where `--tool` says that {name} is: {again}")
        raise DeviceError(f"{transport.name}: no {name} there: {_get(name, device)}")
    if wrong := unfit(bytes.fromhex(_hex(found.get("header", ""))), facts.arch):
        raise DeviceError(f"{transport.name}: {found['path']} is {wrong}: {_get(name, device)}")
    if "runs" not in found:
        raise DeviceError(f"{transport.name}: {found['path']} is not executable: chmod +x it there")
    return Program(path=found["path"], build=_hex(found.get("sum", ""))[:12], cores=_pinned(found, threads))


def cores_for(transport: Transport, device: Device, threads: int) -> tuple[int, ...] | None:
    """The cores that a program with so many threads is kept on, None for all of them. Raises: as `Transport.run`."""
    return _pinned(ask(transport, "tool", (device.root, "none", ""), doing="looking at its cores"), threads)


def taskset_words(cores: tuple[int, ...] | None) -> tuple[str, ...]:
    """The words before those of a program that keep it on these cores.

    >>> taskset_words((4, 5, 6, 7)), taskset_words(None)
    (('taskset', 'f0'), ())
    """
    return () if cores is None else ("taskset", f"{sum(1 << core for core in cores):x}")


def bring_program(
    transport: Transport, device: Device, facts: Facts, name: str, file: Path, *, on_bytes: OnBytes | None = None
) -> Program:
    """The program in the host's `file`, on the device from now on, in edgekit's own folder there.

    Raises: UsageError if the file cannot be read, or is for another processor, or the device is said to have one
    elsewhere; StorageError; as `find_program`.
    """
    if given := dict(device.tools).get(name):
        raise UsageError(f"--from: `--tool` says that {name} is at {given} of {device.name}: put it there yourself")
    try:
        with file.open("rb") as opened:
            header = opened.read(HEADER_BYTES)
    except OSError as error:
        raise UsageError(f"--from {file}: cannot be read ({error.strerror})") from None
    if wrong := unfit(header, facts.arch):
        raise UsageError(f"--from {file}: it is {wrong}")
    sent = bring(transport, device, parcel({name: file}), "tools", on_bytes=on_bytes)
    ask(transport, "tool", (device.root, name, sent.folder.rpartition("/")[2]), doing=f"bringing {name}")
    return find_program(transport, device, facts, name)


def unfit(header: bytes, arch: str) -> str | None:
    """Why a file that begins so does not run on a processor, in words; None where nothing speaks against it.

    >>> unfit(b"\\x7fELF\\x02\\x01\\x01" + bytes(11) + b"\\x3e\\x00", "aarch64")
    'built for x86_64, the device is aarch64'
    >>> unfit(b"#!/bin/sh\\n", "aarch64") is None
    True
    """
    if not header:
        return "an empty file"
    if not header.startswith(_ELF):
        return None if header.startswith((b"#!", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")) else "no program"
    number = int.from_bytes(header[18:20], "big" if header[5:6] == b"\x02" else "little")
    machine = _MACHINES.get(number, f"processor {number}")
    if machine == arch or machine in _ALSO_RUNS.get(arch, ()):
        return None
    return f"built for {machine}, the device is {arch}"


def fast_cores(told: str, threads: int) -> tuple[int, ...] | None:
    """The cores with the highest clock limit, if there are slower ones too and these are enough for the threads.

    >>> lines = "\\n".join(f"{core}/cpufreq/cpuinfo_max_freq {1800 if core < 4 else 2400}" for core in range(6))
    >>> fast_cores(lines, 1), fast_cores(lines, 4)
    ((4, 5), None)
    """
    limits = {int(core): int(limit) for core, limit in _CORE.findall(told)}
    best = sorted(core for core, limit in limits.items() if limit == max(limits.values()))
    return tuple(best) if threads <= len(best) < len(limits) else None


def _pinned(found: dict[str, str], threads: int) -> tuple[int, ...] | None:
    return fast_cores(found.get("core", ""), threads) if "taskset" in found else None


def candidates(device: Device, facts: Facts, name: str) -> tuple[str, ...]:
    """Where a program is looked for, in order; `@brought` is what the host has put into edgekit's folder there."""
    if given := dict(device.tools).get(name):
        return (given,)
    firmware = firmware_of(facts)
    told = dict(firmware.paths).get(name) if firmware else None
    return ("@brought", *([told] if told else []), name)


def _get(name: str, device: Device) -> str:
    return TOOLS[name].get.format(name=device.name)


def _hex(text: str) -> str:
    return text if re.fullmatch(r"(?:[0-9a-f]{2})*", text) else ""
