"""Lengths of time as people write them."""

import re

from edgekit.errors import UsageError

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MOST_S = 7 * 86400
_LENGTH = re.compile(r"(?:[0-9]{1,6}[smhd])+")


def parse_length(text: str, option: str) -> int:
    """Seconds.

    Raises: UsageError naming `option`.

    >>> parse_length("90s", "--for"), parse_length("1h30m", "--for")
    (90, 5400)
    """
    if not _LENGTH.fullmatch(text):
        raise UsageError(f"{option} {text!r}: want a time like 90s, 30m, 2h or 1h30m")
    seconds = sum(int(count) * UNITS[unit] for count, unit in re.findall(r"([0-9]+)([smhd])", text))
    if not 1 <= seconds <= MOST_S:
        raise UsageError(f"{option} {text!r}: want 1s to {MOST_S // 86400}d")
    return seconds
