import pytest

from edgekit.bench.prices import (
    Alone,
    alone,
    dispatch_s,
    farm_prices,
    neighbours,
    sibling,
    to_farm,
    trace_prices,
    without_overhead,
)
from edgekit.core.price import OpSignature, TracedOp

US = 1e-6


def conv(activation: str | None, *, total: bool = False, kind: str = "com.microsoft.nchwc.Conv") -> OpSignature:
    x, w = ("float", (1, 32, 8, 8)), ("float", (32, 32, 3, 3))
    attributes = (("group", "1"),) if activation is None else (("activation", activation), ("group", "1"))
    return OpSignature(kind=kind, inputs=(x, w, ("float", (32,)), *((x,) if total else ())), attributes=attributes)


RESHAPE = OpSignature(kind="Reshape", inputs=(("float", (1, 32)),))
QUANTIZE = OpSignature(kind="QuantizeLinear", inputs=(("float", (1, 32, 8, 8)),))


def traced(*pairs: tuple[OpSignature, float]) -> list[TracedOp]:
    return [TracedOp(name=f"n{i}", signature=s, seconds=us * US) for i, (s, us) in enumerate(pairs)]


KNOWN = trace_prices(traced((conv("Relu"), 100.0), (conv("Relu"), 110.0), (RESHAPE, 3.0)))


def test_a_traced_op_costs_its_mean_and_the_interval_holds_every_node() -> None:
    price = KNOWN[conv("Relu")]
    assert price.seconds == pytest.approx(105 * US)
    assert price.low_s <= 100 * US
    assert price.high_s >= 110 * US
    assert price.source == "trace"


def test_what_the_runtime_spends_on_any_node_is_the_cheapest_traced_op() -> None:
    assert dispatch_s(KNOWN.values()) == pytest.approx(3 * US)
    assert dispatch_s([]) == 0.0


def test_an_op_timed_alone_costs_that_and_the_dispatch() -> None:
    found = farm_prices({QUANTIZE: Alone(20 * US, 19 * US, 22 * US)}, KNOWN)[QUANTIZE]
    assert (found.seconds, found.low_s, found.high_s) == pytest.approx((23 * US, 22 * US, 25 * US))
    assert found.source == "farm"


def test_a_variant_of_a_traced_convolution_is_the_trace_plus_the_farms_difference() -> None:
    variant = conv(None, total=True)
    assert sibling(variant, KNOWN) == conv("Relu")
    assert to_farm([variant, RESHAPE], KNOWN) == (variant, conv("Relu"))
    farmed = {variant: Alone(95 * US, 94 * US, 96 * US), conv("Relu"): Alone(90 * US, 90 * US, 90 * US)}
    assert farm_prices(farmed, KNOWN)[variant].seconds == pytest.approx(110 * US)
    assert set(farm_prices(farmed, KNOWN)) == {variant}, "a traced op keeps its trace"


def test_other_kinds_and_other_shapes_are_no_siblings() -> None:
    assert sibling(conv("Relu", kind="com.microsoft.FusedConv"), KNOWN) is None, "another layout"
    assert sibling(QUANTIZE, KNOWN) is None
    narrow = OpSignature(kind="com.microsoft.nchwc.Conv", inputs=(("float", (1, 16, 8, 8)),))
    assert sibling(narrow, KNOWN) is None


def test_an_op_with_weights_is_scaled_like_the_traced_ones_most_like_it() -> None:
    """Alone, weights come from the cache: the farm is too quick, and by how much the neighbours show."""

    def wide(width: int) -> OpSignature:
        inputs = (("float", (1, width, 8, 8)), ("float", (width, width, 3, 3)))
        return OpSignature(kind="com.microsoft.nchwc.Conv", inputs=inputs)

    known = trace_prices(traced((RESHAPE, 2.0), *((wide(16 * n), 100.0 * n) for n in (1, 2, 3, 30))))
    new = wide(40)
    assert neighbours(new, known) == (wide(48), wide(32), wide(16))
    assert to_farm([new], known) == (new, wide(48), wide(32), wide(16))
    farmed = {wide(16 * n): Alone(*[(80.0 * n - 2) * US] * 3) for n in (1, 2, 3)} | {new: Alone(*[198 * US] * 3)}
    assert farm_prices(farmed, known)[new].seconds == pytest.approx(250 * US)


def test_an_op_without_weights_is_not_scaled() -> None:
    assert neighbours(QUANTIZE, trace_prices(traced((QUANTIZE, 5.0), (RESHAPE, 3.0)))) == ()


def test_only_what_has_no_price_is_timed() -> None:
    assert to_farm([RESHAPE, QUANTIZE, QUANTIZE], KNOWN) == (QUANTIZE,)
    assert to_farm([RESHAPE], KNOWN) == ()


def test_a_farm_holds_through_rounds_that_other_programs_slowed() -> None:
    once = [10.0] * 12 + [30.0] * 3
    often = [26.0] * 10 + [90.0] * 5
    found = alone(once, often, copies=9)
    assert found.seconds == pytest.approx(2.0)
    assert found.low_s <= found.seconds <= found.high_s


def test_a_farm_without_pairs_of_rounds_is_an_error() -> None:
    with pytest.raises(ValueError, match="as many rounds"):
        alone([1.0], [9.0, 9.0], copies=9)


def test_profiling_costs_nothing_where_the_nodes_add_up_to_the_whole() -> None:
    nodes = {"a": 4.0, "b": 2.0}
    assert without_overhead(nodes, 7.0) == nodes
    assert without_overhead(nodes, None) == nodes
    assert without_overhead(nodes, 0.1) == {"a": 2.0, "b": 0.0}, "no node costs less than nothing"
    assert without_overhead({}, 1.0) == {}
