"""What a device says, made fit for people: its output may be anything."""

import re
from collections.abc import Sequence

from edgekit.devices.transport import Completed
from edgekit.errors import DeviceError, StorageError

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])")
_STORAGE = re.compile(
    r"no space left|disk quota exceeded|read-only file ?system|input/output error|wrote only|short write|\bENOSPC\b",
    re.I,
)


def readable(raw: bytes | str, limit: int = 300) -> str:
    """What a device said as one line of at most `limit` printable characters, its end kept if it is too long.

    >>> readable(b"\\x1b[31mno room\\x1b[0m\\r\\n \\xff\\x07")
    'no room \\ufffd'
    """
    text = raw[-8 * limit :].decode(errors="replace") if isinstance(raw, bytes) else raw
    text = "".join(c if c.isprintable() else " " for c in _ESCAPES.sub("", text))
    text = " ".join(text.split())
    return text if len(text) <= limit else "…" + text[1 - limit :]


def refusal(name: str, words: Sequence[str], done: Completed, *, doing: str = "") -> DeviceError:
    """The error for a command that ended with another status than 0, in the device's own words.

    A StorageError if those speak of a full or a read-only disk. `doing` says what was wanted; by default the program.
    """
    said = readable(done.stderr) or readable(done.stdout) or "it said nothing"
    return complaint(f"{name}: {doing or words[0]} failed (exit status {done.status})", said)


def complaint(what: str, said: str) -> DeviceError:
    """The error for what a device said when `what` went wrong: a StorageError if it speaks of its disk.

    >>> complaint("pi: the agent failed", "OSError: No space left on device")
    StorageError('pi: the agent failed: OSError: No space left on device')
    """
    return (StorageError if _STORAGE.search(said) else DeviceError)(f"{what}: {said}")
