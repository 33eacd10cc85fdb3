"""From traces and from a farm of single ops to the price of each op. Pure.

A trace times an op where it runs, so it comes first. What no trace has is timed alone; its time there lacks what the
runtime spends on any node, which the cheapest traced op shows. A variant of a traced op (the same convolution without
its activation or its sum) is that op's trace plus the difference of the two in the farm.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from edgekit.core.price import OpPrice, OpSignature, TracedOp

TRACE_ERROR = 0.04
"""The share by which a traced op's time is taken to be off, at least: runs of one op in one graph differ by that."""


class Alone(NamedTuple):
    """Seconds of an op in a farm, and bounds that hold them at 95 %."""

    seconds: float
    low_s: float
    high_s: float


Farmed = Mapping[OpSignature, Alone]


def alone(once: Sequence[float], often: Sequence[float], copies: int) -> Alone:
    """The op in a file of `copies` of it: what those copies but one add, at the lower quartile of the rounds.

    The lower quartile, since other programs only ever add; the bounds are order statistics around it.

    >>> alone([1.0, 1.0, 1.0, 1.5], [9.0, 9.0, 9.0, 20.0], copies=9).seconds
    1.0
    """
    if not once or len(once) != len(often):
        raise ValueError(f"want as many rounds with one as with {copies}, got {len(once)} and {len(often)}")
    a, b = sorted(once), sorted(often)
    n = len(a)
    at, spread = (n - 1) // 4, max(round(1.96 * (n * 3 / 16) ** 0.5), 1)
    low, high = max(at - spread, 0), min(at + spread, n - 1)
    return Alone(*((b[i] - a[j]) / (copies - 1) for i, j in ((at, at), (low, at), (high, at))))


def without_overhead(seconds: Mapping[str, float], whole_s: float | None) -> dict[str, float]:
    """Seconds of each node, less what profiling adds to a node, where the nodes' sum is above the whole unprofiled.

    >>> without_overhead({"a": 4.0, "b": 2.0}, 5.0)
    {'a': 3.5, 'b': 1.5}
    """
    if not seconds or whole_s is None:
        return dict(seconds)
    each = (sum(seconds.values()) - whole_s) / len(seconds)
    taken = min(max(each, 0.0), *seconds.values())
    return {name: value - taken for name, value in seconds.items()}


def trace_prices(traces: Iterable[TracedOp]) -> dict[OpSignature, OpPrice]:
    """The mean over all nodes of each signature; the interval holds every one of them.

    >>> op = OpSignature(kind="Relu", inputs=(("float", (4,)),))
    >>> traces = [TracedOp(name=name, signature=op, seconds=s) for name, s in (("a", 1.0), ("b", 3.0))]
    >>> trace_prices(traces)[op].seconds, trace_prices(traces)[op].high_s
    (2.0, 3.0)
    """
    seen: dict[OpSignature, list[float]] = defaultdict(list)
    for op in traces:
        seen[op.signature].append(op.seconds)
    return {signature: _trace_price(signature, seconds) for signature, seconds in seen.items()}


def dispatch_s(prices: Iterable[OpPrice]) -> float:
    """What the runtime spends on any node in a trace: the cheapest traced op. 0 if nothing was traced."""
    return min((p.seconds for p in prices if p.source == "trace"), default=0.0)


def to_farm(wanted: Iterable[OpSignature], known: Mapping[OpSignature, OpPrice]) -> tuple[OpSignature, ...]:
    """The `wanted` signatures that have no price, and the traced siblings that they are compared with."""
    missing = [signature for signature in dict.fromkeys(wanted) if signature not in known]
    siblings = [sibling(signature, known) for signature in missing]
    return tuple(dict.fromkeys([*missing, *(s for s in siblings if s is not None)]))


def farm_prices(farmed: Farmed, known: Mapping[OpSignature, OpPrice]) -> dict[OpSignature, OpPrice]:
    """The price of every farmed op that is not `known`."""
    base = dispatch_s(known.values())
    return {
        signature: _farm_price(signature, own, base, known, farmed)
        for signature, own in farmed.items()
        if signature not in known
    }


def sibling(signature: OpSignature, known: Mapping[OpSignature, OpPrice]) -> OpSignature | None:
    """A traced op that differs from `signature` only in its fused activation or sum; None if there is none."""
    if not signature.kind.endswith("Conv"):
        return None
    key = _stem(signature)
    found = (s for s, p in known.items() if p.source == "trace" and s != signature and _stem(s) == key)
    return next(found, None)


def _stem(signature: OpSignature) -> tuple[object, ...]:
    attributes = tuple(pair for pair in signature.attributes if pair[0] != "activation")
    kind = signature.kind.rpartition(".")[2].removeprefix("Fused")
    return kind, signature.kind.rpartition(".")[0] == "com.microsoft.nchwc", signature.inputs[:3], attributes


def _trace_price(signature: OpSignature, seconds: Sequence[float]) -> OpPrice:
    mean = fmean(seconds)
    return OpPrice(
        signature=signature, seconds=mean, source="trace",
        low_s=min(*seconds, mean * (1 - TRACE_ERROR)), high_s=max(*seconds, mean * (1 + TRACE_ERROR)),
    )  # fmt: skip


def _farm_price(
    signature: OpSignature, own: Alone, base: float, known: Mapping[OpSignature, OpPrice], farmed: Farmed
) -> OpPrice:
    twin = sibling(signature, known)
    if twin is not None and twin in farmed:
        # The twin's trace says by how much the whole model differs from the farm, for just this convolution.
        base = known[twin].seconds - farmed[twin].seconds
    return OpPrice(
        signature=signature, source="farm",
        seconds=max(own.seconds + base, 0.0), low_s=max(own.low_s + base, 0.0), high_s=max(own.high_s + base, 0.0),
    )  # fmt: skip
