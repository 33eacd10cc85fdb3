"""Which parts of a mixed program are int8: the one rule that every format's mix follows.

A quantized program falls into units: the ops between dequantize and quantize (a convolution with its ReLU, an add with
its ReLU, a pooling). A unit that holds a layer is int8 if the recipe says so. Any other quantizable unit follows the
values that it takes: it is int8 if every one of them is made in int8. A model's input counts as made in int8 if an int8
layer takes it. A value keeps its quantize and dequantize on the way from its maker to a taker if either is int8.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass


@dataclass(frozen=True)
class Unit:
    """A unit by the name of the value it makes; `takes` are the values it reads (a model's inputs made by no unit)."""

    makes: str
    takes: tuple[str, ...]
    layer: str | None = None
    quantizable: bool = True


def int8_values(units: Sequence[Unit], int8_layers: Set[str]) -> frozenset[str]:
    """The values that are made in int8, given which layers are int8; units in order of execution.

    >>> units = (Unit("a", ("x",), "conv1"), Unit("b", ("a",), "conv2"), Unit("c", ("a", "b")), Unit("d", ("c",)))
    >>> sorted(int8_values(units, {"conv1", "conv2"}))
    ['a', 'b', 'c', 'd', 'x']
    >>> sorted(int8_values(units, {"conv2"}))
    ['b']
    """
    made = {unit.makes for unit in units}
    found = {value for unit in units if unit.layer in int8_layers for value in unit.takes if value not in made}
    for unit in units:
        follows = unit.quantizable and bool(unit.takes) and all(value in found for value in unit.takes)
        if unit.layer in int8_layers if unit.layer is not None else follows:
            found.add(unit.makes)
    return frozenset(found)
