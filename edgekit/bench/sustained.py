"""What a minute of calls without a pause says. Pure."""

from collections.abc import Sequence
from statistics import median

from edgekit.core.measurement import Sustained, Window
from edgekit.errors import MeasureError


def sustained_of(windows: Sequence[Window], *, joules: float | None = None, sensor: str | None = None) -> Sustained:
    """The first tenth of the windows against the last.

    Raises: MeasureError if there are none.
    """
    if not windows:
        raise MeasureError("no call was made in all that time")
    tenth = max(1, len(windows) // 10)
    begun, held = (median(w.p50_s for w in part) for part in (windows[:tenth], windows[-tenth:]))
    told = [w.throttled for w in windows if w.throttled is not None]
    calls = sum(w.calls for w in windows)
    return Sustained(
        windows=tuple(windows), begun_s=begun, held_s=held, slowdown=held / begun - 1,
        throttled=any(told) if told else None,
        joules_per_call=None if joules is None else joules / calls, sensor=sensor,
    )  # fmt: skip
