"""What the commands on devices do with a machine: ask it who it is, and keep what it says."""

from dataclasses import dataclass
from getpass import getuser

import msgspec

from edgekit.catalog import default_target, firmware_of, targets
from edgekit.core.device import Device, Facts
from edgekit.core.noun import Noun
from edgekit.devices.connect import connect
from edgekit.devices.facts import gather
from edgekit.devices.hostkeys import enrol, fingerprint
from edgekit.devices.inventory import LOCAL, add_device, check_device, devices, replace_device
from edgekit.devices.prepare import Environment, prepare
from edgekit.devices.transport import OnBytes
from edgekit.errors import HostKeyError, TargetError, UsageError
from edgekit.pipeline.events import Listener, silent
from edgekit.pipeline.held import held


class Probed(Noun, frozen=True, kw_only=True):
    """A device, and what it says of itself now."""

    device: Device
    facts: Facts


@dataclass(frozen=True)
class Address:
    """user@host as it was written."""

    user: str
    host: str


def parse_address(text: str) -> Address:
    """The user and the host in "user@host"; without a user, the one who runs edgekit.

    Raises: UsageError.

    >>> parse_address("pi@10.0.0.7")
    Address(user='pi', host='10.0.0.7')
    """
    user, at, host = text.rpartition("@")
    if not host or (at and not user) or "/" in text or " " in text:
        raise UsageError(f"address {text!r}: want user@host; the port goes to --port")
    return Address(user=user or getuser(), host=host.removeprefix("[").removesuffix("]"))


def add(device: Device, wanted_fingerprint: str | None) -> Probed:
    """Enrols a machine: its host keys are pinned, its facts read, its firmware and targets recognised.

    Nothing is kept unless all of that succeeds.

    Raises: UsageError if the name is taken or a word is wrong; HostKeyError if none of its keys is the wanted one;
    UnreachableError, LoginError, DeviceError.
    """
    check_device(device)
    if device.name in {other.name for other in devices()}:
        raise UsageError(f"device {device.name!r}: is there already; `edgekit devices remove {device.name}` first")
    keys = enrol(device.host, device.port)
    if wanted_fingerprint is not None:
        keys = _wanted(keys, wanted_fingerprint, device.name)
    probed = probe(msgspec.structs.replace(device, host_keys=keys))
    add_device(probed.device)
    return probed


def _wanted(keys: tuple[str, ...], wanted: str, name: str) -> tuple[str, ...]:
    found = tuple(key for key in keys if fingerprint(key) == wanted)
    if not found:
        shown = ", ".join(fingerprint(key) for key in keys)
        raise HostKeyError(f"{name}: no host key has the fingerprint {wanted}, it shows {shown}: nothing was sent")
    return found


def probe(device: Device) -> Probed:
    """What a device says of itself; the device with its firmware and the targets that it can run.

    Raises: UnreachableError, HostKeyError, LoginError, DeviceError.
    """
    with connect(device) as transport:
        facts = gather(transport, device)
    firmware = firmware_of(facts)
    known = msgspec.structs.replace(
        device, firmware=firmware.name if firmware else None, targets=runnable_targets(facts)
    )
    return Probed(device=known, facts=facts)


def probe_and_keep(device: Device) -> Probed:
    """As `probe`; the inventory is brought up to what was seen."""
    probed = probe(device)
    if probed.device != device and device.name != LOCAL:
        replace_device(probed.device)
    return probed


def runnable_targets(facts: Facts) -> tuple[str, ...]:
    """The default target of each format that a machine with these facts can run."""
    found = []
    for name in dict.fromkeys(target.format for target in targets()):
        try:
            found.append(default_target(facts, name).name)
        except TargetError:
            continue
    return tuple(found)


def bring_runtime(
    device: Device, runtime: str, on_bytes: OnBytes | None = None, *, wait_s: float = 0.0, listen: Listener = silent
) -> Environment:
    """Sees to it that a device has a runtime; the environment that its Python needs for it.

    Raises: LeaseError if somebody else has it for longer than `wait_s`; as `edgekit.devices.prepare.prepare`.
    """
    with held(device, f"prepare {runtime}", wait_s=wait_s, listen=listen) as transport:
        facts = gather(transport, device)
        return prepare(transport, device, facts, firmware_of(facts), runtime, on_bytes=on_bytes)
