"""A model as a graph of plain torch calls that takes any batch and can be trained: what is cut and fine-tuned."""

from functools import lru_cache
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.fx.graph import CodeGen

from edgekit.errors import ModelError
from edgekit.models.free import torch_shapes, variadic, widened
from edgekit.models.model import Model, first_line

aten = torch.ops.aten
_CHECKS = (aten._assert_tensor_metadata.default, aten._assert_scalar.default, aten.sym_constrain_range_for_size.default)
_BATCH_NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


def plain_module(model: Model) -> GraphModule:
    """`model` as a GraphModule over the same parameters, by the same names.

    Its first dimension is free, BatchNorm layers are torch's own modules, and `train()` and `eval()` work.

    Raises: ModelError if the program holds for one batch size only.
    """
    module = model.module
    if isinstance(module, GraphModule) and module.meta.get("edgekit_plain"):
        return module
    captured: Any = _any_batch(model).module()
    _strip_(captured)
    _batch_norms_to_modules_(captured)
    plain = GraphModule(captured, captured.graph)
    plain.meta["edgekit_plain"] = True
    return plain.eval()


@lru_cache(maxsize=4)
def takes_any_batch(model: Model) -> bool:
    """Whether the model runs several samples at once, each as it would alone."""
    try:
        plain_module(model)
    except ModelError:
        return False
    return True


def _any_batch(model: Model) -> torch.export.ExportedProgram:
    batch = _batch(model)
    free = torch.export.Dim("edgekit_samples")
    inputs = at_least_two(model)
    own = torch_shapes(model.spec.inputs)
    shapes = tuple(
        (known or {}) | {0: free} if t.dim() and t.shape[0] == batch else known
        for t, known in zip(model.example, own, strict=True)
    )
    try:
        with torch.no_grad():
            _check_samples_apart(model, inputs)
            inputs = widened(inputs, model.spec.inputs)
            return torch.export.export(
                model.module, inputs, dynamic_shapes=(shapes,) if variadic(model.module) else shapes
            )
    except Exception as error:
        raise ModelError(
            f"model {model.spec.name}: its program holds for a batch of {batch} only, so that channels can be "
            f"neither cut nor trained: give a module or a .pt2 whose first dimension is dynamic ({first_line(error)})"
        ) from error


def _check_samples_apart(model: Model, inputs: tuple[Tensor, ...]) -> None:
    """Return if a sample's output does not depend on how many others there are."""
    alone, beside = (_outputs(model.module(*given)) for given in (model.example, inputs))
    for one, two in zip(alone, beside, strict=True):
        if one.dim() != two.dim() or not torch.allclose(one, two[: len(one)], rtol=1e-3, atol=1e-4):
            raise ValueError("another batch gives other outputs")


def _outputs(result: Any) -> tuple[Tensor, ...]:
    return (result,) if isinstance(result, Tensor) else tuple(result)


def at_least_two(model: Model) -> tuple[Tensor, ...]:
    """The example inputs with a batch of two or more, because torch.export takes a size of one for a constant."""
    batch = _batch(model)
    return tuple(torch.cat([t, t]) if t.dim() and t.shape[0] == batch and batch < 2 else t for t in model.example)


def _batch(model: Model) -> int:
    return model.example[0].shape[0] if model.example[0].dim() else 0


def _strip_(module: GraphModule) -> None:
    """Checks of the captured shapes go, and inputs and outputs become plain arguments and plain values."""
    graph = module.graph
    for node in list(graph.nodes):
        if node.target in _CHECKS or (node.op == "call_module" and str(node.target).startswith("_guards")):
            graph.erase_node(node)
    spec = getattr(graph._codegen, "pytree_info", None)
    output = next(n for n in graph.nodes if n.op == "output")
    single = spec is not None and spec.out_spec is not None and spec.out_spec.is_leaf()
    values = output.args[0]
    output.args = (values[0] if single and isinstance(values, tuple | list) else values,)
    graph.set_codegen(CodeGen())
    graph.eliminate_dead_code()


def _batch_norms_to_modules_(module: GraphModule) -> None:
    """Each batch_norm call over parameters of one module becomes a call of a torch BatchNorm with those parameters."""
    for node in list(module.graph.nodes):
        if node.target is aten.batch_norm.default and (path := _owner(node)) is not None:
            _, weight, bias, mean, var, _, momentum, eps = node.args[:8]
            norm = _BATCH_NORMS[node.meta["val"].dim()](len(attrgetter(str(mean.target))(module)))
            norm.affine, norm.momentum, norm.eps = weight is not None, momentum, eps
            for name, source in (("weight", weight), ("bias", bias), ("running_mean", mean), ("running_var", var)):
                setattr(norm, name, None if source is None else attrgetter(str(source.target))(module))
            module.set_submodule(path, norm)
            with module.graph.inserting_before(node):
                call = module.graph.call_module(path, (node.args[0],))
            call.meta = dict(node.meta)
            node.replace_all_uses_with(call)
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()


def _owner(node: Node) -> str | None:
    """The path of the module whose weight, bias, running_mean and running_var the call uses, if it is one module."""
    names = ("weight", "bias", "running_mean", "running_var")
    paths = set()
    for name, source in zip(names, node.args[1:5], strict=True):
        if source is None:
            continue
        if not isinstance(source, Node) or source.op != "get_attr" or str(source.target).rpartition(".")[2] != name:
            return None
        paths.add(str(source.target).rpartition(".")[0])
    running = node.args[3] is not None and node.args[4] is not None
    both = (node.args[1] is None) == (node.args[2] is None)
    return paths.pop() if running and both and len(paths) == 1 and "" not in paths else None
