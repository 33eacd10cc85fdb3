"""The machines that a user has registered: one TOML file in edgekit's home; this computer is always among them."""

import fcntl
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec
import tomli_w

from edgekit.core.device import Device
from edgekit.core.noun import Noun, check_schema, from_json, to_builtins
from edgekit.devices.hostkeys import fingerprint
from edgekit.devices.runtimes import PROGRAMS
from edgekit.errors import StoreError, UsageError
from edgekit.store.files import write_whole
from edgekit.store.home import home

SCHEMA = 1
LOCAL = "local"
TABLES = ("labels", "tools")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9\[:][A-Za-z0-9._:%\[\]-]{0,254}")


class _File(Noun, frozen=True, kw_only=True):
    schema: int = SCHEMA
    device: tuple[Device, ...] = ()


def inventory_file() -> Path:
    """Where the inventory of this user is. Raises: StoreError."""
    return home() / "devices.toml"


def this_computer() -> Device:
    """The device that is always there: this computer, measured by the Python that runs edgekit.

    Raises: StoreError if edgekit's home cannot be made.
    """
    return Device(name=LOCAL, transport="local", root=str(home() / "local"), python=sys.executable)


def devices() -> tuple[Device, ...]:
    """All devices, `local` first, then by name.

    Raises: UsageError naming the file and the key that is wrong; StoreError.
    """
    return (this_computer(), *sorted(_read(inventory_file()), key=lambda device: device.name))


def get_device(name: str) -> Device:
    """The device of that name.

    Raises: UsageError naming the nearest ones; as `devices`.
    """
    known = {device.name: device for device in devices()}
    if name in known:
        return known[name]
    near = get_close_matches(name, known, n=3, cutoff=0.5) or sorted(known)
    raise UsageError(f"device {name!r}: there is none of that name; nearest: {', '.join(near)}")


def add_device(device: Device) -> None:
    """Keeps a new device.

    Raises: UsageError if there is one of that name or a field cannot be used; StoreError.
    """
    check_device(device)

    def added(old: tuple[Device, ...]) -> tuple[Device, ...]:
        if device.name in {other.name for other in old}:
            raise UsageError(f"device {device.name!r}: is there already; `edgekit devices remove {device.name}` first")
        return (*old, device)

    _change(added)


def replace_device(device: Device) -> None:
    """Keeps other words on a device that is there. Raises: UsageError, StoreError."""
    check_device(device)

    def replaced(old: tuple[Device, ...]) -> tuple[Device, ...]:
        if device.name not in {other.name for other in old}:
            raise UsageError(f"device {device.name!r}: there is none of that name")
        return tuple(device if other.name == device.name else other for other in old)

    _change(replaced)


def remove_device(name: str) -> Device:
    """Forgets a device and gives what was known of it; what is on the device stays: see `push.purge`.

    Raises: UsageError if there is none, or it is `local`; StoreError.
    """
    if name == LOCAL:
        raise UsageError("device 'local': is this computer, and always there")
    gone = get_device(name)
    _change(lambda old: tuple(device for device in old if device.name != name))
    return gone


def check_device(device: Device) -> None:
    """Returns if the fields of a device can be used.

    Raises: UsageError naming the field, what is wanted and what was got.
    """
    where = f"device {device.name!r}"
    if not _NAME.fullmatch(device.name) or device.name == LOCAL:
        raise UsageError(f"{where}: a name is letters, digits, '.', '_' or '-', 64 at most, and not 'local'")
    if device.transport != "local" and not _HOST.fullmatch(device.host):
        raise UsageError(f"{where}: host must be a name or an address, got {device.host!r}")
    if not 1 <= device.port <= 65535:
        raise UsageError(f"{where}: port must be 1 to 65535, got {device.port}")
    if device.root.startswith("-") or not device.root.strip("/.") or ".." in device.root.split("/"):
        raise UsageError(f"{where}: root must be a folder that edgekit can have for itself, got {device.root!r}")
    if device.jump is not None and (not _NAME.fullmatch(device.jump) or device.jump in (LOCAL, device.name)):
        raise UsageError(f"{where}: jump must be the name of another device, got {device.jump!r}")
    words = (device.user, device.root, device.python, *(text for pair in device.labels + device.tools for text in pair))
    if bad := next((word for word in words if not word.isprintable()), None):
        raise UsageError(f"{where}: a control character in {bad!r}")
    for key in device.host_keys:
        fingerprint(key)


def parse_labels(texts: list[str], what: str = "label") -> tuple[tuple[str, str], ...]:
    """Labels as the command line has them.

    Raises: UsageError.

    >>> parse_labels(["site=lab", "os=debian"])
    (('os', 'debian'), ('site', 'lab'))
    """
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not _NAME.fullmatch(key):
            raise UsageError(f"{what} {text!r}: want key=value, the key of letters, digits, '.', '_' or '-'")
        pairs[key] = value
    return tuple(sorted(pairs.items()))


def parse_tools(texts: list[str]) -> tuple[tuple[str, str], ...]:
    """Where vendors' programs are on a device, as the command line has it.

    Raises: UsageError for a program that edgekit does not measure with.

    >>> parse_tools(["benchmark_model=/data/local/tmp/benchmark_model"])
    (('benchmark_model', '/data/local/tmp/benchmark_model'),)
    """
    pairs = parse_labels(texts, "--tool")
    for name, path in pairs:
        if name not in PROGRAMS:
            raise UsageError(f"--tool {name!r}: edgekit runs {', '.join(PROGRAMS)}")
        if not path:
            raise UsageError(f"--tool {name}: want its path on the device")
    return pairs


def _read(path: Path) -> tuple[Device, ...]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: cannot be read ({error})") from None
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}") from None
    check_schema(table.get("schema", SCHEMA) if isinstance(table.get("schema", SCHEMA), int) else 0, SCHEMA, str(path))
    found = from_json(msgspec.json.encode(_with_pairs(table)), _File, str(path)).device
    for device in found:
        check_device(device)
    if len({device.name for device in found}) < len(found):
        raise UsageError(f"{path}: two devices have the same name")
    return found


def _with_pairs(table: dict[str, Any]) -> dict[str, Any]:
    """`table` with each device's labels and tools, tables in the file, as pairs."""
    listed = table.get("device", [])
    if not isinstance(listed, list):
        return table
    return table | {"device": [_each(entry, lambda pairs: sorted(pairs.items()), dict) for entry in listed]}


def _each(entry: Any, convert: Callable[[Any], Any], kind: type) -> Any:
    if not isinstance(entry, dict):
        return entry
    return entry | {key: convert(entry[key]) for key in TABLES if isinstance(entry.get(key), kind)}


def _text(found: tuple[Device, ...]) -> str:
    """The file that `_read` reads back to equal devices; what is as by default is left out."""
    plain = to_builtins(Device(name=""))
    entries = []
    for device in sorted(found, key=lambda device: device.name):
        told = {key: value for key, value in to_builtins(device).items() if value != plain[key] or key == "name"}
        entries.append(_each(told, dict, tuple))
    return tomli_w.dumps({"schema": SCHEMA, "device": entries})


def _change(change: Callable[[tuple[Device, ...]], tuple[Device, ...]]) -> None:
    """Reads, changes and writes the file whole, one process at a time."""
    path = inventory_file()
    with _locked(path.with_suffix(".lock")):
        write_whole(path, _text(change(_read(path))).encode())


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        file = path.open("wb")
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
