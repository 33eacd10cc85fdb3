"""Where a series of times is warm: pure."""

import math


def last_change(times):
    """The index at which a series is level from on: past its last change point of more than 2 %.

    Change points by Pettitt's test on ranks (1979) at 5 %, each the start of the next search. It sees none in fewer
    than 12 values, so values at the start that stand out from the rest are passed by as well.
    """
    start = 0
    while len(times) - start >= 8:
        tail = times[start:]
        n = len(tail)
        order = sorted(range(n), key=lambda i: tail[i])
        ranks = [0.0] * n
        for rank, i in enumerate(order):
            ranks[i] = rank + 1.0
        total, best, at = 0.0, 0.0, 0
        for i in range(n - 1):
            total += 2 * ranks[i] - (n + 1)
            if abs(total) > best:
                best, at = abs(total), i + 1
        if 2 * math.exp(-6 * best * best / (n**3 + n**2)) > 0.05:
            break
        if abs(middle(tail[:at]) / middle(tail[at:]) - 1) <= 0.02:
            break
        start += at
    tail = times[start:]
    usual = middle(tail) if tail else 0.0
    spread = middle([abs(t - usual) for t in tail]) if tail else 0.0
    while start < len(times) // 2 and times[start] > usual + 5 * spread + 0.02 * usual:
        start += 1
    return start


def middle(values):
    """The median."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
