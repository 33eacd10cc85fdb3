"""A model captured: a torch module that runs, an example of its inputs, and what it looks like from outside."""

import contextlib
import hashlib
import linecache
import logging
import re
import traceback
import warnings
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgekit.core.model import FreeAxis, ModelSpec, TensorSpec, end_sizes
from edgekit.core.noun import to_json
from edgekit.errors import ModelError
from edgekit.models.free import Axes, at_sizes, symbols, torch_shapes, variadic, widened

_CONSTRAINT = re.compile(r"Constraints violated.*?\n\s*- (.+?)(?:\n\s*- |\n\s*\n|Suggested fixes|$)", re.DOTALL)


@dataclass(frozen=True)
class Model:
    """A float model in eval mode, with example inputs (sample first). Stages return new ones; none changes one."""

    module: nn.Module
    example: tuple[Tensor, ...]
    spec: ModelSpec


def capture(module: nn.Module, example: Sequence[Tensor], name: str, free: Axes = ()) -> Model:
    """`module` as a Model: run once on `example`, exported once to see that it can be.

    `free` are the axes of each input whose sizes stay free; it is run with the least and the largest of them too.

    Raises: ModelError if it does not run on the example, gives NaN, or cannot be exported; module, op and source line
    are named where torch knows them.
    """
    module = _to_eval(module)
    example = tuple(example)
    axes = free or ((),) * len(example)
    inputs = tuple(_spec(f"in_{i}", t, of) for i, (t, of) in enumerate(zip(example, axes, strict=True)))
    outputs = _run(module, example, name)
    for sizes in end_sizes(inputs):
        _run(module, at_sizes(example, inputs, sizes), name)
    exported = export_program(module, example, name, inputs)
    spec = ModelSpec(
        name=name,
        digest=_digest(module, exported, inputs),
        inputs=inputs,
        outputs=tuple(_spec(f"out_{i}", tensor) for i, tensor in enumerate(outputs)),
    )
    return Model(module, example, spec)


def export_program(
    module: nn.Module, example: tuple[Tensor, ...], name: str, inputs: Sequence[TensorSpec] = ()
) -> torch.export.ExportedProgram:
    """`module` as torch.export captures it, at the example's shapes but for the axes that are free in `inputs`.

    Raises: ModelError naming the user's source line where export stops.
    """
    shapes: Any = None
    if any(tensor.free for tensor in inputs):
        example, shapes = widened(example, inputs), torch_shapes(inputs)
        shapes = (shapes,) if variadic(module) else shapes
    try:
        with torch.no_grad(), _quiet():
            exported = torch.export.export(module, example, dynamic_shapes=shapes)
    except Exception as error:
        raise ModelError(f"model {name} cannot be exported: {_why(error, module)}") from error
    known = symbols(exported, inputs).keys()
    for node in exported.graph.nodes:
        if any(_depends_on_values(size, known) for size in getattr(node.meta.get("val"), "shape", ())):
            raise ModelError(
                f"model {name} cannot be exported: {written_at(node)}{node.target}: the size of its result depends on "
                "values, and a device needs fixed sizes: write it with torch.where, or a mask"
            )
    return exported


def _why(error: BaseException, module: nn.Module) -> str:
    """Why torch.export stops, and what to do."""
    if (fixed := _CONSTRAINT.search(str(error))) is not None:
        return f"a size cannot be free: {' '.join(fixed[1].split())[:300]}: fix it, or write forward for any size"
    said = f"{_where(error, module)}{first_line(error)}"
    if "data-dependent" in said:
        said += " (what forward does must not depend on values: write it with torch.where, or with fixed sizes)"
    return said


def _depends_on_values(size: Any, known: Container[Any]) -> bool:
    return not isinstance(size, int) and any(symbol not in known for symbol in size.node.expr.free_symbols)


def written_at(node: torch.fx.Node) -> str:
    """The user's code that a node of a program comes from: "blocks.0 (Block), model.py:12 in forward: `the line`: "."""
    modules = [entry for entry in (node.meta.get("nn_module_stack") or {}).values() if entry[0]]
    path, kind = modules[-1] if modules else ("", "")
    return place_in_words(str(path), str(kind), node.meta.get("stack_trace") or "")


def place_in_words(module: str, kind: str, stack_trace: str) -> str:
    """A module ("" is the model itself), the name of its class and the last of the user's lines in a stack trace.

    >>> place_in_words("head", "torch.nn.Linear", 'File "/home/me/net.py", line 7, in forward\\n    y = self.head(x)')
    'head (Linear), net.py:7 in forward: `y = self.head(x)`: '
    """
    place = f"{module} ({kind.rpartition('.')[2]}), " if module else ""
    frames = re.findall(r'File "([^"]+)", line (\d+), in (\S+)\n\s*(.*)', stack_trace)
    own = [frame for frame in frames if "site-packages" not in frame[0]]
    if not own:
        return place
    file, line, function, text = own[-1]
    return f"{place}{Path(file).name}:{line} in {function}: `{text.strip()}`: "


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Where it fails, torch.export logs and prints the graph so far: the error says it in one line.

    Its warnings are about how torch's own layers are written.
    """
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _to_eval(module: nn.Module) -> nn.Module:
    if isinstance(module, torch.fx.GraphModule) and module.meta.get("exported"):
        return module
    try:
        return module.eval()
    except NotImplementedError:  # a module out of an ExportedProgram is what it is
        return module


def _run(module: nn.Module, example: tuple[Tensor, ...], name: str) -> tuple[Tensor, ...]:
    shapes = ", ".join(str(tuple(t.shape)) for t in example)
    try:
        with torch.no_grad():
            result = module(*example)
    except Exception as error:
        said = f"{_where(error, module)}{first_line(error)}"
        raise ModelError(f"model {name} does not run on an input of shape {shapes}: {said}") from error
    outputs = (result,) if isinstance(result, Tensor) else tuple(result) if isinstance(result, tuple | list) else ()
    if not outputs or not all(isinstance(t, Tensor) for t in outputs):
        raise ModelError(f"model {name}: forward must give a tensor or a tuple of tensors, got {type(result).__name__}")
    if not all(torch.isfinite(t).all() for t in outputs if t.is_floating_point()):
        raise ModelError(f"model {name} gives NaN or infinite outputs on its example input: check its weights")
    return outputs


def _spec(name: str, tensor: Tensor, free: tuple[FreeAxis, ...] = ()) -> TensorSpec:
    return TensorSpec(name=name, shape=tuple(tensor.shape), dtype=str(tensor.dtype).removeprefix("torch."), free=free)


def _digest(module: nn.Module, exported: torch.export.ExportedProgram, inputs: Sequence[TensorSpec]) -> str:
    seen = hashlib.sha256(str(exported.graph).encode())
    if free := [tensor.free for tensor in inputs if tensor.free]:
        seen.update(to_json(free))
    for key, value in sorted(module.state_dict().items()):
        array = value.detach().cpu().contiguous()
        seen.update(f"{key} {array.dtype} {tuple(array.shape)}".encode())
        seen.update(array.view(torch.uint8).numpy().tobytes() if array.dim() else str(array.item()).encode())
    return seen.hexdigest()


def first_line(error: BaseException) -> str:
    """The kind of `error` and the first line that it says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def _where(error: BaseException, module: nn.Module) -> str:
    """The user's code that the error comes from: "blocks.0 (Block), model.py:12 in forward: `the line`: aten.op: "."""
    names = {id(part): name or "the model" for name, part in module.named_modules()}
    place, line, op = "", "", ""
    for frame, number in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        owner = frame.f_locals.get(frame.f_code.co_varnames[0]) if frame.f_code.co_argcount else None
        if isinstance(frame.f_locals.get("func"), torch._ops.OpOverload):
            op = f"{frame.f_locals['func']}: "
        if "site-packages" in file or _is_ours(file):
            continue
        if id(owner) in names:
            place = f"{names[id(owner)]} ({type(owner).__name__}), "
        text = linecache.getline(file, number).strip()
        line = f"{Path(file).name}:{number} in {frame.f_code.co_name}: `{text}`: "
    return place + line + op if line else op


def _is_ours(filename: str) -> bool:
    path = Path(filename)
    return Path(__file__).parent.parent in path.parents or filename.startswith("<")


def as_tensors(value: Any, what: str) -> tuple[Tensor, ...]:
    """`value` (a tensor, an array, or a tuple or list of them) as a tuple of tensors.

    Raises: ModelError.
    """
    values = value if isinstance(value, tuple | list) else (value,)
    try:
        return tuple(v if isinstance(v, Tensor) else torch.as_tensor(v) for v in values)
    except (TypeError, ValueError, RuntimeError):
        raise ModelError(f"{what}: want a tensor or a tuple of tensors, got {type(value).__name__}") from None
