"""The scripts of edgekit/ondevice: run on a device, answered in lines."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import BinaryIO

from edgekit.devices.said import readable, refusal
from edgekit.devices.transport import OnBytes, Transport
from edgekit.errors import DeviceError

QUICK_S = 60.0
SLOWEST_BYTES_PER_S = 32 << 10
"""A link slower than this is given up on."""

ANSWER_BYTES = 1 << 20


def transfer_s(size_bytes: int) -> float:
    """The deadline, in seconds, for sending and flushing this much.

    >>> transfer_s(0), transfer_s(32 << 20)
    (60.0, 1084.0)
    """
    return QUICK_S + size_bytes / SLOWEST_BYTES_PER_S


@cache
def on_device(name: str) -> bytes:
    """A file of edgekit/ondevice as it is shipped."""
    return files("edgekit.ondevice").joinpath(name).read_bytes()


def script_text(script: str) -> str:
    """What `sh -c` is given to run `script` of edgekit/ondevice: the lines that are not for people."""
    lines = (on_device("common.sh") + on_device(f"{script}.sh")).decode().splitlines(keepends=True)
    return "".join(line for line in lines if not line.lstrip().startswith("#"))


def ask(
    transport: Transport,
    script: str,
    arguments: Sequence[str],
    *,
    doing: str,
    timeout_s: float = QUICK_S,
    stdin: BinaryIO | None = None,
    on_bytes: OnBytes | None = None,
) -> dict[str, str]:
    """What `script` of edgekit/ondevice answers: the value of each "@key value" line. `doing` is for the error.

    Raises: StorageError or DeviceError with the device's own words; as `Transport.run`.
    """
    words = ("sh", "-c", script_text(script), f"{script}.sh", *arguments)
    done = transport.run(
        words, timeout_s=timeout_s, stdin=stdin, limit_bytes=ANSWER_BYTES, on_bytes=on_bytes
    )  # fmt: skip
    if done.status:
        raise refusal(transport.name, words, done, doing=doing)
    return answers(done.stdout)


def answers(stdout: bytes) -> dict[str, str]:
    """The "@key value" lines among whatever a login shell may have written besides; of one key, its values in lines.

    >>> answers(b"Welcome!\\n@there yes\\n@part 1\\n@part 2\\n")
    {'there': 'yes', 'part': '1\\n2'}
    """
    found: dict[str, list[str]] = {}
    for line in stdout.decode(errors="replace").split("\n"):
        if line.startswith("@"):
            key, _, value = line[1:].partition(" ")
            found.setdefault(key, []).append(value)
    return {key: "\n".join(values) for key, values in found.items()}


def answered(found: dict[str, str], key: str, transport: Transport) -> str:
    """One answer. Raises: DeviceError if the device did not give it."""
    if key not in found:
        raise DeviceError(f"{transport.name}: answered {readable(str(found), 80)}, without {key!r}")
    return found[key]
