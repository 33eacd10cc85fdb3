"""Who holds a device, as the device tells it, and in words. Pure."""

from datetime import datetime, timedelta
from urllib.parse import quote, unquote

from edgekit.core.noun import Noun
from edgekit.devices.said import readable
from edgekit.errors import DeviceError

MOST_LETTERS = 120
"""Of a name or a reason, so that the state fits where a device keeps it."""

MOST_DIGITS = 10
"""Of a number that a device says: seconds of some centuries."""


class Holder(Noun, frozen=True, kw_only=True):
    """Who has a device, for what, since when and for how long, in seconds of the device's own clock.

    A person's `lock` is for whatever that one runs, another holder for one command. `token` is larger than that of
    all who had the device before; `running` says that a command of the holder's is under way there.
    """

    who: str
    reason: str = ""
    pid: int = 0
    token: int
    id: str
    lock: bool = False
    age_s: int = 0
    left_s: int = 0
    running: bool = False


def worded(text: str) -> str:
    """A name or a reason as the device keeps it: no character in it means anything to a shell.

    >>> worded("ann@laptop"), worded("flash, then *test*"), worded("")
    ('ann@laptop', 'flash%2C%20then%20%2Atest%2A', '%20')
    """
    return quote(text[:MOST_LETTERS].encode(errors="replace"), safe="@:") or "%20"


def holder(entry: str, now: str, name: str, *, lock: bool = False) -> Holder | None:
    """The holder in an entry of the state that lease.sh keeps; None for none. `now` is the device's clock.

    Raises: DeviceError if it is no entry.

    >>> found = holder("7,ab,ann@laptop,99,tune%20net,100,60,130,60,-", "140", "pi")
    >>> (found.who, found.reason, found.token, found.age_s, found.left_s)
    ('ann@laptop', 'tune net', 7, 40, 50)
    """
    if entry == "-":
        return None
    try:
        token, lease_id, who, pid, reason, since, _, begun, span, process = entry.split(",")
        clock = _number(now)
        return Holder(
            who=_text(who), reason=_text(reason), pid=_number(pid), token=_number(token),
            id=readable(lease_id, 64), lock=lock,
            age_s=max(0, clock - _number(since)), left_s=max(0, _number(begun) + _number(span) - clock),
            running=process != "-",
        )  # fmt: skip
    except ValueError:
        raise DeviceError(f"{name}: says of its lease {readable(entry, 80)!r}, which edgekit never wrote") from None


def holder_words(found: Holder, now: datetime) -> str:
    """A holder for people; `now` is this computer's time.

    >>> ann = Holder(who="ann@laptop", reason="tune net", pid=99, token=7, id="ab", age_s=40, left_s=50)
    >>> holder_words(ann, datetime(2026, 11, 24, 16, 0))
    'held by ann@laptop (tune net, process 99) since 15:59:20, until 16:00:50 unless renewed'
    """
    what = f"{found.reason}, process {found.pid}" if found.reason else f"process {found.pid}"
    if found.lock:
        what = found.reason or "no reason given"
    ends = "" if found.lock else " at the latest" if found.running else " unless renewed"
    since, until = _moment(now, -found.age_s), _moment(now, found.left_s)
    return f"{'locked' if found.lock else 'held'} by {found.who} ({what}) since {since}, until {until}{ends}"


def _moment(now: datetime, seconds: int) -> str:
    moment = now + timedelta(seconds=seconds)
    return f"{moment:%H:%M:%S}" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M}"


def _text(word: str) -> str:
    return readable(unquote(word, errors="replace"), MOST_LETTERS)


def _number(word: str) -> int:
    """A whole number that can be told and reckoned with. Raises: ValueError."""
    number = int(word) if len(word) <= MOST_DIGITS else -1
    if number < 0:
        raise ValueError(word)
    return number
