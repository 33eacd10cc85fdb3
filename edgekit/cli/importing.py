"""What `edgekit devices import` does: many machines enrolled at once, each as `devices add` does it."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

import msgspec

from edgekit.cli import enrolment
from edgekit.core.device import Device
from edgekit.core.noun import Noun
from edgekit.core.selector import Selector, known_of, matches
from edgekit.devices.connect import host_keys_of
from edgekit.devices.hostkeys import fingerprint
from edgekit.devices.inventory import check_device, devices
from edgekit.devices.machine import Machine, device_of
from edgekit.errors import EdgekitError, UsageError

AT_ONCE = 16

State = Literal["added", "would be added", "there already", "left out", "failed"]


class Imported(Noun, frozen=True, kw_only=True):
    """What became of a machine of a file; `said` is why it was not added. Its host keys are as it shows them."""

    device: Device
    state: State
    said: str = ""


def chosen(
    machines: Sequence[Machine], selector: Selector | None, labels: tuple[tuple[str, str], ...], root: str, python: str
) -> tuple[tuple[Machine, Device], ...]:
    """The machines that are selected, by what the file says of them and by `labels`, and the device of each."""
    found = []
    for machine in machines:
        every = tuple(sorted(dict((*machine.labels, *labels)).items()))
        device = msgspec.structs.replace(device_of(machine, root=root, python=python), labels=every)
        if selector is None or matches(selector, known_of(device)):
            found.append((machine, device))
    return tuple(found)


def bring(pairs: Sequence[tuple[Machine, Device]], how: Literal["add", "look"]) -> Iterator[Imported]:
    """Enrols machines, or only looks at their host keys, AT_ONCE at a time; what became of each, in their order.

    Nobody is logged in to by looking, and nothing is kept. One that fails does not stop the others.

    Raises: UsageError, StoreError: the inventory cannot be read.
    """
    known = {device.name for device in devices()}
    become: Callable[[Device], Imported] = _added if how == "add" else _looked_at
    begun: dict[str, Future[Imported]] = {}

    def one(machine: Machine, device: Device) -> Imported:
        try:
            check_device(device)
        except EdgekitError as error:
            return Imported(device=device, state="left out", said=str(error))
        if machine.name in known:
            return Imported(device=device, state="there already")
        if machine.problem is not None:
            return Imported(device=device, state="left out", said=machine.problem)
        if machine.jump is not None and machine.jump not in known:
            return behind(machine.jump, device)
        return become(device)

    def behind(jump: str, device: Device) -> Imported:
        if jump not in begun:
            return Imported(device=device, state="left out", said=f"is reached through {jump}, which is not chosen")
        state = begun[jump].result().state
        if state == "added":
            return become(device)
        if state == "would be added":
            return Imported(device=device, state=state, said=f"its host keys can be seen once {jump} is a device")
        return Imported(device=device, state="failed", said=f"is reached through {jump}, which was not added")

    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        for machine, device in _hops_first(pairs):
            begun[machine.name] = pool.submit(one, machine, device)
        yield from (begun[machine.name].result() for machine, _ in pairs)
    finally:
        pool.shutdown(cancel_futures=True)


def _hops_first(pairs: Sequence[tuple[Machine, Device]]) -> list[tuple[Machine, Device]]:
    """Each after the one that it is reached through, for which it waits."""
    jumps = {machine.name: machine.jump for machine, _ in pairs}

    def hops(name: str | None) -> int:
        return 0 if name not in jumps else 1 + hops(jumps[name])

    return sorted(pairs, key=lambda pair: hops(pair[0].name))


def _added(device: Device) -> Imported:
    try:
        return Imported(device=enrolment.add(device, None).device, state="added")
    except UsageError as error:
        return Imported(device=device, state="left out", said=str(error))
    except EdgekitError as error:
        return Imported(device=device, state="failed", said=str(error))


def _looked_at(device: Device) -> Imported:
    try:
        keys = host_keys_of(device)
    except EdgekitError as error:
        return Imported(device=device, state="failed", said=str(error))
    return Imported(device=msgspec.structs.replace(device, host_keys=keys), state="would be added")


def imported_lines(found: Imported, where: str) -> list[str]:
    """What became of one machine, for people; `where` is how it is reached."""
    device, said = found.device, f": {found.said}" if found.said else ""
    labels = " ".join(f"{key}={value}" for key, value in device.labels)
    return [
        f"{device.name} ({where}): {found.state}{said}",
        *(f"    host key  {fingerprint(key)} ({key.partition(' ')[0]})" for key in device.host_keys),
        *([f"    labels    {labels}"] if labels and not said else []),
    ]


def counted(found: Sequence[Imported]) -> str:
    """How many there were of each, as a sentence.

    >>> counted([Imported(device=Device(name="a"), state="added"), Imported(device=Device(name="b"), state="failed")])
    '1 added, 1 failed'
    """
    return ", ".join(f"{count} {state}" for state, count in Counter(one.state for one in found).items()) or "none"
