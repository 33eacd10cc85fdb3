"""A command that runs through another program, which cannot be trusted with its exit status: it reports it itself.

`ssh` ends with 255 for a broken link, for a killed command and for one that ends with 255; an old `adb` with 0, always.
So a shell around the command writes the status as the last line of its stderr, behind a mark that nobody can guess.
"""

import re
import secrets
from collections.abc import Callable, Sequence

from edgekit.devices.conversation import Running, Source
from edgekit.devices.said import readable
from edgekit.devices.words import BOUNDED, bound_s, checked, command_line
from edgekit.errors import DeviceError

REPORTING = 'mark=$1; shift; "$@"; printf "\\n%s %s\\n" "$mark" "$?" >&2'
TAIL_BYTES = 2048
KILLED = range(129, 193)
"""What a shell says of a command that a signal ended: 128 and the signal's number."""


def new_mark() -> str:
    """A word that no output holds by chance or by guessing."""
    return f"@ended-{secrets.token_hex(12)}"


def reporting_line(words: Sequence[str], timeout_s: float, mark: str) -> str:
    """As `words.bounded_line`, for a command that reports its status behind `mark`.

    Raises: UsageError, as `words.checked`.
    """
    bounded = ("sh", "-c", BOUNDED, "sh", bound_s(timeout_s), *checked(words))
    return command_line(("sh", "-c", REPORTING, "sh", mark, *bounded))


class Reported:
    """A `Running` command behind a client program; `explain` raises what broke the way, if that is why no report came.

    `explain` is given the end of what came on stderr in place of the report.
    """

    def __init__(self, name: str, program: str, client: Running, mark: str, explain: Callable[[str], None]) -> None:
        self._name, self._program, self._client, self._explain = name, readable(program, 60), client, explain
        self._report = re.compile(rb"\n" + mark.encode() + rb" (\d{1,3})\r?\n")
        self._room = len(mark) + 8
        self._reported: int | None = None
        self._held = self._tail = b""
        self._ended = False

    def read(self, timeout_s: float) -> tuple[Source, bytes] | None:
        """As `Running.read`; the last of stderr is held back until it is known not to be the report."""
        while not self._ended:
            got = self._client.read(timeout_s)
            if got is None or got[0] == "out":
                return got
            self._ended = got[0] == "end"
            if passed := self._pass(got[1]):
                return "err", passed
        return "end", b""

    def _pass(self, block: bytes) -> bytes:
        self._held += block
        if found := self._report.search(self._held):
            self._reported = int(found[1])
            self._held = self._held[: found.start()] + self._held[found.end() :]
        keep = 0 if self._ended or self._reported is not None else self._room
        cut = max(0, len(self._held) - keep)
        passed, self._held = self._held[:cut], self._held[cut:]
        self._tail = (self._tail + passed)[-TAIL_BYTES:]
        return passed

    def status(self, timeout_s: float) -> int | None:
        """As `Running.status`. No report is an error, never a status."""
        if self._reported is not None and self._reported in KILLED:
            raise DeviceError(f"{self._name}: {self._program} was killed there (signal {self._reported - 128})")
        if self._reported is not None:
            return self._reported
        if self._client.status(timeout_s) is None:
            return None
        self._explain(readable(self._tail))
        raise DeviceError(f"{self._name}: {self._program} was killed there: it left no exit status")

    def close(self) -> None:
        """As `Running.close`."""
        self._client.close()
