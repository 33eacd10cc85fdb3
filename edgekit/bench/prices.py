"""From traces and from a farm of single ops to the price of each op. Pure.

A trace times an op where it runs, so it comes first. What no trace has is timed alone; its time there lacks what the
runtime spends on any node, which the cheapest traced op shows. A variant of a traced op (the same convolution without
its activation or its sum) is that op's trace plus the difference of the two in the farm. Any other op with weights is
scaled by what trace and farm say of the traced ops that are most like it: alone, its weights come from the cache.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import log, prod
from statistics import fmean
from typing import NamedTuple

from edgekit.core.price import OpPrice, OpSignature, TracedOp

TRACE_ERROR = 0.04
"""The share by which a traced op's time is taken to be off, at least: runs of one op in one graph differ by that."""

WEIGHTED = ("Conv", "Gemm", "MatMul", "ConvInteger", "MatMulInteger", "MatMulIntegerToFloat")
"""How the kinds of ops with weights end."""

NEIGHBOURS = 3
MOST_FACTOR = 2.0
"""A trace and a farm further apart than this say nothing of another op."""


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
    """The `wanted` signatures that have no price, and the traced ops that they are compared with."""
    missing = [signature for signature in dict.fromkeys(wanted) if signature not in known]
    others: list[OpSignature] = []
    for signature in missing:
        twin = sibling(signature, known)
        others += neighbours(signature, known) if twin is None else (twin,)
    return tuple(dict.fromkeys([*missing, *others]))


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


def neighbours(signature: OpSignature, known: Mapping[OpSignature, OpPrice]) -> tuple[OpSignature, ...]:
    """The traced ops of the same kind most like one with weights, in the sizes of both; none for other kinds."""
    if not signature.kind.endswith(WEIGHTED) or len(signature.inputs) < 2:
        return ()
    same = [
        s for s, p in known.items()
        if p.source == "trace" and s.kind == signature.kind and len(s.inputs) >= 2 and s != signature
    ]  # fmt: skip
    return tuple(sorted(same, key=lambda s: _distance(s, signature))[:NEIGHBOURS])


def _distance(one: OpSignature, other: OpSignature) -> float:
    """How far apart two ops of a kind are: logarithms of their inputs' sizes, and what their loops are."""
    sizes = zip(one.inputs[:2], other.inputs[:2], strict=True)
    apart = sum(abs(log(max(prod(a), 1) / max(prod(b), 1))) for (_, a), (_, b) in sizes)
    loops = ("kernel_shape", "strides")
    ours, theirs = dict(one.attributes), dict(other.attributes)
    grouped = (ours.get("group", "1") == "1") != (theirs.get("group", "1") == "1")
    return apart + sum(ours.get(name) != theirs.get(name) for name in loops) + 10 * grouped


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
    factor = 1.0
    twin = sibling(signature, known)
    if twin is not None and twin in farmed:
        # The twin's trace says by how much the whole model differs from the farm, for just this convolution.
        base = known[twin].seconds - farmed[twin].seconds
    else:
        both = [s for s in neighbours(signature, known) if s in farmed]
        there, here = sum(known[s].seconds for s in both), sum(farmed[s].seconds + base for s in both)
        factor = min(max(there / here, 1 / MOST_FACTOR), MOST_FACTOR) if here > 0 else 1.0
    seconds, low_s, high_s = (max((value + base) * factor, 0.0) for value in own)
    return OpPrice(signature=signature, source="farm", seconds=seconds, low_s=low_s, high_s=high_s)
