"""What the commands on devices do with a machine: ask it who it is, and keep what it says."""

from dataclasses import dataclass
from getpass import getuser
from pathlib import Path
from typing import Literal

import msgspec

from edgekit.catalog import default_target, firmware_of, fitting_targets, targets
from edgekit.core.device import Device, Facts
from edgekit.core.noun import Noun
from edgekit.devices.connect import connect, host_keys_of
from edgekit.devices.facts import gather
from edgekit.devices.hostkeys import AUTHORITY, fingerprint
from edgekit.devices.inventory import LOCAL, add_device, check_device, devices, replace_device
from edgekit.devices.prepare import Environment, check_measures, prepare
from edgekit.devices.runtimes import BROUGHT, PROGRAMS
from edgekit.devices.tools import bring_program, find_program
from edgekit.devices.transport import OnBytes
from edgekit.errors import HostKeyError, TargetError, UsageError
from edgekit.pipeline.events import Listener, silent
from edgekit.pipeline.held import held
from edgekit.pipeline.usable import lacking, usable_targets


class Probed(Noun, frozen=True, kw_only=True):
    """A device, and what it says of itself now."""

    device: Device
    facts: Facts


@dataclass(frozen=True)
class Address:
    """user@host as it was written."""

    user: str
    host: str


def parse_address(text: str, transport: str = "ssh") -> Address:
    """The user and the host in "user@host"; without a user, the one who runs edgekit, or whom ssh_config names.

    Raises: UsageError.

    >>> parse_address("pi@10.0.0.7")
    Address(user='pi', host='10.0.0.7')
    >>> parse_address("10.0.0.7:5555", "adb")
    Address(user='', host='10.0.0.7:5555')
    """
    if transport == "adb":
        return Address(user="", host=text)
    user, at, host = text.rpartition("@")
    if not host or (at and not user) or "/" in text or " " in text:
        raise UsageError(f"address {text!r}: want user@host; the port goes to --port")
    known = user or (getuser() if transport == "ssh" else "")
    return Address(user=known, host=host.removeprefix("[").removesuffix("]"))


def parse_transport(text: str) -> Literal["ssh", "openssh", "adb"]:
    """A way to a machine. Raises: UsageError."""
    match text:
        case "ssh" | "openssh" | "adb":
            return text
    raise UsageError(f"--transport {text!r}: want ssh, openssh or adb")


def authority(path: Path | None) -> tuple[str, ...]:
    """What is pinned of a machine whose host certificates a CA signs; nothing without one.

    Raises: UsageError if the file holds no public key.
    """
    if path is None:
        return ()
    try:
        words = path.expanduser().read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--host-authority {path}: cannot be read ({error})") from None
    key = AUTHORITY + " ".join(words[:2])
    try:
        fingerprint(key)
    except HostKeyError as error:
        raise UsageError(f"--host-authority {path}: {error}") from None
    return (key,)


def add(device: Device, wanted_fingerprint: str | None) -> Probed:
    """Enrols a machine: its host keys are pinned, its facts read, its firmware and targets recognised.

    Nothing is kept unless all of that succeeds.

    Raises: UsageError if the name is taken or a word is wrong; HostKeyError if none of its keys is the wanted one;
    UnreachableError, LoginError, DeviceError.
    """
    check_device(device)
    if device.name in {other.name for other in devices()}:
        raise UsageError(f"device {device.name!r}: is there already; `edgekit devices remove {device.name}` first")
    probed = probe(_pinned(device, wanted_fingerprint))
    add_device(probed.device)
    return probed


def _pinned(device: Device, wanted: str | None) -> Device:
    """`device` with its host keys, unless they are known already, or there are none on that way."""
    if device.host_keys or device.transport == "adb":
        if device.transport != "openssh" and device.host_keys:
            raise UsageError("--host-authority: host certificates are checked by --transport openssh only")
        return device
    keys = host_keys_of(device)
    return msgspec.structs.replace(device, host_keys=_wanted(keys, wanted, device.name) if wanted else keys)


def _wanted(keys: tuple[str, ...], wanted: str, name: str) -> tuple[str, ...]:
    found = tuple(key for key in keys if fingerprint(key) == wanted)
    if not found:
        shown = ", ".join(fingerprint(key) for key in keys)
        raise HostKeyError(f"{name}: no host key has the fingerprint {wanted}, it shows {shown}: nothing was sent")
    return found


def probe(device: Device) -> Probed:
    """What a device says of itself; the device with its architecture, chip, firmware and the targets that it can run.

    Raises: UnreachableError, HostKeyError, LoginError, DeviceError.
    """
    with connect(device) as transport:
        facts = gather(transport, device)
    firmware = firmware_of(facts)
    name = firmware.name if firmware else None
    known = msgspec.structs.replace(
        device, arch=facts.arch or None, soc=facts.soc, firmware=name, targets=runnable_targets(facts)
    )
    return Probed(device=known, facts=facts)


def probe_and_keep(device: Device) -> Probed:
    """As `probe`; the inventory is brought up to what was seen."""
    probed = probe(device)
    if probed.device != device and device.name != LOCAL:
        replace_device(probed.device)
    return probed


def runnable_targets(facts: Facts) -> tuple[str, ...]:
    """The default target of each format that a machine with these facts can run, and edgekit can measure."""
    found, usable = [], usable_targets()
    for name in dict.fromkeys(target.format for target in usable):
        try:
            found.append(default_target(facts, name, usable).name)
        except TargetError:
            continue
    return tuple(found)


def coming_targets(facts: Facts) -> tuple[tuple[str, str], ...]:
    """(target, what edgekit lacks) of each that a machine with these facts could run, were that there."""
    return tuple((target.name, lack) for target in fitting_targets(facts, targets()) if (lack := lacking(target)))


def bring_tool(
    device: Device, runtime: str, file: Path | None, *, wait_s: float = 0.0, listen: Listener = silent
) -> str | None:
    """Sees to it that a device has a vendor's program, the host's `file` where one is given; its path where it has one.

    Raises: UsageError for a file that is none of the programs which can be brought; DeviceError if it is not there;
    LeaseError if somebody else has the device for longer than `wait_s`; as `Transport.run`.
    """
    if file is not None and runtime not in BROUGHT:
        raise UsageError(f"--from: brings {', '.join(BROUGHT)}, not {runtime}: leave it out")
    with held(device, f"prepare {runtime}", wait_s=wait_s, listen=listen) as transport:
        facts = gather(transport, device)
        if file is not None:
            return bring_program(transport, device, facts, runtime, file).path
        check_measures(transport, device, facts, runtime)
        return find_program(transport, device, facts, runtime).path if runtime in PROGRAMS else None


def bring_runtime(
    device: Device, runtime: str, on_bytes: OnBytes | None = None, *, wait_s: float = 0.0, listen: Listener = silent
) -> Environment:
    """Sees to it that a device has a runtime; the environment that its Python needs for it.

    Raises: LeaseError if somebody else has it for longer than `wait_s`; as `edgekit.devices.prepare.prepare`.
    """
    with held(device, f"prepare {runtime}", wait_s=wait_s, listen=listen) as transport:
        facts = gather(transport, device)
        return prepare(transport, device, facts, firmware_of(facts), runtime, on_bytes=on_bytes)
