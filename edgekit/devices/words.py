"""Words that cross a shell, quoted in this one place."""

import math
import shlex
from collections.abc import Sequence

from edgekit.errors import UsageError


def checked(words: Sequence[str]) -> tuple[str, ...]:
    """`words` if they can be a command.

    Raises: UsageError for no words at all, or a NUL byte, which no system passes on.

    >>> checked(["ls", "-l"])
    ('ls', '-l')
    """
    if isinstance(words, str) or not words or not words[0]:
        raise UsageError(f"a command is a list of words, the first one a program; got {words!r:.80}")
    if any("\0" in word for word in words):
        raise UsageError(f"command {words[0]!r:.80}: a word holds a NUL byte")
    return tuple(words)


def command_line(words: Sequence[str]) -> str:
    """A line that makes a POSIX shell become the program `words[0]` with exactly these words.

    Raises: UsageError, as `checked`.

    >>> print(command_line(["echo", "a b", "$(id)", "it's"]))
    exec echo 'a b' '$(id)' 'it'"'"'s'
    """
    return "exec " + shlex.join(checked(words))


BOUNDED = 'timeout 9 true 2>/dev/null && exec timeout "$@"; shift; exec "$@"'


def bounded_line(words: Sequence[str], timeout_s: float) -> str:
    """As `command_line`, for a command that the device itself ends soon after `timeout_s`: the host may be gone.

    That takes the device's `timeout`, of coreutils, busybox from 1.30 on, or toybox. Where there is none, or one with
    other arguments, the command runs without a bound of its own.

    Raises: UsageError, as `checked`.

    >>> print(bounded_line(["sleep", "60"], 2.5))
    exec sh -c 'timeout 9 true 2>/dev/null && exec timeout "$@"; shift; exec "$@"' sh 4 sleep 60
    """
    return command_line(("sh", "-c", BOUNDED, "sh", bound_s(timeout_s), *checked(words)))


def bound_s(timeout_s: float) -> str:
    """The seconds after which the device ends what the host gave up on a moment before.

    >>> bound_s(2.5)
    '4'
    """
    return str(math.ceil(timeout_s) + 1)
