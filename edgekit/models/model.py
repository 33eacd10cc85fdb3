"""A model captured: a torch module that runs, an example of its inputs, and what it looks like from outside."""

import hashlib
import traceback
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgekit.core.model import ModelSpec, TensorSpec
from edgekit.errors import ModelError


@dataclass(frozen=True)
class Model:
    """A float model in eval mode, with example inputs (sample first). Stages return new ones; none changes one."""

    module: nn.Module
    example: tuple[Tensor, ...]
    spec: ModelSpec


def capture(module: nn.Module, example: Sequence[Tensor], name: str) -> Model:
    """`module` as a Model: run once on `example`, exported once to see that it can be.

    Raises: ModelError if it does not run on the example, gives NaN, or cannot be exported; module, op and source line
    are named where torch knows them.
    """
    module = _to_eval(module)
    example = tuple(example)
    outputs = _run(module, example, name)
    exported = export_program(module, example, name)
    spec = ModelSpec(
        name=name,
        digest=_digest(module, exported),
        inputs=tuple(_spec(f"in_{i}", tensor) for i, tensor in enumerate(example)),
        outputs=tuple(_spec(f"out_{i}", tensor) for i, tensor in enumerate(outputs)),
    )
    return Model(module, example, spec)


def export_program(module: nn.Module, example: tuple[Tensor, ...], name: str) -> torch.export.ExportedProgram:
    """`module` as torch.export captures it, at the example's shapes.

    Raises: ModelError naming the user's source line where export stops.
    """
    try:
        # Where it fails, torch.export prints the graph so far to stderr: the error says it in one line.
        with torch.no_grad(), redirect_stderr(StringIO()):
            return torch.export.export(module, example)
    except Exception as error:
        raise ModelError(f"model {name} cannot be exported: {_where(error)}{first_line(error)}") from error


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
        said = f"{_where(error)}{first_line(error)}"
        raise ModelError(f"model {name} does not run on an input of shape {shapes}: {said}") from error
    outputs = (result,) if isinstance(result, Tensor) else tuple(result) if isinstance(result, tuple | list) else ()
    if not outputs or not all(isinstance(t, Tensor) for t in outputs):
        raise ModelError(f"model {name}: forward must give a tensor or a tuple of tensors, got {type(result).__name__}")
    if not all(torch.isfinite(t).all() for t in outputs if t.is_floating_point()):
        raise ModelError(f"model {name} gives NaN or infinite outputs on its example input: check its weights")
    return outputs


def _spec(name: str, tensor: Tensor) -> TensorSpec:
    return TensorSpec(name=name, shape=tuple(tensor.shape), dtype=str(tensor.dtype).removeprefix("torch."))


def _digest(module: nn.Module, exported: torch.export.ExportedProgram) -> str:
    seen = hashlib.sha256(str(exported.graph).encode())
    for key, value in sorted(module.state_dict().items()):
        array = value.detach().cpu().contiguous()
        seen.update(f"{key} {array.dtype} {tuple(array.shape)}".encode())
        seen.update(array.view(torch.uint8).numpy().tobytes() if array.dim() else str(array.item()).encode())
    return seen.hexdigest()


def first_line(error: BaseException) -> str:
    """The kind of `error` and the first line that it says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def _where(error: BaseException) -> str:
    """The innermost frame of the user's own code, as "file.py:12 in forward: `the line`: "."""
    inside = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "site-packages" not in frame.filename and not _is_ours(frame.filename)
    ]
    if not inside:
        return ""
    frame = inside[-1]
    return f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}: `{frame.line}`: "


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
