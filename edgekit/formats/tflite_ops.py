"""What is in a .tflite file: its ops, and the types that each takes and gives."""

from functools import cache
from typing import NamedTuple

INT8 = "INT8"
LAYER_OPS = frozenset(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "CONV_3D", "BATCH_MATMUL"))


class Op(NamedTuple):
    """One op of the first subgraph, with the types of its tensors ("" where an optional one is left out)."""

    name: str
    takes: tuple[str, ...]
    gives: tuple[str, ...]


def read_ops(content: bytes) -> tuple[Op, ...]:
    """The ops of a .tflite file, in order of execution. The file must be one that a runtime has loaded."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    types = names_of(schema.TensorType)
    codes = kind_names()

    def kinds(indices: object) -> tuple[str, ...]:
        return tuple(types[graph.Tensors(int(i)).Type()] if i >= 0 else "" for i in indices)  # type: ignore[attr-defined]

    found = []
    for i in range(graph.OperatorsLength()):
        op = graph.Operators(i)
        code = model.OperatorCodes(op.OpcodeIndex())
        name = codes[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        found.append(Op(name, kinds(op.InputsAsNumpy()), kinds(op.OutputsAsNumpy())))
    return tuple(found)


def layer_ops(content: bytes) -> tuple[Op, ...]:
    """The ops that convolutions and linear layers become."""
    return tuple(op for op in read_ops(content) if op.name in LAYER_OPS)


def kind_names() -> dict[int, str]:
    """The name of each kind of op, by its number in a file."""
    from ai_edge_litert import schema_py_generated as schema

    return names_of(schema.BuiltinOperator)


@cache
def names_of(kind: type) -> dict[int, str]:
    """The words of one of the schema's enumerations, by their numbers."""
    return {value: name for name, value in vars(kind).items() if isinstance(value, int)}
