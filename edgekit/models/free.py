"""Free sizes of a model's inputs: as a project or torch.export names them, and as torch.export captures them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edgekit.core.model import FreeAxis, TensorSpec
from edgekit.core.project import Dynamic
from edgekit.errors import ModelError, UsageError

Axes = tuple[tuple[FreeAxis, ...], ...]
"""The free axes of each input."""
_PLACE = re.compile(r"in_(\d{1,3})\.(\d{1,2})")
_NAME = re.compile(r"[A-Za-z_]\w{0,31}")
IN_PYTHON = "dynamic_shapes"


def axes_of_project(dynamic: Sequence[Dynamic], example: Sequence[Tensor]) -> Axes:
    """The free axes that a project names, checked against the example.

    Raises: UsageError naming the entry that is wrong.
    """
    found: list[list[FreeAxis]] = [[] for _ in example]
    for entry in dynamic:
        for place in entry.axes:
            match = _PLACE.fullmatch(place)
            if match is None or int(match[1]) >= len(found):
                raise UsageError(
                    f'model.dynamic {entry.name}: want axes as "in_0.1" (input, axis) of inputs in_0 to '
                    f"in_{len(found) - 1}, got {place!r}"
                )
            axis = FreeAxis(axis=int(match[2]), name=entry.name, least=entry.least, most=entry.most)
            found[int(match[1])].append(axis)
    return _checked(found, example, "model.dynamic")


def axes_of_torch(dynamic_shapes: Any, module: nn.Module, example: Sequence[Tensor]) -> Axes:
    """The free axes of `dynamic_shapes` in torch.export's own form, each a Dim with bounds.

    Raises: UsageError naming the input that is wrong.
    """
    shapes = dynamic_shapes
    if isinstance(shapes, Mapping):
        shapes = _in_order(shapes, module, len(example))
    if not isinstance(shapes, tuple | list) or len(shapes) != len(example):
        raise UsageError(
            f"{IN_PYTHON}: want one entry for each of {len(example)} inputs, as a tuple or by forward's own names, "
            f"got {shapes!r}"
        )
    found = [[*map(_axis_of_dim, _dims(entry, i))] for i, entry in enumerate(shapes)]
    return _checked(found, example, IN_PYTHON)


def _in_order(shapes: Mapping[str, Any], module: nn.Module, count: int) -> tuple[Any, ...]:
    """The entries by name, in the order of forward's arguments. Raises: UsageError."""
    import inspect

    names = list(inspect.signature(module.forward).parameters)[:count]
    if unknown := sorted(set(shapes) - set(names)):
        raise UsageError(f"{IN_PYTHON}: forward takes no {unknown[0]!r}; it takes {', '.join(names)}")
    return tuple(shapes.get(name) for name in names)


def _dims(entry: Any, index: int) -> list[tuple[int, Any, int]]:
    """(axis, Dim, input) of one input's entry; what is None or a number is fixed."""
    pairs = entry.items() if isinstance(entry, Mapping) else enumerate(entry or ())
    return [(axis, dim, index) for axis, dim in pairs if not (dim is None or isinstance(dim, int))]


def _axis_of_dim(given: tuple[int, Any, int]) -> FreeAxis:
    axis, dim, index = given
    plain = type(dim) is torch.export.Dim
    if not plain or not isinstance(dim.max, int):
        raise UsageError(
            f"{IN_PYTHON}: axis {axis} of in_{index}: want torch.export.Dim(name, min=…, max=…) with bounds, got {dim}"
        )
    return FreeAxis(axis=axis, name=dim.__name__, least=max(int(dim.min), 1), most=int(dim.max))


def _checked(found: Sequence[Sequence[FreeAxis]], example: Sequence[Tensor], where: str) -> Axes:
    """`found` in the order of axes. Raises: UsageError if they cannot be, or the example is outside of the bounds."""
    sizes: dict[str, tuple[int, int, int]] = {}
    for i, (axes, tensor) in enumerate(zip(found, example, strict=True)):
        if len({axis.axis for axis in axes}) < len(axes):
            raise UsageError(f"{where}: an axis of in_{i} is named twice")
        for axis in axes:
            place = f"{where} {axis.name}, axis {axis.axis} of in_{i}"
            if not _NAME.fullmatch(axis.name) or axis.name.startswith(("in_", "out_")):
                raise UsageError(f"{place}: want a name of letters, digits and '_', not in_… or out_…")
            if not 1 <= axis.least < axis.most:
                raise UsageError(f"{place}: want 1 <= least < most, got {axis.least} and {axis.most}")
            if not 0 <= axis.axis < tensor.dim():
                raise UsageError(f"{place}: the example has {tensor.dim()} axes there")
            known = sizes.setdefault(axis.name, (axis.least, axis.most, tensor.shape[axis.axis]))
            if known != (axis.least, axis.most, tensor.shape[axis.axis]):
                raise UsageError(f"{place}: one name is one size: it is {known[2]} elsewhere, {known[0]} to {known[1]}")
            if not axis.least <= known[2] <= axis.most:
                raise UsageError(f"{place}: the example's {known[2]} is not within {axis.least} to {axis.most}")
    return tuple(tuple(sorted(axes, key=lambda axis: axis.axis)) for axes in found)


def torch_shapes(inputs: Sequence[TensorSpec]) -> tuple[dict[int, Any] | None, ...]:
    """The free axes as torch.export wants them, by position."""
    dims: dict[str, Any] = {}
    for tensor in inputs:
        for axis in tensor.free:
            dims.setdefault(axis.name, torch.export.Dim(axis.name, min=axis.least, max=axis.most))
    return tuple({axis.axis: dims[axis.name] for axis in tensor.free} or None for tensor in inputs)


def variadic(module: nn.Module) -> bool:
    """Whether forward takes its inputs as *args, whose shapes torch.export wants as one tuple."""
    import inspect

    kinds = [p.kind for p in inspect.signature(module.forward).parameters.values()]
    return bool(kinds) and kinds[0] is inspect.Parameter.VAR_POSITIONAL


def widened(example: Sequence[Tensor], inputs: Sequence[TensorSpec]) -> tuple[Tensor, ...]:
    """The example with no free size of 1, which torch.export takes for a constant."""
    return at_sizes(example, inputs, {
        axis.name: 2 for t, spec in zip(example, inputs, strict=True) for axis in spec.free if t.shape[axis.axis] < 2
    })  # fmt: skip


def at_sizes(example: Sequence[Tensor], inputs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> tuple[Tensor, ...]:
    """The example at other free sizes, by their names: repeated as often as need be, and cut."""
    return tuple(_resized(tensor, spec, sizes) for tensor, spec in zip(example, inputs, strict=True))


def _resized(tensor: Tensor, spec: TensorSpec, sizes: Mapping[str, int]) -> Tensor:
    for axis in spec.free:
        size = sizes.get(axis.name, tensor.shape[axis.axis])
        if size != tensor.shape[axis.axis]:
            times = -(-size // tensor.shape[axis.axis])
            tensor = torch.cat([tensor] * times, axis.axis).narrow(axis.axis, 0, size).contiguous()
    return tensor


def symbols(exported: torch.export.ExportedProgram, inputs: Sequence[TensorSpec]) -> dict[Any, str]:
    """The name of each free size by its symbol in an exported program."""
    given = exported.graph_signature.user_inputs
    nodes = {node.name: node for node in exported.graph.nodes if node.op == "placeholder"}
    found: dict[Any, str] = {}
    if not any(spec.free for spec in inputs):
        return found
    for name, spec in zip(given, inputs, strict=True):
        value = nodes[str(name)].meta["val"] if name in nodes else None
        for axis in spec.free:
            size = value.shape[axis.axis] if isinstance(value, Tensor) else None
            if not isinstance(size, torch.SymInt):
                raise ModelError(_not_free(axis, size))
            found[size.node.expr] = axis.name
    return found


def _not_free(axis: FreeAxis, size: object) -> str:
    return f"size {axis.name} cannot be free: the program holds for {size} only"


def shape_at(shape: Sequence[Any], names: Mapping[Any, str], sizes: Mapping[str, int]) -> tuple[int, ...]:
    """A shape of an exported program, in numbers, where the free sizes (`names` by symbol) are `sizes`."""
    values = {symbol: sizes[name] for symbol, name in names.items()}
    return tuple(size if isinstance(size, int) else int(size.node.expr.subs(values)) for size in shape)
