"""Which rounds a device was in one state for, and how its own time ran meanwhile. Pure."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from edgekit.bench.statistics import medians, tells_cpu
from edgekit.core.measurement import Round

FEWEST_ROUNDS = 5
"""Of fewer rounds nothing is said."""


def alike(rounds: Sequence[Round]) -> tuple[Round, ...]:
    """The rounds of the state that most of them share, in order: slowed against heat or not, and the governor.

    What differs between two states of a device differs between forms, too: a slow clock spares the one that waits for
    memory. Of two states with as many rounds the one without throttling is taken.
    """
    groups: dict[tuple[bool, str | None], list[Round]] = {}
    for one in rounds:
        groups.setdefault((bool(one.throttled), one.governor), []).append(one)
    return tuple(max(groups.items(), key=lambda item: (len(item[1]), not item[0][0]), default=(None, []))[1])


def left_out(rounds: Sequence[Round]) -> str | None:
    """Why some rounds are not of the state of the others; None if all are."""
    kept = alike(rounds)
    others = len(rounds) - len(kept)
    if not others:
        return None
    slowed = sum(bool(one.throttled) for one in rounds)
    if slowed not in (0, len(rounds)):
        return f"the device was slowed down against heat or low voltage in {slowed} of {len(rounds)} rounds"
    names = sorted({one.governor or "unknown" for one in rounds})
    return f"the device's governor changed between the rounds ({', '.join(names)})"


def slope_per_minute(rounds: Sequence[Round], canary: str) -> float | None:
    """The share by which the canary's time grows in a minute; None where that may be chance, or the time is not known.

    A line through the logarithms of its CPU time (where none is told, of its time), if Student's t finds its slope at
    1 %.
    """
    times = [one.at_s for one in rounds]
    known = [at_s for at_s in times if at_s is not None]
    if len(known) < max(len(times), FEWEST_ROUNDS) or any(later <= at_s for at_s, later in pairwise(known)):
        return None
    from scipy.stats import linregress

    seconds = medians(rounds, canary, "cpu" if tells_cpu(rounds, (canary,)) else "wall")
    line = linregress(np.asarray(known) / 60, np.log(np.asarray(seconds).clip(1e-9)))
    return float(np.expm1(line.slope)) if line.pvalue < 0.01 else None
