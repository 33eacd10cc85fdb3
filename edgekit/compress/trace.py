"""Channel numbers pushed through a model's graph: which channels are cut together, and where each of them is stored.

Every value of the graph gets a tensor of its own shape that says which channel each element belongs to
(channels.py). Layers make new channels; ops that move values are run on the numbers themselves; ops over several
values tie what meets at one position. What an op would mix (a LayerNorm, an unknown op) is kept, with the reason. So
residual branches, concatenation, grouped and depthwise convolution, flattening, channel shuffles and attention heads
need no pattern: they are what the numbers say. The idea of one dependency graph over all coupled layers is that of
DepGraph (G. Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023).
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node
from torch.fx.node import map_arg
from torch.utils._pytree import tree_map_only

from edgekit.compress.channels import Channels, none_of, squeezed

MOST_ELEMENTS = 1 << 20
"""A parameter used element by element gets a number for each of its elements, if it has no more than this many."""
Role = Literal["writes", "reads", "follows"]


@dataclass(frozen=True)
class Slot:
    """Where channels are stored: along `dim` of the parameter or buffer `path`; `channels` says whose each index is."""

    path: str
    dim: int
    channels: Tensor
    role: Role
    layer: str | None = None


class Trace:
    """The numbers of every value of `module` (a plain module, plain.py) and the slots of its parameters."""

    def __init__(
        self, module: GraphModule, example: tuple[Tensor, ...], rule_for: "Callable[[Node, GraphModule], Rule]"
    ) -> None:
        self.module = module
        self.results = _results(module, example)
        self.channels = Channels()
        self.values: dict[Node, Any] = {}
        self.slots: dict[tuple[str, int], Slot] = {}
        self._elements: dict[str, Tensor] = {}
        self._picked: list[tuple[Tensor, int, str]] = []
        for node in module.graph.nodes:
            self.values[node] = self._value(node, rule_for)
        self._keep_outputs()
        self._tie_grids()
        self._keep_picked()
        self._slots_of_elements()

    def shape(self, node: Node) -> tuple[int, ...]:
        """The shape of a node's value (of its first value, where it has several) for the example."""
        result = self.results[node]
        return tuple((result[0] if isinstance(result, tuple | list) else result).shape)

    def tensor(self, path: str) -> Tensor:
        """The parameter or buffer of that name."""
        value = attrgetter(path)(self.module)
        if not isinstance(value, Tensor):
            raise TypeError(f"{path} is not a tensor")  # a graph of torch.export reads nothing else
        return value

    def store(self, path: str, dim: int, channels: Tensor | None, role: Role, layer: str | None = None) -> Tensor:
        """`channels` (None: new ones) along `dim` of a parameter; one used twice keeps what it had, tied to these."""
        if (known := self.slots.get((path, dim))) is not None:
            if channels is not None:
                self.channels.tie(known.channels, channels, f"share the parameter {path} with a value without channels")
            return known.channels
        if channels is None:
            channels = self.channels.fresh(self.tensor(path).shape[dim])
        self.slots[path, dim] = Slot(path, dim, channels, role, layer)
        return channels

    def along(self, value: Tensor, dim: int) -> Tensor:
        """(size,) the channels along `dim` of a value; what lies beside each other in other dimensions is tied."""
        value = squeezed(value, keep=(dim % value.dim(),)).movedim(dim, 0).reshape(value.shape[dim], -1)
        self.channels.tie(value[:, :1].expand_as(value), value, "lie beside values without channels")
        return value[:, 0]

    def pick(self, value: Tensor, dim: int, reason: str) -> None:
        """Notes that positions along `dim` are told apart: in the end no channels may lie along it."""
        self._picked.append((value, dim, reason))

    def _keep_picked(self) -> None:
        for value, dim, reason in self._picked:
            if self.channels.varies(value, dim):
                self.channels.keep(squeezed(value), reason)

    def _value(self, node: Node, rule_for: "Callable[[Node, GraphModule], Rule]") -> Any:
        if node.op == "placeholder":
            return self.results[node]
        if node.op == "get_attr":
            return None  # made when an op asks for it: most parameters belong to a layer, which has its own rule
        if node.op == "output":
            return node.args[0]
        return rule_for(node, self.module)(self, node)

    def arguments(self, node: Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of `node`, with every value replaced by its numbers."""
        given: Callable[[Node], Any] = self.number
        return map_arg(node.args, given), map_arg(node.kwargs, given)

    def number(self, node: Node) -> Any:
        """The numbers of a value; a parameter that no layer owns gets one for each element."""
        return self._of_elements(node) if node.op == "get_attr" else self.values[node]

    def inputs(self, node: Node) -> tuple[Tensor, ...]:
        """The numbers of every tensor that `node` takes."""
        return tuple(v for v in map(self.number, node.all_input_nodes) if isinstance(v, Tensor))

    def _of_elements(self, node: Node) -> Tensor:
        path, value = str(node.target), self.tensor(str(node.target))
        if path not in self._elements:
            many = value.numel() > MOST_ELEMENTS or value.dim() == 0 or not value.is_floating_point()
            fresh = none_of(tuple(value.shape)) if many else self.channels.fresh(value.numel()).reshape(value.shape)
            self._elements[path] = fresh
        return self._elements[path]

    def _keep_outputs(self) -> None:
        output = next(n for n in self.module.graph.nodes if n.op == "output")
        for value in map(self.number, output.all_input_nodes):
            if isinstance(value, Tensor):
                self.channels.keep(squeezed(value), "are outputs of the model")

    def _tie_grids(self) -> None:
        """Where different channels lie along several dimensions of a value, whole rows are cut, or nothing.

        A channel shuffle is such a grid: its channels are tied across the groups. Repeated until nothing changes.
        """
        changed = True
        while changed:
            changed = False
            for value in [v for n in self.values for v in _tensors(self.values[n])] + list(self._elements.values()):
                dims = [d for d in range(value.dim()) if self.channels.varies(value, d)]
                for dim in dims[:-1]:
                    changed = True
                    ends = squeezed(value, keep=tuple(dims))
                    first = ends.narrow(dim, 0, 1).expand_as(ends)
                    self.channels.tie(first, ends, "lie in a grid with values without channels")

    def _slots_of_elements(self) -> None:
        layers = {path for path, _ in self.slots}
        for path, value in self._elements.items():
            if path in layers:
                self.channels.keep(value, f"are also read element by element ({path})")
                for (slot, _), stored in self.slots.items():
                    if slot == path:
                        self.channels.keep(stored.channels, f"are also read element by element ({path})")
                continue
            for dim in range(value.dim()):
                if self.channels.varies(value, dim):
                    self.slots[path, dim] = Slot(
                        path, dim, value.movedim(dim, 0).reshape(value.shape[dim], -1)[:, 0], "follows"
                    )


class _Results(Interpreter):
    """Runs a graph once and notes what each node gives: for a tensor its shape, as a value without channels."""

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self.seen: dict[Node, Any] = {}

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        self.seen[n] = tree_map_only(Tensor, lambda t: none_of(tuple(t.shape)), result)
        return result


def _results(module: GraphModule, example: tuple[Tensor, ...]) -> dict[Node, Any]:
    run = _Results(module)
    with torch.no_grad():
        run.run(*example)
    return run.seen


def module_of(node: Node, module: GraphModule) -> nn.Module | None:
    """The module that a call_module node calls."""
    return module.get_submodule(str(node.target)) if node.op == "call_module" else None


def argument(node: Node, index: int) -> Any:
    """An argument by its place in the op's schema, wherever it was given; else the schema's default."""
    declared = node.target._schema.arguments[index]  # type: ignore[union-attr]
    if index < len(node.args):
        return node.args[index]
    return node.kwargs.get(declared.name, declared.default_value)


def place_of(node: Node) -> str:
    """The op of a node and the module that it is in, for people: "layer_norm in blocks.0.norm1"."""
    op = str(getattr(node.target, "_opname", node.target)).rstrip("_")
    stack = node.meta.get("nn_module_stack") or {}
    inside = [path for path, _ in stack.values() if path]
    return f"{op} in {inside[-1]}" if inside else op


def spread(channels: Tensor, shape: tuple[int, ...], dim: int) -> Tensor:
    """Channels along `dim` of a value of `shape`, the same everywhere else."""
    view = [1] * len(shape)
    view[dim] = len(channels)
    return channels.reshape(view).expand(shape)


def _tensors(value: Any) -> list[Tensor]:
    values = value if isinstance(value, tuple | list) else (value,)
    return [v for v in values if isinstance(v, Tensor)]


Rule = Callable[[Trace, Node], Any]
"""What an op does: the numbers of its value, from the trace so far."""


def keep_all_of(trace: Trace, node: Node) -> Any:
    """What the op gives, without channels; those that it takes are kept."""
    for value in trace.inputs(node):
        trace.channels.keep(squeezed(value), f"go into {place_of(node)}, which cannot be cut")
    return trace.results[node]
