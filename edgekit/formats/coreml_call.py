"""A call of coremltools: what torch wrote in, Core ML's model out, or in words why not. Runs in a child process."""

import traceback
from typing import TYPE_CHECKING, Any

from edgekit.errors import ConvertError
from edgekit.formats.coreml_ops import join_rows_, keep_halves_, name_as_before_
from edgekit.formats.recurrent import how_recurrent_layers_run

if TYPE_CHECKING:
    from edgekit.models.program import Program

_MAX_POOLS = frozenset(f"aten.max_pool{rank}d.default" for rank in (1, 2, 3))
_TOO_OLD = "in the coremltools.target."
"""What coremltools says of an op that came later than the deployment target."""
_DATE = "com.github.apple.coremltools.conversion_date"


def spelled_out(program: "Program") -> Any:
    """The ExportedProgram of `program` in ops that coremltools has translations for."""
    exported = program.exported.run_decompositions(how_recurrent_layers_run(program.exported))
    if any(tensor.free for tensor in program.spec.inputs):
        name_as_before_(exported.graph)
    say_strides_(exported.graph)
    join_rows_(exported.graph)
    keep_halves_(exported.graph)
    return exported


def convert_by_coremltools(program: "Program", exported: Any, lacks: str = "", **how: Any) -> Any:
    """The model that coremltools makes of `exported`, which is `program` as it is to be written.

    `lacks` is said of an op that coremltools knows, and the model that is asked for has not.

    Raises: ConvertError naming the module, the line of the model's source and the op that cannot be converted.
    """
    import coremltools as ct

    try:
        return ct.convert(exported, skip_model_load=True, **how)
    except Exception as error:
        said = _why(error, exported.graph, lacks)
        raise ConvertError(f"model {program.spec.name} cannot be written as Core ML: {said}") from error


def say_strides_(graph: Any) -> None:
    """Writes out the strides of max pools that are those of their kernel: coremltools 9.0 knows no default."""
    for node in graph.nodes:
        if str(node.target) in _MAX_POOLS and len(node.args) == 2:
            node.args = (*node.args, node.args[1])


def finish_(spec: Any, program: "Program") -> None:
    """Gives the model's inputs and outputs the names that the program's have, and takes the time of day out of it.

    Raises: ConvertError if it has other inputs or outputs.
    """
    import coremltools as ct

    spec.description.metadata.userDefined.pop(_DATE, None)
    whole = spec.WhichOneof("Type") == "neuralNetwork"  # 9.0 renames what a layer gives only where it renames both
    sides = (
        (spec.description.input, program.spec.inputs, True),
        (spec.description.output, program.spec.outputs, False),
    )
    for features, tensors, are_inputs in sides:
        if len(features) != len(tensors):
            kind = "inputs" if are_inputs else "outputs"
            raise ConvertError(
                f"model {program.spec.name} as Core ML: want {len(tensors)} {kind}, the converter made "
                f"{len(features)}: an output must not be an input, nor come twice"
            )
        now = [feature.name for feature in features]  # renamed by way of names that none has
        passing = [f"edgekit_{'in' if are_inputs else 'out'}_{i}" for i in range(len(now))]
        for old, new in (*zip(now, passing, strict=True), *zip(passing, (t.name for t in tensors), strict=True)):
            ct.utils.rename_feature(
                spec, old, new, rename_inputs=are_inputs or whole, rename_outputs=not are_inputs or whole
            )


def lost_weight(name: str) -> str:
    """Says that a weight is not in the file as the program has it."""
    return f"the converter did not keep the weight of {name} as it is quantized: leave its layer in float"


def _why(error: BaseException, graph: Any, lacks: str) -> str:
    """The module, the user's source line and the op where the converter stops, as far as they are known."""
    from edgekit.models.model import first_line, written_at

    nodes = {node.name: node for node in graph.nodes}
    frames = [frame.f_locals for frame, _ in traceback.walk_tb(error.__traceback__)]
    node = next((nodes[name] for name in reversed([_named(f.get("node")) for f in frames]) if name in nodes), None)
    if node is not None and isinstance(error, NotImplementedError):
        return f"{written_at(node)}op {node.target} has no translation: write it with other torch calls"
    if node is not None:
        too_old = lacks and _TOO_OLD in str(error)
        return f"{written_at(node)}op {node.target}: {lacks if too_old else first_line(error)}"
    made = next((f["op"] for f in reversed(frames) if hasattr(f.get("op"), "op_type")), None)
    if made is None:
        return first_line(error)
    node = node_of(made.name, nodes)
    where = f"{written_at(node)}op {node.target}" if node is not None else f"op {made.name}"
    return f"{where}, Core ML's {made.op_type}: {lacks or first_line(error)}"


def node_of(name: str, nodes: dict[str, Any]) -> Any:
    """The node of torch's graph that an op or a layer called `name` was made of; None if the name does not say it."""
    while name and name not in nodes:
        name = name.rpartition("_")[0]
    return nodes.get(name)


def _named(value: Any) -> str:
    return str(getattr(value, "name", ""))
