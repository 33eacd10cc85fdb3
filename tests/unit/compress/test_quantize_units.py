"""When an op that is no layer is int8 in a mixed net: it follows what it takes."""

import random

from hypothesis import given
from hypothesis import strategies as st

from edgekit.compress.units import Unit, int8_values

# x → a → b ┐            the residual branch of a float or int8 `b`
#     └─────add → pool → c → out, with a float op between c and the output
NET = (
    Unit("a", ("x",), "a"),
    Unit("b", ("a",), "b"),
    Unit("add", ("a", "b")),
    Unit("pool", ("add",)),
    Unit("c", ("pool",), "c"),
    Unit("gelu", ("c",), quantizable=False),
    Unit("out", ("gelu",)),
)


def test_an_add_is_int8_only_if_both_of_its_branches_are() -> None:
    assert "add" in int8_values(NET, {"a", "b"})
    assert "add" not in int8_values(NET, {"a"})
    assert "add" not in int8_values(NET, {"b", "c"})


def test_what_follows_an_int8_add_stays_int8_up_to_the_next_float_op() -> None:
    assert int8_values(NET, {"a", "b", "c"}) == {"x", "a", "b", "add", "pool", "c"}


def test_an_input_counts_as_int8_where_an_int8_layer_takes_it() -> None:
    skip = (Unit("a", ("x",), "a"), Unit("add", ("x", "a")))
    assert int8_values(skip, {"a"}) == {"x", "a", "add"}
    assert int8_values(skip, set()) == set()


@given(st.integers(0, 10_000))
def test_more_int8_layers_never_make_fewer_values_int8(seed: int) -> None:
    draw = random.Random(seed)
    units = []
    for i in range(12):
        takes = tuple({f"v{draw.randrange(-1, i)}" for _ in range(draw.randint(1, 3))})
        units.append(Unit(f"v{i}", takes, f"l{i}" if draw.random() < 0.5 else None, draw.random() < 0.8))
    layers = [u.layer for u in units if u.layer]
    some = {layer for layer in layers if draw.random() < 0.5}
    more = some | {layer for layer in layers if draw.random() < 0.3}
    assert int8_values(units, some) <= int8_values(units, more)
    assert some == {u.layer for u in units if u.layer and u.makes in int8_values(units, some)}
