"""Words that cross a shell, quoted in this one place."""

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
